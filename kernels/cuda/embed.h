/* The operation embed.
 *
 *   x[t] = table[token[t]]
 *   rotary[t] = (cos(position[t] * freq[i]), i < dim / 2; sin of the same) * rotary_scale
 *
 * Values of the table are those of the file, float32 and float16 rounded to bfloat16 (layout.h).
 * Angles are products in double, exact up to 2^29, and are reduced in double.
 * Work: of each token D / 2048 blocks of 256 threads for x, with eight values a thread, those of a
 * lane and a chunk (layout.h), and one more for the rotary table. No loads wait for others but for
 * the token, which may be one that the step before has chosen.
 * Bytes: a row of the packed table, 4 D written. Target: bound by latency. */
#pragma once

#include <stdint.h>

#define EMBED_THREADS 256

struct embed_args {
    const uint8_t *table;    /* (V, D) packed */
    const int32_t *token;    /* (T), as in struct step_view */
    const int32_t *chosen;   /* (2, stride), ahead.h */
    const int32_t *parity;   /* 0 or 1: tokens are read from the other half */
    const int32_t *position; /* (T) */
    const float *freq;       /* (dim / 2) */
    float *x;                /* (T, D) */
    float *rotary;           /* (T, 2, dim / 2) */
    float rotary_scale;
    int32_t layout; /* enum layout of table */
    int32_t D, dim, stride;
};
