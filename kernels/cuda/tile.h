/* Products for more tokens than skinny.h has: tile_32_*, tile_64_* and tile_128_bf16, by the tokens
 * of a block, one for each layout.
 *
 * Formula and arguments: product.h. Same arithmetic and order as skinny.h, so the same bits.
 *
 * Work: a warp has two strips, 32 rows of one part, and all tokens of its block; of a gate it has
 * the same strip of both matrices. So weights are made operands once for all tokens, and what is
 * read of activations serves two strips. A block is four or eight warps. All that it needs comes
 * by cp.async into two to four stages of 64 values of K, or of 128 where that is a tile; 16-byte
 * pieces of odd tokens are changed over in halves so that a fragment's loads meet no bank twice.
 * A block goes through K slice after slice: registers hold the slice, shared memory the sum of
 * those before it.
 * Where that makes too few blocks for the card, `split` of them share K, each with some whole
 * slices. The first leaves its sum in scratch, the others those of each slice, and of the warps
 * that share their outputs the last to do so adds all up in order. Nobody waits for anybody.
 * Bytes: for each block, weights of its rows and activations of its tokens, from L2 or memory; if
 * split, up to 8 * 4 for each output, written to L2 and read. So blocks of bfloat16, whose weights
 * are four times those of int4, may have 128 tokens.
 * Target: 60 of 100 of the memory's bandwidth up to 32 tokens, 55 of 100 of the rate of mma.sync
 * from 512 on, where each pair of mma costs eight multiplications by scales and minima. */
#pragma once

#include "product.h"

#define TILE_STRIPS 2 /* of a warp */

struct tile_args {
    struct product_args product;
    float *partial;    /* (warps of all blocks of one z, 9 - SLICES / split, a warp's sums) */
    uint32_t *arrived; /* (warps of all blocks of one z) of the split blocks; zeros in between */
    int32_t stages;    /* 2, 3 or 4 */
    int32_t split;     /* blocks that share K: 1, 2, 4 or 8 */
};

/* Values of K in a stage. has_fp8 here and below: layout_x_is_fp8. */
LAYOUT_FN int tile_stage_width(int layout)
{
    return layout_tile_width(layout) == 128 ? 128 : 64;
}

/* Parts of a stage in shared memory, in their order: numbers and records of `strips`, activations
 * and sums of `tokens`. */
LAYOUT_FN int tile_numbers_bytes(int layout, int strips)
{
    return strips * (tile_stage_width(layout) / layout_tile_width(layout)) * TILE_BYTES;
}

LAYOUT_FN int tile_records_bytes(int layout, int strips)
{
    return strips * (tile_stage_width(layout) / layout_tile_width(layout)) * STRIP_ROWS * 4 *
           layout_words(layout);
}

LAYOUT_FN int tile_x_bytes(int layout, int tokens, bool has_fp8)
{
    return tokens * tile_stage_width(layout) * (layout_x_is_fp8(layout, has_fp8) ? 1 : 2);
}

LAYOUT_FN int tile_sums_bytes(int layout, int tokens)
{
    return layout_has_min(layout) ? tokens * tile_stage_width(layout) / CHUNK * 4 : 0;
}

LAYOUT_FN int tile_stage_bytes(int layout, int strips, int tokens, bool has_fp8)
{
    return tile_numbers_bytes(layout, strips) + tile_records_bytes(layout, strips) +
           tile_x_bytes(layout, tokens, has_fp8) + tile_sums_bytes(layout, tokens);
}

/* After the stages: what each of a block's warps keeps of the slices before. */
LAYOUT_FN int tile_sum_bytes(int warps, int tokens)
{
    return warps * TILE_STRIPS * STRIP_ROWS * tokens * 4;
}

#ifndef __CUDACC__
struct err;

/* Tokens that the kernel for T of them reads. */
int32_t tile_rows(int32_t T);
/* How a product is cut, for as few and as full rounds of blocks as there may be. */
struct tile_cut {
    int32_t tokens, warps; /* of a block: 32, 64 or 128; 4 or 8 */
    int32_t split;         /* blocks that share K: 1, 2, 4 or 8 */
    int32_t per_sm;        /* blocks that an SM has room for */
    int32_t stages;
};
/* Of parts of one layout. */
struct tile_cut tile_cut_of(const struct device *device, const struct product_args *args);
/* For blocks of so many tokens, of which there are so many: fills in args but for the product, and
 * returns what it is launched with. */
struct grid tile_prepare(struct device *device, struct tile_args *args, int32_t tokens,
                         int32_t token_blocks);
int32_t tile_kernel(int32_t layout, int32_t tokens); /* enum kernel */
int tile_launch(struct device *device, const struct product_args *args);
/* Shared memory of the kernels, counters of blocks that share K; once, at open. */
int32_t tile_open(struct device *device, struct err *err);

/* Scratch for blocks that share K: what one launch may use, after the activations. */
#define TILE_ARRIVED_MOST  4096
#define TILE_PARTIAL_BYTES (16 << 20)
#define TILE_SCRATCH_BYTES (TILE_PARTIAL_BYTES + TILE_ARRIVED_MOST * 4)
#endif
