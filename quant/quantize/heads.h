/* Heads of a token as attention multiplies and keeps them. */
#pragma once

#include "../../kernels/ops.h"

struct heads {
    int32_t K, dim;     /* heads, and values of each */
    int32_t rotary_dim; /* the first of these, which turn */
    enum rope_kind rope;
    const float *norm; /* (dim) of an RMSNorm before the rotation, or NULL */
    float eps;
};

/* y (K, dim) of heads x (K, dim), which it may be. rotary (2, rotary_dim / 2): cosines and sines at
 * the token's position; NULL: they do not turn. */
void heads_turn(const struct heads *heads, const float *x, const float *rotary, float *y);

/* The larger of peak and the largest magnitude of n values. INFINITY if one is not a number. */
float values_peak(const float *x, int64_t n, float peak);
