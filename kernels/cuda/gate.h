/* The operation gate.
 *
 *   y[t] = from[t] / (1 + e^-g),  g = (sum of x[t] norm gate) / sqrt(mean(x[t]^2) + eps)
 *
 * Both sums are of a thread's values, every 256th, then of lanes and of warps: their order is a
 * function of D alone.
 * Work: a block of 256 threads for each token. Bytes of a token: 12 D read, 4 F read and written.
 * Target: latency at few tokens, 60 of 100 of the memory's bandwidth at many. */
#pragma once

#include <stdint.h>

#define GATE_THREADS 256

struct gate_args {
    const float *x;           /* (T, D) */
    const float *norm, *gate; /* (D) */
    const float *from;        /* (T, F) */
    float *y;                 /* (T, F), which may be from */
    float eps;
    int32_t D, F;
};
