/* Where host memory comes from: the host's allocator hook, or the system. All
 * memory of the engine passes here except what the YAML, JSON, regex and Unicode
 * libraries take for themselves while they parse. */
#pragma once

#include "base.h"

#include "../../include/inflight.h"

struct mem {
    void *user;
    _Atomic uint64_t *taken; /* bytes taken and not given back are counted here; or NULL */
    void *(*alloc)(void *user, uint64_t bytes, uint64_t align);
    void (*release)(void *user, void *ptr, uint64_t bytes);
};

/* The system's: malloc below 1 MiB, whole huge-page aligned mappings above. */
extern const struct mem mem_system;

/* A struct mem over the host's hook; NULL gives mem_system. */
struct mem mem_of_host(const inflight_alloc *alloc);

/* bytes > 0, align a power of two. NULL when there is no memory. [any thread] */
void *mem_take(const struct mem *mem, size_t bytes, size_t align);
void *mem_take_zeroed(const struct mem *mem, size_t bytes, size_t align);

/* Bytes taken and not given back, 0 if nobody counts. [any thread] */
uint64_t mem_taken(const struct mem *mem);

/* The content is of no more use: the system may have the physical memory back until the
 * next write. What is read before that is undefined. NULL is allowed. */
void mem_discard(void *ptr, size_t bytes);

/* bytes as taken. NULL is allowed. */
void mem_give(const struct mem *mem, void *ptr, size_t bytes);
