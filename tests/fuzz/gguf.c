/* Any bytes as a GGUF file: parsed in one piece and again through hooks, which must
 * agree; then everything that was accepted is read, so that a sanitizer sees each
 * value and each tensor's first and last byte inside the input. */
#include "plugin/file/gguf.h"

#include <stdlib.h>
#include <string.h>

struct input {
    const uint8_t *bytes;
    size_t n;
};

static void *input_open(void *user, const char *path, uint64_t *size)
{
    (void)path;
    *size = ((struct input *)user)->n;
    return user;
}

static int64_t input_pread(void *user, void *file, void *dst, uint64_t n, uint64_t offset)
{
    const struct input *input = user;
    (void)file;
    memcpy(dst, input->bytes + offset, n);
    return (int64_t)n;
}

/* Keeps the compiler from dropping the reads. */
static volatile uint64_t sink;

static void read_value(const struct gguf_value *value)
{
    for (uint64_t i = 0; i < value->n; i++) {
        struct str text = gguf_str_at(value, i);
        if (text.len > 0)
            sink += (uint64_t)text.ptr[0] + (uint64_t)text.ptr[text.len - 1];
        sink += (uint64_t)gguf_int_at(value, i);
        sink += gguf_float_at(value, i) > 0;
    }
}

static void read_all(const struct gguf *g, const uint8_t *bytes, size_t n)
{
    for (uint64_t i = 0; i < g->n_values; i++)
        read_value(&g->value[i]);
    for (uint64_t i = 0; i < g->tensors.n; i++) {
        const struct tensor *tensor = &g->tensors.tensor[i];
        if (tensor->bytes == 0 || tensor->offset > n || tensor->bytes > n - tensor->offset)
            abort();
        sink += bytes[tensor->offset];
        sink += bytes[tensor->offset + tensor->bytes - 1];
    }
}

static void read_known_keys(const struct gguf *g)
{
    int64_t integer;
    double real;
    bool truth;
    struct str text;
    static const char *const keys[] = {"general.architecture", "general.alignment",
                                       "llama.block_count", "a"};
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        sink += (uint64_t)gguf_int(g, keys[i], &integer) + gguf_float(g, keys[i], &real) +
                gguf_bool(g, keys[i], &truth) + gguf_str(g, keys[i], &text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct input input = {bytes, n};
    const inflight_io io = {.user = &input, .open = input_open, .pread = input_pread};
    struct arena arena, arena_hooked;
    struct gguf g, g_hooked;
    struct file file;
    struct err err = {.code = INFLIGHT_OK};
    size_t need;

    arena_init(&arena, &mem_system);
    arena_init(&arena_hooked, &mem_system);
    int32_t rc = gguf_parse(&g, bytes, n, n, &arena, &need, &err);
    if (rc == INFLIGHT_OK) {
        read_all(&g, bytes, n);
        read_known_keys(&g);
    } else if (err.code != rc || err.text[0] == '\0' || need != 0) {
        abort();
    }
    if (n > 0 && file_open(&file, "input", &io, &err) == INFLIGHT_OK) {
        int32_t rc_hooked = gguf_open(&g_hooked, &file, &arena_hooked, &err);
        if (rc_hooked != rc)
            abort();
        if (rc == INFLIGHT_OK)
            read_all(&g_hooked, bytes, n);
        file_close(&file);
    }
    /* A third time as the beginning of a longer file. */
    rc = gguf_parse(&g, bytes, n, (uint64_t)n * 3 + 100, &arena, &need, &err);
    if ((rc == INFLIGHT_E_IO) != (need > n))
        abort();
    arena_release(&arena);
    arena_release(&arena_hooked);
    return 0;
}
