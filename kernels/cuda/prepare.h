/* Rows of floats become what products read.
 *
 *   v = row[r] ? x[row[r]] : x[r]
 *   v = v / sqrt(mean(v^2) + eps) * norm                              NORM_RMS, if there is a norm
 *   v = (v - mean(v)) / sqrt(mean((v - mean(v))^2) + eps) * norm + norm_bias            NORM_LAYER
 *   out[r][place(k)] = bfloat16 of v[k]            layout.h, chunk_place
 *   sums[g][r] = sum of out[r][k], k in [32 g, 32 g + 32), if they are wanted
 *
 * Rows from T up to rows and columns from K up to padded are zeros. The arithmetic is that of
 * prepare.cuh, which skinny.cu uses for a row of its own.
 *
 * Work: a block of 256 threads for each row, or for each 4096 values of one if there is no norm;
 * four loads of 16 bytes a thread at once. Bytes of a row: 4 K read (8 K with a norm; of what is
 * beyond 4096 values x twice, then from L1 or L2), 2 K written. Target: latency at few tokens, 80
 * of 100 of the memory's bandwidth at many. */
#pragma once

#include <stdint.h>

#define PREPARE_THREADS 256
#define PREPARE_BATCH   4 /* quads of a thread that are loaded together */
#define PREPARE_QUADS   (PREPARE_BATCH * PREPARE_THREADS)

struct prepare_args {
    const float *x;         /* (., K), 16-byte aligned */
    const int32_t *row;     /* (T) or NULL: 0 .. T - 1 */
    const float *norm;      /* (K) or NULL */
    const float *norm_bias; /* (K) or NULL, of NORM_LAYER */
    void *out;              /* (rows, padded) bfloat16 */
    float *sums;            /* (padded / 32, rows), or NULL: nobody wants them */
    float eps;
    int32_t norm_kind;          /* enum norm */
    int32_t T, rows, K, padded; /* K a multiple of 4 */
};

#ifndef __CUDACC__
struct device;

int prepare_launch(struct device *device, struct prepare_args *args);
#endif
