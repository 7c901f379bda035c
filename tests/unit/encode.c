/* Encoders of weight formats against their definitions: for 8-bit formats the nearest number of
 * all there are, for int4 no worse than rounding over the whole range; rows of every size. */
#include "t.h"

#include "quant/bf16.h"
#include "quant/e4m3.h"
#include "quant/encode.h"
#include "quant/encode_fp8.h"
#include "quant/encode_int4.h"
#include "quant/fp8_128.h"
#include "quant/int4.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { N = 512 };

/* Those of 4 bits come last. */
enum { FIRST_INT4 = 4 };
static const enum fmt served[] = {FMT_fp8,     FMT_fp8_128, FMT_int8,    FMT_q8_0,
                                  FMT_int4_32, FMT_int4_64, FMT_int4_128};
enum { SERVED = sizeof served / sizeof *served };

static uint32_t state = 1;

static uint32_t random_bits(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

/* About normal, as weights are: the sum of twelve uniform numbers, less its mean. */
static float random_weight(void)
{
    float sum = -6;
    for (int i = 0; i < 12; i++)
        sum += (float)random_bits() * 0x1p-24f;
    return sum;
}

struct row {
    float value[N], back[N];
    uint8_t made[N * 5];
};

static void encode(struct row *r, enum fmt fmt)
{
    float largest[N / ENCODE_BLOCK];
    for (int b = 0; b < N / ENCODE_BLOCK; b++)
        largest[b] = encode_largest(r->value + b * ENCODE_BLOCK, ENCODE_BLOCK);
    if (fmt != FMT_fp8_128)
        largest[0] = encode_largest(r->value, N);
    memset(r->made, 0xa5, sizeof r->made);
    encode_row(fmt, r->value, N, largest, r->made);
    fmt_decode_row(fmt, r->made, N, r->back);
    for (size_t i = fmt_row_bytes(fmt, N); i < sizeof r->made; i++)
        if (r->made[i] != 0xa5) {
            t_fail(__FILE__, __LINE__, "%s writes behind its row", fmt_info[fmt].name);
            break;
        }
}

static void fill(struct row *r, float size)
{
    for (int i = 0; i < N; i++)
        r->value[i] = random_weight() * size;
}

static float scale_of(const struct row *r, enum fmt fmt, int i)
{
    float scale;
    memcpy(&scale, r->made + (fmt == FMT_fp8_128 ? i / 128 * 132 : 0), sizeof scale);
    return scale;
}

static uint64_t hash(uint64_t h, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
    return h;
}

/* However wide its vectors are. */
TEST(encode, rows_have_the_same_bits_on_every_processor)
{
    static const uint64_t want[SERVED] = {
        0x63950cbe27792de5u, 0xe9370c6b8005462cu, 0x068ce73749df3ddau, 0xfc002a4be8afa15fu,
        0x567d5adfc79dc97du, 0x972e631d33313440u, 0xb48e68948da6b7dbu};
    uint64_t made[SERVED];
    struct row r;
    for (int f = 0; f < SERVED; f++) {
        state = 7;
        made[f] = 0xcbf29ce484222325u;
        for (int i = 0; i < 32; i++) {
            for (int j = 0; j < N; j++)
                r.value[j] = random_weight() * (j % 37 ? 1 : 4);
            encode(&r, served[f]);
            made[f] = hash(made[f], r.made, fmt_row_bytes(served[f], N));
            made[f] = hash(made[f], r.back, sizeof r.back);
        }
        if (made[f] != want[f])
            t_fail(__FILE__, __LINE__, "%s: %016llx", fmt_info[served[f]].name,
                   (unsigned long long)made[f]);
    }
}

TEST(encode, serves_the_formats_of_checkpoints_and_no_other)
{
    int n = 0;
    for (int fmt = 0; fmt < FMT_COUNT; fmt++)
        n += encode_serves((enum fmt)fmt);
    CHECK_EQ(n, SERVED);
    for (size_t i = 0; i < SERVED; i++)
        CHECK(encode_serves(served[i]));
}

TEST(encode, the_largest_magnitude_has_no_sign_and_shows_what_is_no_number)
{
    float value[5] = {0, -3, 2, 1, -0.0f};
    CHECK(encode_largest(value, 5) == 3);
    CHECK(encode_largest(value, 0) == 0);
    value[3] = -INFINITY;
    CHECK(isinf(encode_largest(value, 5)));
    value[0] = NAN;
    CHECK(isnan(encode_largest(value, 5)));
}

/* Every value becomes the number nearest to it, of all 254, but for the rounding of a division. */
static void check_e4m3(struct row *r, enum fmt fmt)
{
    encode(r, fmt);
    for (int i = 0; i < N; i++) {
        double scale = (double)scale_of(r, fmt, i), value = (double)r->value[i], best = INFINITY;
        for (int q = 0; q < 256; q++)
            if ((q & 0x7f) != 0x7f)
                best = fmin(best, fabs(scale * (double)e4m3_to_float((uint8_t)q) - value));
        double off = fabs((double)r->back[i] - value);
        if (!(off <= best + fabs(value) * 0x1p-21)) {
            t_fail(__FILE__, __LINE__, "%s: %g became %g, %g away, not %g", fmt_info[fmt].name,
                   value, (double)r->back[i], off, best);
            return;
        }
        /* Three bits of fraction, or below 2^-6 steps of 2^-9. */
        CHECK(off <= fmax(fabs(value) * 0.0625, scale * 0x1p-10) * 1.000001);
    }
}

TEST(encode, fp8_is_the_nearest_number)
{
    static struct row r;
    static const float size[] = {1, 0.02f, 1e-30f, 1e30f, 1e-39f, 1e-45f, 5e37f};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        fill(&r, size[i]);
        check_e4m3(&r, FMT_fp8);
        check_e4m3(&r, FMT_fp8_128);
    }
}

/* A row whose scale is 1: all numbers, their middles, which go to the even one, and the floats next
 * to these. */
TEST(encode, fp8_rounds_middles_to_even)
{
    static struct row r;
    int wrong = 0;
    for (int q = 0; q < 0x7e; q++) {
        float low = e4m3_to_float((uint8_t)q), high = e4m3_to_float((uint8_t)(q + 1));
        float middle = low + (high - low) / 2;
        memset(r.value, 0, sizeof r.value);
        r.value[0] = -448;
        r.value[1] = low;
        r.value[2] = middle;
        r.value[3] = -middle;
        r.value[4] = nextafterf(middle, 0);
        r.value[5] = nextafterf(middle, 448);
        encode_fp8(r.value, N, 1, r.made);
        const uint8_t *made = r.made + 4;
        int even = q + (q & 1);
        wrong += made[0] != 0xfe || made[1] != q || made[2] != even || made[3] != (even | 0x80) ||
                 made[4] != q || made[5] != q + 1;
    }
    CHECK_EQ(wrong, 0);
}

/* The squared error of a row with a scale, by trying all numbers. */
static double fp8_error(const float *value, double scale)
{
    double error = 0;
    for (int i = 0; i < N; i++) {
        double best = INFINITY;
        for (int q = 0; q < 0x7f; q++)
            best = fmin(best,
                        fabs(scale * (double)e4m3_to_float((uint8_t)q) - fabs((double)value[i])));
        error += best * best;
    }
    return error;
}

TEST(encode, fp8_takes_the_best_of_its_scales)
{
    static struct row r;
    double whole = 0, got = 0;
    for (int round = 0; round < 8; round++) {
        double least = INFINITY;
        fill(&r, 0.02f * (float)(round + 1));
        encode(&r, FMT_fp8);
        const float scale = scale_of(&r, FMT_fp8, 0), largest = encode_largest(r.value, N);
        CHECK(scale * 448 >= largest && scale * 224 < largest);
        CHECK(scale == bf16_to_float(bf16_of_float(scale)));
        for (int phase = 0; phase < 16; phase++)
            least = fmin(least, fp8_error(r.value, (double)largest / 448 * (1 + phase / 16.0)));
        whole += fp8_error(r.value, (double)largest / 448);
        got += fp8_error(r.value, (double)scale);
        /* Those of the search are bfloat16 numbers, up to a 128th larger. */
        CHECK(fp8_error(r.value, (double)scale) <= least * 1.02);
    }
    printf("  error %.3f of that of the whole scale\n", got / whole);
    CHECK(got < whole * 0.93);
}

TEST(encode, int8_is_half_a_step_away_at_most)
{
    static struct row r;
    static const float size[] = {1, 0.02f, 1e-30f, 1e30f, 1e-39f, 5e37f};
    for (size_t s = 0; s < sizeof size / sizeof *size; s++) {
        fill(&r, size[s]);
        encode(&r, FMT_int8);
        double scale = (double)scale_of(&r, FMT_int8, 0);
        CHECK(scale * 127 <= (double)encode_largest(r.value, N) * 1.000001 || scale <= 1.2e-38);
        for (int i = 0; i < N; i++)
            CHECK(fabs((double)r.back[i] - (double)r.value[i]) <=
                  scale * 0.5 + fabs((double)r.value[i]) * 0x1p-21);
    }
}

/* Scales are as large as they have to be, but for their rounding. */
TEST(encode, q8_0_is_half_a_step_away_at_most_whatever_its_scales_are)
{
    static struct row r;
    static const float size[] = {1, 0.02f, 1e-5f, 1e-9f, 1e4f, 0};
    for (size_t s = 0; s < 2 * sizeof size / sizeof *size; s++) {
        const bool is_bf16 = s % 2;
        fill(&r, size[s / 2]);
        encode(&r, FMT_q8_0);
        if (is_bf16)
            encode_q8_0(r.value, N, true, r.made);
        fmt_decode_row(FMT_q8_0, r.made, N, r.back);
        for (int b = 0; b < N / 32; b++) {
            uint16_t half;
            memcpy(&half, r.made + (size_t)b * 34, sizeof half);
            const float d = f16_to_float(half), largest = encode_largest(r.value + b * 32, 32);
            const float cut = fmaxf(largest - 127 * d, 0);
            CHECK(!is_bf16 || bf16_to_float(bf16_of_float(d)) == d);
            CHECK(cut <= largest * 0x1p-8f);
            CHECK(d <= largest / 127 * (1 + 0x1p-7f) + 0x1p-24f);
            for (int i = b * 32; i < (b + 1) * 32; i++)
                CHECK(fabsf(r.back[i] - r.value[i]) <= d * 0.5001f + cut);
        }
    }
}

/* Rounding over the whole range of a group with a scale that is a half, in double. */
static double whole_range_error(const float *value, int n)
{
    double low = 0, high = 0, error = 0;
    for (int i = 0; i < n; i++) {
        low = fmin(low, (double)value[i]);
        high = fmax(high, (double)value[i]);
    }
    double d = (double)f16_to_float(f16_of_float((float)((high - low) / 15)));
    double zero = d > 0 ? nearbyint(-low / d) : 0;
    for (int i = 0; i < n; i++) {
        double q = d > 0 ? fmin(fmax(nearbyint((double)value[i] / d) + zero, 0), 15) : zero;
        double off = d * (q - zero) - (double)value[i];
        error += off * off;
    }
    return error;
}

static double error_of(const struct row *r, int first, int n)
{
    double error = 0;
    for (int i = first; i < first + n; i++) {
        double off = (double)r->back[i] - (double)r->value[i];
        error += off * off;
    }
    return error;
}

/* Of all zero points and a fine grid of scales the best; too slow for more than tests. */
static double best_error(const float *value, int n)
{
    double best = INFINITY, low = 0, high = 0;
    for (int i = 0; i < n; i++) {
        low = fmin(low, (double)value[i]);
        high = fmax(high, (double)value[i]);
    }
    for (int step = 0; step < 200; step++)
        for (int zero = 0; zero < 16; zero++) {
            double d = (high - low) / 15 * (0.4 + step * 0.005), error = 0;
            for (int i = 0; i < n; i++) {
                double q = fmin(fmax(nearbyint((double)value[i] / d) + zero, 0), 15);
                error += pow(d * (q - zero) - (double)value[i], 2);
            }
            best = fmin(best, error);
        }
    return best;
}

TEST(encode, int4_is_never_worse_than_the_whole_range_and_near_the_best_there_is)
{
    static struct row r;
    for (size_t f = FIRST_INT4; f < SERVED; f++) {
        const int n = fmt_info[served[f]].n;
        double whole = 0, got = 0, best = 0;
        for (int round = 0; round < 20; round++) {
            fill(&r, 0.03f);
            if (round % 4 == 1) /* a group that lies to one side */
                for (int i = 0; i < N; i++)
                    r.value[i] = fabsf(r.value[i]);
            encode(&r, served[f]);
            for (int i = 0; i < N; i += n) {
                CHECK(error_of(&r, i, n) <= whole_range_error(r.value + i, n) * 1.0001);
                got += error_of(&r, i, n);
                whole += whole_range_error(r.value + i, n);
                best += round < 2 ? best_error(r.value + i, n) : 0;
            }
            if (round == 1) {
                printf("  %s: error %.3f of the least\n", fmt_info[served[f]].name, got / best);
                CHECK(got <= best * 1.05);
            }
        }
        printf("  %s: error %.3f of that of the whole range\n", fmt_info[served[f]].name,
               got / whole);
        CHECK(got < whole);
    }
}

TEST(encode, int4_keeps_what_it_can_hold_exactly)
{
    static struct row r;
    for (size_t f = FIRST_INT4; f < SERVED; f++) {
        for (int i = 0; i < N; i++)
            r.value[i] = 0.25f * (float)(i % 16 - 5);
        encode(&r, served[f]);
        CHECK(memcmp(r.value, r.back, sizeof r.value) == 0);
        CHECK_EQ(r.made[2], 5);
    }
}

TEST(encode, a_zero_row_stays_zero)
{
    static struct row r;
    for (size_t f = 0; f < sizeof served / sizeof *served; f++) {
        memset(r.value, 0, sizeof r.value);
        encode(&r, served[f]);
        CHECK(encode_largest(r.back, N) == 0);
        CHECK(r.made[0] == 0 && r.made[1] == 0); /* of the scale */
    }
}

/* Halves end at 2^-24: below it int4 errs by no more than half of that and its rounding up. */
TEST(encode, rows_of_the_smallest_numbers_stay_small)
{
    static struct row r;
    static const float size[] = {1e-45f, 1e-40f, 1e-30f, 0x1p-30f, 0x1p-25f, 0x1p-22f, 0x1p-18f};
    for (size_t s = 0; s < sizeof size / sizeof *size; s++)
        for (size_t f = FIRST_INT4; f < SERVED; f++) {
            fill(&r, size[s]);
            encode(&r, served[f]);
            for (int i = 0; i < N; i++)
                CHECK(fabsf(r.back[i] - r.value[i]) <= fmaxf(0x1p-24f, size[s]));
        }
}

TEST(encode, the_largest_numbers_stay_finite)
{
    static struct row r;
    for (size_t f = 0; f < sizeof served / sizeof *served; f++) {
        float most = encode_most(served[f]);
        for (int i = 0; i < N; i++)
            r.value[i] = i % 3 == 0 ? most : i % 3 == 1 ? -most : nextafterf(most, 0) / 3;
        encode(&r, served[f]);
        CHECK(isfinite(encode_largest(r.back, N)));
        for (int i = 0; i < N; i++)
            CHECK(fabsf(r.back[i] / most - r.value[i] / most) <= 0.1f);
    }
    CHECK(encode_most(FMT_fp8) == FLT_MAX);
}

/* FNV-1a of 200 rows in each format, of the code without AVX2: processors that have it, and others,
 * give the same. */
TEST(encode, the_same_values_give_the_same_bits_on_every_machine)
{
    static struct row r;
    static const uint32_t known[] = {664721817u,  2492500942u, 851361963u, 93158518u,
                                     3969474780u, 2002077737u, 891792374u};
    for (size_t f = 0; f < sizeof served / sizeof *served; f++) {
        uint32_t hash = 2166136261u;
        state = 7;
        for (int i = 0; i < 200; i++) {
            fill(&r, 1 + (float)i);
            encode(&r, served[f]);
            for (size_t at = 0; at < fmt_row_bytes(served[f], N); at++)
                hash = (hash ^ r.made[at]) * 16777619u;
        }
        CHECK_EQ(hash, known[f]);
    }
}

/* Where errors of some values count more, these come nearer, and by as much as they count. */
TEST(encode, scales_and_grids_suit_the_errors_that_count)
{
    static struct row r;
    static float weight[N];
    double plain[2] = {0}, weighted[2] = {0};
    for (int i = 0; i < N; i++)
        weight[i] = i % 8 ? 0.01f : 1;
    for (int round = 0; round < 20; round++) {
        fill(&r, 0.02f);
        const float largest = encode_largest(r.value, N);
        for (int is_weighted = 0; is_weighted < 2; is_weighted++) {
            const float *counts = is_weighted ? weight : NULL;
            double *error = is_weighted ? weighted : plain;
            const float scale = fp8_fit(r.value, counts, N, largest);
            CHECK(scale * 448 >= largest);
            encode_fp8(r.value, N, scale, r.made);
            fmt_decode_row(FMT_fp8, r.made, N, r.back);
            for (int i = 0; i < N; i += 8)
                error[0] += pow((double)r.back[i] - (double)r.value[i], 2);
            for (int at = 0; at < N; at += 128) {
                uint8_t q[128];
                const struct int4_grid grid = int4_fit(r.value + at, counts ? counts + at : NULL,
                                                       128, (struct int4_style){0});
                int4_round(r.value + at, 128, grid, q);
                for (int i = 0; i < 128; i += 8)
                    error[1] += pow((double)(grid.scale * ((float)q[i] - grid.zero)) -
                                        (double)r.value[at + i],
                                    2);
            }
        }
    }
    printf("  squared errors that count: fp8 %.3f, int4 %.3f of those without weights\n",
           weighted[0] / plain[0], weighted[1] / plain[1]);
    CHECK(weighted[0] < 0.95 * plain[0] && weighted[1] < 0.95 * plain[1]);
}
