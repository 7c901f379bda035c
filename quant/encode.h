/* Float rows -> rows of the formats that weights are converted to: fp8, fp8_128, int8, q8_0,
 * int4_32, int4_64, int4_128. The same values give the same bits on every machine.
 *
 * fp8           of 16 scales from the largest magnitude of the row / 448 up to nearly twice that,
 *               each rounded up to a bfloat16, the one with the least squared error; each value
 *               becomes the nearest E4M3 number.
 * fp8_128       scale = the largest magnitude of the 128 x 128 values / 448; the same.
 * int8          scale = the largest magnitude of the row / 127; integers -127 .. 127.
 * q8_0          scale = the largest magnitude of 32 values / 127, as a half; the same.
 * int4          each group for itself: of ENCODE_CLIPS ranges from the whole one down to half of
 *               it, each with its zero point, that one whose integers, with the scale that fits
 *               them best (least squares), are nearest to the values; of those that a search in
 *               three rounds looks at, ten. The scale is rounded to a
 *               half, and the values to the multiples of that. */
#pragma once

#include "quant.h"

#include <stdbool.h>

#define ENCODE_CLIPS 21
#define ENCODE_BLOCK 128 /* values and rows that share a scale in fp8_128 */

/* Whether there is an encoder. */
bool encode_serves(enum fmt fmt);

/* The largest magnitude of n values; infinity or NaN if one of them is not a number. */
float encode_largest(const float *value, int64_t n);

/* The largest magnitude that fmt can hold; what int4 cannot would need a scale beyond a half. */
float encode_most(enum fmt fmt);

/* So that largest is most times the scale. Never so small that its inverse overflows or that a
 * device takes it for zero, nor so large that most times it overflows. */
float encode_scale(float largest, float most);

/* A row of q8_0 whose scales are, if is_bf16, also bfloat16 numbers, rounded up. */
void encode_q8_0(const float *value, int64_t n, bool is_bf16, void *row);

/* One row of n values, none above encode_most. largest: of fp8 and int8 the row's; of fp8_128
 * (n / 128), for each 128 columns that of the block of rows; of others not read. */
void encode_row(enum fmt fmt, const float *value, int64_t n, const float *largest, void *row);
