#include "hash.h"

#include <string.h>

/* Multiply and rotate, eight bytes at a time; the seed enters every round. */
uint64_t hash_bytes(const void *ptr, size_t len, uint64_t seed)
{
    const uint8_t *p = ptr;
    uint64_t h = 0xcbf29ce484222325u ^ seed ^ len;
    for (; len > 0; p += MIN(len, 8u), len -= MIN(len, 8u)) {
        uint64_t word = 0;
        memcpy(&word, p, MIN(len, 8u));
        h = (h ^ word) * (0x9e3779b97f4a7c15u ^ (seed << 1));
        h ^= h >> 29;
    }
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

bool hash_init(struct hash *hash, struct arena *arena, size_t n)
{
    size_t cap = 16;
    while (cap / 2 < n) {
        if (cap > SIZE_MAX / 2)
            return false;
        cap *= 2;
    }
    hash->entry = arena_take_array(arena, cap, sizeof *hash->entry);
    hash->cap = cap;
    hash->n = 0;
    hash->seed = hash_bytes(&hash->entry, sizeof hash->entry, (uintptr_t)hash);
    return hash->entry != NULL;
}

/* The entry of the key, or the free one where it would stand. */
static struct hash_entry *slot_of(const struct hash *hash, const char *ptr, size_t len)
{
    size_t i = hash_bytes(ptr, len, hash->seed) & (hash->cap - 1);
    while (hash->entry[i].ptr &&
           !(hash->entry[i].len == len && memcmp(hash->entry[i].ptr, ptr, len) == 0))
        i = (i + 1) & (hash->cap - 1);
    return &hash->entry[i];
}

bool hash_put(struct hash *hash, const char *ptr, size_t len, int32_t value)
{
    if (len > UINT32_MAX)
        return false;
    struct hash_entry *e = slot_of(hash, ptr, len);
    if (!e->ptr) {
        if (hash->n >= hash->cap / 2)
            return false;
        hash->n++;
    }
    *e = (struct hash_entry){ptr, (uint32_t)len, value};
    return true;
}

int32_t hash_find(const struct hash *hash, const char *ptr, size_t len, int32_t missing)
{
    if (!hash->cap)
        return missing;
    const struct hash_entry *e = slot_of(hash, ptr, len);
    return e->ptr ? e->value : missing;
}
