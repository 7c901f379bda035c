/* rotate_bf16, rotate_int8: what attention reads, from the rows of the product before it.
 *
 *   x = qkv[t][head];  x = x / sqrt(mean(x^2) + eps) * norm[kind], of queries and keys, if there is
 *   pairs (u, v) of x become (u cos - v sin, u sin + v cos) for queries and keys, if rotary
 *   queries to q[t][head], keys and values to slot[t] of their page (kv.h)
 *
 * Columns from dim up to width become zeros in all three.
 * Work: a warp for each token and head, eight to a block; the order of the norm's sum is a
 * function of dim and of the kind of rotation. Bytes: 4 (H + 2K) dim read and about half of that
 * written for each token, once. Target: latency at few tokens, 80 of 100 of the bandwidth at many;
 * never measured. */
#pragma once

#include "step.h"

#include <stdint.h>

struct rotate_args {
    const float *qkv;    /* (T, (H + 2K) * dim) */
    const float *rotary; /* (T, 2, dim/2) or NULL */
    const float *q_norm; /* (dim) or NULL */
    const float *k_norm; /* (dim) or NULL */
    const int32_t *slot; /* (T) */
    uint16_t *q;         /* (T, H, width) bfloat16 */
    uint8_t *pool;       /* the layer of page 0 */
    uint64_t page_bytes;
    uint32_t block_bytes;
    float eps;
    int32_t H, K, dim, width;
    int32_t rope; /* enum rope_kind */
};

#ifndef __CUDACC__
struct device;

/* For T tokens, in pages of kv_type. */
int rotate_launch(struct device *device, struct rotate_args *args, int32_t T);
#endif
