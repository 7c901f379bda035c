/* Products for up to 64 tokens: skinny_8, skinny_16, skinny_32, skinny_64 by tokens.
 *
 * Formula and arguments: product.h. Weights are operand A of mma.m16n8k16, tokens operand B, so
 * that one token costs eight columns of an mma and no weight is read twice.
 *
 * Work: a block of 256 threads has 16 rows of one part. Its eight warps are the eight slices of K
 * (layout.h); each streams its tiles straight into registers, two to four ahead, and reads
 * activations from L2. The slices are added in order through shared memory. A gate takes both
 * matrices one after the other.
 * Bytes: the weights once; activations 2 T K for each block, from L2.
 * Target: 80 of 100 of the memory's bandwidth up to 16 tokens; never measured. */
#pragma once

#include "product.h"

#ifndef __CUDACC__
#define SKINNY_MOST 64 /* tokens */

/* Tokens that the kernel for T of them reads. */
int32_t skinny_rows(int32_t T);
int skinny_launch(struct device *device, struct product_args *args);
#endif
