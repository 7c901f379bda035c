/* A trie of pages, stored as a hash map from (parent, tokens) to the page, with one
 * entry per page of the pool: the tables are as large as they can ever be, and nothing
 * is allocated after init.
 *
 *     prompt of A: [you are a helpful ...] [assistant. Answer] [in French: how]
 *     prompt of B: [you are a helpful ...] [assistant. Answer] [in Greek: where]
 *
 *     root --16 tokens--> page 7, id 1 --16 tokens--> page 2, id 2 -+-> page 9, id 3  (A)
 *                                                                   +-> page 4, id 4  (B)
 *
 * B finds pages 7 and 2 and computes only its third page. When A ends, it gives back
 * 9, 2, 7, last page first: B still owns 2 and 7, so only 9 becomes idle. When B ends,
 * 4, 2, 7 become idle in this order. Idle pages are evicted oldest first, hence 9, 4,
 * 2, 7: leaves before the pages they hang on, so the trie does not lose its root while
 * its leaves take up room. */
#include "prefix.h"

#include "base/hash.h"

#include <string.h>

#define PAGE_BYTES (PAGE_TOKENS * sizeof(int32_t))

static int32_t *bucket_of(const struct prefix *p, uint64_t parent, const int32_t *token)
{
    return &p->bucket[hash_bytes(token, PAGE_BYTES, parent) & (p->n_bucket - 1)];
}

static uint32_t buckets_for(int32_t n_pages)
{
    uint32_t n = 1;
    while (n < (uint32_t)n_pages)
        n *= 2;
    return n;
}

uint64_t prefix_bytes(int32_t n_pages)
{
    return (uint64_t)n_pages * sizeof(struct prefix_entry) + buckets_for(n_pages) * sizeof(int32_t);
}

int32_t prefix_init(struct prefix *p, struct kv *kv, const struct mem *mem, bool enabled,
                    struct err *err)
{
    *p = (struct prefix){.mem = mem, .kv = kv, .enabled = enabled, .oldest = -1, .newest = -1};
    p->n_bucket = buckets_for(kv->n_pages);
    p->entry = mem_take_zeroed(mem, (size_t)kv->n_pages * sizeof *p->entry, CACHE_LINE);
    p->bucket = mem_take(mem, p->n_bucket * sizeof *p->bucket, CACHE_LINE);
    if (!p->entry || !p->bucket) {
        prefix_release(p);
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a prefix cache of %d pages",
                       kv->n_pages);
    }
    memset(p->bucket, 0xff, p->n_bucket * sizeof *p->bucket);
    return INFLIGHT_OK;
}

void prefix_release(struct prefix *p)
{
    if (!p->mem)
        return;
    mem_give(p->mem, p->entry, (size_t)p->kv->n_pages * sizeof *p->entry);
    mem_give(p->mem, p->bucket, p->n_bucket * sizeof *p->bucket);
    *p = (struct prefix){0};
}

static void idle_add(struct prefix *p, int32_t page)
{
    struct prefix_entry *e = &p->entry[page];
    e->idle = true;
    e->older = p->newest;
    e->newer = -1;
    if (p->newest >= 0)
        p->entry[p->newest].newer = page;
    else
        p->oldest = page;
    p->newest = page;
    p->n_idle++;
}

static void idle_remove(struct prefix *p, int32_t page)
{
    struct prefix_entry *e = &p->entry[page];
    if (e->older >= 0)
        p->entry[e->older].newer = e->newer;
    else
        p->oldest = e->newer;
    if (e->newer >= 0)
        p->entry[e->newer].older = e->older;
    else
        p->newest = e->older;
    e->idle = false;
    p->n_idle--;
}

/* The page with this key, or -1. */
static int32_t page_of(const struct prefix *p, uint64_t parent, const int32_t *token)
{
    int32_t page = *bucket_of(p, parent, token);
    while (page >= 0 && (p->entry[page].parent != parent ||
                         memcmp(p->entry[page].token, token, PAGE_BYTES) != 0))
        page = p->entry[page].next;
    return page;
}

static void share(struct prefix *p, int32_t page)
{
    if (p->entry[page].idle)
        idle_remove(p, page);
    kv_share(p->kv, page);
}

int32_t prefix_find(struct prefix *p, const int32_t *token, int32_t n_token, int32_t *page)
{
    uint64_t parent = PREFIX_ROOT;
    int32_t n = 0;
    while (p->enabled && n < n_token / PAGE_TOKENS) {
        int32_t found = page_of(p, parent, token + n * PAGE_TOKENS);
        if (found < 0)
            break;
        share(p, found);
        parent = p->entry[found].id;
        page[n++] = found;
    }
    return n;
}

uint64_t prefix_last_id(const struct prefix *p, const int32_t *page, int32_t n)
{
    return n ? p->entry[page[n - 1]].id : PREFIX_ROOT;
}

uint64_t prefix_insert(struct prefix *p, uint64_t parent, const int32_t *token, int32_t *page)
{
    if (!p->enabled)
        return PREFIX_ROOT;
    int32_t found = page_of(p, parent, token);
    if (found >= 0) {
        if (found != *page) {
            share(p, found);
            prefix_give(p, *page);
            *page = found;
        }
        return p->entry[found].id;
    }
    int32_t *bucket = bucket_of(p, parent, token);
    struct prefix_entry *e = &p->entry[*page];
    *e = (struct prefix_entry){.id = ++p->last_id, .parent = parent, .next = *bucket};
    memcpy(e->token, token, PAGE_BYTES);
    *bucket = *page;
    kv_share(p->kv, *page);
    return e->id;
}

void prefix_give(struct prefix *p, int32_t page)
{
    if (kv_give(p->kv, page) == 1 && p->entry[page].id)
        idle_add(p, page);
}

void prefix_forget(struct prefix *p, int32_t page)
{
    struct prefix_entry *e = &p->entry[page];
    if (!e->id)
        return;
    int32_t *link = bucket_of(p, e->parent, e->token);
    while (*link != page)
        link = &p->entry[*link].next;
    *link = e->next;
    if (e->idle)
        idle_remove(p, page);
    e->id = 0;
    (void)kv_give(p->kv, page);
}

bool prefix_evict(struct prefix *p)
{
    if (p->oldest < 0)
        return false;
    prefix_forget(p, p->oldest);
    return true;
}

bool prefix_check(const struct prefix *p)
{
    int32_t n_cached = 0, n_idle = 0, n_listed = 0, n_chained = 0;
    for (int32_t page = 0; page < p->kv->n_pages; page++) {
        const struct prefix_entry *e = &p->entry[page];
        int32_t owners = p->kv->owners[page];
        n_cached += e->id != 0;
        n_idle += e->idle;
        if (e->id && (owners < 1 || e->idle != (owners == 1) || e->parent >= e->id ||
                      page_of(p, e->parent, e->token) != page))
            return false;
        if (!e->id && e->idle)
            return false;
    }
    for (int32_t page = p->oldest; page >= 0 && n_listed <= n_idle; page = p->entry[page].newer)
        n_listed++;
    for (uint32_t i = 0; i < p->n_bucket; i++)
        for (int32_t page = p->bucket[i]; page >= 0 && n_chained <= n_cached;
             page = p->entry[page].next)
            n_chained++;
    return n_idle == p->n_idle && n_listed == n_idle && n_chained == n_cached;
}
