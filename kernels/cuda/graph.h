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
 * are copied beside the graph: tokens, positions, pages, lengths. Sizes that grow with contexts
 * are rounded up to powers of two while a step is recorded (graph_round). */
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

/* n, or while a step is recorded the next power of two from `least` on, but not over `most`. */
int32_t graph_round(const struct device *device, int32_t n, int32_t least, int32_t most);
