/* Any bytes as a folder of weights: one file, or, where the line CUT is in them, an index and the
 * shards "a" and "b". What is accepted is read, so that a sanitizer sees each tensor's first and
 * last byte inside of its file. */
#define _GNU_SOURCE
#include "plugin/file/safetensors.h"

#include "folder_image.h"

#define CUT "\n%%%%\n"

static const char *const paths[] = {"m/model.safetensors.index.json", "m/a", "m/b"};

/* Keeps the compiler from dropping the reads. */
static volatile uint64_t sink;

static void cut(struct folder_image *image, const uint8_t *bytes, size_t n)
{
    size_t piece = 0;
    const uint8_t *end = bytes + n, *at = n ? memmem(bytes, n, CUT, sizeof CUT - 1) : NULL;
    if (!at)
        image_put(image, "m/model.safetensors", bytes, n);
    for (const uint8_t *from = bytes; at; from = at + sizeof CUT - 1) {
        at = memmem(from, (size_t)(end - from), CUT, sizeof CUT - 1);
        image_put(image, paths[piece], from, (size_t)((at ? at : end) - from));
        if (!at || ++piece == COUNT_OF(paths))
            return;
    }
}

static void read_all(const struct tensors *t)
{
    struct buf scratch;
    struct err err;
    buf_init(&scratch, &mem_system);
    for (uint64_t i = 0; i < t->n; i++) {
        const struct tensor *tensor = &t->tensor[i];
        const uint8_t *view = tensors_view(t, tensor, &scratch, &err);
        if (!view || tensor->name.ptr[tensor->name.len] ||
            tensors_find(t, tensor->name.ptr) != tensor)
            abort();
        if (tensor->bytes)
            sink += view[0] + view[tensor->bytes - 1];
    }
    buf_release(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct folder_image image = {0};
    const inflight_io io = image_io(&image);
    const struct folder folder = {.path = "m", .io = &io, .mem = &mem_system};
    struct err err = {.code = INFLIGHT_OK};
    struct tensors t;
    struct arena arena;

    cut(&image, bytes, n);
    arena_init(&arena, &mem_system);
    int32_t rc = safetensors_open(&t, &folder, &arena, &err);
    if (rc ? err.code != rc || !err.text[0] : t.n_files < 1)
        abort();
    if (!rc)
        read_all(&t);
    tensors_close(&t);
    arena_release(&arena);
    if (image.open)
        abort();
    return 0;
}
