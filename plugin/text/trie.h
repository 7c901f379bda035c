/* Names of tokens by their beginnings: all that begin at a place of a text, in one pass over it.
 * Open addressing from (node, byte) to the node behind it; filled at load, then read by any
 * thread. */
#pragma once

#include "vocab.h"

#define TRIE_NODE_BITS 28

struct trie {
    uint64_t *slot; /* (1 << bits), at most half full: node, byte, next node; all ones: free */
    int32_t *id;    /* by node: the token that ends there, -1: none */
    int bits;
};

/* The tokens of v for which wanted says so. Memory from the arena. */
int32_t trie_open(struct trie *t, const struct vocab *v,
                  bool wanted(const struct vocab *v, int32_t id), struct arena *arena,
                  struct err *err);

/* The node behind node, the first of which is 0, or 0 if there is none. */
static inline uint32_t trie_next(const struct trie *t, uint32_t node, uint8_t byte)
{
    uint64_t key = (uint64_t)node << 8 | byte;
    size_t mask = ((size_t)1 << t->bits) - 1;
    size_t i = (size_t)(key * 0x9e3779b97f4a7c15u >> (64 - t->bits));
    while (t->slot[i] != UINT64_MAX && t->slot[i] >> TRIE_NODE_BITS != key)
        i = (i + 1) & mask;
    return t->slot[i] == UINT64_MAX ? 0 : (uint32_t)t->slot[i] & ((1u << TRIE_NODE_BITS) - 1);
}
