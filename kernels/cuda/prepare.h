/* Rows of floats become what products read.
 *
 *   v = row[r] ? x[row[r]] : x[r]
 *   v = v / sqrt(mean(v^2) + eps) * norm                              NORM_RMS, if there is a norm
 *   v = (v - mean(v)) / sqrt(mean((v - mean(v))^2) + eps) * norm + norm_bias            NORM_LAYER
 *   out[r][place(k)] = bfloat16 of v[k]            layout.h, chunk_place
 *   sums[g / 4][place(r, g % 4)] = sum of out[r][k], k in [32 g, 32 g + 32), if they are wanted
 *                                                                          layout.h, sums_place
 *
 * and, or in place of these, E4M3 with a scale of each row, where products multiply it, of code
 * that can (arch_makes_fp8):
 *
 *   scale[r] = max |v[k]| / 448, but at least FP8_SCALE_LEAST
 *   fp8[r][place(k)] = E4M3 of v[k] * (1 / scale[r])                           layout.h, quad_place
 *
 * E4M3 has no infinity: one in a row, whose scale then is infinite, becomes no number there and
 * leaves none in the outputs, and what is no number stays none.
 *
 * Rows from T up to rows, those of which row[r] or live[r] is below 0, and columns from K up to
 * padded are zeros. The arithmetic is that of prepare.cuh, which skinny.cu uses for a row of its
 * own.
 *
 * Work: a block of 256 threads for each row, or for each 4096 values of one if there is no norm and
 * no scale; four loads of 16 bytes a thread at once. Bytes of a row: 4 K read (8 K with a norm; of
 * what is beyond 4096 values x twice with a norm, three times with NORM_LAYER, and all of it once
 * more for a scale, then from L1 or L2), 2 K written, of E4M3 K. Target: latency at few tokens, 80
 * of 100 of the memory's bandwidth at many. */
#pragma once

#include <stdint.h>

#define PREPARE_THREADS 256
#define PREPARE_BATCH   4 /* quads of a thread that are loaded together */
#define PREPARE_QUADS   (PREPARE_BATCH * PREPARE_THREADS)

/* The least scale of E4M3 activations: below it a float and its inverse lose bits. So it is that of
 * zeros. */
#define FP8_SCALE_LEAST 0x1p-126f

struct prepare_args {
    const float *x;         /* (., K), 16-byte aligned */
    const int32_t *row;     /* (T) or NULL: 0 .. T - 1; below 0: none */
    const int32_t *live;    /* (T) below 0: none; or NULL */
    const float *norm;      /* (K) or NULL */
    const float *norm_bias; /* (K) or NULL, of NORM_LAYER */
    void *out;              /* (rows, padded) bfloat16; here and below NULL: nobody wants it */
    float *sums;            /* (padded / 128, 4 rows), of out */
    void *fp8;              /* (rows, padded) E4M3 */
    float *scale;           /* (rows), of fp8 */
    float eps;
    int32_t norm_kind;          /* enum norm */
    int32_t sums_order;         /* enum sums_order */
    int32_t T, rows, K, padded; /* K a multiple of 4 */
};

#ifndef __CUDACC__
struct device;

int prepare_launch(struct device *device, struct prepare_args *args);
#endif
