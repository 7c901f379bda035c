/* A writer of GGUF images for tests: it writes whatever it is told, right or wrong. */
#pragma once

#include "plugin/file/gguf.h"

#include <stdlib.h>
#include <string.h>

#define IMAGE_MAX ((size_t)256 << 10)

struct image {
    uint8_t bytes[IMAGE_MAX];
    size_t n;
};

static inline void put(struct image *im, const void *bytes, size_t n)
{
    if (n > IMAGE_MAX - im->n)
        abort();
    memcpy(im->bytes + im->n, bytes, n);
    im->n += n;
}

static inline void put_u8(struct image *im, uint8_t v)
{
    put(im, &v, sizeof v);
}

static inline void put_u32(struct image *im, uint32_t v)
{
    put(im, &v, sizeof v);
}

static inline void put_u64(struct image *im, uint64_t v)
{
    put(im, &v, sizeof v);
}

static inline void put_string(struct image *im, const char *text)
{
    put_u64(im, strlen(text));
    put(im, text, strlen(text));
}

static inline void begin(struct image *im, uint32_t version, uint64_t n_tensors, uint64_t n_values)
{
    im->n = 0;
    put(im, "GGUF", 4);
    put_u32(im, version);
    put_u64(im, n_tensors);
    put_u64(im, n_values);
}

/* The key and its type; the value follows with put_. */
static inline void put_key(struct image *im, const char *key, uint32_t type)
{
    put_string(im, key);
    put_u32(im, type);
}

static inline void put_key_u32(struct image *im, const char *key, uint32_t v)
{
    put_key(im, key, GGUF_U32);
    put_u32(im, v);
}

static inline void put_key_array(struct image *im, const char *key, uint32_t element, uint64_t n)
{
    put_key(im, key, GGUF_ARRAY);
    put_u32(im, element);
    put_u64(im, n);
}

/* A tensor of one or two dimensions: second 0 leaves it out. */
static inline void put_tensor(struct image *im, const char *name, uint64_t first, uint64_t second,
                              uint32_t type, uint64_t offset)
{
    put_string(im, name);
    put_u32(im, second ? 2 : 1);
    put_u64(im, first);
    if (second)
        put_u64(im, second);
    put_u32(im, type);
    put_u64(im, offset);
}

/* Ends the header: padding to the alignment, then n bytes of tensor data. */
static inline void put_data(struct image *im, size_t alignment, size_t n)
{
    while (im->n % alignment)
        put_u8(im, 0);
    for (size_t i = 0; i < n; i++)
        put_u8(im, (uint8_t)i);
}

/* A small file with a key of every kind and three tensors out of order. */
static inline void put_small_model(struct image *im)
{
    begin(im, 3, 3, 6);
    put_key(im, "general.architecture", GGUF_STRING);
    put_string(im, "llama");
    put_key_u32(im, "llama.block_count", 30);
    put_key_array(im, "tokenizer.ggml.tokens", GGUF_STRING, 3);
    put_string(im, "a");
    put_string(im, "");
    put_string(im, "bcd");
    put_key_array(im, "tokenizer.ggml.token_type", GGUF_I32, 2);
    put_u32(im, 3);
    put_u32(im, (uint32_t)-1);
    put_key_u32(im, "general.alignment", 16);
    put_key(im, "tokenizer.ggml.add_bos_token", GGUF_BOOL);
    put_u8(im, 1);
    put_tensor(im, "output_norm.weight", 4, 0, 0, 48);
    put_tensor(im, "token_embd.weight", 32, 2, 2, 0);
    put_tensor(im, "rope", 4, 2, 1, 64);
    put_data(im, 16, 80);
}
