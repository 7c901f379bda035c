/* Key heads of a token as attention keeps them, for the scale of its cache. */
#pragma once

#include "../../kernels/ops.h"

struct heads {
    int32_t K, dim;     /* heads, and values of each */
    int32_t rotary_dim; /* the first of these, which turn */
    enum rope_kind rope;
    const float *norm; /* (dim) of an RMSNorm before the rotation, or NULL */
    float eps;
};

/* The larger of peak and the largest magnitude of the heads x (K, dim). rotary (2, rotary_dim /
 * 2):
 * cosines and sines at the token's position; NULL: they do not turn. INFINITY if one is not a
 * number. */
float heads_peak(const struct heads *heads, const float *x, const float *rotary, float peak);

/* The same of n values as they are. */
float values_peak(const float *x, int64_t n, float peak);
