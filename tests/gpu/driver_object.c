/* Handles. A handle is a place in a table that only grows, so a dead one is never mistaken for
 * a living one, and a wild pointer is not in it. */
#include "driver.h"

#include <stdlib.h>

/* Not an address that a process can have: a handle that is followed faults at once. */
#define HANDLE_BASE UINT64_C(0x5A5A000000000000)
#define HANDLE_STEP 16

static struct object **table;
static size_t n_table, table_capacity;
static struct object *latest[OBJECT_KINDS]; /* living */

static bool table_grow(void)
{
    if (n_table < table_capacity)
        return true;
    size_t capacity = table_capacity ? 2 * table_capacity : 256;
    struct object **grown = realloc(table, capacity * sizeof(struct object *));
    if (!grown)
        return false;
    table = grown;
    table_capacity = capacity;
    return true;
}

void *object_new(enum object_kind kind, size_t bytes, struct context *context,
                 void (*release)(struct object *object))
{
    struct object *object = table_grow() ? calloc(1, bytes) : NULL;
    if (!object)
        return NULL;
    object->kind = kind;
    object->holds = 1;
    object->handle = HANDLE_BASE + n_table * HANDLE_STEP;
    object->context = context;
    object->release = release;
    object->next = latest[kind];
    if (object->next)
        object->next->previous = object;
    latest[kind] = object;
    table[n_table++] = object;
    return object;
}

void object_hold(struct object *object)
{
    if (object)
        object->holds++;
}

void object_drop(struct object *object)
{
    if (object && --object->holds == 0)
        object->release(object);
}

static void unlink_object(struct object *object)
{
    if (object->previous)
        object->previous->next = object->next;
    else
        latest[object->kind] = object->next;
    if (object->next)
        object->next->previous = object->previous;
    object->previous = object->next = NULL;
}

void object_retire(struct object *object)
{
    unlink_object(object);
    table[(object->handle - HANDLE_BASE) / HANDLE_STEP] = NULL;
    object->handle = 0;
    object_drop(object);
}

void *object_find(const void *handle, enum object_kind kind)
{
    uint64_t offset = (uint64_t)(uintptr_t)handle - HANDLE_BASE;
    if (offset % HANDLE_STEP || offset / HANDLE_STEP >= n_table)
        return NULL;
    struct object *object = table[offset / HANDLE_STEP];
    return object && object->kind == kind ? object : NULL;
}

void *object_next(enum object_kind kind, const struct context *context, const void *after)
{
    struct object *object = after ? ((const struct object *)after)->next : latest[kind];
    while (object && context && object->context != context)
        object = object->next;
    return object;
}

void object_retire_all(const struct context *context)
{
    for (size_t i = 0; i < n_table; i++)
        if (table[i] && table[i]->context == context)
            object_retire(table[i]);
}

uint64_t objects_living(void)
{
    uint64_t n = 0;
    for (size_t i = 0; i < n_table; i++)
        n += table[i] && table[i]->context;
    return n;
}

void *object_handle(const struct object *object)
{
    return (void *)(uintptr_t)object->handle;
}

void objects_end(void)
{
    /* What was made later may hold what was made before. */
    for (size_t i = n_table; i-- > 0;)
        if (table[i])
            object_retire(table[i]);
    free(table);
    table = NULL;
    n_table = table_capacity = 0;
}
