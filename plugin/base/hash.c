#include "hash.h"

#include <string.h>

static uint64_t load_8(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Fewer than 8 bytes in a word; with the length, no two texts give the same. Loads of a
 * fixed size, which may overlap: half of all keys are this short. */
static uint64_t load_few(const uint8_t *p, size_t len)
{
    uint32_t first, last;
    if (len < 4)
        return len == 0 ? 0 : p[0] | (uint64_t)p[len / 2] << 8 | (uint64_t)p[len - 1] << 16;
    memcpy(&first, p, sizeof first);
    memcpy(&last, p + len - 4, sizeof last);
    return first | (uint64_t)last << 32;
}

static uint64_t mix(uint64_t h, uint64_t word, uint64_t seed)
{
    h = (h ^ word) * (0x9e3779b97f4a7c15u ^ (seed << 1));
    return h ^ h >> 29;
}

/* Multiply and rotate, eight bytes at a time; the seed enters every round. */
uint64_t hash_bytes(const void *ptr, size_t len, uint64_t seed)
{
    const uint8_t *p = ptr;
    uint64_t h = 0xcbf29ce484222325u ^ seed ^ len;
    for (; len >= 8; p += 8, len -= 8)
        h = mix(h, load_8(p), seed);
    if (len > 0)
        h = mix(h, load_few(p, len), seed);
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
