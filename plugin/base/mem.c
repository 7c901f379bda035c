#define _GNU_SOURCE
#include "mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE     ((size_t)1 << 20)
#define HUGE_PAGE ((size_t)2 << 20)

/* A mapping of bytes at a huge-page boundary: map more, give the ends back. */
static void *map_large(size_t bytes)
{
    size_t want = ROUND_UP(bytes, HUGE_PAGE);
    if (want < bytes || want + HUGE_PAGE < want)
        return NULL;
    char *base = mmap(NULL, want + HUGE_PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    size_t skip = ROUND_UP((uintptr_t)base, HUGE_PAGE) - (uintptr_t)base;
    if (skip)
        munmap(base, skip);
    if (HUGE_PAGE - skip)
        munmap(base + skip + want, HUGE_PAGE - skip);
    (void)madvise(base + skip, want, MADV_HUGEPAGE);
    return base + skip;
}

static void *system_alloc(void *user, uint64_t bytes, uint64_t align)
{
    (void)user;
    if (bytes >= LARGE && align <= HUGE_PAGE)
        return map_large(bytes);
    void *ptr = NULL;
    return posix_memalign(&ptr, MAX(align, sizeof(void *)), bytes) ? NULL : ptr;
}

static void system_release(void *user, void *ptr, uint64_t bytes)
{
    (void)user;
    if (bytes >= LARGE)
        munmap(ptr, ROUND_UP(bytes, HUGE_PAGE));
    else
        free(ptr);
}

const struct mem mem_system = {NULL, NULL, system_alloc, system_release};

struct mem mem_of_host(const inflight_alloc *alloc)
{
    if (!alloc || !alloc->alloc || !alloc->release)
        return mem_system;
    return (struct mem){alloc->user, NULL, alloc->alloc, alloc->release};
}

void *mem_take(const struct mem *mem, size_t bytes, size_t align)
{
    void *ptr = mem->alloc(mem->user, bytes, align);
    if (ptr && mem->taken)
        atomic_fetch_add_explicit(mem->taken, bytes, memory_order_relaxed);
    return ptr;
}

void *mem_take_zeroed(const struct mem *mem, size_t bytes, size_t align)
{
    void *ptr = mem_take(mem, bytes, align);
    /* A fresh system mapping is zero already. */
    if (ptr && !(mem->alloc == system_alloc && bytes >= LARGE))
        memset(ptr, 0, bytes);
    return ptr;
}

/* Whole pages inside of the block; memory of a host may be of a kind that keeps its own. */
void mem_discard(void *ptr, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ROUND_UP((uintptr_t)ptr, page);
    uintptr_t end = ((uintptr_t)ptr + bytes) & ~(page - 1);
    if (ptr && first < end)
        (void)madvise((void *)first, end - first, MADV_DONTNEED);
}

void mem_give(const struct mem *mem, void *ptr, size_t bytes)
{
    if (!ptr)
        return;
    mem->release(mem->user, ptr, bytes);
    if (mem->taken)
        atomic_fetch_sub_explicit(mem->taken, bytes, memory_order_relaxed);
}

uint64_t mem_taken(const struct mem *mem)
{
    return mem->taken ? atomic_load_explicit(mem->taken, memory_order_relaxed) : 0;
}
