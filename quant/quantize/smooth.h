/* SmoothQuant, Xiao et al. 2022: columns of a matrix are multiplied by a scale, and what gives the
 * inputs is divided by it, so that no few columns of inputs are much larger than the others: those
 * would set the step by which a token's inputs are rounded to 8 bits.
 *
 *   s[j] = (largest |x[j]|)^alpha / (largest |w[j]|)^(1 - alpha)
 *
 * With alpha 1 all columns of inputs become as large, with 0 all columns of the weights. Engines
 * that round a token's inputs by one scale do better with more than the half (0.8 for Llama); where
 * each few columns have a scale, as on the CPU here, the weights' share counts more. */
#pragma once

#include "pack.h"

/* Raises largest (K) by those of the columns of W (N, K). */
void smooth_columns(const float *W, int64_t N, int64_t K, float *largest);

/* s (K) for columns whose largest inputs and weights are these, (K) each. What is less than
 * SMOOTH_LEAST of the largest of all columns is taken as that: nothing is known of it. */
#define SMOOTH_LEAST 1e-5f
void smooth_scales(const float *inputs, const float *weights, int64_t K, float alpha, float *s);

struct smooth_matrix {
    const struct packing *packing; /* of int8 */
    const float *W;                /* (N, K) */
    const float *s, *t;            /* columns are multiplied by s, rows divided by t; NULL: by 1 */
    float *back;                   /* (N, K) of scratch */
    uint8_t *rows;                 /* (N) to be made */
};

void smooth_round(const struct smooth_matrix *m, int32_t threads);
