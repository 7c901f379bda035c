/* A model without the engine around it: open, load, one forward pass over given tokens. */
#pragma once

#include "plugin/model/model.h"

#define TEST_MODEL     "build/models/SmolLM2-135M-Instruct.Q4_1.gguf"
#define DIRECT_MAX     256 /* most tokens of one pass */
#define DIRECT_CONTEXT 512 /* most positions of a sequence */

/* Opens and loads the test model, or the file at path on one thread with instruction set
 * isa; NULL with the running test skipped or failed. */
struct model *direct_open(int32_t activations, int32_t kv_type, int32_t threads);
struct model *direct_open_file(const char *path, int32_t isa, int32_t activations, int32_t kv_type);

/* The same with float activations and the most exact cache, behind file hooks; or NULL: mapped. */
struct model *direct_open_through(const char *path, const inflight_io *io);

/* The test model on a device of that kind, on two threads if it has them. */
struct model *direct_open_on(const char *device, int32_t activations, int32_t kv_type);

/* The test model, or that at path, whose matrices become fmt, on the CPU; what it takes is from
 * mem. */
struct model *direct_open_quantized(const char *path, enum fmt fmt, bool head, int32_t activations,
                                    int32_t threads, const struct mem *mem);

/* The test model on a device of that kind, its matrices but the head's converted to fmt. */
struct model *direct_open_quantized_on(const char *device, enum fmt fmt, int32_t activations);

/* The model at path on the CPU, with instruction set isa, its matrices converted to fmt (FMT_f32:
 * as they are), with a file for packed weights. io: hooks for the model, or NULL. */
struct direct_packed {
    const char *path, *packed;
    const inflight_io *io;
    int32_t isa, threads;
    enum fmt fmt;
    const struct mem *mem;
};
struct model *direct_open_packed(const struct direct_packed *p);

/* Positions 0 .. n-1 in one pass, logits of every position. False: failed. */
bool direct_forward(struct model *m, const int32_t *token, int32_t n);

/* Positions from .. from+n-1, the ones before having passed; row i of the logits is of
 * position from+i. */
bool direct_continue(struct model *m, const int32_t *token, int32_t from, int32_t n);
