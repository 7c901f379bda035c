/* The tokens of a GGUF file: their kinds, written forms and the bytes they stand for.
 * Ordinary tokens are written in the byte-to-character alphabet of GPT-2 ("Ġthe" is
 * " the"); control tokens and those a user added are written as they are. */
#pragma once

#include "../file/gguf.h"

/* The numbers of tokenizer.ggml.token_type. */
enum token_type {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER_DEFINED = 4,
    TOKEN_UNUSED = 5,
    TOKEN_BYTE = 6,
};

struct vocab {
    int32_t n;
    const struct gguf_value *names; /* borrowed from the file */
    uint8_t *type;                  /* (n) enum token_type */
    bool *end;                      /* (n) ends generation */
    uint32_t *piece_at;             /* (n + 1) where each token's bytes begin in pool */
    char *pool;
    struct hash by_name;
    bool distinct;    /* no two tokens have the same name */
    int32_t bos, eos; /* -1: none */
};

/* Memory from the arena; g stays borrowed. */
int32_t vocab_open(struct vocab *v, const struct gguf *g, struct arena *arena, struct err *err);

/* 0 <= id < n. */
struct str vocab_name(const struct vocab *v, int32_t id);
struct str vocab_piece(const struct vocab *v, int32_t id);

/* May words of ordinary text become this token? Never a control token. */
bool vocab_is_text(const struct vocab *v, int32_t id);

/* The id of a written form, or -1. */
int32_t vocab_find(const struct vocab *v, struct str name);

/* The ordinary token of a single byte, or -1: some vocabularies lack rare bytes. */
int32_t vocab_byte(const struct vocab *v, uint8_t byte);
