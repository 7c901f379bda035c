/* What calibration computes with, against plain loops in double precision: products, moments, the
 * factor of H^-1; sizes around those that blocks and threads have; and the threads themselves. */
#include "t.h"

#include "quant/quantize/factor.h"
#include "quant/quantize/gptq.h"
#include "quant/quantize/jobs.h"
#include "quant/quantize/moments.h"
#include "quant/quantize/nearest.h"
#include "quant/quantize/product.h"

#include <math.h>
#include <stdlib.h>

enum { PIECES = 100, THREADS = 5 };

static void count(void *arg, int64_t piece, int32_t thread)
{
    int(*done)[THREADS] = arg;
    done[piece][thread]++;
}

TEST(calibration, every_piece_of_work_is_done_once)
{
    static const int32_t threads[] = {1, 2, THREADS, 3, 1, THREADS};
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        for (int64_t n = 0; n <= PIECES; n += n ? 33 : 1) {
            int done[PIECES][THREADS] = {{0}};
            jobs_run(threads[i], n, count, done);
            for (int64_t p = 0; p < PIECES; p++) {
                int times = 0;
                for (int t = 0; t < threads[i]; t++)
                    times += done[p][t];
                CHECK_EQ(times, p < n);
            }
        }
}

static uint32_t state = 1;

static float random_number(void)
{
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) * 0x1p-23f - 1;
}

static float *random_matrix(int64_t n)
{
    float *m = malloc((size_t)n * sizeof *m);
    for (int64_t i = 0; m && i < n; i++)
        m[i] = random_number();
    return m;
}

static void check_product(int64_t m, int64_t n, int64_t k, float sign, bool is_upper)
{
    const int64_t lda = m + 3, ldb = n + 1, ldc = n + 5;
    float *a = random_matrix(k * lda), *b = random_matrix(k * ldb), *c = random_matrix(m * ldc);
    float *one = malloc((size_t)(m * ldc) * sizeof *one), *many = malloc((size_t)(m * ldc) * 4);
    memcpy(one, c, (size_t)(m * ldc) * sizeof *one);
    memcpy(many, c, (size_t)(m * ldc) * sizeof *many);
    struct product p = {.c = one,
                        .a = a,
                        .b = b,
                        .ldc = ldc,
                        .lda = lda,
                        .ldb = ldb,
                        .m = m,
                        .n = n,
                        .k = k,
                        .sign = sign,
                        .is_upper = is_upper};
    product_add(&p);
    p.c = many;
    product_add_on(3, &p);
    CHECK(memcmp(one, many, (size_t)(m * ldc) * sizeof *one) == 0);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < ldc; j++) {
            double want = (double)c[i * ldc + j];
            for (int64_t q = 0; q < k && j < n; q++)
                want += (double)sign * (double)a[q * lda + i] * (double)b[q * ldb + j];
            if (j >= n || !is_upper || j >= i)
                CHECK_NEAR(one[i * ldc + j], want, 1e-6 * (double)(k + 8));
        }
    free(a);
    free(b);
    free(c);
    free(one);
    free(many);
}

TEST(calibration, products_are_sums_over_rows)
{
    static const int64_t size[][3] = {{1, 1, 1},      {6, 16, 3},    {7, 17, 128}, {5, 15, 129},
                                      {96, 192, 128}, {97, 193, 20}, {100, 1, 260}};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        check_product(size[i][0], size[i][1], size[i][2], i % 2 ? -1 : 1, false);
    check_product(220, 220, 40, 1, true);
    check_product(0, 4, 4, 1, false);
    check_product(4, 4, 0, 1, false);
}

/* H = X^T X of T tokens whose columns depend on one another. */
static void fill_moments(struct moments *m, int32_t K, int32_t T)
{
    struct err err = {0};
    float *x = random_matrix((int64_t)T * K);
    CHECK_EQ(moments_init(m, K, 2, &err), INFLIGHT_OK);
    for (int64_t i = 0; i < (int64_t)T * K; i++)
        if (i % K)
            x[i] = 0.3f * x[i] + 0.7f * x[i - 1];
    moments_add(m, x, T / 2);
    moments_add(m, x + (int64_t)(T / 2) * K, T - T / 2);
    CHECK_EQ(moments_end(m, &err), INFLIGHT_OK);
    CHECK_EQ(m->tokens, T);
    double H = 0, size = 0;
    for (int64_t t = 0; t < T; t++) {
        H += (double)x[t * K + K - 1] * (double)x[t * K];
        size += fabs((double)x[t * K + K - 1]);
    }
    CHECK_NEAR(m->H[(int64_t)(K - 1) * K], H, 1e-5 * T);
    CHECK_NEAR(m->magnitude[K - 1], size, 1e-9 * T);
    free(x);
}

/* U^T U (H + damping) = 1. */
static void check_factor(int32_t K, bool is_ordered)
{
    struct moments m;
    struct factor f;
    struct err err = {0};
    fill_moments(&m, K, 2 * K + 7);
    CHECK_EQ(factor_init(&f, K, &err), INFLIGHT_OK);
    if (is_ordered) {
        f.order = malloc((size_t)K * sizeof *f.order);
        CHECK_EQ(gptq_order(m.H, K, f.order, &err), INFLIGHT_OK);
    }
    CHECK_EQ(factor_make(&f, m.H, 2, &err), INFLIGHT_OK);
    CHECK(f.damping == FACTOR_DAMPING);
    double mean = 0, worst = 0, *row = calloc((size_t)K, sizeof *row);
    for (int64_t i = 0; i < K; i++)
        mean += (double)m.H[i * K + i] / K;
    for (int64_t i = 0; i < K; i++) {
        for (int64_t j = 0; j < K; j++) {
            row[j] = 0;
            CHECK(j >= i || f.U[i * K + j] == 0);
            for (int64_t k = 0; k <= i; k++)
                row[j] += (double)f.U[k * K + i] * (double)f.U[k * K + j];
        }
        for (int64_t j = 0; j < K; j++) {
            double sum = 0;
            const int64_t column = is_ordered ? f.order[j] : j;
            for (int64_t k = 0; k < K; k++)
                sum += row[k] * (double)m.H[(is_ordered ? f.order[k] : k) * K + column];
            sum += row[j] * f.damping * mean - (i == j);
            worst = fmax(worst, fabs(sum));
        }
    }
    CHECK_NEAR(worst, 0, 1e-3);
    free(row);
    factor_release(&f);
    moments_release(&m);
}

TEST(calibration, a_factor_times_itself_inverts_the_moments)
{
    check_factor(1, false);
    check_factor(5, true);
    check_factor(128, false);
    check_factor(131, true);
    check_factor(260, false);
}

TEST(calibration, columns_are_ordered_by_size_and_then_by_place)
{
    const float H[16] = {1, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2};
    const int32_t want[4] = {1, 3, 0, 2};
    int32_t order[4];
    struct err err = {0};
    CHECK_EQ(gptq_order(H, 4, order, &err), INFLIGHT_OK);
    CHECK(memcmp(order, want, sizeof want) == 0);
}

TEST(calibration, damping_grows_until_the_moments_are_positive_definite)
{
    const float nearly[4] = {1, 1.05f, 1.05f, 1}, not_at_all[4] = {1, 3, 3, 1}, zero[4] = {0};
    struct factor f;
    struct err err = {0};
    CHECK_EQ(factor_init(&f, 2, &err), INFLIGHT_OK);
    CHECK_EQ(factor_make(&f, nearly, 1, &err), INFLIGHT_OK);
    CHECK_NEAR(f.damping, 0.1, 1e-9);
    CHECK_EQ(factor_make(&f, zero, 1, &err), INFLIGHT_OK);
    CHECK(f.U[0] == 1 && f.U[1] == 0 && f.U[3] == 1);
    CHECK_EQ(factor_make(&f, not_at_all, 1, &err), INFLIGHT_E_MODEL);
    CHECK(strstr(err.text, "not positive definite"));
    factor_release(&f);
}

TEST(calibration, the_energy_of_rows_is_that_of_their_outputs)
{
    enum { K = 70, N = 131 };
    struct moments m;
    fill_moments(&m, K, 90);
    float *A = random_matrix(N * K), *B = random_matrix(N * K);
    double want = 0, alone = 0;
    for (int64_t r = 0; r < N; r++)
        for (int64_t i = 0; i < K; i++)
            for (int64_t j = 0; j < K; j++) {
                double a = (double)A[r * K + i], b = (double)A[r * K + j];
                double H = (double)m.H[i * K + j];
                alone += a * b * H;
                want += (a - (double)B[r * K + i]) * (b - (double)B[r * K + j]) * H;
            }
    CHECK_NEAR(moments_energy(&m, A, B, N) / want, 1, 1e-5);
    CHECK_NEAR(moments_energy(&m, A, NULL, N) / alone, 1, 1e-5);
    m.threads = 1;
    double by_one = moments_energy(&m, A, B, N);
    m.threads = 2;
    CHECK(moments_energy(&m, A, B, N) == by_one);
    free(A);
    free(B);
    moments_release(&m);
}

TEST(calibration, inputs_that_are_no_numbers_are_refused)
{
    static const float bad[] = {NAN, INFINITY, 1e20f};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct moments m;
        struct err err = {0};
        float x[6] = {1, 2, bad[i], 1, 1, 1};
        CHECK_EQ(moments_init(&m, 3, 1, &err), INFLIGHT_OK);
        moments_add(&m, x, 2);
        CHECK_EQ(moments_end(&m, &err), INFLIGHT_E_MODEL);
        CHECK(strstr(err.text, "input 2 is not finite"));
        moments_release(&m);
    }
}

/* ---- Rounding: K columns, of which the inputs depend on one another */

enum { COLUMNS = 256, ROWS = 131 };

static const enum fmt grids[] = {FMT_fp8,     FMT_fp8_128, FMT_int8,    FMT_q8_0,
                                 FMT_int4_32, FMT_int4_64, FMT_int4_128};

static double error_of(const struct moments *m, enum fmt fmt, const float *W, const uint8_t *rows)
{
    float *back = malloc((size_t)ROWS * COLUMNS * sizeof *back);
    for (int64_t r = 0; r < ROWS; r++)
        fmt_decode_row(fmt, rows + (size_t)r * fmt_row_bytes(fmt, COLUMNS), COLUMNS,
                       back + r * COLUMNS);
    double error = moments_energy(m, W, back, ROWS);
    free(back);
    return error;
}

/* Scales of all rows are the same; of int4 zero points, too. */
static bool have_same_grids(enum fmt fmt, const uint8_t *a, const uint8_t *b)
{
    const bool is_int4 = fmt_info[fmt].bytes < fmt_info[fmt].n;
    const size_t group = (size_t)fmt_info[fmt].bytes, bytes = fmt_row_bytes(fmt, COLUMNS);
    const size_t step = fmt_info[fmt].head ? bytes : group;
    const size_t grid = is_int4 ? 3 : fmt == FMT_q8_0 ? 2 : sizeof(float);
    for (size_t at = 0; at < bytes * ROWS; at += step)
        if (memcmp(a + at, b + at, grid) != 0)
            return false;
    return true;
}

static void make_factor(struct factor *f, const struct moments *m, bool is_ordered)
{
    struct err err = {0};
    CHECK_EQ(factor_init(f, m->K, &err), INFLIGHT_OK);
    if (is_ordered) {
        f->order = malloc((size_t)m->K * sizeof *f->order);
        CHECK_EQ(gptq_order(m->H, m->K, f->order, &err), INFLIGHT_OK);
    }
    CHECK_EQ(factor_make(f, m->H, 2, &err), INFLIGHT_OK);
}

static uint8_t *copy_of(const uint8_t *rows, size_t bytes)
{
    uint8_t *copy = malloc(bytes);
    if (copy)
        memcpy(copy, rows, bytes);
    return copy;
}

static void check_rounding(const struct moments *m, const float *W, enum fmt fmt, bool is_ordered,
                           bool is_symmetric)
{
    const struct packing p = {.fmt = fmt, .N = ROWS, .K = COLUMNS, .is_symmetric = is_symmetric};
    const size_t bytes = ROWS * fmt_row_bytes(fmt, COLUMNS);
    uint8_t *nearest = malloc(bytes);
    struct err err = {0};
    struct factor f;
    make_factor(&f, m, is_ordered);
    nearest_matrix(&p, W, 2, nearest);
    uint8_t *one = copy_of(nearest, bytes), *many = copy_of(nearest, bytes);
    struct gptq g = {.factor = &f, .fmt = fmt, .style.is_symmetric = is_symmetric, .threads = 1};
    CHECK_EQ(gptq_round(&g, W, ROWS, one, &err), INFLIGHT_OK);
    g.threads = 3;
    CHECK_EQ(gptq_round(&g, W, ROWS, many, &err), INFLIGHT_OK);
    CHECK(memcmp(one, many, bytes) == 0);
    CHECK(error_of(m, fmt, W, one) < 0.6 * error_of(m, fmt, W, nearest));
    /* Others are searched anew, by what errors count. */
    CHECK_EQ(have_same_grids(fmt, one, nearest),
             fmt == FMT_int8 || fmt == FMT_q8_0 || fmt == FMT_fp8_128);
    factor_release(&f);
    free(nearest);
    free(one);
    free(many);
}

TEST(calibration, errors_that_are_passed_on_make_outputs_nearer_in_all_formats)
{
    struct moments m;
    fill_moments(&m, COLUMNS, 4 * COLUMNS);
    float *W = random_matrix((int64_t)ROWS * COLUMNS);
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
        for (int is_symmetric = 0; is_symmetric < 2; is_symmetric++) {
            check_rounding(&m, W, grids[i], false, is_symmetric);
            check_rounding(&m, W, grids[i], true, is_symmetric);
        }
    }
    free(W);
    moments_release(&m);
}

/* By a factor of inputs of another kind outputs become worse than by rounding alone. */
TEST(calibration, rows_stay_as_they_are_where_passing_errors_on_does_not_help)
{
    struct moments m, other;
    struct factor f, wrong;
    struct err err = {0};
    fill_moments(&m, COLUMNS, 4 * COLUMNS);
    fill_moments(&other, COLUMNS, 4 * COLUMNS);
    for (int64_t i = 0; i < COLUMNS; i++)
        for (int64_t j = 0; j < COLUMNS; j++)
            other.H[i * COLUMNS + j] *= (i + j) % 2 ? -1.0f : 1.0f;
    make_factor(&f, &m, true);
    make_factor(&wrong, &other, true);
    float *W = random_matrix((int64_t)ROWS * COLUMNS);
    float *back = malloc((size_t)ROWS * COLUMNS * sizeof *back);
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
        const struct packing p = {.fmt = grids[i], .N = ROWS, .K = COLUMNS};
        const size_t bytes = ROWS * fmt_row_bytes(grids[i], COLUMNS);
        uint8_t *nearest = malloc(bytes);
        nearest_matrix(&p, W, 2, nearest);
        uint8_t *rows = copy_of(nearest, bytes);
        struct gptq g = {.factor = &wrong, .fmt = grids[i], .threads = 2};
        CHECK_EQ(gptq_improve(&g, &m, W, back, ROWS, rows, &err), INFLIGHT_OK);
        CHECK(memcmp(rows, nearest, bytes) == 0);
        g.factor = &f;
        CHECK_EQ(gptq_improve(&g, &m, W, back, ROWS, rows, &err), INFLIGHT_OK);
        CHECK(error_of(&m, grids[i], W, rows) < error_of(&m, grids[i], W, nearest));
        free(nearest);
        free(rows);
    }
    free(W);
    free(back);
    factor_release(&f);
    factor_release(&wrong);
    moments_release(&m);
    moments_release(&other);
}

/* Numbers of 8 bits: values beyond the scale's range become the largest; rows of zeros stay. */
TEST(calibration, rows_of_zeros_and_of_huge_numbers_are_rounded_like_others)
{
    struct moments m;
    struct factor f;
    struct err err = {0};
    fill_moments(&m, COLUMNS, 4 * COLUMNS);
    make_factor(&f, &m, true);
    float *W = random_matrix((int64_t)ROWS * COLUMNS);
    float *back = malloc((size_t)ROWS * COLUMNS * sizeof *back);
    memset(W, 0, 2 * COLUMNS * sizeof *W);
    for (int64_t k = 0; k < COLUMNS; k++)
        W[3 * COLUMNS + k] *= 1e30f;
    for (size_t i = 0; i < 3; i++) {
        const struct packing p = {.fmt = grids[i], .N = ROWS, .K = COLUMNS};
        const size_t row = fmt_row_bytes(grids[i], COLUMNS);
        uint8_t *rows = malloc(ROWS * row);
        nearest_matrix(&p, W, 2, rows);
        struct gptq g = {.factor = &f, .fmt = grids[i], .threads = 2};
        CHECK_EQ(gptq_round(&g, W, ROWS, rows, &err), INFLIGHT_OK);
        for (int64_t r = 0; r < ROWS; r++)
            fmt_decode_row(grids[i], rows + (size_t)r * row, COLUMNS, back + r * COLUMNS);
        for (int64_t k = 0; k < 2 * COLUMNS; k++)
            CHECK(back[k] == 0);
        for (int64_t k = 0; k < COLUMNS; k++)
            CHECK(isfinite(back[3 * COLUMNS + k]) && fabsf(back[3 * COLUMNS + k]) <= 1.01e30f);
        free(rows);
    }
    free(W);
    free(back);
    factor_release(&f);
    moments_release(&m);
}
