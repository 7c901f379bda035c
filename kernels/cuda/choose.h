/* Tokens of the step's rows, chosen on the device.
 *
 *   logits[r][token]  changes by the row's edits, and so do the notes of its block
 *   chosen[r]         the token, as plugin/sample.c has it; -1 if no logit is finite
 *   report            of rows that ask for them, log probabilities of the logits before their
 *                     edits: the token's and those of the n_top largest, in descending order
 *
 * All rows are chosen here but where the host is to see logits (engine_set_tap), where a step has
 * more than STEP_EDITS edits, and from vocabularies of more than CHOICE_V_MOST tokens.
 *
 * Weights are added in units of 2^-44, integers that no order of adding matters to, and within a
 * block of logits as floats in one order: a token depends on its row, its choice and its edits
 * alone. So does a log probability, on its row's logits alone: by less than 4e-6 and 2^-23 of
 * itself it is not that of sums in double.
 *
 * Work: a block of 1024 threads for each row. The notes say which blocks of 128 logits matter:
 * the largest logit is in one of them, top-k and min-p need little more than what they keep, and
 * temperature alone needs the one in which the draw ends. Top-p alone is by rejection as on the
 * host: a draw is kept if what comes before it weighs less than its share, and only blocks whose
 * maximum is before it are read again. Sets that top-k and top-p cut are found by radix, 8 bits of
 * the logits at a time from the highest in which they differ. Log probabilities (logprob.cuh) take
 * their sum from the notes, or read the row again if the notes' sums are of another temperature;
 * the n_top largest are in as many blocks. Rows without them do nothing of this.
 * Bytes: 8 R V / 128 of notes and from L2 what is said above, at most 4 R V a pass.
 * Target on an H100 with V = 128256: 5 us greedy, 20 us with filters, R <= 132, and 8 us more with
 * 20 alternatives, which was never measured. */
#pragma once

#include "../batch.h"

#define CHOOSE_THREADS 1024
#define CHOOSE_BLOCKS  (CHOICE_V_MOST / LOGIT_BLOCK)

struct choose_args {
    float *logits;             /* (R, V) */
    struct logit_block *block; /* (R, n_blocks) */
    const float *scale;        /* (R) of the sums in block */
    const struct row_choice *choice;
    const struct logit_edit *edit;
    float *raw;            /* (STEP_EDITS) room for logits as they were before their edits */
    int32_t *chosen;       /* (2, stride): tokens of the rows, then reports; ahead.h */
    const int32_t *parity; /* the half that is written; pending rows are in the other */
    int32_t V, n_blocks, stride;
};

/* What is told of a row with log probabilities. */
struct row_report {
    int32_t row;
    struct sample_output output;
};

#ifndef __CUDACC__
struct device;
struct op_head;

/* Behind the head, for a batch with choices. */
int choose_launch(struct device *device, const struct op_head *op);
#endif
