/* A file to read: mapped read-only, or behind the host's positional read hook. */
#pragma once

#include "../base/buf.h"
#include "../base/err.h"

struct file {
    uint64_t bytes;
    int64_t changed_ns;    /* when, since 1970; 0 behind a hook */
    const uint8_t *map;    /* (bytes) or NULL when a hook reads */
    const inflight_io *io; /* borrowed, NULL when mapped */
    void *handle;          /* of the hook */
    char path[256];        /* for messages: the end of a longer one */
};

/* io NULL: maps path. Fails with INFLIGHT_E_IO and the system's reason. */
int32_t file_open(struct file *file, const char *path, const inflight_io *io, struct err *err);
void file_close(struct file *file); /* a zeroed or closed file is allowed */

/* n bytes at offset: inside the mapping, or read into scratch (replacing what is
 * there, 64-byte aligned). Valid until the next view with the same scratch. NULL
 * with err set: beyond the end, short read, hook error, no memory. */
const void *file_view(const struct file *file, uint64_t offset, size_t n, struct buf *scratch,
                      struct err *err);

/* The same in scratch, also of a mapped file: for what must stand at a multiple of its size. */
const void *file_copy(const struct file *file, uint64_t offset, size_t n, struct buf *scratch,
                      struct err *err);

/* n bytes at offset, which were viewed, are not wanted for now: a mapping need not keep them
 * resident. They can be viewed again. */
void file_done(const struct file *file, uint64_t offset, size_t n);
