/* A plan: the forward pass of one model as a flat list of steps with fixed addresses.
 * An architecture row, the file's numbers and the placed weights compile to it once;
 * after that nothing knows which family the model is of. */
#pragma once

#include "arch.h"
#include "weights.h"

struct step {
    enum op op;
    union {
#define OP(name, doc) struct op_##name name;
#include "../../kernels/ops.def"
#undef OP
    } a;
};

struct plan {
    struct step *step; /* (len), in the arena */
    int32_t len, cap;
    float *logits;             /* (max_rows, V), in the buffers */
    struct logit_block *block; /* (max_rows, logit_blocks(V)), too */
};

/* The activation buffers between steps, all in one piece of memory. */
struct plan_buffers {
    int32_t max_tokens, max_rows;
    uint64_t x, rotary[ROTARY_KINDS], qkv, attn, ffn, added, logits, block; /* offsets in bytes */
    uint64_t own, own_in;                   /* embeddings of layers, and what is added to them */
    uint64_t scores, choice, slots, answer; /* of experts: the latter first, count and token,
                                               and ffn is their hidden state */
    uint64_t shared, gated;                 /* of the expert that all tokens meet: the latter
                                               is what its gate, if it has one, leaves of it */
    uint64_t bytes, logits_bytes;           /* the latter with the blocks */
};

/* Assigns offsets by lifetime: what is never alive together shares memory. */
void plan_measure(struct plan_buffers *buffers, const struct arch *arch, const struct hparams *h,
                  int32_t max_tokens, int32_t max_rows);

struct plan_source {
    const struct arch *arch;
    const struct hparams *h;
    const struct weights *w;
    const struct plan_buffers *buffers;
    void *memory; /* (buffers->bytes), 64-byte aligned; need not exist for a dump */
};

/* Room for the steps of L layers, before anything else is known. */
int32_t plan_reserve(struct plan *plan, int32_t L, struct arena *arena, struct err *err);

/* Fills a plan that was reserved for source->h->L layers. */
void plan_compile(struct plan *plan, const struct plan_source *source);

/* Parts of it, for a program that runs a model layer by layer on a device with keys and values of
 * one layer: the embedding, and the steps of layer l, whose input x must be there by then. */
void plan_compile_embed(struct plan *plan, const struct plan_source *source);
void plan_compile_layer(struct plan *plan, const struct plan_source *source, int32_t l);

/* The plan as text, one step a line, buffers and weights by name. */
struct buf;
void plan_dump(const struct plan *plan, const struct plan_source *source, struct buf *out);
