/* The page pool: which pages of the device's key/value memory are free, and how many
 * owners each of the others has. It knows page numbers only; the memory is the
 * device's.
 *
 * Owners are sequences and, once per page, the prefix cache. Invariants (kv_check):
 * a page is in the free stack exactly once if it has no owner and never otherwise. */
#pragma once

#include "base/err.h"
#include "base/mem.h"

#include "../kernels/batch.h"

struct kv {
    const struct mem *mem; /* borrowed */
    int32_t n_pages;
    int32_t n_free;
    int32_t *free;    /* (n_pages) owned; the first n_free entries are the free pages */
    int32_t *owners;  /* (n_pages) owned */
    uint64_t n_given; /* grows whenever a page gets fewer owners */
};

/* Pages that hold n positions. */
static inline int32_t kv_pages_for(int32_t n)
{
    return n / PAGE_TOKENS + (n % PAGE_TOKENS != 0);
}

/* Host memory of the tables of so many pages. */
static inline uint64_t kv_bytes(int32_t n_pages)
{
    return (uint64_t)n_pages * 2 * sizeof(int32_t);
}

int32_t kv_init(struct kv *kv, const struct mem *mem, int32_t n_pages, struct err *err);
void kv_release(struct kv *kv);

/* A free page with one owner, or -1. */
int32_t kv_take(struct kv *kv);

/* One owner more of a page that has one. */
void kv_share(struct kv *kv, int32_t page);

/* One owner less; free when it was the last. Returns how many are left. */
int32_t kv_give(struct kv *kv, int32_t page);

/* Whether the invariants hold; for tests, O(pages). */
bool kv_check(const struct kv *kv);
