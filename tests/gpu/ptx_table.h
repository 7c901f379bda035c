/* A hash table of the parser: a name (or none) and two numbers -> an index. Names point into
 * the text and are not copied. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ptx_key {
    const char *name;
    size_t n; /* of name, 0 without */
    uint64_t a, b;
};

struct ptx_cell {
    struct ptx_key key;
    uint32_t value;
    bool used;
};

struct ptx_table {
    struct ptx_cell *cell; /* (size), size a power of two; NULL at first */
    size_t size, n;
};

/* False: not there. */
bool table_find(const struct ptx_table *table, const struct ptx_key *key, uint32_t *value);
/* The key must not be there yet. False: out of memory. */
bool table_add(struct ptx_table *table, const struct ptx_key *key, uint32_t value);
void table_clear(struct ptx_table *table);
void table_free(struct ptx_table *table);
