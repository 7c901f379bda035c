/* One lifetime, one arena: what is taken together is given back together. Not
 * thread-safe; each arena has one owner. */
#pragma once

#include "mem.h"

struct arena_chunk; /* one allocation of the host, linked to the previous */

struct arena {
    const struct mem *mem; /* borrowed, outlives the arena */
    struct arena_chunk *last;
    size_t used, cap; /* of the last chunk, bytes */
};

void arena_init(struct arena *arena, const struct mem *mem);

/* Gives everything back. A zeroed or released arena is allowed. */
void arena_release(struct arena *arena);

/* Zeroed memory, aligned to 64 bytes if bytes >= 64, else to 16; NULL when there
 * is none. Zero bytes give a valid pointer. */
void *arena_take(struct arena *arena, size_t bytes);

/* n elements; NULL also when the product does not fit. */
void *arena_take_array(struct arena *arena, size_t n, size_t element_bytes);

/* A NUL-terminated copy. */
char *arena_copy_text(struct arena *arena, const char *ptr, size_t len);
