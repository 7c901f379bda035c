/* A batch as kernels see it: flat arrays in device memory, copied in one piece per step.
 *
 * A step that is recorded (graph.h) has dead rows behind its own, up to a size that many steps
 * share: T, S and R of the view are the kernels' work, those of the batch what somebody asked for.
 * A dead row is token 0 at position 0, in a sequence of its own of length 0, without a slot:
 * attention reads and writes no page for it and gives zeros. A dead row of logits is that of row 0
 * once more; its notes say that there is no logit, so that nothing is chosen from it, and nobody
 * reads what is behind the batch's rows. So the arrays between operations need room for the rows of
 * the view, max_tokens and max_rows at most. */
#pragma once

#include <stdint.h>

/* Device pointers; by value in the arguments of kernels. The same for host code and nvcc. */
struct step_view {
    const int32_t *token;    /* (T); below 0: chosen for row -1 - token by the step before */
    const int32_t *position; /* (T) */
    const int32_t *sequence; /* (T) the sequence a token is of, 0 .. S - 1 */
    const int32_t *slot;     /* (T) page * 16 + position % 16 of its key and value; -1: dead */
    const int32_t *first;    /* (S + 1) rows of sequence s: [first[s], first[s + 1]) */
    const int32_t *length;   /* (S) positions of it after this step; 0: dead */
    const int32_t *page;     /* (S, max_pages) */
    const int32_t *row;      /* (R) */
    const float *scale;      /* (R); 0: no sums; SCALE_DEAD: nobody wants the row */
    const int32_t *parity; /* 0, 1 by turns: the half of `chosen` that this step fills (ahead.h) */
    const struct row_choice *choice; /* (R), if the device chooses */
    const struct logit_edit *edit;   /* of all rows */
    int32_t T, S, R, max_pages;
    int32_t n_report; /* rows with log probabilities, if the device chooses */
};

#define SCALE_DEAD (-1.0f)

#ifndef __CUDACC__
#include <stddef.h>

struct device;
struct batch;
struct device_config;

/* The copies of the arrays and the view of the current batch. A step that is launched while one
 * is under way has pinned arrays of its own, for the copy of the other may not have been made. */
struct step {
    void *host[2];           /* pinned, (bytes) each */
    int32_t parity;          /* of the current step: which of these, and struct step_view */
    unsigned long long data; /* device, (bytes) */
    size_t bytes;
    struct step_view view;
    int32_t rows;           /* R of the batch, without dead ones */
    const struct batch *of; /* the batch the view shows */
};

/* Bytes of one copy. */
uint64_t step_bytes(const struct device_config *config);
/* Queues the copy of a batch; the first operation of a run does it, later ones find it. */
int step_upload(struct device *device, const struct batch *batch);
/* Tokens of a batch as kernels see it, for an operation that reads none of the arrays and may be
 * the only one of its run. */
int32_t step_tokens(const struct device *device, const struct batch *batch);
#endif
