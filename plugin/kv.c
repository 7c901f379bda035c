/* A stack of free pages and a count of owners per page. The stack makes the page
 * that was given back last the next to be taken: it is the likeliest to be in a cache. */
#include "kv.h"

int32_t kv_init(struct kv *kv, const struct mem *mem, int32_t n_pages, struct err *err)
{
    *kv = (struct kv){.mem = mem, .n_pages = n_pages, .n_free = n_pages};
    size_t bytes = (size_t)n_pages * sizeof(int32_t);
    if (n_pages <= 0)
        return err_set(err, INFLIGHT_E_INTERNAL, "the page pool has %d pages", n_pages);
    kv->free = mem_take(mem, bytes, CACHE_LINE);
    kv->owners = mem_take_zeroed(mem, bytes, CACHE_LINE);
    if (!kv->free || !kv->owners) {
        kv_release(kv);
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the tables of %d pages", n_pages);
    }
    for (int32_t i = 0; i < n_pages; i++)
        kv->free[i] = n_pages - 1 - i;
    return INFLIGHT_OK;
}

void kv_release(struct kv *kv)
{
    if (!kv->mem)
        return;
    mem_give(kv->mem, kv->free, (size_t)kv->n_pages * sizeof(int32_t));
    mem_give(kv->mem, kv->owners, (size_t)kv->n_pages * sizeof(int32_t));
    *kv = (struct kv){0};
}

int32_t kv_take(struct kv *kv)
{
    if (kv->n_free == 0)
        return -1;
    int32_t page = kv->free[--kv->n_free];
    kv->owners[page] = 1;
    return page;
}

void kv_share(struct kv *kv, int32_t page)
{
    kv->owners[page]++;
}

int32_t kv_give(struct kv *kv, int32_t page)
{
    kv->n_given++;
    if (--kv->owners[page] == 0)
        kv->free[kv->n_free++] = page;
    return kv->owners[page];
}

bool kv_check(const struct kv *kv)
{
    if (kv->n_free < 0 || kv->n_free > kv->n_pages)
        return false;
    int32_t n_unowned = 0;
    for (int32_t page = 0; page < kv->n_pages; page++) {
        if (kv->owners[page] < 0)
            return false;
        n_unowned += kv->owners[page] == 0;
    }
    /* As many as there are unowned pages, each unowned: only a page that stands twice
     * could still hide one that is missing. */
    int64_t sum_free = 0, sum_unowned = 0;
    for (int32_t i = 0; i < kv->n_free; i++) {
        int32_t page = kv->free[i];
        if (page < 0 || page >= kv->n_pages || kv->owners[page] != 0)
            return false;
        sum_free += (int64_t)page * page + page;
    }
    for (int32_t page = 0; page < kv->n_pages; page++)
        sum_unowned += kv->owners[page] == 0 ? (int64_t)page * page + page : 0;
    return n_unowned == kv->n_free && sum_free == sum_unowned;
}
