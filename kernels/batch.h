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

struct batch {
    int32_t T;                   /* tokens, 1 .. the device's max_tokens */
    int32_t S;                   /* sequences, 1 .. T */
    int32_t R;                   /* rows to compute logits for, 0 .. T */
    const int32_t *token;        /* (T) */
    const int32_t *position;     /* (T) */
    const struct batch_seq *seq; /* (S), rows in order without gaps */
    const int32_t *row;          /* (R) token rows, ascending */
};
