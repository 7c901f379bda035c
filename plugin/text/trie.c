/* See trie.h. Names are added in the order of their bytes, so that the nodes can be counted. */
#include "trie.h"

#include <stdlib.h>
#include <string.h>

/* A name and its token, for sorting. */
struct entry {
    struct str name;
    int32_t id;
};

static int by_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = memcmp(x->name.ptr, y->name.ptr, MIN(x->name.len, y->name.len));
    if (order == 0 && x->name.len != y->name.len)
        order = x->name.len < y->name.len ? -1 : 1;
    return order ? order : x->id < y->id ? -1 : 1;
}

static size_t common(struct str a, struct str b)
{
    size_t n = 0;
    while (n < a.len && n < b.len && a.ptr[n] == b.ptr[n])
        n++;
    return n;
}

static void add(struct trie *t, const struct entry *e, uint32_t *n_nodes)
{
    uint32_t node = 0;
    for (size_t i = 0; i < e->name.len; i++) {
        uint8_t byte = (uint8_t)e->name.ptr[i];
        uint32_t next = trie_next(t, node, byte);
        if (next == 0) {
            uint64_t key = (uint64_t)node << 8 | byte;
            size_t mask = ((size_t)1 << t->bits) - 1;
            size_t at = (size_t)(key * 0x9e3779b97f4a7c15u >> (64 - t->bits));
            while (t->slot[at] != UINT64_MAX)
                at = (at + 1) & mask;
            next = (*n_nodes)++;
            t->slot[at] = key << TRIE_NODE_BITS | next;
        }
        node = next;
    }
    if (t->id[node] < 0)
        t->id[node] = e->id;
}

static int32_t fill(struct trie *t, const struct entry *entry, size_t n, struct arena *arena,
                    struct err *err)
{
    size_t nodes = 1;
    for (size_t i = 0; i < n; i++)
        nodes += entry[i].name.len - (i ? common(entry[i].name, entry[i - 1].name) : 0);
    if (nodes >= (size_t)1 << TRIE_NODE_BITS)
        return err_set(err, INFLIGHT_E_MODEL, "the names of the tokens have %zu beginnings", nodes);
    t->bits = 4;
    while ((size_t)1 << t->bits < 2 * nodes)
        t->bits++;
    t->slot = arena_take_array(arena, (size_t)1 << t->bits, sizeof *t->slot);
    t->id = arena_take_array(arena, nodes, sizeof *t->id);
    if (!t->slot || !t->id)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %zu beginnings of tokens", nodes);
    memset(t->slot, 0xff, ((size_t)1 << t->bits) * sizeof *t->slot);
    memset(t->id, 0xff, nodes * sizeof *t->id);
    uint32_t n_nodes = 1;
    for (size_t i = 0; i < n; i++)
        add(t, &entry[i], &n_nodes);
    return INFLIGHT_OK;
}

int32_t trie_open(struct trie *t, const struct vocab *v,
                  bool wanted(const struct vocab *v, int32_t id), struct arena *arena,
                  struct err *err)
{
    struct arena scratch;
    size_t n = 0;
    arena_init(&scratch, arena->mem);
    *t = (struct trie){0};
    struct entry *entry = arena_take_array(&scratch, (size_t)v->n, sizeof *entry);
    for (int32_t id = 0; entry && id < v->n; id++)
        if (v->name[id].len && wanted(v, id))
            entry[n++] = (struct entry){v->name[id], id};
    if (n)
        qsort(entry, n, sizeof *entry, by_name);
    int32_t code = entry ? fill(t, entry, n, arena, err)
                         : err_set(err, INFLIGHT_E_NOMEM, "no memory to sort %d tokens", v->n);
    arena_release(&scratch);
    return code;
}
