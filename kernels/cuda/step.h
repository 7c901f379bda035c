/* A batch as kernels see it: flat arrays in device memory, copied in one piece per step. */
#pragma once

#include <stdint.h>

/* Device pointers; by value in the arguments of kernels. The same for host code and nvcc. */
struct step_view {
    const int32_t *token;    /* (T); below 0: chosen for row -1 - token by the step before */
    const int32_t *position; /* (T) */
    const int32_t *sequence; /* (T) the sequence a token is of, 0 .. S - 1 */
    const int32_t *slot;     /* (T) page * 16 + position % 16, where its key and value go */
    const int32_t *first;    /* (S + 1) rows of sequence s: [first[s], first[s + 1]) */
    const int32_t *length;   /* (S) positions of it after this step */
    const int32_t *page;     /* (S, max_pages) */
    const int32_t *row;      /* (R) */
    const float *scale;      /* (R); 0: no sums */
    const int32_t *parity; /* 0, 1 by turns: the half of `chosen` that this step fills (ahead.h) */
    const struct row_choice *choice; /* (R), if the device chooses */
    const struct logit_edit *edit;   /* of all rows */
    int32_t T, S, R, max_pages;
};

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
    const struct batch *of; /* the batch the view shows */
};

/* Bytes of one copy. */
uint64_t step_bytes(const struct device_config *config);
/* Queues the copy of a batch; the first operation of a run does it, later ones find it. */
int step_upload(struct device *device, const struct batch *batch);
#endif
