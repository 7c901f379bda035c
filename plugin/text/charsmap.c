/* See charsmap.h. Each unit of the double array is a word: the label it is entered with, where its
 * children are, and whether it has a value, which is the child with label 0. */
#include "charsmap.h"

#include <string.h>

#define PREFIX_MOST 512 /* bytes of text that one replacement can take: a bound on the work */

static uint32_t word_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int32_t charsmap_open(struct charsmap *map, struct str bytes, struct arena *arena, struct err *err)
{
    size_t trie = bytes.len > 4 ? word_at((const uint8_t *)bytes.ptr) : 0;
    if (trie == 0 || trie % 4 || trie > bytes.len - 4 || bytes.ptr[bytes.len - 1] != 0)
        return err_set(err, INFLIGHT_E_MODEL,
                       "the table of replacements has %zu bytes and a trie of %zu", bytes.len,
                       trie);
    char *copy = arena_copy_text(arena, bytes.ptr + 4, bytes.len - 4);
    if (!copy)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %zu bytes of replacements", bytes.len);
    *map = (struct charsmap){.trie = (const uint8_t *)copy,
                             .n_units = trie / 4,
                             .texts = {copy + trie, bytes.len - 4 - trie}};
    return INFLIGHT_OK;
}

static uint32_t children_of(uint32_t unit)
{
    return (unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* The text of a leaf; false: the file lies. */
static bool read_text(const struct charsmap *map, uint32_t at, struct str *content)
{
    if (at >= map->texts.len)
        return false;
    const char *text = map->texts.ptr + at;
    const char *end = memchr(text, 0, map->texts.len - at);
    *content = (struct str){text, end ? (size_t)(end - text) : map->texts.len - at};
    return true;
}

size_t charsmap_find(const struct charsmap *map, struct str text, bool shortest,
                     struct str *content)
{
    size_t found = 0;
    uint32_t node = children_of(word_at(map->trie));
    for (size_t i = 0; i < text.len && i < PREFIX_MOST; i++) {
        uint8_t byte = (uint8_t)text.ptr[i];
        node ^= byte;
        if (byte == 0 || node >= map->n_units)
            break;
        uint32_t unit = word_at(map->trie + 4 * (size_t)node);
        if ((unit & (1u << 31 | 0xff)) != byte)
            break;
        node ^= children_of(unit);
        if (!(unit >> 8 & 1))
            continue;
        if (node >= map->n_units)
            break;
        uint32_t value = word_at(map->trie + 4 * (size_t)node) & ~(1u << 31);
        if (read_text(map, value, content))
            found = i + 1;
        if (found && shortest)
            break;
    }
    return found;
}
