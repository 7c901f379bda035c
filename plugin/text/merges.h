/* The merge rules of a byte-pair vocabulary: two neighbouring tokens -> the token of
 * both and the rule's rank. Open addressing; filled at load, then read by any thread. */
#pragma once

#include "vocab.h"

#define MERGE_NONE UINT32_MAX /* a rank no rule has */

struct merge {
    int32_t left, right;
    uint32_t rank; /* MERGE_NONE: a free slot */
    int32_t id;
};

struct merges {
    struct merge *slot; /* (1 << bits), at most half full */
    int bits;
};

/* Reads tokenizer.ggml.merges. Every rule must name tokens of the vocabulary; a rule
 * that would make a control token from text is left out. Memory from the arena. */
int32_t merges_open(struct merges *m, const struct vocab *v, const struct gguf *g,
                    struct arena *arena, struct err *err);

/* The place of a pair: its rule, or a free slot. */
static inline struct merge *merges_slot(const struct merges *m, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t mask = ((size_t)1 << m->bits) - 1;
    size_t i = (size_t)((key ^ key >> 29) * 0x9e3779b97f4a7c15u >> (64 - m->bits));
    while (m->slot[i].rank != MERGE_NONE && !(m->slot[i].left == left && m->slot[i].right == right))
        i = (i + 1) & mask;
    return &m->slot[i];
}
