/* As in Goto and van de Geijn 2008: a tile of C is summed in registers, from panels of A and B
 * that lie in the order in which they are read and stay in the caches. */
#include "product.h"

#include "jobs.h"

#include "../vectors.h"

#include "../../plugin/base/base.h"

#include <string.h>

enum {
    ROWS = 6,     /* of C in registers */
    COLUMNS = 16, /* with as many in two vectors of 8, or one of 16 */
    M_MOST = 96,  /* of a piece of work: panels of 48 and 96 KiB */
    N_MOST = 192,
    K_MOST = 128
};

typedef float lanes __attribute__((vector_size(32)));

/* sum (ROWS, COLUMNS) of k steps; a (k, ROWS), b (k, COLUMNS). */
INTO_BOTH void sum_tile(const float *a, const float *b, int64_t k, float *sum)
{
    lanes s[ROWS][2] = {{{0}}};
    for (int64_t p = 0; p < k; p++, a += ROWS, b += COLUMNS) {
        lanes left, right;
        memcpy(&left, b, sizeof left);
        memcpy(&right, b + COLUMNS / 2, sizeof right);
        for (int i = 0; i < ROWS; i++) {
            s[i][0] += a[i] * left;
            s[i][1] += a[i] * right;
        }
    }
    memcpy(sum, s, sizeof s);
}

AVX2 static void sum_tile_avx2(const float *a, const float *b, int64_t k, float *sum)
{
    sum_tile(a, b, k, sum);
}

typedef float row_lanes __attribute__((vector_size(64))); /* COLUMNS */

AVX512 static void sum_tile_avx512(const float *a, const float *b, int64_t k, float *sum)
{
    row_lanes s[ROWS] = {{0}};
    for (int64_t p = 0; p < k; p++, a += ROWS, b += COLUMNS) {
        row_lanes row;
        memcpy(&row, b, sizeof row);
        for (int i = 0; i < ROWS; i++)
            s[i] += a[i] * row;
    }
    memcpy(sum, s, sizeof s);
}

static void sum_tile_plain(const float *a, const float *b, int64_t k, float *sum)
{
    sum_tile(a, b, k, sum);
}

/* n columns of k rows, as panels (k, width) side by side, those that are missing as zeros. */
static void lay_out(const float *from, int64_t ld, int64_t k, int64_t n, int width, float sign,
                    float *to)
{
    for (int64_t at = 0; at < n; at += width) {
        const int64_t there = MIN(n - at, width);
        for (int64_t p = 0; p < k; p++, to += width) {
            for (int64_t i = 0; i < there; i++)
                to[i] = sign * from[p * ld + at + i];
            for (int64_t i = there; i < width; i++)
                to[i] = 0;
        }
    }
}

typedef void sum_fn(const float *a, const float *b, int64_t k, float *sum);

static sum_fn *widest_sum(void)
{
    return has_avx512() ? sum_tile_avx512 : has_avx2() ? sum_tile_avx2 : sum_tile_plain;
}

static void add_tile(const float *sum, float *c, int64_t ldc, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * ldc + j] += sum[i * COLUMNS + j];
}

/* At most M_MOST x N_MOST of C. */
static void add_piece(const struct product *p)
{
    _Alignas(64) float a[K_MOST * M_MOST], b[K_MOST * N_MOST], sum[ROWS * COLUMNS];
    sum_fn *const sum_tile_of = widest_sum();
    for (int64_t from = 0; from < p->k; from += K_MOST) {
        const int64_t k = MIN(p->k - from, K_MOST);
        lay_out(p->a + from * p->lda, p->lda, k, p->m, ROWS, p->sign, a);
        lay_out(p->b + from * p->ldb, p->ldb, k, p->n, COLUMNS, 1, b);
        for (int64_t j = 0; j < p->n; j += COLUMNS)
            for (int64_t i = 0; i < p->m; i += ROWS) {
                sum_tile_of(a + i * k, b + j * k, k, sum);
                add_tile(sum, p->c + i * p->ldc + j, p->ldc, MIN(p->m - i, ROWS),
                         MIN(p->n - j, COLUMNS));
            }
    }
}

/* The piece of C from (i, j) on. */
static void add_at(const struct product *p, int64_t i, int64_t j)
{
    struct product piece = *p;
    piece.m = MIN(p->m - i, M_MOST);
    piece.n = MIN(p->n - j, N_MOST);
    if (p->is_upper && j + piece.n <= i)
        return;
    piece.a += i;
    piece.b += j;
    piece.c += i * p->ldc + j;
    add_piece(&piece);
}

static int64_t pieces(int64_t n, int64_t most)
{
    return (n + most - 1) / most;
}

void product_add(const struct product *p)
{
    for (int64_t j = 0; j < p->n; j += N_MOST)
        for (int64_t i = 0; i < p->m; i += M_MOST)
            add_at(p, i, j);
}

static void add_job(void *arg, int64_t number, int32_t thread)
{
    const struct product *p = arg;
    const int64_t down = pieces(p->m, M_MOST);
    (void)thread;
    add_at(p, number % down * M_MOST, number / down * N_MOST);
}

void product_add_on(int32_t threads, const struct product *p)
{
    struct product copy = *p;
    jobs_run(threads, pieces(p->m, M_MOST) * pieces(p->n, N_MOST), add_job, &copy);
}
