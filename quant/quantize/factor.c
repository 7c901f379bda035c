#include "factor.h"

#include "jobs.h"
#include "product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK = 128, /* rows that are eliminated one by one */
    STRIP = 128  /* columns of a piece of work */
};

int32_t factor_init(struct factor *f, int32_t K, struct err *err)
{
    const size_t bytes = (size_t)K * (size_t)K * sizeof(float);
    *f = (struct factor){.K = K, .U = malloc(bytes), .scratch = malloc(bytes)};
    if (f->U && f->scratch)
        return INFLIGHT_OK;
    return err_set(err, INFLIGHT_E_NOMEM, "no memory for two matrices of %d x %d floats", K, K);
}

void factor_release(struct factor *f)
{
    free(f->U);
    free(f->scratch);
    free(f->order);
    *f = (struct factor){0};
}

/* H with damping, in order and the other way round. */
static void reverse_into(const struct factor *f, const float *H, double damp, float *out)
{
    const int64_t K = f->K;
    for (int64_t i = 0; i < K; i++) {
        const int64_t row = f->order ? f->order[K - 1 - i] : K - 1 - i;
        for (int64_t j = 0; j < K; j++)
            out[i * K + j] = H[row * K + (f->order ? f->order[K - 1 - j] : K - 1 - j)];
        out[i * K + i] += (float)damp;
    }
}

/* Rows of a block in a strip of columns: what the rows of V above them in the block take. */
struct solve {
    const float *V; /* the block's, (n, n) with distance K */
    float *rows;    /* (n, .) with distance K */
    int64_t K, n, columns;
};

static void solve_strip(void *arg, int64_t strip, int32_t thread)
{
    const struct solve *s = arg;
    const int64_t width = MIN(s->columns - strip * STRIP, STRIP);
    float *rows = s->rows + strip * STRIP;
    (void)thread;
    for (int64_t p = 0; p < s->n; p++) {
        float *above = rows + p * s->K;
        const float inverse = 1 / s->V[p * s->K + p];
        for (int64_t j = 0; j < width; j++)
            above[j] *= inverse;
        for (int64_t i = p + 1; i < s->n; i++) {
            const float part = s->V[p * s->K + i];
            float *row = rows + i * s->K;
            for (int64_t j = 0; j < width; j++)
                row[j] -= part * above[j];
        }
    }
}

static void solve(const struct solve *s, int32_t threads)
{
    struct solve copy = *s;
    jobs_run(threads, (s->columns + STRIP - 1) / STRIP, solve_strip, &copy);
}

/* A block on the diagonal, (n, n) with distance K; false: it is not positive definite. */
static bool factor_block(float *block, int64_t K, int64_t n)
{
    for (int64_t p = 0; p < n; p++) {
        float *above = block + p * K;
        if (!(above[p] > 0) || !isfinite(above[p]))
            return false;
        const float pivot = sqrtf(above[p]);
        for (int64_t j = p; j < n; j++)
            above[j] /= pivot;
        for (int64_t i = p + 1; i < n; i++) {
            float *row = block + i * K;
            for (int64_t j = i; j < n; j++)
                row[j] -= above[i] * above[j];
        }
    }
    return true;
}

/* In place, the upper triangle alone. */
static bool cholesky(float *V, int64_t K, int32_t threads)
{
    for (int64_t at = 0; at < K; at += BLOCK) {
        const int64_t n = MIN(K - at, BLOCK), rest = K - at - n;
        float *block = V + at * K + at;
        if (!factor_block(block, K, n))
            return false;
        solve(&(struct solve){block, block + n, K, n, rest}, threads);
        product_add_on(threads, &(struct product){.c = block + n * K + n,
                                                  .a = block + n,
                                                  .b = block + n,
                                                  .ldc = K,
                                                  .lda = K,
                                                  .ldb = K,
                                                  .m = rest,
                                                  .n = rest,
                                                  .k = n,
                                                  .sign = -1,
                                                  .is_upper = true});
    }
    return true;
}

/* M = V^-T, lower triangular: of V^T M = 1, block by block from above. */
static void invert(const float *V, int64_t K, float *M, int32_t threads)
{
    memset(M, 0, (size_t)K * (size_t)K * sizeof *M);
    for (int64_t at = 0; at < K; at += BLOCK) {
        const int64_t n = MIN(K - at, BLOCK);
        float *rows = M + at * K;
        for (int64_t i = 0; i < n; i++)
            rows[i * K + at + i] = 1;
        product_add_on(threads, &(struct product){.c = rows,
                                                  .a = V + at,
                                                  .b = M,
                                                  .ldc = K,
                                                  .lda = K,
                                                  .ldb = K,
                                                  .m = n,
                                                  .n = at,
                                                  .k = at,
                                                  .sign = -1});
        solve(&(struct solve){V + at * K + at, rows, K, n, at + n}, threads);
    }
}

int32_t factor_make(struct factor *f, const float *H, int32_t threads, struct err *err)
{
    const int64_t K = f->K;
    double mean = 0;
    for (int64_t i = 0; i < K; i++)
        mean += (double)H[i * K + i] / (double)K;
    f->damping = FACTOR_DAMPING;
    for (;; f->damping *= 10) {
        /* Inputs that are all zero say nothing about the errors of one column beside another's. */
        reverse_into(f, H, mean > 0 ? f->damping * mean : 1, f->U);
        if (cholesky(f->U, K, threads))
            break;
        if (f->damping > 0.5)
            return err_set(err, INFLIGHT_E_MODEL,
                           "the second moments of the inputs are not positive definite, even with "
                           "their mean added to the diagonal");
    }
    invert(f->U, K, f->scratch, threads);
    for (int64_t i = 0; i < K; i++)
        for (int64_t j = 0; j < K; j++)
            f->U[i * K + j] = f->scratch[(K - 1 - i) * K + K - 1 - j];
    return INFLIGHT_OK;
}
