/* Tokens that stand for their written form wherever it occurs: control tokens, in
 * trusted bytes, and those a user added, everywhere. The leftmost match wins, of
 * several that begin there the longest. */
#pragma once

#include "vocab.h"

struct added_token {
    struct str text; /* not empty */
    int32_t id;
    bool control;
};

struct added {
    struct added_token *token; /* in order of their bytes */
    int32_t first[257];        /* first[b] .. first[b + 1]: those that begin with byte b */
};

/* Borrows v's names. Memory from the arena. */
int32_t added_open(struct added *added, const struct vocab *v, struct arena *arena,
                   struct err *err);

/* The first match at or after from: its token, with *at where it begins; or NULL, with
 * *at the end of the text. trusted as in tokenizer_encode. */
const struct added_token *added_find(const struct added *added, struct str text,
                                     const uint8_t *trusted, size_t from, size_t *at);
