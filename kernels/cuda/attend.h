/* What rotate.h, decode.h and prefill.h share: the arguments, and how their work is cut.
 *
 *   q[t][h] *= 1 + growth log(1 + floor(position / growth_from)), if growth
 *   s[j] = q[t][h] (k[j] - k_mean) scale;  s = cap tanh(s / cap), if cap
 *   s += slopes[h] (j - position), if slopes;  p[j] = 2^(s[j] log2(e) - max)
 *   y[t][h] = sum of p[j] v[j] / (sum of p[j] + 2^(sinks[h] log2(e) - max), if sinks)
 *
 * over positions j up to t's own, the last `window` of them if there is a window; k and v of head
 * h / (H / K), from pages (kv.h). q and p go into products as bfloat16, everything else is float.
 *
 * Both kernels give the same bits, whatever the batch, because the order is a function of
 * positions alone: tiles of 64 positions from 0 on, each with one step of the online softmax; max,
 * sum and output start anew every 256 positions (a split), and the splits are merged in their
 * order. A tile of which a token sees nothing changes none of its bits.
 *
 * Rows: token i of a sequence and head g of the heads that share a key/value head are row
 * i * group + g, so a key that has been loaded serves the whole group. */
#pragma once

#include "step.h"

#include "../batch.h"

#define TILE_POSITIONS  64
#define SPLIT_POSITIONS 256
#define DECODE_ROWS     16 /* of a block */

#define LOG2_E 1.44269504f

struct attend_args {
    const float *qkv;                     /* (T, (H + 2K) * dim) */
    const float *rotary;                  /* (T, 2, rotary_dim/2) or NULL */
    const float *q_norm, *k_norm;         /* (dim) or NULL */
    const float *k_mean;                  /* (K, dim) or NULL */
    const float *slopes, *sinks;          /* (H) or NULL */
    uint16_t *q;                          /* (T, H, width) bfloat16, scratch of prefill.h */
    float *y;                             /* (T, H * dim) */
    uint8_t *pool;                        /* the layer of page 0 */
    const int32_t *sequence, *slot;       /* (T) of the step, as in step.h */
    const int32_t *position;              /* (T); of queries that grow alone */
    const int32_t *first, *length, *page; /* (S + 1), (S), (S, max_pages) */
    uint64_t page_bytes;
    /* Scratch of decode.h. Partial results of splits: max and sum as pairs, outputs (., width);
     * blocks of a sequence and head that have theirs ready, 0 between launches. */
    float *pair, *output;
    uint32_t *arrived;
    int64_t rows_most; /* room in pair and output */
    uint32_t block_bytes;
    int32_t max_pages;
    float scale_log2;         /* scale log2(e) */
    float cap_log2, cap_rate; /* cap log2(e) and 2 / cap; 0: none */
    float eps;
    float growth; /* of queries by position, as in op_attend; 0: none */
    int32_t growth_from;
    int32_t H, K, dim, width;
    int32_t rope;       /* enum rope_kind */
    int32_t rotary_dim; /* columns that turn */
    int32_t window;     /* 0: all positions */
    /* Of this launch: its sequences; places for each: splits, or tiles of rows; places for rows
     * of each split and key/value head. */
    int32_t first_sequence, n_sequences, items, rows;
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

/* The first position that a token at `position` sees. */
BOTH int32_t attend_first_seen(int32_t position, int32_t window)
{
    return window && position >= window ? position - window + 1 : 0;
}

/* Few rows are cut into splits, that the card has enough to do; many into tiles of rows. */
BOTH int attend_is_decode(int32_t n, int32_t length, int32_t H, int32_t K, int64_t rows_most)
{
    int64_t rows = (int64_t)n * (H / K);
    return n == 1 || (rows <= DECODE_ROWS && attend_splits(length) * rows * K <= rows_most);
}

/* Blocks of decode.h for the rows of one split and key/value head. */
BOTH int32_t decode_tiles(int32_t rows)
{
    return (rows + DECODE_ROWS - 1) / DECODE_ROWS;
}

/* Scores of a row that warps exchange, in floats: rows fall on banks 8 apart. */
#define SCORE_PITCH 72

/* Rows and warps of a block of prefill.h, by the width that the kernel serves. */
#define PREFILL_ROWS(W)  ((W) == 128 ? 128 : 64)
#define PREFILL_WARPS(W) ((W) > 64 ? 8 : 4)

/* Tiles of keys and values that a block has in shared memory. int8 and fp8 come to a place of their
 * own and become bfloat16 in another, first the keys, then the values; scales are of two tiles. */
#define ATTEND_STAGES(W, is_scaled) ((is_scaled) || (W) > 128 ? 1 : 2)
#define ATTEND_TILES(W, is_scaled)                                             \
    ((is_scaled) ? 2 * TILE_POSITIONS * (2 * (W)) + 2 * 2 * TILE_POSITIONS * 4 \
                 : ATTEND_STAGES(W, is_scaled) * 2 * TILE_POSITIONS * (2 * (W)))

/* Dynamic shared memory of a block: queries, tiles. */
#define PREFILL_SHARED(W, is_scaled) (2 * (W)*PREFILL_ROWS(W) + ATTEND_TILES(W, is_scaled))

/* A new key or value of a block of decode.h, with its scale. */
#define DECODE_FRESH(W) (2 * (W) + 16)

/* Queries, tiles, scores, and the new keys and values of sequences with n tokens in the step. */
#define DECODE_SHARED(W, is_scaled, n)                                                  \
    (2 * (W)*DECODE_ROWS + ATTEND_TILES(W, is_scaled) + 4 * SCORE_PITCH * DECODE_ROWS + \
     2 * (n)*DECODE_FRESH(W))

#ifndef __CUDACC__
#include "../backend.h"

/* Of the kernels of one kind, which stand in kernels.def in the order bf16_64, bf16_128, bf16_256,
 * int8_64 ... fp8_256: the one for a configuration. */
static inline int32_t attend_variant(const struct device_config *config)
{
    int32_t width = config->dim <= 64 ? 0 : config->dim <= 128 ? 1 : 2;
    return 3 * config->kv_type + width;
}

/* The width that a variant serves at most. */
static inline uint32_t attend_variant_width(int32_t variant)
{
    return 64u << variant % 3;
}
#endif
