/* Decode steps as CUDA graphs: some hundred launches become one.
 *
 * The launches of a step in which every sequence has one token are recorded in host memory in
 * place of being queued, and the end of the step decides. A graph of exactly these launches, all
 * arguments alike, is launched; launches that came before are captured into one; those that come
 * for the first time are queued as they are, because most shapes that come once do not come
 * again. So a graph can never be stale, whatever plan, memory or body of run() is behind it, and
 * no call of an operation is made while the stream captures.
 *
 * Launches that follow one another are captured as they are queued: with programmatic edges on
 * cards that have them, so that a node may begin before the one before it has ended (depend.cuh).
 * A graph begins when all before it in the stream has ended, and ends with its last node.
 *
 * What differs from step to step must not be in the arguments, but in the step's arrays, which
 * are copied beside the graph: tokens, positions, pages, lengths. Sizes are rounded up while a step
 * is recorded (step.c), which makes few kinds of steps of many:
 *
 *   tokens   dead rows make them one of the sizes of products (product_bucket: 1, 8, 16, 32,
 *            multiples of 64), at most max_tokens
 *   rows     none, or as many as tokens, at most max_rows
 *   context  the longest sequence's, in splits of 256 positions a power of two, at most
 *            max_context: the width of the page numbers, and the grid of decode.h by it. No other
 *            grid depends on contexts
 *   choice   by the device or by the host
 *
 * With n sizes of tokens and c of contexts, n c kinds of steps with logits: 6 x 6 for 128 sequences
 * of 8192 positions. Steps without logits, or of both choices, are as many more. Where the arrays
 * have no room for the rounded sizes (more sequences than rows, nearly at full length), the step's
 * own are taken. */
#pragma once

#include "driver.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;
struct device;
struct device_config;
struct grid;
struct recorded;

/* Kinds of steps that are remembered; those that were not seen for longest are forgotten. */
#define GRAPHS_MOST 64

/* A kind of step. */
struct graph_entry {
    uint64_t key;     /* of its launches */
    uint64_t last;    /* the step that was of it */
    CUgraphExec exec; /* NULL: it came once */
};

struct graphs {
    struct recorded *recorded; /* (capacity), of this step; host memory */
    int32_t n, capacity;
    uint64_t key; /* of what is recorded */
    bool is_recording;
    bool is_off; /* a graph could not be made; steps are queued from then on */
    struct graph_entry entry[GRAPHS_MOST];
    int32_t n_entry;
    uint64_t step; /* steps that were recorded */
};

uint64_t graph_bytes(const struct device_config *config); /* of host memory */
int32_t graph_open(struct device *device, struct err *err);
void graph_close(struct device *device); /* between enter and leave */
void graph_free(struct device *device);  /* the host's memory, even if there is no entering */

/* Records what is launched for the batch from here on, if its steps come as graphs. */
void graph_begin(struct device *device, const struct batch *batch);
/* False: nothing is recorded now, and the launch is to be queued. */
bool graph_record(struct device *device, int32_t kernel, const struct grid *grid, const void *args);
/* Queues what was recorded, or forgets it if the step has failed. Returns 0 or
 * INFLIGHT_E_DEVICE. */
int graph_end(struct device *device, bool has_failed);

/* The next power of two from `least` on that n is not over, but none over `most`. */
int32_t graph_round(int32_t n, int32_t least, int32_t most);
