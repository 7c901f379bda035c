/* The definition in double of what plugin/sample.h says of a row that is edited already, and how
 * near a row is to its borders. */
#pragma once

#include <math.h>
#include <stdlib.h>

#include "../../kernels/cuda/choose.h"
#include "../../plugin/base/rng.h"
#include "../../plugin/sample.h"

enum {
    ROWS = 64,
    MOST_V = CHOOSE_BLOCKS * LOGIT_BLOCK,
    HISTORY = 40,
    BIASES = 5,
    ENDS = 2,
    EDITS = ROWS * 64
};

#define NEAR 1e-5

/* One row: what the host samples, and whether the device is to learn of the last token from the
 * step before. */
struct task {
    struct sampling sampling;
    struct logit_bias bias[BIASES];
    int32_t token[HISTORY], end[ENDS];
    int32_t n_token, n_prompt, n_end;
    uint32_t choice;
    bool has_pending;
};

struct item {
    int32_t id;
    double weight;
    float logit;
};

static struct item items[MOST_V];

static int by_logit(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

static int by_id(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return x->id < y->id ? -1 : 1;
}

static double sum_of(int32_t n)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += items[i].weight;
    return sum;
}

/* Draws from the first n items, by id; *is_near if rounding may give another. */
static int32_t draw(const struct task *t, uint32_t attempt, int32_t n, bool *is_near)
{
    const double total = sum_of(n);
    const double u =
        total * (double)rng_attempt(t->sampling.seed, (uint64_t)t->n_token, t->choice, attempt);
    double sum = 0;
    int32_t i = 0;
    qsort(items, (size_t)n, sizeof *items, by_id);
    while (i + 1 < n && sum + items[i].weight <= u)
        sum += items[i++].weight;
    *is_near |= u - sum < NEAR * total || sum + items[i].weight - u < NEAR * total;
    const int32_t id = items[i].id;
    qsort(items, (size_t)n, sizeof *items, by_logit);
    return id;
}

/* By rejection, as sample.c says. */
static int32_t define_row(const struct task *t, int32_t n, bool *is_near)
{
    const double top_p = (double)t->sampling.top_p, total = sum_of(n);
    for (uint32_t attempt = 0;; attempt++) {
        int32_t id = draw(t, attempt, n, is_near), at = 0;
        while (items[at].id != id)
            at++;
        *is_near |= top_p < 1 && fabs(sum_of(at) / total - top_p) < NEAR;
        if (top_p >= 1 || at == 0 || sum_of(at) < top_p * total)
            return id;
        n = at;
    }
}

static inline int32_t define(const struct task *t, const float *logits, int32_t V, bool *is_near)
{
    const struct sampling *s = &t->sampling;
    int32_t n = 0, kept = 0;
    for (int32_t i = 0; i < V; i++)
        if (logits[i] > -INFINITY)
            items[n++] = (struct item){.id = i, .logit = logits[i]};
    if (n == 0)
        return -1;
    qsort(items, (size_t)n, sizeof *items, by_logit);
    if (sample_is_greedy(s) || isinf(items[0].logit))
        return items[0].id;
    for (int32_t i = 0; i < n; i++)
        items[i].weight =
            exp(((double)items[i].logit - (double)items[0].logit) / (double)s->temperature);
    if (!((s->top_k > 0 && s->top_k < V) || s->min_p > 0))
        return define_row(t, n, is_near);
    n = s->top_k > 0 ? MIN(n, s->top_k) : n;
    for (int32_t i = 0; i < n; i++) {
        kept += items[i].weight >= (double)s->min_p;
        *is_near |= fabs(items[i].weight - (double)s->min_p) < NEAR * (double)s->min_p;
    }
    n = kept;
    double total = sum_of(n), sum = 0;
    for (kept = 0; s->top_p < 1 && kept < n;) {
        sum += items[kept++].weight;
        *is_near |= fabs(sum / total - (double)s->top_p) < NEAR;
        if (sum >= (double)s->top_p * total)
            n = kept;
    }
    return draw(t, 0, n, is_near);
}
