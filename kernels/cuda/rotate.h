/* rotate_bf16, rotate_int8: what prefill.h reads, from the rows of the product before it. Tokens of
 * sequences that decode.h has are left to it.
 *
 *   x = qkv[t][head];  x = x / sqrt(mean(x^2) + eps) * norm[kind], of queries and keys, if there is
 *   pairs (u, v) of x become (u cos - v sin, u sin + v cos) for queries and keys, if rotary
 *   x -= k_mean[head] for keys, if there is one
 *   queries to q[t][head], keys and values to slot[t] of their page (kv.h)
 *
 * Columns from dim up to width become zeros in all three.
 * Work: a warp for each token and head, eight to a block; the order of the norm's sum is a
 * function of dim and of the kind of rotation. Bytes: 4 (H + 2K) dim read and about half of that
 * written for each token, once. Target: 80 of 100 of the bandwidth at many tokens. */
#pragma once

#include "attend.h"

#ifndef __CUDACC__
struct device;

/* For T tokens, in pages of kv_type. */
int rotate_launch(struct device *device, struct attend_args *args, int32_t T);
#endif
