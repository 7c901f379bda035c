/* Products for up to 16 tokens: skinny_1, skinny_8 and skinny_16 by tokens, each for every layout.
 *
 * Formula and arguments: product.h. Weights are operand A of mma.m16n8k16, tokens operand B, so
 * that one token costs eight columns of an mma and no weight is read twice. Parts of one layout
 * go in one launch.
 *
 * Work: a group of 256 threads goes through strips of 16 rows, of a gate through both matrices of
 * each; the strips are dealt out to all groups of all blocks in turn. Its eight warps are the eight
 * slices of K (layout.h). Each copies its tiles with their records into a ring of its own in shared
 * memory, which runs on over strips: while one is summed up the next is on its way, 32 to 40 KiB of
 * a group. The slices are added in their order through shared memory, with one barrier for each
 * strip. The first copies begin before the kernels before have ended (depend.cuh).
 * skinny_1 prepares its row itself in shared memory, meanwhile; skinny_8 and skinny_16 read
 * activations from L1 and L2, and so does a row too wide for shared memory.
 * From capability 9.0 on a large product of skinny_1 has one block of four groups on each SM, which
 * leaves no room for another. With smaller blocks those of the next kernel, which begins meanwhile,
 * would come to lie where there is room, not evenly, and so would those of the kernel after it:
 * each would wait for the SMs that have most.
 * Bytes: the weights once; of skinny_1 8 K for each block from L2, else 2 T K for each strip, T K
 * where activations are E4M3.
 * Target: 80 of 100 of the memory's bandwidth for matrices of 32 MiB and more. */
#pragma once

#include "product.h"

#define SKINNY_DEPTH   4             /* tiles of a warp's ring */
#define SKINNY_THREADS (SLICES * 32) /* of a group */

/* Groups of a block, at most. tokens here and below: 1, 8 or 16. */
LAYOUT_FN int skinny_groups(int tokens)
{
    return tokens == 1 ? 4 : 1;
}

struct skinny_args {
    struct product_args product; /* parts of one layout; x and sums: not of skinny_1 */
    struct product_input input;  /* of skinny_1 */
    int32_t n_strips;            /* of all parts; of one for a gate */
};

/* Bytes of a tile with its records. */
LAYOUT_FN int skinny_slot(int layout)
{
    return TILE_BYTES + STRIP_ROWS * 4 * layout_words(layout);
}

/* Shared memory: of a group its rings and sums of slices, twice; of a block the row. */
LAYOUT_FN int skinny_rings(int layout)
{
    return SLICES * SKINNY_DEPTH * skinny_slot(layout);
}

LAYOUT_FN int skinny_partials(int tokens)
{
    return 2 * SLICES * STRIP_ROWS * tokens * 4;
}

/* The row with the sums of its chunks, if it is bfloat16; has_fp8: layout_x_is_fp8. */
LAYOUT_FN int skinny_row(int layout, int padded, bool has_fp8)
{
    return layout_x_is_fp8(layout, has_fp8) ? padded : padded * 2 + padded / CHUNK * 4;
}

LAYOUT_FN int skinny_shared(int layout, int tokens, int groups, int padded, bool has_fp8)
{
    const int row = tokens == 1 ? skinny_row(layout, padded, has_fp8) : 0;
    return groups * (skinny_rings(layout) + skinny_partials(tokens)) + row;
}

#ifndef __CUDACC__
struct err;

#define SKINNY_MOST 16 /* tokens */

/* Shared memory limits of the kernels; once, at open. */
int32_t skinny_open(struct device *device, struct err *err);
/* The kernel prepares the row itself. */
bool skinny_takes_input(const struct device *device, const struct product_input *input,
                        const struct product_args *args);
/* Tokens that the kernel for T of them reads. */
int32_t skinny_rows(int32_t T);
/* input: NULL unless skinny_takes_input; then the prepared one is in product. */
int skinny_launch(struct device *device, const struct product_input *input,
                  const struct product_args *product);
#endif
