/* prefill_bf16_64 ... prefill_int8_256: attention of sequences with many rows. The number is the
 * width that a kernel serves at most.
 *
 * Formula, order of sums and arguments: attend.h. Work: rotate.h first; then a block has 128 rows
 * of one key/value head (64 of width 64 and 256) and walks over the tiles of 64 positions from the
 * first that its first row sees up to its last row's; masks are applied where the diagonal passes
 * or a window begins. Each warp has 16 rows; of width 256, two warps have the same rows and half of
 * the columns each, because the output of a split and the merged one stand in registers both.
 * Blocks with most positions begin first.
 *
 * Two tiles of bfloat16 up to width 128 are in shared memory, so that one loads while the other is
 * used and warps wait for each other once a tile; otherwise there is a place for keys and one for
 * values. A warp reads 32 KiB of shared memory for 128 products of 16 x 8 x 16, which is the limit:
 * 70 of 100 of the rate of mma at 128 bytes a clock.
 *
 * Shared memory: rows and tiles, 40, 96 and 96 KiB; of int8 25, 65 and 97. Bytes: keys and values
 * up to the position once for each block, from L2 mostly. Target: 40 of 100 of the tensor cores'
 * rate for mma (250 TFLOP/s on an H100) at prompts of 2048 and more. */
#pragma once

#include "attend.h"

#ifndef __CUDACC__
struct device;
struct batch;

/* For the sequences of the batch that attend_is_decode denies. */
int prefill_launch(struct device *device, struct attend_args *args, const struct batch *batch);
uint32_t prefill_shared(int32_t variant); /* bytes of a block */
#endif
