/* A Hugging Face folder whose files are in memory. */
#pragma once

#include "plugin/file/folder.h"

#include <string.h>

#define MEMORY_FILES 8

struct memory_file {
    const char *name;
    struct str bytes;
};

struct memory_folder {
    struct memory_file file[MEMORY_FILES];
    size_t n;
    inflight_io io;
    struct folder folder;
};

static inline void *memory_open(void *user, const char *path, uint64_t *size)
{
    struct memory_folder *m = user;
    const char *slash = strrchr(path, '/');
    for (size_t i = 0; slash && i < m->n; i++)
        if (strcmp(m->file[i].name, slash + 1) == 0) {
            *size = m->file[i].bytes.len;
            return &m->file[i];
        }
    return NULL;
}

static inline int64_t memory_pread(void *user, void *file, void *dst, uint64_t n, uint64_t offset)
{
    const struct memory_file *f = file;
    (void)user;
    n = MIN(n, (uint64_t)f->bytes.len - offset);
    memcpy(dst, f->bytes.ptr + offset, (size_t)n);
    return (int64_t)n;
}

static inline void memory_close(void *user, void *file)
{
    (void)user;
    (void)file;
}

/* Empty; m may not move from now on. */
static inline void memory_folder_init(struct memory_folder *m, const struct mem *mem)
{
    *m = (struct memory_folder){.io = {.h = {sizeof m->io, INFLIGHT_ABI},
                                       .user = m,
                                       .open = memory_open,
                                       .pread = memory_pread,
                                       .close = memory_close}};
    m->folder = (struct folder){.path = "folder", .io = &m->io, .mem = mem};
}

static inline void memory_folder_add(struct memory_folder *m, const char *name, const void *bytes,
                                     size_t n)
{
    m->file[m->n++] = (struct memory_file){name, {bytes, n}};
}
