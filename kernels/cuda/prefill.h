/* prefill_bf16_64 ... prefill_int8_256: attention of sequences with many rows. The number is the
 * width that a kernel serves at most.
 *
 * Formula, order of sums and arguments: attend.h. Work: a block has 64 rows of one key/value head
 * and walks over the tiles of 64 positions up to its last row's; masks are applied where the
 * diagonal passes. Four warps have 16 rows each; of width 256, eight, two of which have the same
 * rows and half of the columns each, because the output of a split and the merged one stand in
 * registers both. Tiles with most positions begin first.
 *
 * Shared memory: 64 rows, keys and values of 64 positions: 24, 48 and 96 KiB, and 512 bytes of
 * scales. Bytes: keys and values up to the position once for each 64 rows, from L2 mostly.
 * Target: 30 of 100 of the tensor cores' rate for mma at long prompts; never measured. */
#pragma once

#include "attend.h"

#ifndef __CUDACC__
struct device;
struct batch;

/* For the sequences of the batch that attend_is_decode denies. */
int prefill_launch(struct device *device, struct attend_args *args, const struct batch *batch);
uint32_t prefill_shared(int32_t variant); /* bytes of a block */
#endif
