/* The prefix cache: which pages hold the keys and values of which tokens, so that a
 * prompt that begins like an earlier one starts behind what they share.
 *
 * A cached page is full, computed and never written again. It stands for the sixteen
 * tokens in it and for all tokens before them, so its key is the pair (parent, tokens):
 * the parent is the entry of the page before. An entry has a number that is never used
 * again, and a child names its parent by that number. Both halves of the key are
 * compared in full: there are no false hits, whatever the hash does, and the children
 * of an evicted entry can never be found under another parent.
 *
 * The cache is one owner of each page it holds. A page that it alone owns is idle and
 * may be evicted, least recently used first. Sequences therefore give pages back here. */
#pragma once

#include "kv.h"

#define PREFIX_ROOT 0 /* the parent of the first page of a sequence */

struct prefix_entry {
    uint64_t id;     /* 0: the page is not cached */
    uint64_t parent; /* id, or PREFIX_ROOT */
    int32_t token[PAGE_TOKENS];
    int32_t next;         /* page in the same bucket, or -1 */
    int32_t older, newer; /* neighbours among idle pages, or -1 */
    bool idle;
};

struct prefix {
    const struct mem *mem;      /* borrowed */
    struct kv *kv;              /* borrowed */
    bool enabled;               /* otherwise nothing is ever found or kept */
    struct prefix_entry *entry; /* (kv->n_pages) owned */
    int32_t *bucket;            /* (n_bucket) owned; first page, or -1 */
    uint32_t n_bucket;          /* a power of two */
    int32_t oldest, newest;     /* idle pages, or -1 */
    int32_t n_idle;
    uint64_t last_id;
};

/* Host memory of a cache over so many pages. */
uint64_t prefix_bytes(int32_t n_pages);

int32_t prefix_init(struct prefix *p, struct kv *kv, const struct mem *mem, bool enabled,
                    struct err *err);
void prefix_release(struct prefix *p);

/* The longest run of cached pages that token begins with: their numbers go to page,
 * each with one owner more. At most n_token / PAGE_TOKENS; returns how many. */
int32_t prefix_find(struct prefix *p, const int32_t *token, int32_t n_token, int32_t *page);

/* The entry of the last of n pages that prefix_find gave; PREFIX_ROOT for none. */
uint64_t prefix_last_id(const struct prefix *p, const int32_t *page, int32_t n);

/* Keeps a full, computed page of the caller's under parent and returns its entry's id.
 * If an equal page is there already, the caller's is given back and *page becomes the
 * cached one. PREFIX_ROOT if disabled. */
uint64_t prefix_insert(struct prefix *p, uint64_t parent, const int32_t *token, int32_t *page);

/* A sequence gives a page back. */
void prefix_give(struct prefix *p, int32_t page);

/* Frees the least recently used idle page; false if there is none. */
bool prefix_evict(struct prefix *p);

/* The cache is no longer an owner of page. Nothing happens if it was not one. */
void prefix_forget(struct prefix *p, int32_t page);

/* Whether the invariants hold; for tests, O(pages). */
bool prefix_check(const struct prefix *p);
