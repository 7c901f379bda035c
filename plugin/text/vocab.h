/* The tokens of a vocabulary: their kinds, written forms and the bytes they stand for. Ordinary
 * tokens are written in the byte-to-character alphabet of GPT-2 ("Ġthe" is " the") or with a mark
 * for a space ("▁the"); control tokens and those a user added are written as they are. */
#pragma once

#include "spec.h"

#include "../base/hash.h"

struct vocab {
    int32_t n;
    const struct str *name; /* (n) in the arena of the spec */
    const uint8_t *type;    /* (n) enum token_type, there too */
    bool *end;              /* (n) ends generation */
    uint32_t *piece_at;     /* (n + 1) where each token's bytes begin in pool */
    char *pool;
    struct hash by_name;
    int32_t byte_id[256]; /* tokens of single bytes, -1: the vocabulary has none */
    int32_t *char_id;     /* (VOCAB_CHARS) tokens of code points, -1: none; NULL if byte_level */
    bool distinct;        /* no two tokens have the same name */
    int32_t bos, eos;     /* -1: none */
};

#define VOCAB_CHARS 65536

/* Memory from the spec's arena. */
int32_t vocab_open(struct vocab *v, const struct spec *spec, struct err *err);

/* 0 <= id < n. */
static inline struct str vocab_name(const struct vocab *v, int32_t id)
{
    return v->name[id];
}

static inline struct str vocab_piece(const struct vocab *v, int32_t id)
{
    return (struct str){v->pool + v->piece_at[id], v->piece_at[id + 1] - v->piece_at[id]};
}

/* May words of ordinary text become this token? Never a control token. */
bool vocab_is_text(const struct vocab *v, int32_t id);

/* The id of a written form, or -1. */
int32_t vocab_find(const struct vocab *v, struct str name);

/* The ordinary token of one code point, as it is written, or -1. Not if byte_level. */
int32_t vocab_char(const struct vocab *v, struct str character);
