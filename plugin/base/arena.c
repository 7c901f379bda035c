#include "arena.h"

#include <string.h>

#define CHUNK_BYTES ((size_t)64 << 10)

struct arena_chunk {
    struct arena_chunk *previous;
    size_t bytes; /* as taken from mem */
};

#define HEADER ROUND_UP(sizeof(struct arena_chunk), CACHE_LINE)

void arena_init(struct arena *arena, const struct mem *mem)
{
    *arena = (struct arena){.mem = mem};
}

void arena_release(struct arena *arena)
{
    for (struct arena_chunk *chunk = arena->last; chunk;) {
        struct arena_chunk *previous = chunk->previous;
        mem_give(arena->mem, chunk, chunk->bytes);
        chunk = previous;
    }
    arena->last = NULL;
    arena->used = arena->cap = 0;
}

static bool grow(struct arena *arena, size_t bytes)
{
    size_t total = HEADER + MAX(bytes, CHUNK_BYTES - HEADER);
    if (total < bytes)
        return false;
    struct arena_chunk *chunk = mem_take_zeroed(arena->mem, total, CACHE_LINE);
    if (!chunk)
        return false;
    *chunk = (struct arena_chunk){arena->last, total};
    arena->last = chunk;
    arena->used = HEADER;
    arena->cap = total;
    return true;
}

void *arena_take(struct arena *arena, size_t bytes)
{
    size_t align = bytes >= CACHE_LINE ? CACHE_LINE : 16;
    size_t start = ROUND_UP(arena->used, align);
    if (!arena->last || start > arena->cap || arena->cap - start < bytes) {
        if (!grow(arena, bytes))
            return NULL;
        start = arena->used;
    }
    char *ptr = (char *)arena->last + start;
    arena->used = start + bytes;
    return ptr;
}

void *arena_take_array(struct arena *arena, size_t n, size_t element_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, element_bytes, &bytes))
        return NULL;
    return arena_take(arena, bytes);
}

char *arena_copy_text(struct arena *arena, const char *ptr, size_t len)
{
    char *copy = len + 1 ? arena_take(arena, len + 1) : NULL;
    if (copy && len)
        memcpy(copy, ptr, len);
    return copy;
}
