/* An open-addressed map from byte strings to int32_t, filled once and then read
 * by any thread. Keys are borrowed and must outlive the map. */
#pragma once

#include "arena.h"

struct hash_entry {
    const char *ptr; /* NULL: free */
    uint32_t len;
    int32_t value;
};

struct hash {
    struct hash_entry *entry; /* (cap), in the arena */
    size_t cap;               /* a power of two, at least twice the entries */
    uint64_t seed;            /* differs by run, so that no file can be made to collide */
    size_t n;
};

/* Room for n keys. False: no memory. */
bool hash_init(struct hash *hash, struct arena *arena, size_t n);

/* Adds or replaces. False: full. */
bool hash_put(struct hash *hash, const char *ptr, size_t len, int32_t value);

/* The value, or missing. */
int32_t hash_find(const struct hash *hash, const char *ptr, size_t len, int32_t missing);

uint64_t hash_bytes(const void *ptr, size_t len, uint64_t seed);
