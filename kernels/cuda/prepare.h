/* Rows of floats become what products read.
 *
 *   v = row[r] ? x[row[r]] : x[r];  v = v / sqrt(mean(v^2) + eps) * norm, if there is a norm
 *   out[r][place(k)] = bfloat16 of v[k]            layout.h, chunk_place
 *   sums[g][r] = sum of out[r][k], k in [32 g, 32 g + 32)
 *
 * Rows from T up to rows and columns from K up to padded are zeros.
 * Work: a block of 256 threads for each row, four values a thread at a time; the order of every
 * sum is a function of K. Bytes of a row: 4 K read (twice with a norm, then from L1 or L2), 2 K
 * written. Target: latency at few tokens, 80 of 100 of the memory's bandwidth at many; never
 * measured. */
#pragma once

#include <stdint.h>

struct prepare_args {
    const float *x;     /* (., K), 16-byte aligned */
    const int32_t *row; /* (T) or NULL: 0 .. T - 1 */
    const float *norm;  /* (K) or NULL */
    void *out;          /* (rows, padded) bfloat16 */
    float *sums;        /* (padded / 32, rows) */
    float eps;
    int32_t T, rows, K, padded; /* K a multiple of 4 */
};

#ifndef __CUDACC__
struct device;

int prepare_launch(struct device *device, struct prepare_args *args);
#endif
