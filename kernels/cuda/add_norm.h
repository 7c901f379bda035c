/* The operation add_norm.
 *
 *   x[t] += y[t] / sqrt(mean(y[t]^2) + eps) * norm                                      NORM_RMS
 *   x[t] += (y[t] - mean(y[t])) / sqrt(var(y[t]) + eps) * norm + norm_bias            NORM_LAYER
 *
 * and with is_first x[t] = in place of x[t] +=. Sums are those of prepare.cuh, whose order is a
 * function of D alone; a value is fma((y - mean) * factor, norm, x + norm_bias), where with
 * is_first -0 is for x: with a number it is that number.
 * Work: a block of 256 threads for each token, whatever D; a thread has four quads each of norm, y
 * and x under way at once. Those of the first 4096 values are loaded before the sum and kept. The
 * norm does not wait for the kernels before.
 * Bytes of a token: 12 D read, of which is_first leaves out 4 D, 4 D more with a bias, 4 D written;
 * what y has beyond 4096 values is read twice, with NORM_LAYER three times, then from L1 or L2.
 * Target: latency at few tokens, 80 of 100 of the memory's bandwidth at many. */
#pragma once

#include <stdint.h>

struct add_norm_args {
    float *x;               /* (T, ld), 16-byte aligned, as is y */
    const float *y;         /* (T, ld); x only if is_first */
    const float *norm;      /* (D), 16-byte aligned, as is norm_bias */
    const float *norm_bias; /* (D) or NULL */
    float eps;
    int32_t norm_kind; /* enum norm */
    int32_t D, ld;     /* multiples of 4 */
    int32_t is_first;  /* bool */
};
