/* decode_bf16_64 ... decode_int8_256, decode_merge: attention of sequences with few rows. The
 * number is the width that a kernel serves at most.
 *
 * Formula, order of sums and arguments: attend.h. Work: a block of 128 threads has one split of
 * 256 positions of one key/value head and 16 rows; its four warps share positions for the scores
 * and columns for the output. Blocks of sequences that prefill.h has, or whose length is reached,
 * end at once. A split that is a sequence's only one gives y itself, others go to scratch, and
 * decode_merge merges them: a warp for 32 columns of a row, splits in order.
 *
 * Shared memory: 64 positions of keys and of values, 16 rows and their scores: 22, 40 and 76 KiB.
 * Bytes: keys and values of all positions once for each 16 rows of a group (4 dim or 2 dim + 8 a
 * position and head), and 4 (width + 2) for each row and split, twice. Target: 75 of 100 of the
 * bandwidth where there are more blocks than fit on the card; never measured. */
#pragma once

#include "attend.h"

#ifndef __CUDACC__
struct device;
struct batch;

/* For the sequences of the batch that attend_is_decode says. */
int decode_launch(struct device *device, struct attend_args *args, const struct batch *batch);
uint32_t decode_shared(int32_t variant); /* bytes of a block */
#endif
