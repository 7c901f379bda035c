/* A folder in memory, behind the host's file hooks, for tests: its files are what it is told. */
#pragma once

#include "plugin/file/folder.h"

#include <stdlib.h>
#include <string.h>

#define IMAGE_FILES 8

struct folder_image {
    struct {
        const char *path; /* whole: "m/config.json"; NULL: no more files */
        const void *bytes;
        size_t n;
    } file[IMAGE_FILES];
    int open, reads; /* handles not closed; calls of pread */
    uint64_t bytes_read;
    const char *unreadable; /* path whose reads fail, or NULL */
};

/* A handle: the file, one past its index. */
static inline void *image_open(void *user, const char *path, uint64_t *size)
{
    struct folder_image *im = user;
    for (size_t i = 0; i < IMAGE_FILES && im->file[i].path; i++)
        if (strcmp(im->file[i].path, path) == 0) {
            im->open++;
            *size = im->file[i].n;
            return &im->file[i];
        }
    return NULL;
}

static inline int64_t image_pread(void *user, void *handle, void *dst, uint64_t n, uint64_t offset)
{
    struct folder_image *im = user;
    size_t i = (size_t)((char *)handle - (char *)im->file) / sizeof im->file[0];
    if (im->unreadable && strcmp(im->unreadable, im->file[i].path) == 0)
        return -5;
    if (offset > im->file[i].n || n > im->file[i].n - offset)
        abort();
    memcpy(dst, (const char *)im->file[i].bytes + offset, n);
    im->reads++;
    im->bytes_read += n;
    return (int64_t)n;
}

static inline void image_close(void *user, void *handle)
{
    (void)handle;
    ((struct folder_image *)user)->open--;
}

static inline inflight_io image_io(struct folder_image *im)
{
    return (inflight_io){
        .user = im, .open = image_open, .pread = image_pread, .close = image_close};
}

/* Adds or replaces a file. */
static inline void image_put(struct folder_image *im, const char *path, const void *bytes, size_t n)
{
    size_t i = 0;
    while (i < IMAGE_FILES && im->file[i].path && strcmp(im->file[i].path, path) != 0)
        i++;
    if (i == IMAGE_FILES)
        abort();
    im->file[i].path = path;
    im->file[i].bytes = bytes;
    im->file[i].n = n;
}

/* The bytes of a safetensors file: a header's length, the header, n bytes of data. Returns their
 * number. */
static inline size_t image_safetensors(uint8_t *out, size_t cap, const char *header, size_t n)
{
    size_t len = strlen(header);
    if (8 + len + n > cap)
        abort();
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(len >> 8 * i);
    memcpy(out + 8, header, len);
    for (size_t i = 0; i < n; i++)
        out[8 + len + i] = (uint8_t)(i * 7 + 1);
    return 8 + len + n;
}
