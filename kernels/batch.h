/* What one forward pass reads beside the plan: flat arrays, built by the engine
 * for each step and read by every operation. Host memory. */
#pragma once

#include <stdint.h>

#define PAGE_TOKENS 16 /* positions of one KV page */

/* One sequence's share of the step: n consecutive tokens at rows [first, first + n)
 * and positions [position, position + n). */
struct batch_seq {
    int32_t first, n;
    int32_t position;
    const int32_t *page; /* page of positions [16 i, 16 i + 16); long enough for position + n */
};

/* Consecutive logits of a row that the head takes notes of, so that sampling need not read
 * them all again; the last block of a row has fewer. */
#define LOGIT_BLOCK 128

/* NaN counts as absent. */
struct logit_block {
    float max; /* -inf: there is nothing but NaN and -inf */
    float sum; /* of e^((logit - max) * scale), if the batch has a scale for the row */
};

static inline int32_t logit_blocks(int32_t V)
{
    return (V + LOGIT_BLOCK - 1) / LOGIT_BLOCK;
}

struct batch {
    int32_t T;                   /* tokens, 1 .. the device's max_tokens */
    int32_t S;                   /* sequences, 1 .. T */
    int32_t R;                   /* rows to compute logits for, 0 .. T */
    const int32_t *token;        /* (T) */
    const int32_t *position;     /* (T) */
    const struct batch_seq *seq; /* (S), rows in order without gaps */
    const int32_t *row;          /* (R) token rows, ascending */
    const float *scale;          /* (R) of the sums in the notes; 0 or NULL: there are none */
};
