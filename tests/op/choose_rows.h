/* Rows whose tokens are chosen: their logits, filters, and log probabilities by definition. */
#pragma once

#include "choose.h"

struct problem {
    int32_t V, R, n_edit, n_report;
    float *logits; /* (R, V) as the head gives them */
    struct task task[ROWS];
    struct row_choice choice[ROWS];
    struct logit_edit edit[EDITS];
    float scale[ROWS];
    int32_t before[ROWS]; /* chosen by the step before */
    int32_t want[ROWS], got[ROWS];
    struct sample_output host[ROWS]; /* want with log probabilities */
    struct row_report report[ROWS];  /* (n_report) */
};

/* ---- Rows */

static float uniform(int32_t r, int32_t i)
{
    return rng_uniform(11, (uint64_t)r, (uint32_t)i);
}

static float normal(uint64_t r, uint32_t i)
{
    const double u = (double)rng_uniform(5, r, 2 * i) + 1e-9,
                 v = (double)rng_uniform(5, r, 2 * i + 1);
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307 * v));
}

/* Of eight kinds: narrow, usual, peaked, flat, all equal, ties, ties with holes, large. */
static void fill_row(struct problem *p, int32_t r, int32_t kind)
{
    static const float deviation[] = {0.5f, 2, 8, 0.01f, 0, 2, 3, 300};
    float *logit = p->logits + (size_t)r * (size_t)p->V;
    for (int32_t i = 0; i < p->V; i++) {
        float x = deviation[kind] * normal((uint64_t)(r + p->V), (uint32_t)i) + (float)(r % 5) - 2;
        if (kind == 5 || kind == 6)
            x = floorf(x);
        if (kind == 6 && i % 11 >= 9)
            x = i % 2 ? NAN : -INFINITY;
        logit[i] = x;
    }
}

static void init(struct problem *p, int32_t V, int32_t R)
{
    free(p->logits);
    *p = (struct problem){.V = V, .R = R};
    p->logits = malloc((size_t)R * (size_t)V * sizeof *p->logits);
    for (int32_t r = 0; r < R; r++) {
        fill_row(p, r, r % 8);
        p->task[r] = (struct task){.sampling = {.temperature = 1,
                                                .top_p = 1,
                                                .repetition_penalty = 1,
                                                .logprobs = -1,
                                                .seed = (uint64_t)r << 40 | (uint64_t)V},
                                   .choice = (uint32_t)r % 3};
        p->task[r].n_token = p->task[r].n_prompt = 0;
    }
}

/* Filters of every combination, by the row's number and chance, and every number of
 * alternatives. */
static void set_filters(struct problem *p)
{
    static const float temperature[] = {1, 0.7f, 0.1f, 2, 0};
    for (int32_t r = 0; r < p->R; r++) {
        struct sampling *s = &p->task[r].sampling;
        s->temperature = temperature[r % 5];
        s->top_p = r / 8 & 1 ? 0.3f + 0.69f * uniform(r, 0) : 1;
        s->top_k = r / 16 & 1 ? (int32_t)(1 + (r % 3 ? 60 : (float)p->V) * uniform(r, 1)) : 0;
        s->min_p = r / 32 & 1 ? (r % 2 ? 0.2f : 1e-7f) * uniform(r, 2) : 0;
        s->logprobs = r * 7 % (TOP_LOGPROBS + 2) - 1;
    }
}

/* ---- Log probabilities */

/* Of a row's logits, in double. */
static double logprob_of(const struct problem *p, int32_t r, int32_t token)
{
    const float *logit = p->logits + (size_t)r * (size_t)p->V;
    double max = -INFINITY, sum = 0;
    for (int32_t i = 0; i < p->V; i++)
        max = logit[i] > max ? (double)logit[i] : max;
    if (isinf(max))
        return (double)logit[token] == max ? 0 : -INFINITY;
    for (int32_t i = 0; i < p->V; i++)
        sum += isnan(logit[i]) ? 0 : exp((double)logit[i] - max);
    return (double)logit[token] - max - log(sum);
}

/* Of the sum no more than 2.5e-6 is lost: two exponentials, two powers that are rounded, which are
 * log V on average at most, and eight additions; of its logarithm 1.5e-6 by rounding twice, and of
 * the rest what two differences round. */
static bool is_logprob(float logprob, double defined)
{
    if (isinf(defined))
        return (double)logprob == defined;
    return fabs((double)logprob - defined) <= 4e-6 + fabs(defined) * 0x1p-23;
}
