/* A vocabulary for tests, in a GGUF image: all 256 bytes, then tokens the caller adds. */
#pragma once

#include "plugin/text/tokenizer.h"

#include "gguf_image.h"

struct text_token {
    const char *name;
    uint32_t type; /* of tokenizer.ggml.token_type */
};

struct text_model {
    struct image image;
    struct arena arena;
    struct gguf gguf;
    struct tokenizer *tokenizer;
    struct err err;
};

/* The written form of a byte in GPT-2's alphabet, counted out as GPT-2's code does. */
static inline const char *text_byte_name(int byte, char name[4])
{
    uint32_t hidden = 256, character = 0;
    for (int b = 0; b <= byte; b++) {
        bool visible = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        character = visible ? (uint32_t)b : hidden++;
    }
    size_t n = 0;
    if (character >= 0x80)
        name[n++] = (char)(0xc0 | character >> 6);
    name[n++] = (char)(character >= 0x80 ? 0x80 | (character & 0x3f) : character);
    name[n] = 0;
    return name;
}

/* Opens a tokenizer with the bytes as ids 0 .. 255, then token[0 .. n) and the merges.
 * Returns tokenizer_open's code; close in any case. */
static inline int32_t text_model_open(struct text_model *m, const char *kind, const char *pre,
                                      const struct text_token *token, uint32_t n,
                                      const char *const *merge, uint32_t n_merges, uint32_t eos)
{
    struct image *im = &m->image;
    char name[4];
    size_t need;
    begin(im, 3, 0, 6);
    put_key(im, "tokenizer.ggml.model", GGUF_STRING);
    put_string(im, kind);
    put_key(im, "tokenizer.ggml.pre", GGUF_STRING);
    put_string(im, pre);
    put_key_array(im, "tokenizer.ggml.tokens", GGUF_STRING, 256 + n);
    for (int byte = 0; byte < 256; byte++)
        put_string(im, text_byte_name(byte, name));
    for (uint32_t i = 0; i < n; i++)
        put_string(im, token[i].name);
    put_key_array(im, "tokenizer.ggml.token_type", GGUF_I32, 256 + n);
    for (uint32_t i = 0; i < 256 + n; i++)
        put_u32(im, i < 256 ? 1 : token[i - 256].type);
    put_key_array(im, "tokenizer.ggml.merges", GGUF_STRING, n_merges);
    for (uint32_t i = 0; i < n_merges; i++)
        put_string(im, merge[i]);
    put_key_u32(im, "tokenizer.ggml.eos_token_id", eos);
    put_data(im, 32, 0);
    m->tokenizer = NULL;
    arena_init(&m->arena, &mem_system);
    int32_t code = gguf_parse(&m->gguf, im->bytes, im->n, im->n, &m->arena, &need, &m->err);
    return code ? code : tokenizer_open(&m->tokenizer, &m->gguf, &m->arena, &m->err);
}

static inline void text_model_close(struct text_model *m)
{
    tokenizer_close(m->tokenizer);
    arena_release(&m->arena);
}
