/* Sampling a row of logits in a test, as the engine does. */
#pragma once

#include "t.h"

#include "logits_row.h"

#include "plugin/logits.h"
#include "plugin/sample.h"

static float row[MAX_V];
static uint64_t scratch[2 * MAX_V];
static struct logit_block block[MAX_V];
static struct sample_output out;

static struct sampling plain(void)
{
    return (struct sampling){
        .temperature = 1, .top_p = 1, .repetition_penalty = 1, .n = 1, .logprobs = -1, .seed = 7};
}

/* With notes of the row, which the head takes there. */
static bool sample_noted(const struct sample_input *input)
{
    struct sample_input in = *input;
    struct logits l;
    in.block = block;
    in.scale = sample_scale(in.sampling, in.V);
    logits_scan(&l, in.logits, in.V, block, in.scale);
    return sample_row(&in, scratch, &out);
}

/* Samples a copy of model at a position of a sequence without tokens that matter. */
static bool sample(const struct sampling *s, int32_t V, int32_t position)
{
    static int32_t token[100000];
    struct sample_input in = {.logits = row,
                              .V = V,
                              .sampling = s,
                              .token = token,
                              .n_token = position,
                              .n_prompt = position};
    memcpy(row, model, (size_t)V * sizeof *row);
    return sample_noted(&in);
}
