/* What calibration is made of, for the two ways to round the matrices of half a layer. */
#pragma once

#include "calibrate.h"
#include "drift.h"
#include "factor.h"
#include "layers.h"
#include "moments.h"
#include "samples.h"

/* A half of a layer: the matrices that read x, normalised, and the one that adds to x. */
struct half {
    enum slot first[3];
    int32_t n_first;
    enum slot second;
    enum input before, between; /* what the first read, and the second */
    enum stage from, to, last;  /* up to what the second reads; all */
};

/* A matrix while it is made; memory owned. */
struct matrix {
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
    float *x; /* (n, length, D) */
    float *X; /* (length, widest) */
    struct moments moments[INPUTS];
    struct kv_peaks peaks; /* of the layer, if the recipe is static */
    struct matrix matrix[SLOTS];
    struct output *vector[VECTORS]; /* of the layer, or NULL */
    uint8_t *changed[VECTORS];      /* as the file has it, until the next layer; or NULL; owned */
    uint8_t *head;                  /* as the file has it; owned */
    int32_t layer;                  /* the one that is made; -1: none yet */
    uint64_t before, layer_bytes;   /* of the model: up to the layer, and in it */
    int64_t runs_done, runs_all;    /* of samples through parts of the layer */
};

/* What is rounded. */
static inline const float *matrix_wanted(const struct matrix *m)
{
    return m->wanted ? m->wanted : m->W;
}

/* Moments of what the matrices of a half read: the first ones, which is there before any step, and
 * the second, which is what the first make on the device; after these the model as it was is
 * through the half. */
int32_t observe_before(struct calibration *c, const struct half *half, struct err *err);
int32_t observe_between(struct calibration *c, const struct half *half, struct err *err);

/* The samples through all steps of a half. change: the mean, over tokens, of what it adds to the
 * hidden state, squared, in parts of that squared; or NULL. */
int32_t half_pass(struct calibration *c, const struct half *half, double *change, struct err *err);

/* Whether a matrix is to be rounded; W, and room for back and rows. */
bool matrix_is_made(const struct calibration *c, enum slot slot);
int32_t matrix_read(struct calibration *c, enum slot slot, struct err *err);
void matrix_give(struct matrix *m); /* the memory of matrix_read */

/* After the rows are made: what the file has of them, and their errors; the device has them in
 * place of the model's. s (K), t (N): what columns were multiplied by and rows divided by; NULL:
 * by 1. */
int32_t matrix_finish(struct calibration *c, enum slot slot, const struct moments *moments,
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
