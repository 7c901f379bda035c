/* The lines of golden/tokenizer.bin, or of the file that INFLIGHT_TOKENIZER_GOLDEN names, and
 * the hash of its lists; tokenizer_hf.py describes both. */
#pragma once

#include "plugin/base/base.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN_PATH "tests/model/golden/tokenizer.bin"

static inline uint32_t fnv(const void *bytes, size_t n, uint32_t h)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x01000193u;
    return h;
}

#define FNV_START 0x811c9dc5u

static inline uint32_t u32_at(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

struct golden {
    char *bytes;
    uint32_t n_lines, n_lists;
    struct str *line;  /* (n_lines) */
    const char *lists; /* the first one */
};

static inline bool golden_open(struct golden *golden)
{
    const char *path = getenv("INFLIGHT_TOKENIZER_GOLDEN");
    *golden = (struct golden){0};
    FILE *f = fopen(path ? path : GOLDEN_PATH, "rb");
    if (!f)
        return false;
    golden->bytes = malloc(4 << 20);
    size_t n = golden->bytes ? fread(golden->bytes, 1, 4 << 20, f) : 0;
    fclose(f);
    if (n < 16 || memcmp(golden->bytes, "TOKGOLD1", 8) != 0)
        return false;
    golden->n_lines = u32_at(golden->bytes + 8);
    golden->n_lists = u32_at(golden->bytes + 12);
    golden->line = calloc(golden->n_lines, sizeof *golden->line);
    const char *p = golden->bytes + 16;
    for (uint32_t i = 0; golden->line && i < golden->n_lines; i++) {
        size_t len = (uint8_t)p[0] | (size_t)(uint8_t)p[1] << 8;
        golden->line[i] = (struct str){p + 2, len};
        p += 2 + len;
    }
    golden->lists = p;
    return golden->line != NULL;
}

static inline void golden_close(struct golden *golden)
{
    free(golden->line);
    free(golden->bytes);
}
