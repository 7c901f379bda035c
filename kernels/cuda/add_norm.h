/* The operation add_norm.
 *
 *   x[t] += y[t] / sqrt(mean(y[t]^2) + eps) * norm
 *
 * or of NORM_LAYER the same of y[t] less its mean, and a bias; or x[t] is that alone. Sums are
 * those of prepare.cuh, whose order is a function of D alone; a value is fma(y * factor, norm, x +
 * bias).
 * Work: a block of 256 threads for each token, whatever D; a thread has four quads each of norm, y
 * and x under way at once. Those of the first 4096 values are loaded before the sum and kept. The
 * norm does not wait for the kernels before.
 * Bytes of a token: 12 D read, 4 D written; what y has beyond 4096 values is read twice, then from
 * L1 or L2. Target: latency at few tokens, 80 of 100 of the memory's bandwidth at many. */
#pragma once

#include <stdint.h>

struct add_norm_args {
    float *x;          /* (T, D), 16-byte aligned, as is y */
    const float *y;    /* (T, D), not x */
    const float *norm; /* (D), 16-byte aligned, as is bias */
    const float *bias; /* (D) or NULL */
    float eps;
    int32_t is_layer, is_first; /* 0 or 1 */
    int32_t D;                  /* a multiple of 4 */
};
