#include "ptx_table.h"

#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ (h >> 29);
}

static uint64_t hash(const struct ptx_key *key)
{
    uint64_t h = mix(mix(key->n + 1, key->a), key->b);
    for (size_t i = 0; i < key->n; i++)
        h = (h ^ (unsigned char)key->name[i]) * UINT64_C(0x100000001b3);
    return mix(h, 0);
}

static bool same(const struct ptx_key *x, const struct ptx_key *y)
{
    return x->n == y->n && x->a == y->a && x->b == y->b &&
           (x->n == 0 || memcmp(x->name, y->name, x->n) == 0);
}

/* The key's cell, or the free one where it would go. */
static struct ptx_cell *probe(const struct ptx_table *table, const struct ptx_key *key)
{
    size_t i = hash(key) & (table->size - 1);
    while (table->cell[i].used && !same(&table->cell[i].key, key))
        i = (i + 1) & (table->size - 1);
    return &table->cell[i];
}

bool table_find(const struct ptx_table *table, const struct ptx_key *key, uint32_t *value)
{
    if (!table->cell)
        return false;
    const struct ptx_cell *cell = probe(table, key);
    if (cell->used)
        *value = cell->value;
    return cell->used;
}

static bool enlarge(struct ptx_table *table)
{
    struct ptx_table next = {NULL, table->size ? 2 * table->size : 64, table->n};
    next.cell = calloc(next.size, sizeof *next.cell);
    if (!next.cell)
        return false;
    for (size_t i = 0; i < table->size; i++)
        if (table->cell[i].used)
            *probe(&next, &table->cell[i].key) = table->cell[i];
    free(table->cell);
    *table = next;
    return true;
}

bool table_add(struct ptx_table *table, const struct ptx_key *key, uint32_t value)
{
    if (2 * table->n >= table->size && !enlarge(table))
        return false;
    *probe(table, key) = (struct ptx_cell){*key, value, true};
    table->n++;
    return true;
}

void table_clear(struct ptx_table *table)
{
    if (table->cell)
        memset(table->cell, 0, table->size * sizeof *table->cell);
    table->n = 0;
}

void table_free(struct ptx_table *table)
{
    free(table->cell);
    *table = (struct ptx_table){0};
}
