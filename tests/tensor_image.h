/* Tensors of a file in memory, as a folder's headers would have given them. */
#pragma once

#include "plugin/file/tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TENSORS_MOST 16
#define IMAGE_BYTES  ((size_t)4 << 20)

struct tensor_image {
    struct tensors tensors;
    struct tensor tensor[TENSORS_MOST];
    char name[TENSORS_MOST][96];
    struct file file;
    inflight_io io;
    struct arena arena;
    uint8_t *bytes;      /* (IMAGE_BYTES) */
    uint64_t bytes_read; /* through the hook */
    size_t n;
};

static inline void *image_file(void *user, const char *path, uint64_t *size)
{
    (void)path;
    *size = IMAGE_BYTES;
    return user;
}

static inline int64_t image_read(void *user, void *file, void *to, uint64_t n, uint64_t offset)
{
    struct tensor_image *im = user;
    (void)file;
    memcpy(to, im->bytes + offset, n);
    im->bytes_read += n;
    return (int64_t)n;
}

/* hooked: the file is behind a read hook, and not mapped. */
static inline void image_begin(struct tensor_image *im, bool hooked)
{
    *im = (struct tensor_image){.bytes = calloc(1, IMAGE_BYTES)};
    im->io = (inflight_io){.user = im, .open = image_file, .pread = image_read};
    im->file = (struct file){.bytes = IMAGE_BYTES, .path = "model.safetensors"};
    if (hooked) {
        im->file.io = &im->io;
        im->file.handle = im;
    } else {
        im->file.map = im->bytes;
    }
    im->tensors = (struct tensors){
        .naming = NAMING_HUGGING_FACE, .tensor = im->tensor, .file = &im->file, .n_files = 1};
    arena_init(&im->arena, &mem_system);
}

/* Bytes of a number of a type. */
static inline size_t dtype_bytes(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_F32:
    case DTYPE_I32:
        return 4;
    case DTYPE_F16:
    case DTYPE_BF16:
        return 2;
    case DTYPE_I64:
        return 8;
    default:
        return 1;
    }
}

/* One of rows x columns zeros, which the caller fills. */
static inline void *image_add(struct tensor_image *im, const char *name, enum dtype dtype,
                              int64_t rows, int64_t columns)
{
    struct tensor *t = &im->tensor[im->tensors.n];
    size_t bytes = (size_t)(rows * columns) * dtype_bytes(dtype);
    im->n = (im->n + 7) / 8 * 8;
    if (im->tensors.n == TENSORS_MOST || bytes > IMAGE_BYTES - im->n)
        abort();
    (void)snprintf(im->name[im->tensors.n], sizeof im->name[0], "%s", name);
    *t = (struct tensor){.name = {im->name[im->tensors.n], strlen(name)},
                         .fmt = dtype == DTYPE_F32    ? FMT_f32
                                : dtype == DTYPE_F16  ? FMT_f16
                                : dtype == DTYPE_BF16 ? FMT_bf16
                                                      : FMT_COUNT,
                         .dtype = dtype,
                         .n_dims = 2,
                         .dim = {columns, rows, 1, 1, 1},
                         .offset = im->n,
                         .bytes = bytes};
    im->n += bytes;
    im->tensors.n++;
    return im->bytes + t->offset;
}

/* The names, after the last one has been added. */
static inline void image_end(struct tensor_image *im)
{
    if (tensors_index(&im->tensors, &im->arena, NULL))
        abort();
}

static inline void image_release(struct tensor_image *im)
{
    arena_release(&im->arena);
    free(im->bytes);
}
