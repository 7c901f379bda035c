/* decode_bf16_64 ... decode_int8_256: attention of sequences with few rows, from the rows of the
 * product before it, in one launch. The number is the width that a kernel serves at most.
 *
 * Formula, order of sums and arguments: attend.h; what is done to heads first: rotate.h. Work: a
 * block of 128 threads has one split of 256 positions of one key/value head and 16 rows; its four
 * warps share positions for the scores and columns for the output. It rotates its queries itself,
 * and the step's own keys and values as far as they are in its split: it uses them from shared
 * memory, and the first block of a split and head writes them to their pages. So no block waits
 * for another. A split that is a sequence's only one gives y itself; of several, each goes to
 * scratch, and the block that is ready last merges them, in the order of splits.
 *
 * Blocks of sequences that prefill.h has, beyond their length or before their window, end at once;
 * those of dead rows (step.h) leave zeros in y.
 * The positions before the step were written by earlier steps, which had ended before this step's
 * batch was copied to the card: their first tiles are fetched before the kernels of this step have
 * ended.
 *
 * Shared memory: two tiles of 64 positions of keys and values for widths 64 and 128, one for 256;
 * of int8 one as it is and one of keys or values in bfloat16; 16 rows and their scores; the step's
 * own keys and values: 39, 73 and 78 KiB for one token, of int8 24, 42 and 79. Bytes: keys and
 * values of all positions once for each 16 rows of a group (4 dim or 2 dim + 8 a position and
 * head), and where there are splits 4 (width + 2) for each row and split, written and read. Target:
 * 75 of 100 of the bandwidth where there are more blocks than fit on the card; otherwise latency, 4
 * us for a sequence of few positions. */
#pragma once

#include "attend.h"

#ifndef __CUDACC__
struct device;
struct batch;

/* For the sequences of the batch that attend_is_decode says. */
int decode_launch(struct device *device, struct attend_args *args, const struct batch *batch);
/* Bytes of a block for sequences of n tokens, DECODE_ROWS at most. */
uint32_t decode_shared(int32_t variant, int32_t n);
#endif
