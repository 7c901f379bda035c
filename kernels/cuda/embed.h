/* The operation embed.
 *
 *   x[t] = table[token[t]]
 *   rotary[t] = (cos(position[t] * freq[i]), i < dim / 2; sin of the same) * rotary_scale
 *
 * Values of the table are those of the file, float32 and float16 rounded to bfloat16 (layout.h).
 * Angles are products in double, exact up to 2^29, and are reduced in double.
 * Work: a block of 256 threads for each token. Bytes: a row of the packed table, 4 D written.
 * Target: bound by latency; never measured. */
#pragma once

#include <stdint.h>

struct embed_args {
    const uint8_t *table;    /* (V, D) packed */
    const int32_t *token;    /* (T) */
    const int32_t *position; /* (T) */
    const float *freq;       /* (dim / 2) */
    float *x;                /* (T, D) */
    float *rotary;           /* (T, 2, dim / 2) */
    float rotary_scale;
    int32_t layout; /* enum layout of table */
    int32_t D, dim;
};
