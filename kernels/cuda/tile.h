/* Products for many tokens: tile_bf16 ... tile_int8_k16, one for each layout.
 *
 * Formula and arguments: product.h. Same arithmetic and order as skinny.h, so the same bits.
 *
 * Work: a block of 256 threads has 128 rows of one part and 64 tokens. Each of its eight warps
 * has 16 rows and goes through all of K, slice after slice: acc holds the slice, total the slices
 * before it. Activations come by cp.async into three stages of 128 values of K in shared memory
 * (48 KiB), 16-byte pieces of odd rows changed over in halves so that a fragment's loads meet no
 * bank twice; weights go straight to registers, a tile ahead. Parts of one layout go in
 * one launch. A gate is two: the first leaves its outputs in y, the second finds them there.
 * Bytes: for each block, from L2 or memory, weights of 128 rows and activations of 64 tokens.
 * Target: 60 of 100 of the rate of mma.sync where T >= 512; never measured. */
#pragma once

#include "product.h"

#ifndef __CUDACC__
/* Tokens that the kernel for T of them reads. */
int32_t tile_rows(int32_t T);
/* Blocks that it runs as, for the choice between it and skinny.h. */
int32_t tile_blocks(const struct product_args *args);
int tile_launch(struct device *device, struct product_args *args);
#endif
