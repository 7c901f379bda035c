/* Logits -> token, for one row. Every filter is one small function in one chain:
 * logit bias, penalties, end tokens, temperature, min-p, top-k, top-p, draw. Greedy
 * (the lowest id among equals) if temperature < 1e-5, top_k is 1, top_p is 0, min_p is
 * 1 or the largest logit is infinite. top_k and top_p keep the lowest ids among equals;
 * top_p is a share of what the filters before it left. A draw depends on the logits and
 * on (seed, position, choice) alone. Ids outside of the row are ignored, NaN is -inf. */
#pragma once

#include "config/sampling.h"

#include "../kernels/batch.h"

/* One row to sample. */
struct sample_input {
    float *logits;             /* (V); changed in place */
    struct logit_block *block; /* (logit_blocks(V)) notes of them; changed in place */
    float scale;               /* of the notes' sums: sample_scale of the sampling and V */
    int32_t V;
    const struct sampling *sampling;
    const int32_t *token; /* (n_token) prompt and generated tokens so far */
    int32_t n_token, n_prompt;
    uint32_t choice;
    const int32_t *end; /* (n_end) ids that end generation; barred while n_token - n_prompt <
                           min_tokens or with ignore_eos */
    int32_t n_end;
};

/* Whether the largest logit is all that matters. */
bool sample_is_greedy(const struct sampling *sampling);

/* The scale with which the head has to take notes for this sampling: a number > 0 if it
 * needs the sum of all weights. */
float sample_scale(const struct sampling *sampling, int32_t V);

/* Numbers of scratch that sample_row needs. */
uint64_t sample_scratch(int32_t V);

/* scratch: (sample_scratch(V)) of its own per concurrent caller. Gives a token in 0 .. V-1, and log
 * probabilities if logprobs >= 0; false, and token 0, if after the edits every logit is NaN or
 * -inf. V >= 1. [any thread] */
bool sample_row(const struct sample_input *input, uint64_t *scratch, struct sample_output *output);
