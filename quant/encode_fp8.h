/* The encoders of fp8 and fp8_128, see encode.h. */
#pragma once

#include "fp8_128.h"

#include <stdint.h>

/* The scale with which the largest magnitude becomes the largest number. */
float fp8_whole_scale(float largest);

/* The scale of a row by the search that encode.h describes. weight: (n) what the square of a
 * value's error counts, or NULL: all the same. */
float fp8_fit(const float *value, const float *weight, int64_t n, float largest);

/* A row, of which every value becomes the nearest number times the scale: 4 + n bytes. */
void encode_fp8(const float *value, int64_t n, float scale, uint8_t *row);

/* The same of blocks, each with the whole scale of a largest magnitude. */
void encode_fp8_128(const float *value, int64_t n, const float *largest, struct fp8_128 *row);
