#include "attention.h"

#include "jobs.h"
#include "product.h"

#include "../../plugin/base/base.h"
#include "../../plugin/base/philox.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { QUERIES = 64 }; /* of a piece of work */

static int32_t pieces(const struct attention *a)
{
    return (a->T + QUERIES - 1) / QUERIES;
}

int32_t attention_init(struct attention *a, int32_t D, struct err *err)
{
    const size_t T = (size_t)a->T, dim = (size_t)a->dim;
    a->threads = MIN(a->threads, JOB_THREADS_MOST);
    a->mix = malloc(T * T * sizeof *a->mix);
    a->weight = malloc((size_t)a->n * T * sizeof *a->weight);
    a->keys = malloc((size_t)a->K * dim * T * sizeof *a->keys);
    a->part = malloc((size_t)pieces(a) * T * sizeof *a->part);
    a->scratch = malloc((size_t)a->threads * (T + dim) * QUERIES * sizeof *a->scratch);
    a->seen = malloc(T * (size_t)D * sizeof *a->seen);
    return a->mix && a->weight && a->keys && a->part && a->scratch && a->seen
               ? INFLIGHT_OK
               : err_set(err, INFLIGHT_E_NOMEM, "no memory for attention over %d tokens", a->T);
}

void attention_release(struct attention *a)
{
    free(a->mix);
    free(a->weight);
    free(a->keys);
    free(a->part);
    free(a->scratch);
    free(a->seen);
    *a = (struct attention){0};
}

/* ---- Weights of softmax */

struct weighing {
    const struct attention *a;
    const struct attention_rule *rule;
    const struct qkv *x;
    int32_t sample;
};

/* Queries first .. first + n - 1 of a head, which see tokens below m. */
struct tile {
    int32_t head, first, n, m;
    float *p;              /* (m, QUERIES): scores, then their weights */
    float square[QUERIES]; /* |q|^2 */
};

static bool is_seen(const struct attention_rule *rule, int32_t query, int32_t key)
{
    return key <= query && (!rule->window || key > query - rule->window);
}

static void score(const struct weighing *w, struct tile *t, float *queries)
{
    const struct attention *a = w->a;
    const int32_t g = t->head / (a->H / a->K);
    for (int32_t c = 0; c < t->n; c++) {
        const float *q = w->x->q + (t->first + c) * w->x->row + t->head * a->dim;
        t->square[c] = 0;
        for (int32_t d = 0; d < a->dim; d++) {
            queries[d * QUERIES + c] = q[d];
            t->square[c] += q[d] * q[d];
        }
    }
    memset(t->p, 0, (size_t)t->m * QUERIES * sizeof *t->p);
    product_add(&(struct product){.c = t->p,
                                  .a = a->keys + (int64_t)g * a->dim * a->T,
                                  .b = queries,
                                  .ldc = QUERIES,
                                  .lda = a->T,
                                  .ldb = QUERIES,
                                  .m = t->m,
                                  .n = t->n,
                                  .k = a->dim,
                                  .sign = 1});
}

/* Of a query at a position: what its scores come times. */
static float scale_of(const struct attention_rule *rule, int32_t position)
{
    if (rule->growth == 0)
        return rule->scale;
    return rule->scale * (1 + rule->growth * logf(1 + (float)(position / rule->growth_from)));
}

static void soften(const struct attention_rule *rule, struct tile *t)
{
    float most[QUERIES], sum[QUERIES], scale[QUERIES];
    const float sink = rule->sinks ? rule->sinks[t->head] : -INFINITY;
    for (int32_t c = 0; c < t->n; c++) {
        most[c] = sink;
        scale[c] = scale_of(rule, t->first + c);
    }
    for (int32_t j = 0; j < t->m; j++)
        for (int32_t c = 0; c < t->n; c++) {
            float *s = &t->p[j * QUERIES + c];
            *s *= scale[c];
            if (rule->cap > 0)
                *s = rule->cap * tanhf(*s / rule->cap);
            if (rule->slopes)
                *s += rule->slopes[t->head] * (float)(j - t->first - c);
            if (!is_seen(rule, t->first + c, j))
                *s = -INFINITY;
            most[c] = fmaxf(most[c], *s);
        }
    for (int32_t c = 0; c < t->n; c++)
        sum[c] = expf(sink - most[c]);
    for (int32_t j = 0; j < t->m; j++)
        for (int32_t c = 0; c < t->n; c++) {
            float *s = &t->p[j * QUERIES + c];
            *s = expf(*s - most[c]);
            sum[c] += *s;
        }
    for (int32_t j = 0; j < t->m; j++)
        for (int32_t c = 0; c < t->n; c++)
            t->p[j * QUERIES + c] /= sum[c];
}

/* A sign for each query of the head. */
static void draw(const struct weighing *w, const struct tile *t, float *sign)
{
    for (int32_t c = 0; c < t->n; c++) {
        uint32_t word[4];
        philox((uint64_t)w->sample, (uint64_t)(t->first + c), (uint64_t)(t->head / 128), word);
        sign[c] = word[t->head / 32 % 4] >> t->head % 32 & 1 ? 1 : -1;
    }
}

static void weigh_piece(void *arg, int64_t piece, int32_t thread)
{
    const struct weighing *w = arg;
    const struct attention *a = w->a;
    const int64_t T = a->T;
    float *scratch = a->scratch + thread * (T + a->dim) * QUERIES, *part = a->part + piece * T;
    struct tile t = {.first = (int32_t)piece * QUERIES, .p = scratch};
    t.n = MIN(a->T - t.first, QUERIES);
    t.m = t.first + t.n;
    memset(part, 0, (size_t)T * sizeof *part);
    for (int64_t j = 0; j < T; j++)
        memset(a->mix + j * T + t.first, 0, (size_t)t.n * sizeof *a->mix);
    for (t.head = 0; t.head < a->H; t.head++) {
        float sign[QUERIES];
        score(w, &t, scratch + T * QUERIES);
        soften(w->rule, &t);
        draw(w, &t, sign);
        for (int64_t j = 0; j < t.m; j++)
            for (int32_t c = 0; c < t.n; c++) {
                const float p = t.p[j * QUERIES + c], moved = p * (1 - p);
                a->mix[j * T + t.first + c] += sign[c] * p;
                part[j] += moved * moved * t.square[c];
            }
    }
}

void attention_weigh(struct attention *a, const struct attention_rule *rule, const struct qkv *x,
                     int32_t i)
{
    struct weighing w = {.a = a, .rule = rule, .x = x, .sample = i};
    float *weight = a->weight + (int64_t)i * a->T;
    for (int32_t j = 0; j < a->T; j++)
        for (int32_t d = 0; d < a->K * a->dim; d++)
            a->keys[(int64_t)d * a->T + j] = x->k[j * x->row + d];
    jobs_run(a->threads, pieces(a), weigh_piece, &w);
    for (int32_t j = 0; j < a->T; j++) {
        float sum = 0;
        for (int32_t p = 0; p < pieces(a); p++)
            sum += a->part[(int64_t)p * a->T + j];
        weight[j] = sqrtf(sum);
    }
}

/* ---- What they make of inputs */

/* Queries see no token behind them: M is a triangle, taken in strips. */
static void mix(const struct attention *a, const float *X, int64_t D, float *Y)
{
    enum { STRIP = 96 };
    const int64_t T = a->T;
    memset(Y, 0, (size_t)(T * D) * sizeof *Y);
    for (int64_t first = 0; first < T; first += STRIP) {
        const int64_t n = MIN(T - first, STRIP);
        product_add_on(a->threads, &(struct product){.c = Y + first * D,
                                                     .a = a->mix + first,
                                                     .b = X,
                                                     .ldc = D,
                                                     .lda = T,
                                                     .ldb = D,
                                                     .m = n,
                                                     .n = D,
                                                     .k = first + n,
                                                     .sign = 1});
    }
}

void attention_see(const struct attention *a, enum attended as, int32_t i, float *X, int32_t D)
{
    const float *weight = a->weight + (int64_t)i * a->T;
    if (as == ATTENDED_VALUES) {
        mix(a, X, D, a->seen);
        memcpy(X, a->seen, (size_t)a->T * (size_t)D * sizeof *X);
        return;
    }
    for (int32_t t = 0; t < a->T; t++)
        for (int64_t d = 0; d < D; d++)
            X[t * (int64_t)D + d] *= weight[t];
}
