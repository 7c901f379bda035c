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

/* What a row's logit becomes before anything is chosen: bias is added, then the penalties of
 * its row if the token occurs in the text, and barred is -inf. One for each token at most. */
struct logit_edit {
    int32_t token;
    float bias;
    int32_t n_generated; /* times it was generated; -1: it occurs nowhere */
    int32_t is_barred;
};

/* Edits of one step that there is room for. */
#define STEP_EDITS 65536

/* Of a vocabulary that a device chooses from. */
#define CHOICE_V_MOST 262144

/* Most alternatives that are told with a token. */
#define TOP_LOGPROBS 20

struct token_logprob {
    int32_t token;
    float logprob; /* natural log, of the model's own distribution before any edit or filter */
};

/* What a row gives. */
struct sample_output {
    int32_t token;
    float logprob; /* if log probabilities were asked for */
    int32_t n_top;
    struct token_logprob top[TOP_LOGPROBS]; /* descending logits, the lowest id among equals */
};

/* How a device chooses the token of a row; plugin/sample.h says what each filter keeps. */
struct row_choice {
    uint64_t seed;
    uint32_t position, choice;             /* of the draw: rng_attempt(seed, position, choice, .) */
    float temperature;                     /* 0: the largest logit, the lowest id among equals */
    float top_p, min_p;                    /* 1, 0: all */
    int32_t top_k;                         /* 0: all */
    float repetition, presence, frequency; /* penalties; 1, 0, 0: none */
    int32_t pending; /* row of the step before whose token occurs once more; -1: all is in edits */
    int32_t first_edit; /* the row's edits: [first_edit, first_edit + n_edit) */
    int32_t n_edit;
    int32_t report; /* 1 + which of the step's rows with log probabilities it is; 0: none */
    int32_t n_top;  /* alternatives asked for, 0 .. TOP_LOGPROBS */
};

struct batch {
    int32_t T;                       /* tokens, 1 .. the device's max_tokens */
    int32_t S;                       /* sequences, 1 .. T */
    int32_t R;                       /* rows to compute logits for, 0 .. T */
    const int32_t *token;            /* (T); below 0: what was chosen for row -1 - token of the step
                                    that was launched before */
    const int32_t *position;         /* (T) */
    const struct batch_seq *seq;     /* (S), rows in order without gaps */
    const int32_t *row;              /* (R) token rows, ascending */
    const float *scale;              /* (R) of the sums in the notes; 0 or NULL: there are none */
    const struct row_choice *choice; /* (R), with launch alone; NULL: the host chooses */
    const struct logit_edit *edit;   /* (n_edit) of all rows */
    int32_t n_edit;
    int32_t n_report; /* rows whose choice asks for log probabilities */
};
