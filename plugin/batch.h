/* The scheduler's picks as the flat arrays of one forward pass. */
#pragma once

#include "seq.h"

struct batch_space {
    const struct mem *mem; /* borrowed */
    struct batch batch;    /* points into the arrays below */
    struct seq **sampled;  /* (batch.R) whose next token comes from row r of the logits */
    struct seq **picked;   /* (batch.S) whose tokens these are; of both arrays, NULL: has gone */
    int32_t n_decode;      /* of these, with one token that was the only one left */
    uint64_t begun_ns;     /* clock at which the step was launched */
    int32_t max_tokens, max_sequences;
    int32_t *token, *position, *row; /* owned, one block with all the rest */
    struct batch_seq *seq;
    float *scale;
};

/* Host memory of a batch_space. */
uint64_t batch_bytes(int32_t max_tokens, int32_t max_sequences);

/* Room for the largest step. */
int32_t batch_init(struct batch_space *b, const struct mem *mem, int32_t max_tokens,
                   int32_t max_sequences, struct err *err);
void batch_release(struct batch_space *b);

/* Sequences keep their order. One has a row of logits only if this step computes the
 * last of its tokens. pick: (n) with n_step > 0, in sum at most max_tokens. */
void batch_build(struct batch_space *b, struct seq *const *pick, int32_t n);

/* A sequence's memory goes while the step is under way: the step asks for it no more. */
void batch_forget(struct batch_space *b, const struct job *job);
