/* Matrices of experts that a folder has in one tensor: numbers by columns, and blocks of MXFP4 with
 * their powers of two beside them; rows of gate and up stand there in turn. */
#include "t.h"

#include "../tensor_image.h"
#include "plugin/model/matrix.h"

#include <math.h>

enum { E = 3, N = 20, K = 64, GROUPS = K / 32 };

static struct tensor_image im;
static struct scheme scheme;
static bool used[TENSORS_MOST];

static uint32_t state = 1;

static uint8_t random_byte(void)
{
    state = state * 1664525u + 1013904223u;
    return (uint8_t)(state >> 24);
}

/* Dimensions of the tensor that was added last, the contiguous one first. */
static void set_dims(int64_t a, int64_t b, int64_t c, int64_t d)
{
    struct tensor *t = &im.tensor[im.tensors.n - 1];
    t->dim[0] = a;
    t->dim[1] = b;
    t->dim[2] = c;
    t->dim[3] = d;
}

/* "m" (E, K, rows): expert e's number of row r and column k is 1000 e + r + k / 64. */
static void write_table(int rows)
{
    float *to = image_add(&im, "m", DTYPE_F32, E * K, rows);
    set_dims(rows, K, E, 1);
    for (int e = 0; e < E; e++)
        for (int k = 0; k < K; k++)
            for (int r = 0; r < rows; r++)
                *to++ = (float)(1000 * e + r) + (float)k / K;
}

struct blocks {
    uint8_t *block, *scale;
};

static struct blocks write_blocks(int rows)
{
    struct blocks b;
    b.block = image_add(&im, "m_blocks", DTYPE_U8, E * rows * GROUPS, 16);
    set_dims(16, GROUPS, rows, E);
    b.scale = image_add(&im, "m_scales", DTYPE_U8, E * rows, GROUPS);
    set_dims(GROUPS, rows, E, 1);
    for (int i = 0; i < E * rows * GROUPS * 16; i++)
        b.block[i] = random_byte();
    for (int i = 0; i < E * rows * GROUPS; i++)
        b.scale[i] = (uint8_t)(i % 255);
    return b;
}

/* Of a row of the tensors, by the definition. */
static float value_of(const struct blocks *b, int row, int k)
{
    static const float numbers[16] = {0,  0.5f,  1,  1.5f,  2,  3,  4,  6,
                                      -0, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    const int group = row * GROUPS + k / 32;
    const uint8_t pair = b->block[group * 16 + k % 32 / 2];
    return ldexpf(numbers[k % 2 ? pair >> 4 : pair & 15], b->scale[group] - 127);
}

static int32_t find(struct matrix *m, struct matrix_place place, int32_t columns, struct err *err)
{
    struct matrix_finder f = {.tensors = &im.tensors, .scheme = &scheme, .used = used};
    memset(used, 0, sizeof used);
    buf_init(&f.scratch, &mem_system);
    const int32_t rc = matrix_find_expert(m, &f, "m.weight", place, N, columns, err);
    buf_release(&f.scratch);
    return rc;
}

typedef float want_fn(const void *data, struct matrix_place place, int r, int k);

static float want_of_table(const void *data, struct matrix_place place, int r, int k)
{
    (void)data;
    return (float)(1000 * place.e + place.first + r * place.step) + (float)k / K;
}

static float want_of_blocks(const void *data, struct matrix_place place, int r, int k)
{
    return value_of(data, place.e * place.step * N + place.first + r * place.step, k);
}

static void check_rows(const struct matrix *m, struct matrix_place place, want_fn *want,
                       const void *data)
{
    struct matrix_reader reader;
    struct weight_source source, rows;
    struct err err = {0};
    float got[K];
    int wrong = 0;
    matrix_reader_init(&reader, 2, &mem_system);
    CHECK_EQ(matrix_begin(&reader, &im.tensors, m, &source, &err), 0);
    for (int first = 0; first < N; first += 16) {
        const int n = first + 16 < N ? 16 : N - first;
        CHECK(weight_source_rows(&source, first / 16, first, n, &rows));
        for (int r = 0; r < n; r++) {
            const size_t at = (size_t)r * fmt_row_bytes(m->fmt, K);
            fmt_decode_row(m->fmt, (const uint8_t *)rows.data + at, K, got);
            for (int k = 0; k < K; k++)
                wrong += got[k] != want(data, place, first + r, k);
        }
    }
    CHECK_EQ(wrong, 0);
    matrix_end(&reader, &im.tensors);
    matrix_reader_close(&reader);
}

/* Every expert, the rows of gate, of up, and of what has all of them. */
static void check_all(int step, bool is_hooked, bool has_blocks)
{
    struct matrix_place place = {.E = E, .step = step};
    struct blocks b = {0};
    image_begin(&im, is_hooked);
    if (has_blocks)
        b = write_blocks(step * N);
    else
        write_table(step * N);
    image_end(&im);
    for (place.e = 0; place.e < E; place.e++)
        for (place.first = 0; place.first < step; place.first++) {
            struct matrix m;
            struct err err = {0};
            CHECK_EQ(find(&m, place, K, &err), 0);
            CHECK(m.N == N && m.K == K && m.fmt == (has_blocks ? FMT_mxfp4 : FMT_f32));
            CHECK_EQ(m.bytes, (uint64_t)N * fmt_row_bytes(m.fmt, K));
            CHECK(used[0] && used[1] == has_blocks);
            im.bytes_read = 0;
            check_rows(&m, place, has_blocks ? want_of_blocks : want_of_table, &b);
            /* Of numbers by columns those of gate and up are read together. */
            CHECK(im.bytes_read <= m.bytes * (uint64_t)step);
        }
    image_release(&im);
}

TEST(matrix_experts, each_has_its_rows_of_the_tensor)
{
    for (int step = 1; step <= 2; step++)
        for (int is_hooked = 0; is_hooked < 2; is_hooked++) {
            check_all(step, is_hooked, false);
            check_all(step, is_hooked, true);
        }
}

/* As files of GGUF have them: one after the other. */
TEST(matrix_experts, of_a_stack_each_is_read_alone)
{
    struct matrix stack;
    struct err err = {0};
    struct matrix_place place = {.E = E, .step = 1};
    image_begin(&im, true);
    float *to = image_add(&im, "m.weight", DTYPE_F32, E * N, K);
    set_dims(K, N, E, 1);
    for (int i = 0; i < E * N * K; i++)
        to[i] = want_of_table(NULL, (struct matrix_place){.e = i / (N * K), .step = 1}, i / K % N,
                              i % K);
    image_end(&im);
    struct matrix_finder f = {.tensors = &im.tensors, .scheme = &scheme, .used = used};
    CHECK_EQ(matrix_find_stack(&stack, &f, "m.weight", E, N, K, &err), 0);
    for (place.e = 0; place.e < E; place.e++) {
        const struct matrix m = matrix_rows(&stack, place.e * N, N);
        im.bytes_read = 0;
        check_rows(&m, place, want_of_table, NULL);
        CHECK_EQ(im.bytes_read, N * K * sizeof(float));
    }
    image_release(&im);
}

static void refuse(int32_t columns, int32_t code, const char *text)
{
    struct matrix m;
    struct err err = {0};
    image_end(&im);
    CHECK_EQ(find(&m, (struct matrix_place){.e = 1, .E = E, .step = 2}, columns, &err), code);
    CHECK_TEXT(err.text, text);
    image_release(&im);
}

TEST(matrix_experts, what_does_not_fit_is_refused_by_name)
{
    image_begin(&im, false);
    refuse(K, INFLIGHT_E_MODEL, "tensor m is missing");
    image_begin(&im, false);
    write_table(2 * N - 1);
    refuse(K, INFLIGHT_E_MODEL,
           "model.safetensors: tensor m is 1 x 3 x 64 x 39, want 1 x 3 x 64 x 40");
    image_begin(&im, false);
    (void)image_add(&im, "m", DTYPE_I32, E * K, 2 * N);
    set_dims(2 * N, K, E, 1);
    refuse(K, INFLIGHT_E_MODEL,
           "model.safetensors: tensor m is of type I32, want F32, F16 or BF16");
    image_begin(&im, false);
    (void)write_blocks(2 * N);
    im.name[1][0] = 'n';
    refuse(K, INFLIGHT_E_MODEL, "tensor m_scales is missing");
    image_begin(&im, false);
    (void)write_blocks(2 * N);
    im.tensor[1].dtype = DTYPE_I8;
    refuse(K, INFLIGHT_E_MODEL, "model.safetensors: tensor m_scales is of type I8, want U8");
    image_begin(&im, false);
    (void)write_blocks(2 * N);
    set_dims(GROUPS, 2 * N, E - 1, 1);
    refuse(K, INFLIGHT_E_MODEL,
           "model.safetensors: tensor m_scales is 1 x 2 x 40 x 2, want 1 x 3 x 40 x 2");
    image_begin(&im, false);
    (void)write_blocks(2 * N);
    refuse(K - 16, INFLIGHT_E_UNSUPPORTED,
           "m: rows of 48 columns are no whole blocks of MXFP4, or too many");
}

TEST(matrix_experts, a_power_that_is_no_number_is_refused_with_its_place)
{
    struct matrix m;
    struct matrix_reader reader;
    struct weight_source source, rows;
    struct err err = {0};
    image_begin(&im, false);
    struct blocks b = write_blocks(2 * N);
    b.scale[(2 * N + 7) * GROUPS + 1] = 255; /* of expert 1 row 3 of up, its columns from 32 on */
    image_end(&im);
    matrix_reader_init(&reader, 1, &mem_system);
    const struct matrix_place place = {.e = 1, .E = E, .first = 1, .step = 2};
    CHECK_EQ(find(&m, place, K, &err), 0);
    CHECK_EQ(matrix_begin(&reader, &im.tensors, &m, &source, &err), 0);
    CHECK(!weight_source_rows(&source, 0, 0, 16, &rows));
    CHECK_EQ(matrix_explain(&reader, &err), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "the scale of row 47, column 32 is not a finite number");
    matrix_reader_close(&reader);
    image_release(&im);
}
