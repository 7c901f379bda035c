/* Modules that were let go of, kept for the next one of the same text: a program that opens a
 * device again and again loads the same images each time, and reading them takes longer than most
 * of the kernels of its tests. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

#define KEPT_MOST 32 /* more than the images of a plugin */

struct kept {
    struct ptx_module *ptx;
    size_t bytes; /* of its text */
};

static struct {
    struct kept kept[KEPT_MOST]; /* (n), the latest last */
    size_t n;
} cache;

static struct ptx_module *remove_at(size_t at)
{
    struct ptx_module *ptx = cache.kept[at].ptx;
    cache.n--;
    memmove(cache.kept + at, cache.kept + at + 1, (cache.n - at) * sizeof *cache.kept);
    return ptx;
}

struct ptx_module *cache_take(const char *text, size_t bytes)
{
    for (size_t i = cache.n; i-- > 0;)
        if (cache.kept[i].bytes == bytes && memcmp(cache.kept[i].ptx->text, text, bytes) == 0)
            return remove_at(i);
    return NULL;
}

void cache_give(struct ptx_module *ptx)
{
    if (!ptx)
        return;
    for (uint32_t i = 0; i < ptx->n_variable; i++)
        if (ptx->variable[i].space == SPACE_GLOBAL || ptx->variable[i].space == SPACE_CONST)
            ptx->variable[i].address = 0;
    if (cache.n == KEPT_MOST)
        ptx_free(remove_at(0));
    cache.kept[cache.n++] = (struct kept){.ptx = ptx, .bytes = strlen(ptx->text)};
}

void cache_end(void)
{
    while (cache.n)
        ptx_free(remove_at(cache.n - 1));
}
