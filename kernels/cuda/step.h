/* A batch as kernels see it: flat arrays in device memory, copied in one piece per step. */
#pragma once

#include <stdint.h>

/* Device pointers; by value in the arguments of kernels. The same for host code and nvcc. */
struct step_view {
    const int32_t *token;    /* (T) */
    const int32_t *position; /* (T) */
    const int32_t *sequence; /* (T) the sequence a token is of, 0 .. S - 1 */
    const int32_t *slot;     /* (T) page * 16 + position % 16, where its key and value go */
    const int32_t *first;    /* (S + 1) rows of sequence s: [first[s], first[s + 1]) */
    const int32_t *length;   /* (S) positions of it after this step */
    const int32_t *page;     /* (S, max_pages) */
    const int32_t *row;      /* (R) */
    const float *scale;      /* (R); 0: no sums */
    int32_t T, S, R, max_pages;
};

#ifndef __CUDACC__
#include <stddef.h>

struct device;
struct batch;
struct device_config;

/* Both copies of the arrays and the view of the current batch. */
struct step {
    void *host;              /* pinned, (bytes) */
    unsigned long long data; /* device, (bytes) */
    size_t bytes;
    struct step_view view;
    const struct batch *of; /* the batch the view shows */
};

uint64_t step_bytes(const struct device_config *config);
/* Queues the copy of a batch; the first operation of a run does it, later ones find it. */
int step_upload(struct device *device, const struct batch *batch);
#endif
