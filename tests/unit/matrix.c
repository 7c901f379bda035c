/* Matrices of every layout, written here by its plain definition, number by number, and read as
 * rows of our formats: the values are those of the definition, exactly wherever the format can hold
 * them. */
#include "t.h"
#include "matrix_cases.h"

#include "plugin/model/convert.h"

#include <math.h>

static void compare_rows(const struct matrix *m, const struct weight_source *rows, int first, int n,
                         const char *name, struct bound bound)
{
    static float got[K_MOST];
    const size_t bytes = fmt_row_bytes(m->fmt, m->K);
    for (int r = 0; r < n; r++) {
        fmt_decode_row(m->fmt, (const uint8_t *)rows->data + (size_t)r * bytes, m->K, got);
        for (int k = 0; k < m->K; k++) {
            /* A float of the product, which has more bits where the scale is a float. */
            double want = value_at(m->first + first + r, k), off = fabs((double)got[k] - want);
            if (bound.relative == 0 ? got[k] != (float)want
                                    : off > fabs(want) * bound.relative + bound.absolute) {
                t_fail(__FILE__, __LINE__, "%s: row %d, column %d is %.9g, want %.9g", name,
                       m->first + first + r, k, (double)got[k], want);
                return;
            }
        }
    }
}

/* All rows, by three workers in pieces of 16, 32, .. rows. */
static void compare(const struct matrix *m, const char *name, struct bound bound)
{
    struct matrix_reader reader;
    struct weight_source source, rows;
    struct err err = {0};
    matrix_reader_init(&reader, 3, &mem_system);
    CHECK_EQ(matrix_begin(&reader, &im.tensors, m, &source, &err), 0);
    for (int first = 0, n, piece = 0; first < m->N; first += n, piece++) {
        n = MIN(MIN((piece % 5 + 1) * 16, weight_source_step(&source)), m->N - first);
        if (!weight_source_rows(&source, piece % 3, first, n, &rows)) {
            (void)matrix_explain(&reader, &err);
            t_fail(__FILE__, __LINE__, "%s: rows from %d on: %s", name, first, err.text);
            break;
        }
        compare_rows(m, &rows, first, n, name, bound);
    }
    matrix_end(&reader, &im.tensors);
    matrix_reader_close(&reader);
}

static void check_case(const struct layout_case *c, bool hooked)
{
    struct matrix m;
    struct err err = {0};
    image_begin(&im, hooked);
    define(&c->d);
    c->write();
    image_end(&im);
    open_scheme(c->config);
    if (find_matrix(&m, &err)) {
        t_fail(__FILE__, __LINE__, "%s: %s", c->name, err.text);
    } else {
        if (m.fmt != c->fmt)
            t_fail(__FILE__, __LINE__, "%s: %s, want %s", c->name, fmt_info[m.fmt].name,
                   fmt_info[c->fmt].name);
        CHECK(m.N == d.N && m.K == d.K && m.first == 0);
        compare(&m, c->name, c->bound);
    }
    scheme_close(&scheme);
    image_release(&im);
}

TEST(matrix, values_are_those_of_the_definition)
{
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        check_case(&cases[i], i % 2);
}

/* Parts of a fused matrix, at rows that no word or block begins with. */
TEST(matrix, some_of_its_rows_are_a_matrix)
{
    static const char *const names[] = {"fp8 of a tensor",  "fp8 of DeepSeek",
                                        "int4 of ModelOpt", "W4A16 with zero points",
                                        "AWQ of 128",       "GPTQ of 128"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct matrix m, rows;
        struct err err = {0};
        begin_case(names[i]);
        image_end(&im);
        CHECK_EQ(find_matrix(&m, &err), 0);
        rows = matrix_rows(&m, 3, d.N - 8);
        CHECK(rows.N == d.N - 8 && rows.first == 3 && rows.K == d.K && rows.bytes < m.bytes);
        compare(&rows, names[i], (struct bound){0, 0});
        rows = matrix_rows(&rows, 13, 16);
        CHECK(rows.N == 16 && rows.first == 16);
        compare(&rows, names[i], (struct bound){0, 0});
        end_case();
    }
}

TEST(matrix, plain_numbers_are_taken_whatever_the_scheme_says)
{
    struct matrix m;
    struct matrix_reader reader;
    struct weight_source rows;
    struct err err = {0};
    image_begin(&im, false);
    d = (struct definition){.N = 6, .K = 8};
    uint16_t *to = image_add(&im, "m.weight", DTYPE_BF16, d.N, d.K);
    image_end(&im);
    open_scheme(AWQ("128"));
    CHECK_EQ(find_matrix(&m, &err), 0);
    CHECK(m.fmt == FMT_bf16 && m.storage.codes == CODES_NONE && m.bytes == 96);
    m = matrix_rows(&m, 2, 3);
    matrix_reader_init(&reader, 1, &mem_system);
    CHECK_EQ(matrix_begin(&reader, &im.tensors, &m, &rows, &err), 0);
    CHECK(rows.data == to + 16 && rows.N == 3 && rows.K == 8);
    CHECK(!reader.worker && !reader.memory);
    CHECK_EQ(matrix_explain(&reader, &err), 0);
    matrix_reader_close(&reader);
    end_case();
}

TEST(matrix, it_is_there_under_the_names_of_any_layout)
{
    static const char *const names[] = {"fp8 of a tensor", "W4A16 of 128", "AWQ of 32", "GPTQ v2"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct matrix_finder f = {.tensors = &im.tensors, .scheme = &scheme};
        begin_case(names[i]);
        image_end(&im);
        CHECK(matrix_is_there(&f, "m.weight"));
        CHECK(!matrix_is_there(&f, "n.weight"));
        end_case();
    }
}

/* The words of the packers that made the formats. */
TEST(matrix, words_are_those_of_the_packers)
{
    struct matrix m;
    struct err err = {0};
    define(&(struct definition){
        .N = 8, .K = 32, .bits = 4, .rows = 1, .columns = 32, .scales = DTYPE_F16});
    /* Code of row n and column k: n + k. Columns 0 to 7 of row 0 are -8 .. -1 above the middle. */
    for (int n = 0; n < d.N; n++)
        for (int k = 0; k < d.K; k++)
            d.code[n][k] = (n + k) % 16;
    const uint32_t words[] = {0x76543210u, 0xfedcba98u};
    image_begin(&im, false);
    uint32_t *packed = image_add(&im, "m.weight_packed", DTYPE_I32, d.N, 4);
    memcpy(packed, words, sizeof words);
    memcpy(packed + 2, words, sizeof words);
    for (int n = 1; n < d.N; n++)
        for (int j = 0; j < 4; j++) {
            uint64_t two = (uint64_t)words[(j + 1) % 2] << 32 | words[j % 2];
            packed[n * 4 + j] = (uint32_t)(two >> 4 * n);
        }
    write_scales("m.weight_scale", false);
    image_end(&im);
    open_scheme(CT("pack", "4", "int", GROUPS("32")));
    CHECK_EQ(find_matrix(&m, &err), 0);
    compare(&m, "compressed-tensors", (struct bound){0, 0});
    end_case();

    /* Rows 0 to 7 of column k have k .. k + 7; the zero point is 8 in all of them. */
    image_begin(&im, false);
    uint32_t *awq = image_add(&im, "m.qweight", DTYPE_I32, d.K, 1);
    for (uint32_t k = 0; k < 32; k++) {
        uint64_t word = 0x75316420u;
        for (int i = 0; i < 8; i++)
            awq[k] |= (uint32_t)((word >> 4 * i & 15) + k) % 16 << 4 * i;
    }
    *(uint32_t *)image_add(&im, "m.qzeros", DTYPE_I32, 1, 1) = 0x88888888u;
    write_scales("m.scales", true);
    image_end(&im);
    open_scheme(AWQ("32"));
    CHECK_EQ(find_matrix(&m, &err), 0);
    compare(&m, "AutoAWQ", (struct bound){0, 0});
    end_case();

    image_begin(&im, false);
    uint32_t *gptq = image_add(&im, "m.qweight", DTYPE_I32, 4, d.N);
    for (int n = 0; n < d.N; n++)
        for (int j = 0; j < 4; j++) {
            uint64_t two = (uint64_t)words[(j + 1) % 2] << 32 | words[j % 2];
            gptq[j * d.N + n] = (uint32_t)(two >> 4 * n);
        }
    *(uint32_t *)image_add(&im, "m.qzeros", DTYPE_I32, 1, 1) = 0x77777777u;
    write_scales("m.scales", true);
    image_end(&im);
    open_scheme(GPTQ("4", ", \"group_size\": 32"));
    CHECK_EQ(find_matrix(&m, &err), 0);
    compare(&m, "GPTQ", (struct bound){0, 0});
    end_case();

    /* Two's complement: -1 in the even row and 3 in the odd one are 0x3f. */
    image_begin(&im, false);
    memset(image_add(&im, "m.weight", DTYPE_U8, 4, d.K), 0x3f, 128);
    write_scales("m.weight_scale", false);
    image_end(&im);
    open_scheme("{\"quant_algo\": \"W4A16_AWQ\", \"group_size\": 32, \"quant_method\": "
                "\"modelopt\"}");
    for (int n = 0; n < d.N; n++)
        for (int k = 0; k < d.K; k++)
            d.code[n][k] = n % 2 ? 8 + 3 : 8 - 1;
    CHECK_EQ(find_matrix(&m, &err), 0);
    compare(&m, "ModelOpt", (struct bound){0, 0});
    end_case();
}

/* ---- On top of it, a conversion */

static void check_converted(const char *name, enum fmt to)
{
    static float value[K_MOST], largest[N_MOST][K_MOST / ENCODE_BLOCK], row_largest;
    struct matrix m;
    struct matrix_reader reader;
    struct converter converter;
    struct weight_source source, made, rows;
    struct err err = {0};
    const bool blocks = to == FMT_fp8_128;
    begin_case(name);
    image_end(&im);
    CHECK_EQ(find_matrix(&m, &err), 0);
    memset(largest, 0, sizeof largest);
    for (int n = 0; n < d.N; n++)
        for (int k = 0; blocks && k < d.K; k++) {
            float *most = &largest[n / ENCODE_BLOCK][k / ENCODE_BLOCK];
            *most = fmaxf(*most, (float)fabs(value_at(n, k)));
        }
    matrix_reader_init(&reader, 2, &mem_system);
    CHECK_EQ(convert_open(&converter, to, 2, d.K, &mem_system, &err), 0);
    CHECK_EQ(matrix_begin(&reader, &im.tensors, &m, &source, &err), 0);
    made = convert_begin(&converter, &source, to);
    for (int first = 0, n, piece = 0; first < d.N; first += n, piece++) {
        uint8_t want[K_MOST * 2];
        const size_t bytes = fmt_row_bytes(to, d.K);
        n = MIN(16, d.N - first);
        CHECK(weight_source_rows(&made, piece % 2, first, n, &rows));
        for (int r = 0; r < n; r++) {
            for (int k = 0; k < d.K; k++)
                value[k] = (float)value_at(first + r, k);
            row_largest = encode_largest(value, d.K);
            encode_row(to, value, d.K, blocks ? largest[(first + r) / ENCODE_BLOCK] : &row_largest,
                       want);
            if (memcmp((const uint8_t *)rows.data + (size_t)r * bytes, want, bytes) != 0)
                t_fail(__FILE__, __LINE__, "%s as %s: row %d differs", name, fmt_info[to].name,
                       first + r);
        }
    }
    convert_close(&converter);
    matrix_reader_close(&reader);
    end_case();
}

TEST(matrix, rows_can_be_converted_as_those_of_a_file)
{
    check_converted("GPTQ of 128", FMT_int8);
    check_converted("AWQ of 128", FMT_fp8);
    check_converted("AWQ of 128", FMT_fp8_128);
    check_converted("fp8 of DeepSeek", FMT_fp8_128);
    check_converted("int8 of a channel", FMT_int8);
    check_converted("fp8 of ModelOpt, blocks", FMT_int4_64);
}
