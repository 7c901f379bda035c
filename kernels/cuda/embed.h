/* The operation embed.
 *
 *   x[t] = table[token[t]] * scale + row[position[t]]
 *   rotary[j][t] = (cos(position[t] * freq[j][i]), i < dim / 2; sin of the same) * rotary_scale[j]
 *
 * Values of the table are those of the file, float32 and float16 rounded to bfloat16 (layout.h);
 * the scale multiplies them as float32, so that 1 leaves them what they are.
 * Angles are products in double, exact up to 2^29, and are reduced in double.
 * Work: of each token D / 2048 blocks of 256 threads for x, with eight values a thread, those of a
 * lane and a chunk (layout.h), and one more for each rotary table. No loads wait for others but for
 * the token, which may be one that the step before has chosen.
 * Bytes: a row of the packed table, 4 D of the other, 4 D written; of a rotary table 2 dim read and
 * 4 dim written.
 * Target: bound by latency. */
#pragma once

#include "../ops.h"

#include <stdint.h>

#define EMBED_THREADS 256

struct embed_args {
    const uint8_t *table;    /* (V, D) packed */
    const int32_t *token;    /* (T), as in struct step_view */
    const int32_t *chosen;   /* (2, stride), ahead.h */
    const int32_t *parity;   /* 0 or 1: tokens are read from the other half */
    const int32_t *position; /* (T) */
    const float *row;        /* (max_context, D), 16-byte aligned, or NULL */
    float *x;                /* (T, D) */
    float scale;
    int32_t n_rotary;                 /* how many of these there are */
    float *rotary[ROTARY_KINDS];      /* (T, 2, dim / 2) each */
    const float *freq[ROTARY_KINDS];  /* (dim / 2) each */
    float rotary_scale[ROTARY_KINDS]; /* of cos and sin */
    int32_t layout;                   /* enum layout of table */
    int32_t D, dim, stride;
};
