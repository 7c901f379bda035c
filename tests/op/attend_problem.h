/* What attention is tested on, by any back end: sequences of random rows, every switch of the
 * operation, and what the definition (ref.h) makes of them. */
#pragma once

#include "matrix.h"
#include "ref.h"

#include <math.h>

#define SEQS_MAX  4
#define HEADS_MAX 32
#define DIM_MAX   512

/* What is computed, whoever computes it. */
#define GROWTH 0.1f /* scores much larger would make errors of bfloat16 so */

struct problem {
    int H, K, dim, n_seqs;
    int length[SEQS_MAX];
    enum rope_kind rope;
    bool normed, unrotated;
    int rotary_dim, window; /* 0: dim; 0: all */
    float cap;
    bool biased, sunk;      /* slopes, sinks */
    int growth_from;        /* queries grow; 0: they do not */
    bool far;               /* keys, which then may not turn */
    bool v_of_k, v_norm;    /* values: of keys, normalised. These and the next two: the CPU alone */
    bool shared;            /* by a second layer, whose queries they are */
    int kind;               /* of the layer among others, 1 + enum kv_kind; 0: all are alike */
    float *qkv[SEQS_MAX];   /* (length, width) */
    double *want[SEQS_MAX]; /* (length, H * dim) */
    float norm[2][DIM_MAX], slope[HEADS_MAX], sink[HEADS_MAX];
    float k_mean[HEADS_MAX * 256]; /* (K, dim) of keys that are far from zero */
};

static inline uint32_t random_below(uint32_t n)
{
    return (uint32_t)((uint64_t)random_bits() * n >> 32);
}

static inline int width(const struct problem *p)
{
    return (p->H + (p->v_of_k ? 1 : 2) * p->K) * p->dim;
}

/* Columns that turn, and numbers of a token's rotary row. */
static inline int turned(const struct problem *p)
{
    return p->rotary_dim ? p->rotary_dim : p->dim;
}

static inline void rotary_row(const struct problem *p, int position, float *row)
{
    int half = turned(p) / 2;
    for (int i = 0; i < half; i++) {
        float angle = (float)position * powf(10000.0f, -(float)i / (float)half);
        row[i] = cosf(angle);
        row[half + i] = sinf(angle);
    }
}

/* Scores with a mean square of about 1: numbers are even in -1 .. 1, or have the norm 1. */
static inline float score_scale(const struct problem *p)
{
    return (p->normed ? 1.0f : 3.0f) / sqrtf((float)p->dim);
}

/* The definition's answer for sequence s. */
static inline void solve(struct problem *p, int s)
{
    size_t n = (size_t)p->length[s];
    double *qkv = malloc(n * (size_t)width(p) * sizeof *qkv);
    double *rotary = malloc(n * (size_t)turned(p) * sizeof *rotary);
    double *k = malloc(n * (size_t)(p->K * p->dim) * sizeof *k);
    double *v = malloc(n * (size_t)(p->K * p->dim) * sizeof *v);
    float row[DIM_MAX];
    for (size_t i = 0; i < n * (size_t)width(p); i++)
        qkv[i] = (double)p->qkv[s][i];
    for (size_t t = 0; t < n; t++) {
        rotary_row(p, (int)t, row);
        for (int i = 0; i < turned(p); i++)
            rotary[t * (size_t)turned(p) + (size_t)i] = (double)row[i];
    }
    struct batch_seq seq = {.n = p->length[s]};
    struct batch batch = {.T = p->length[s], .S = 1, .seq = &seq};
    struct ref_attend op = {.qkv = qkv,
                            .y = p->want[s],
                            .rotary = p->unrotated ? NULL : rotary,
                            .q_norm = p->normed ? p->norm[0] : NULL,
                            .k_norm = p->normed ? p->norm[1] : NULL,
                            .eps = 1e-5,
                            .scale = (double)score_scale(p),
                            .H = p->H,
                            .K = p->K,
                            .dim = p->dim,
                            .rope = p->rope,
                            .rotary_dim = p->rotary_dim,
                            .window = p->window,
                            .cap = (double)p->cap,
                            .slopes = p->biased ? p->slope : NULL,
                            .sinks = p->sunk ? p->sink : NULL,
                            .growth = p->growth_from ? (double)GROWTH : 0,
                            .growth_from = p->growth_from,
                            .v_of_k = p->v_of_k,
                            .v_norm = p->v_norm,
                            .k = &k,
                            .v = &v};
    ref_attend(&op, &batch);
    free(qkv);
    free(rotary);
    free(k);
    free(v);
}

/* So far that bfloat16, too, would lose more of them than is allowed. */
static inline void put_keys_far(struct problem *p)
{
    for (int i = 0; i < p->K * p->dim; i++)
        p->k_mean[i] = 100 * random_float();
    for (int s = 0; s < p->n_seqs; s++)
        for (int t = 0; t < p->length[s]; t++)
            for (int i = 0; i < p->K * p->dim; i++)
                p->qkv[s][t * width(p) + p->H * p->dim + i] += p->k_mean[i];
}

static inline void problem_init(struct problem *p)
{
    for (int s = 0; s < p->n_seqs; s++) {
        size_t n = (size_t)p->length[s] * (size_t)width(p);
        p->qkv[s] = malloc(n * sizeof(float));
        for (size_t i = 0; i < n; i++)
            p->qkv[s][i] = random_float();
        p->want[s] = malloc((size_t)p->length[s] * (size_t)(p->H * p->dim) * sizeof(double));
    }
    if (p->far)
        put_keys_far(p);
    for (int i = 0; i < p->dim; i++) {
        p->norm[0][i] = 1.0f + random_float() * 0.5f;
        p->norm[1][i] = 1.0f + random_float() * 0.5f;
    }
    for (int h = 0; h < p->H; h++) { /* as ALiBi has them; as large as the largest score */
        p->slope[h] = powf(2.0f, -8.0f * (float)(h + 1) / (float)p->H);
        p->sink[h] = 2.0f * random_float();
    }
    for (int s = 0; s < p->n_seqs; s++)
        solve(p, s);
}

static inline void problem_release(struct problem *p)
{
    for (int s = 0; s < p->n_seqs; s++) {
        free(p->qkv[s]);
        free(p->want[s]);
    }
}

/* What other families have, each alone and all at once; windows that begin within a page, at a
 * split and in one before the last. */
static const struct problem variants[] = {
    {.window = 1},
    {.window = 37},
    {.window = 256},
    {.window = 300, .sunk = true},
    {.cap = 2},
    {.biased = true},
    {.sunk = true},
    {.rotary_dim = 32},
    {.far = true, .unrotated = true},
    {.rotary_dim = 10, .rope = ROPE_HALF},
    {.rotary_dim = 24, .rope = ROPE_HALF, .window = 100, .cap = 3, .biased = true, .sunk = true},
    {.growth_from = 48},
};
