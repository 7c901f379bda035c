/* Rows made by several workers, in pieces that may begin anywhere: the same bytes as the whole
 * matrix encoded at once; what cannot be converted is named with its place. */
#include "t.h"

#include "plugin/model/convert.h"

#include <math.h>
#include <stdlib.h>

enum { N = 300, K = 384 };

static float matrix[N * K];

static void fill(void)
{
    uint32_t state = 7;
    for (int i = 0; i < N * K; i++) {
        state = state * 1664525u + 1013904223u;
        matrix[i] = (float)(int32_t)(state >> 8) * 0x1p-24f - 0.5f;
        matrix[i] *= i / K % 50 == 0 ? 3 : 1; /* blocks of rows differ */
    }
}

static const struct weight_source source = {.fmt = FMT_f32, .N = N, .K = K, .data = matrix};

/* Row r of the matrix as fmt, by definition. */
static void define(enum fmt fmt, int32_t r, uint8_t *out)
{
    float largest[K / ENCODE_BLOCK];
    const int32_t first = r - r % ENCODE_BLOCK, last = MIN(first + ENCODE_BLOCK, N);
    for (int b = 0; b < K / ENCODE_BLOCK; b++) {
        largest[b] = 0;
        for (int32_t i = first; i < last; i++)
            largest[b] =
                fmaxf(largest[b], encode_largest(matrix + i * K + b * ENCODE_BLOCK, ENCODE_BLOCK));
    }
    if (fmt != FMT_fp8_128)
        largest[0] = encode_largest(matrix + r * K, K);
    encode_row(fmt, matrix + r * K, K, largest, out);
}

TEST(convert, rows_are_the_same_whoever_makes_them)
{
    static const enum fmt fmt[] = {FMT_fp8, FMT_fp8_128, FMT_int8, FMT_int4_32, FMT_int4_128};
    struct converter c;
    struct err err = {0};
    fill();
    for (size_t i = 0; i < COUNT_OF(fmt); i++) {
        const size_t bytes = fmt_row_bytes(fmt[i], K);
        uint8_t *want = malloc(bytes);
        double error = 0, square = 0;
        static float back[K];
        CHECK_EQ(convert_open(&c, fmt[i], 3, K, &mem_system, &err), 0);
        struct weight_source made = convert_begin(&c, &source, fmt[i]);
        CHECK(!made.data && made.fmt == fmt[i] && made.N == N && made.K == K);
        /* Pieces of 16, 32, 48, .. rows, begun wherever the last has ended. */
        for (int32_t first = 0, n, piece = 0; first < N; first += n, piece++) {
            n = MIN(MIN((piece % 5 + 1) * 16, weight_source_step(&made)), N - first);
            struct weight_source rows;
            CHECK(weight_source_rows(&made, piece % 3, first, n, &rows));
            for (int32_t r = 0; r < n; r++) {
                define(fmt[i], first + r, want);
                if (memcmp((const uint8_t *)rows.data + (size_t)r * bytes, want, bytes) != 0)
                    t_fail(__FILE__, __LINE__, "%s: row %d differs", fmt_info[fmt[i]].name,
                           first + r);
                fmt_decode_row(fmt[i], want, K, back);
                for (int k = 0; k < K; k++) {
                    double value = (double)matrix[(first + r) * K + k];
                    error += pow((double)back[k] - value, 2);
                    square += value * value;
                }
            }
        }
        CHECK_NEAR(convert_error(&c), sqrt(error / square), 1e-9);
        convert_close(&c);
        free(want);
    }
}

TEST(convert, groups_that_do_not_fit_give_way_to_smaller_ones)
{
    CHECK_EQ(convert_fmt(FMT_int4_128, 4096), FMT_int4_128);
    CHECK_EQ(convert_fmt(FMT_int4_128, 576), FMT_int4_64);
    CHECK_EQ(convert_fmt(FMT_int4_128, 96), FMT_int4_32);
    CHECK_EQ(convert_fmt(FMT_int4_64, 96), FMT_int4_32);
    CHECK_EQ(convert_fmt(FMT_int4_32, 48), FMT_int8);
    CHECK_EQ(convert_fmt(FMT_q8_0, 96), FMT_q8_0);
    CHECK_EQ(convert_fmt(FMT_q8_0, 48), FMT_int8);
    CHECK_EQ(convert_fmt(FMT_fp8_128, 256), FMT_fp8_128);
    CHECK_EQ(convert_fmt(FMT_fp8_128, 576), FMT_fp8);
    CHECK_EQ(convert_fmt(FMT_int8, 33), FMT_int8);
}

static void check_refused(enum fmt fmt, float value, const char *why)
{
    struct converter c;
    struct err err = {0};
    struct weight_source rows;
    fill();
    matrix[150 * K + 37] = value;
    CHECK_EQ(convert_open(&c, fmt, 1, K, &mem_system, &err), 0);
    struct weight_source made = convert_begin(&c, &source, fmt);
    CHECK(weight_source_rows(&made, 0, 0, 16, &rows));
    CHECK(!weight_source_rows(&made, 0, 144, 16, &rows));
    CHECK_EQ(convert_explain(&c, &err), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, why);
    convert_close(&c);
}

TEST(convert, what_cannot_be_converted_is_named_with_its_place)
{
    static const char infinite[] =
        "row 150, column 37 is not a finite number: it cannot become int4_128";
    check_refused(FMT_int4_128, NAN, infinite);
    check_refused(FMT_int4_128, -INFINITY, infinite);
    check_refused(FMT_fp8, NAN, "row 150, column 37 is not a finite number: it cannot become fp8");
    check_refused(FMT_fp8_128, INFINITY,
                  "row 150, column 37 is not a finite number: it cannot become fp8_128");
    check_refused(FMT_int4_128, -1e6f,
                  "row 150, column 37 is -1e+06: int4_128 holds at most 458528");
}

static void *no_alloc(void *user, uint64_t bytes, uint64_t align)
{
    (void)user, (void)bytes, (void)align;
    return NULL;
}

TEST(convert, without_memory_it_says_how_much)
{
    static const struct mem none = {.alloc = no_alloc};
    struct converter c;
    struct err err = {0};
    CHECK_EQ(convert_open(&c, FMT_int8, 2, 4096, &none, &err), INFLIGHT_E_NOMEM);
    CHECK(strstr(err.text, "of rows that are converted"));
    convert_close(&c);
}
