/* What decode.h and prefill.h share: the arguments, and how their work is cut.
 *
 *   y[t][h] = sum of p[j] v[j] / sum of p[j],  p[j] = 2^((q[t][h] k[j]) scale log2(e) - max)
 *
 * over positions j up to t's own; k and v of head h / (H / K), from pages (kv.h). q and p go into
 * products as bfloat16, everything else is float.
 *
 * Both kernels give the same bits, whatever the batch, because the order is a function of
 * positions alone: tiles of 64 positions from 0 on, each with one step of the online softmax; max,
 * sum and output start anew every 256 positions (a split), and the splits are merged in their
 * order. A tile beyond a token's position changes none of its bits.
 *
 * Rows: token i of a sequence and head g of the heads that share a key/value head are row
 * i * group + g, so a key that has been loaded serves the whole group. */
#pragma once

#include "step.h"

#include "../batch.h"

#define TILE_POSITIONS  64
#define SPLIT_POSITIONS 256
#define DECODE_ROWS     16 /* of a block */
#define PREFILL_ROWS    64

struct attend_args {
    struct step_view step;
    const void *q;       /* (T, H, width) bfloat16 */
    float *y;            /* (T, H * dim) */
    const uint8_t *pool; /* the layer of page 0 */
    uint64_t page_bytes;
    uint32_t block_bytes;
    float scale_log2; /* scale log2(e) */
    int32_t H, K, dim, width;
    int32_t sequence, n_sequences; /* those of this launch */
    int32_t items;                 /* places for each of them: splits, or tiles of rows */
    /* Partial results of splits: max and sum as pairs, then outputs (., width). */
    float *pair, *output;
    int32_t rows;      /* places for each split and key/value head */
    int64_t rows_most; /* room in pair and output */
};

#ifdef __CUDACC__
#define BOTH static inline __host__ __device__
#else
#define BOTH static inline
#endif

BOTH int32_t attend_splits(int32_t length)
{
    return (length - 1) / SPLIT_POSITIONS + 1;
}

/* Few rows are cut into splits, that the card has enough to do; many into tiles of rows. */
BOTH int attend_is_decode(int32_t n, int32_t length, int32_t H, int32_t K, int64_t rows_most)
{
    int64_t rows = (int64_t)n * (H / K);
    return n == 1 || (rows <= DECODE_ROWS && attend_splits(length) * rows * K <= rows_most);
}

/* Scores of a row that warps exchange, in floats: rows fall on banks 8 apart. */
#define SCORE_PITCH 72

/* Dynamic shared memory of a block: rows, keys and values in bfloat16; scales of int8; scores, if
 * warps exchange them; pages of two tiles. */
#define ATTEND_SHARED(width, rows, is_int8, exchanges)                                    \
    (2 * (width) * ((rows) + 2 * TILE_POSITIONS) + ((is_int8) ? 8 * TILE_POSITIONS : 0) + \
     ((exchanges) ? 4 * SCORE_PITCH * (rows) : 0) + 2 * TILE_POSITIONS / PAGE_TOKENS * 4)

#ifndef __CUDACC__
#include "../backend.h"

/* Of the kernels of one kind, which stand in kernels.def in the order bf16_64, bf16_128, bf16_256,
 * int8_64, int8_128, int8_256: the one for a configuration. */
static inline int32_t attend_variant(const struct device_config *config)
{
    int32_t width = config->dim <= 64 ? 0 : config->dim <= 128 ? 1 : 2;
    return (config->kv_type == KV_INT8 ? 3 : 0) + width;
}

/* The width that a variant serves at most. */
static inline uint32_t attend_variant_width(int32_t variant)
{
    return 64u << variant % 3;
}
#endif
