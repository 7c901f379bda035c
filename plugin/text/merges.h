/* The merge rules of a byte-pair vocabulary: two neighbouring tokens -> the token of both and the
 * rank it is made with, the lowest first. Open addressing; filled at load, then read by any
 * thread. */
#pragma once

#include "vocab.h"

#define MERGE_RULE_BITS 22
#define MERGE_ID_BITS   21
#define MERGE_NONE      ((1u << MERGE_RULE_BITS) - 1) /* a rule that there is not */

struct merges {
    uint64_t *slot; /* (1 << bits), at most half full: left, right, rule; all ones: free */
    int32_t *id;    /* by rule: what it makes */
    uint32_t *rank; /* by rule, in order of scores; NULL: rules are listed in order of rank */
    int bits;
};

/* From the rules or the scores. Every rule must name tokens of the vocabulary; a rule that would
 * make a control token from text is left out. Memory from the spec's arena. */
int32_t merges_open(struct merges *m, const struct vocab *v, const struct spec *spec,
                    struct err *err);

static inline uint64_t merges_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << MERGE_ID_BITS | (uint32_t)right;
}

/* The place of a pair: its rule, or a free slot. */
static inline uint64_t *merges_slot(const struct merges *m, uint64_t key)
{
    size_t mask = ((size_t)1 << m->bits) - 1;
    size_t i = (size_t)(key * 0x9e3779b97f4a7c15u >> (64 - m->bits));
    while (m->slot[i] != UINT64_MAX && m->slot[i] >> MERGE_RULE_BITS != key)
        i = (i + 1) & mask;
    return &m->slot[i];
}

/* The rule for a pair, or MERGE_NONE, which is what a free slot reads as. */
static inline uint32_t merges_find(const struct merges *m, int32_t left, int32_t right)
{
    return (uint32_t)*merges_slot(m, merges_key(left, right)) & MERGE_NONE;
}

static inline uint32_t merges_rank(const struct merges *m, uint32_t rule)
{
    return m->rank && rule != MERGE_NONE ? m->rank[rule] : rule;
}
