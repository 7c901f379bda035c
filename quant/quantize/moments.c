#include "moments.h"

#include "jobs.h"
#include "product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TILE = 64 }; /* rows of a matrix that a thread multiplies by H at once */

static int32_t take(struct moments *m, struct err *err)
{
    const size_t n = (size_t)m->most;
    m->H = malloc(n * n * sizeof *m->H);
    m->magnitude = malloc(n * sizeof *m->magnitude);
    m->largest = malloc(n * sizeof *m->largest);
    if (m->has_scratch)
        m->scratch = malloc((size_t)m->threads * 2 * n * TILE * sizeof *m->scratch);
    if (!m->H || !m->magnitude || !m->largest || !m->scratch)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the moments of %d inputs", m->most);
    moments_clear(m, m->most);
    return INFLIGHT_OK;
}

int32_t moments_init(struct moments *m, int32_t K, int32_t threads, struct err *err)
{
    *m = (struct moments){.most = K,
                          .threads = MIN(threads, JOB_THREADS_MOST),
                          .limit = INT64_MAX,
                          .has_scratch = true};
    return take(m, err);
}

int32_t moments_init_beside(struct moments *m, int32_t K, const struct moments *other,
                            struct err *err)
{
    *m = (struct moments){
        .most = K, .threads = other->threads, .limit = INT64_MAX, .scratch = other->scratch};
    return take(m, err);
}

void moments_release(struct moments *m)
{
    free(m->H);
    free(m->magnitude);
    free(m->largest);
    if (m->has_scratch)
        free(m->scratch);
    *m = (struct moments){0};
}

void moments_clear(struct moments *m, int32_t K)
{
    const size_t n = (size_t)K;
    m->K = K;
    m->tokens = 0;
    memset(m->H, 0, n * n * sizeof *m->H);
    memset(m->magnitude, 0, n * sizeof *m->magnitude);
    memset(m->largest, 0, n * sizeof *m->largest);
}

void moments_add(struct moments *m, const float *x, int32_t T)
{
    const int64_t K = m->K, left = m->limit - MIN(m->tokens, m->limit);
    product_add_on(m->threads, &(struct product){.c = m->H,
                                                 .a = x,
                                                 .b = x,
                                                 .ldc = K,
                                                 .lda = K,
                                                 .ldb = K,
                                                 .m = K,
                                                 .n = K,
                                                 .k = MIN(T, left),
                                                 .sign = 1,
                                                 .is_upper = true});
    for (int32_t t = 0; t < T; t++)
        for (int64_t i = 0; i < K; i++) {
            const float size = fabsf(x[t * K + i]);
            m->magnitude[i] += (double)size;
            m->largest[i] = size > m->largest[i] ? size : m->largest[i];
        }
    m->tokens += T;
}

int32_t moments_end(struct moments *m, struct err *err)
{
    const int64_t K = m->K;
    for (int64_t i = 0; i < K; i++) {
        if (!isfinite(m->H[i * K + i]) || !isfinite(m->magnitude[i]))
            return err_set(err, INFLIGHT_E_MODEL,
                           "input %lld is not finite, or too large to be squared", (long long)i);
        for (int64_t j = i + 1; j < K; j++)
            m->H[j * K + i] = m->H[i * K + j];
    }
    return INFLIGHT_OK;
}

float moments_largest(const struct moments *m)
{
    float largest = 0;
    for (int32_t i = 0; i < m->K; i++)
        largest = fmaxf(largest, m->largest[i]);
    return largest;
}

struct energy {
    const struct moments *m;
    const float *A, *B;
    int64_t N;
    double *part; /* of each tile, so that the order of the sum does not depend on the threads */
};

static void add_tile(void *arg, int64_t tile, int32_t thread)
{
    const struct energy *e = arg;
    const int64_t K = e->m->K, first = tile * TILE, n = MIN(e->N - first, TILE);
    float *d = e->m->scratch + thread * 2 * K * TILE, *product = d + K * TILE;
    double sum = 0;
    for (int64_t r = 0; r < n; r++)
        for (int64_t k = 0; k < K; k++) {
            const int64_t at = (first + r) * K + k;
            d[k * TILE + r] = e->B ? e->A[at] - e->B[at] : e->A[at];
        }
    memset(product, 0, (size_t)(K * TILE) * sizeof *product);
    product_add(&(struct product){.c = product,
                                  .a = e->m->H,
                                  .b = d,
                                  .ldc = TILE,
                                  .lda = K,
                                  .ldb = TILE,
                                  .m = K,
                                  .n = n,
                                  .k = K,
                                  .sign = 1});
    for (int64_t k = 0; k < K; k++)
        for (int64_t r = 0; r < n; r++)
            sum += (double)d[k * TILE + r] * (double)product[k * TILE + r];
    e->part[tile] = sum;
}

double moments_energy(const struct moments *m, const float *A, const float *B, int64_t N)
{
    enum { TILES = 4096 }; /* a sum each, on the stack */
    double part[TILES], sum = 0;
    for (int64_t first = 0; first < N; first += (int64_t)TILES * TILE) {
        const int64_t n = MIN(N - first, (int64_t)TILES * TILE), tiles = (n + TILE - 1) / TILE;
        struct energy e = {
            .m = m, .A = A + first * m->K, .B = B ? B + first * m->K : NULL, .N = n, .part = part};
        jobs_run(m->threads, tiles, add_tile, &e);
        for (int64_t i = 0; i < tiles; i++)
            sum += part[i];
    }
    return sum;
}
