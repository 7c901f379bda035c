/* The operation head: prepare.h gathers rows, product.h gives logits, with a bias if there is one,
 * head_notes caps them, if there is a cap, and gives their notes.
 *
 *   logits[r][v] = cap tanh(that / cap) = cap - 2 cap / (1 + e^(that 2 / cap))
 *   block[r][b].max = largest of logits[r][128 b ..], NaN left out, -inf if there is none
 *   block[r][b].sum = sum of e^((logit - max) * scale[r]), if scale[r] > 0 and max > -inf
 *
 * Work: a warp for each block of 128 logits, in a fixed order. Bytes: 4 R V read, from L2 where
 * it holds the logits, and as many written if they are capped. Target: 80 of 100 of that
 * bandwidth; never measured. */
#pragma once

#include "step.h"

#include "../batch.h"

struct head_args {
    float *logits;             /* (R, V) */
    const float *scale;        /* (R); SCALE_DEAD: the notes are of no logits */
    struct logit_block *block; /* (R, logit_blocks(V)) */
    float cap, cap_rate;       /* 2 / cap; 0: there is none */
    int32_t V, n_blocks;
};
