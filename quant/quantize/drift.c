#include "drift.h"

#include "jobs.h"
#include "product.h"

#include <stdlib.h>
#include <string.h>

enum { TILE = 64 }; /* rows of a matrix that a thread takes at once */

static float *sample_of(const struct drift *d, int32_t i)
{
    return d->x + (int64_t)i * d->layers.length * d->D;
}

static int32_t take(struct drift *d, size_t n, size_t length, struct err *err)
{
    const size_t D = (size_t)d->D;
    size_t K = 0;
    for (int i = 0; i < INPUTS; i++)
        K = MAX(K, (size_t)layers_widest(&d->layers, (enum input)i));
    d->x = malloc(n * length * D * sizeof *d->x);
    d->away = malloc(length * MAX(K, D) * sizeof *d->away);
    d->inputs = malloc(K * K * sizeof *d->inputs);
    d->hidden = malloc(K * D * sizeof *d->hidden);
    d->inverse = malloc(K * K * sizeof *d->inverse);
    if (d->x && d->away && d->inputs && d->hidden && d->inverse)
        return INFLIGHT_OK;
    return err_set(err, INFLIGHT_E_NOMEM,
                   "no memory for what the model as it was makes of the samples; --correct 0 takes "
                   "none");
}

int32_t drift_open(struct drift *d, const struct layers *made, const struct samples *samples,
                   const char *device, float share, struct arena *arena, struct err *err)
{
    *d = (struct drift){.share = share, .D = made->h.D, .threads = made->config.threads};
    if (share <= 0)
        return INFLIGHT_OK;
    if (layers_open(&d->layers, made->checkpoint, arena, err) ||
        layers_begin(&d->layers, samples->length, device, d->threads, arena, err) ||
        take(d, (size_t)samples->n, (size_t)samples->length, err))
        return err->code;
    for (int32_t i = 0; i < samples->n; i++)
        if (layers_embed(&d->layers, samples->token + (int64_t)i * samples->length, sample_of(d, i),
                         err))
            return err->code;
    return INFLIGHT_OK;
}

void drift_close(struct drift *d)
{
    if (d->share <= 0)
        return;
    layers_close(&d->layers);
    free(d->x);
    free(d->away);
    free(d->inputs);
    free(d->hidden);
    free(d->inverse);
    *d = (struct drift){0};
}

int32_t drift_enter(struct drift *d, int32_t number, struct err *err)
{
    if (d->share <= 0)
        return INFLIGHT_OK;
    if (layers_enter(&d->layers, number, err))
        return err->code;
    for (int32_t slot = 0; slot < d->layers.n_matrices; slot++)
        if (layers_put_own(&d->layers, slot, err))
            return err->code;
    return INFLIGHT_OK;
}

int32_t drift_run(struct drift *d, int32_t i, enum stage first, enum stage last, struct err *err)
{
    return d->share > 0 ? layers_run(&d->layers, first, last, sample_of(d, i), err) : INFLIGHT_OK;
}

/* ---- Moments */

void drift_clear(struct drift *d, int32_t K, bool has_hidden)
{
    if (d->share <= 0)
        return;
    d->has_hidden = has_hidden;
    memset(d->inputs, 0, (size_t)K * (size_t)K * sizeof *d->inputs);
    memset(d->hidden, 0, (size_t)K * (size_t)d->D * sizeof *d->hidden);
}

/* c (m, n) += A^T B; A (k, m), B (k, n). */
static void add_product(const struct drift *d, const float *A, int64_t m, const float *B, int64_t n,
                        int64_t k, float *c)
{
    product_add_on(d->threads, &(struct product){.c = c,
                                                 .a = A,
                                                 .b = B,
                                                 .ldc = n,
                                                 .lda = m,
                                                 .ldb = n,
                                                 .m = m,
                                                 .n = n,
                                                 .k = k,
                                                 .sign = 1});
}

/* sum (K, n) += X^T (was - now): was (length, n) is in d->away. */
static void add_away(struct drift *d, const float *X, int64_t K, const float *now, int64_t n,
                     float *sum)
{
    const int64_t T = d->layers.length;
    for (int64_t i = 0; i < T * n; i++)
        d->away[i] -= now[i];
    add_product(d, X, K, d->away, n, T, sum);
}

int32_t drift_add(struct drift *d, int32_t i, enum input input, const struct view *view,
                  const float *x, const float *X, struct err *err)
{
    if (d->share <= 0)
        return INFLIGHT_OK;
    const int64_t K = layers_width(&d->layers, input), D = d->D;
    if (layers_input(&d->layers, input, sample_of(d, i), d->away, err))
        return err->code;
    if (view)
        attention_see(view->attention, view->as, i, d->away, (int32_t)K);
    add_away(d, X, K, X, K, d->inputs);
    if (d->has_hidden) {
        memcpy(d->away, sample_of(d, i), (size_t)(d->layers.length * D) * sizeof *d->away);
        add_away(d, X, K, x, D, d->hidden);
    }
    return INFLIGHT_OK;
}

/* ---- Correction */

/* c = A^T B, (K, K) all. */
static void multiply(const struct drift *d, const float *A, const float *B, int64_t K, float *c)
{
    memset(c, 0, (size_t)(K * K) * sizeof *c);
    add_product(d, A, K, B, K, K, c);
}

void drift_solve(struct drift *d, struct factor *f)
{
    const int64_t K = f->K;
    if (d->share <= 0)
        return;
    multiply(d, f->U, f->U, K, f->scratch);
    for (int64_t i = 0; i < K; i++) {
        float *row = d->inverse + (f->order ? f->order[i] : i) * K;
        for (int64_t j = 0; j < K; j++)
            row[f->order ? f->order[j] : j] = d->share * f->scratch[i * K + j];
    }
    multiply(d, d->inputs, d->inverse, K, f->scratch);
    memcpy(d->inputs, f->scratch, (size_t)(K * K) * sizeof *d->inputs);
}

struct correction {
    const struct drift *d;
    float *W;       /* (N, K) */
    float *scratch; /* (threads, K, TILE) */
    int64_t N, K;
};

static void correct_tile(void *arg, int64_t tile, int32_t thread)
{
    const struct correction *c = arg;
    const struct drift *d = c->d;
    const int64_t K = c->K, first = tile * TILE, n = MIN(c->N - first, TILE);
    float *W = c->W + first * K, *across = c->scratch + thread * K * TILE;
    for (int64_t r = 0; r < n; r++)
        for (int64_t k = 0; k < K; k++)
            across[k * TILE + r] = W[r * K + k];
    struct product p = {.c = W,
                        .a = across,
                        .b = d->inputs,
                        .ldc = K,
                        .lda = TILE,
                        .ldb = K,
                        .m = n,
                        .n = K,
                        .k = K,
                        .sign = 1};
    product_add(&p);
    if (!d->has_hidden)
        return;
    p.a = d->hidden + first;
    p.lda = d->D;
    p.b = d->inverse;
    product_add(&p);
}

int32_t drift_apply(const struct drift *d, float *W, int64_t N, int64_t K, struct err *err)
{
    const int32_t threads = MIN(d->threads, JOB_THREADS_MOST);
    struct correction c = {.d = d, .W = W, .N = N, .K = K};
    if (d->share <= 0)
        return INFLIGHT_OK;
    c.scratch = malloc((size_t)threads * (size_t)K * TILE * sizeof *c.scratch);
    if (!c.scratch)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %d rows of %lld values", TILE,
                       (long long)K);
    jobs_run(threads, (N + TILE - 1) / TILE, correct_tile, &c);
    free(c.scratch);
    return INFLIGHT_OK;
}
