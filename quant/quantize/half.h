/* What calibration is made of, for the ways to round the matrices of half a layer. */
#pragma once

#include "calibrate.h"
#include "drift.h"
#include "factor.h"
#include "layers.h"
#include "moments.h"
#include "samples.h"

/* A half of a layer: the matrices that read x, normalised, and what adds to x.
 *
 * Of experts it has a second matrix each, whose inputs are its own, and as many first ones before
 * it, those of the one that all tokens meet first; of others one. Where both halves are of the
 * layer's input, x stays that until both are made: the steps of the second then take it through the
 * layer. Of these, where both are of the same norm of it, all that reads that belongs to the
 * first. */
struct half {
    const int32_t *first, *second; /* slots, (n_first) and (n_second) */
    int32_t n_first, n_second;
    int32_t n_attended;         /* of the first, the last ones: V and K, if they have tensors */
    enum input before, between; /* what the first read, and the second */
    enum stage from, to;        /* up to what the second reads */
    enum stage begin;           /* begin .. to and, unless rest is to, rest .. end take x on */
    enum stage rest, end;
    bool carries; /* x is taken on by it */
    bool adds;    /* what the second make is added to x as it is */
};

/* A matrix while it is made; memory owned. */
struct made {
    struct output *output; /* NULL: it stays as it is */
    float *W, *back;       /* (N, K) of the model, and as rounded */
    float *wanted;         /* (N, K) what is rounded in place of W, or NULL */
    uint8_t *rows;         /* (N) of the format */
    uint8_t *packed;       /* as the file has it, until the next layer */
};

struct calibration {
    const struct calibration_source *source;
    struct arena arena;
    struct layers layers;
    struct samples samples;
    struct drift drift;
    float *x;                             /* (n, length, D) */
    float *X;                             /* (length, widest) */
    struct moments *moments;              /* (INPUTS and more of INPUT_DOWN), in the arena */
    struct moments attended;              /* of INPUT_QKV as attention sees it, see attention.h */
    struct attention attention;           /* of METHOD_GPTQ, as is the one above */
    int32_t n_down;                       /* of INPUT_DOWN: experts whose inputs are kept at once */
    struct kv_peaks peaks;                /* of the layer, if the recipe is static */
    struct made *made;                    /* (layers.n_matrices), in the arena */
    int32_t *slot;                        /* (2, layers.n_matrices) of a half, in the arena */
    struct output *vector[LAYER_VECTORS]; /* of the layer, or NULL */
    uint8_t *changed[LAYER_VECTORS]; /* as the file has it, until the next layer; or NULL; owned */
    uint8_t *head;                   /* as the file has it; owned */
    int32_t layer;                   /* the one that is made; -1: none yet */
    uint64_t before, layer_bytes;    /* of the model: up to the layer, and in it */
    int64_t runs_done, runs_all;     /* of samples through parts of the layer */
};

/* What is rounded. */
static inline const float *made_wanted(const struct made *m)
{
    return m->wanted ? m->wanted : m->W;
}

/* Half i of the layer that has been entered, HALVES of them. */
#define HALVES 2
struct half half_of(const struct calibration *c, int i);

/* x (length, D) of sample i. */
static inline float *calibration_sample(const struct calibration *c, int32_t i)
{
    return c->x + (int64_t)i * c->samples.length * c->layers.h.D;
}

/* Second matrices whose moments are there at once. */
static inline int32_t half_step(const struct calibration *c, const struct half *half)
{
    return half->between == INPUT_DOWN ? c->n_down : 1;
}

/* Moments of what the matrices of a half read: the first ones, which is there before any step, and
 * the second ones from number `at` on, half_step of them, which is what the first make on the
 * device; after those from 0 on the model as it was is through the half. */
int32_t observe_before(struct calibration *c, const struct half *half, struct err *err);
int32_t observe_between(struct calibration *c, const struct half *half, int32_t at,
                        struct err *err);
/* Moments of what matrices of values read, or, after that, of keys: c->attended. The matrices of
 * the step are on the device. */
int32_t observe_attended(struct calibration *c, const struct half *half, enum attended as,
                         struct err *err);
static inline struct moments *moments_of_first(const struct calibration *c, const struct half *half)
{
    return &c->moments[half->before];
}
/* at: as it was observed last. */
static inline struct moments *moments_of_second(const struct calibration *c,
                                                const struct half *half, int32_t at, int32_t i)
{
    return &c->moments[(int32_t)half->between + i - at];
}

/* The samples through all steps of a half. change: the mean, over tokens, of what it adds to the
 * hidden state, squared, in parts of that squared; or NULL. */
int32_t half_pass(struct calibration *c, const struct half *half, double *change, struct err *err);

/* All its matrices as the model has them; the second ones, if they are of the step that makes what
 * they read. */
int32_t half_put_own(struct calibration *c, const struct half *half, struct err *err);
int32_t half_put_second(struct calibration *c, const struct half *half, struct err *err);

/* Whether what all of the second read is of the same tokens in the model as it was, see drift.h:
 * experts may be chosen by others. */
static inline bool half_drifts(const struct half *half)
{
    return half->n_second && !layers_is_expert(half->second[half->n_second - 1]);
}

/* First matrices of each second one. */
static inline int32_t half_share(const struct half *half)
{
    return half->n_first / MAX(half->n_second, 1);
}

/* Whether a matrix is to be rounded; W, and room for back and rows. */
bool slot_is_made(const struct calibration *c, int32_t slot);
int32_t made_read(struct calibration *c, int32_t slot, struct err *err);
void made_give(struct made *m); /* the memory of made_read */

/* After the rows are made: what the file has of them, and their errors; the device has them in
 * place of the model's. s (K), t (N): what columns were multiplied by and rows divided by; NULL:
 * by 1. */
int32_t made_finish(struct calibration *c, int32_t slot, const struct moments *moments,
                    const float *s, const float *t, struct err *err);

/* Rounds the matrices of a half: they are on the device when it returns. gptq_half: also of
 * METHOD_RTN, whose errors are to be known; scaled_half: METHOD_AWQ and METHOD_SMOOTH; static_half:
 * of a recipe that is static. */
int32_t gptq_half(struct calibration *c, const struct half *half, struct err *err);
int32_t scaled_half(struct calibration *c, const struct half *half, struct err *err);
int32_t static_half(struct calibration *c, const struct half *half, struct err *err);

/* The factor of moments that `module` has for its inputs, in the order of --act-order. */
int32_t half_factor(struct calibration *c, struct factor *f, const struct moments *moments,
                    const char *module, struct err *err);

/* Costs of its matrices, and the samples through it as it is. */
int32_t measure_half(struct calibration *c, const struct half *half, struct err *err);
