/* Byte-pair encoding of one word: its bytes become tokens, then the neighbours with
 * the lowest rank are merged, leftmost first, until no rule applies. Time n log n and
 * memory 40 bytes per byte, however long the word is. */
#pragma once

#include "merges.h"

#include "../base/buf.h"

struct bpe {
    struct merges merges;
    int32_t byte_id[256]; /* -1: the vocabulary has no token for this byte */
    struct hash whole;    /* words taken as they are, by their bytes; may be empty */
    size_t longest;       /* of them, bytes */
};

/* prefer_whole: a word that is itself in the vocabulary becomes that token even if the
 * rules would not build it. Memory from the arena. */
int32_t bpe_open(struct bpe *bpe, const struct vocab *v, const struct gguf *g, bool prefer_whole,
                 struct arena *arena, struct err *err);

/* Appends the word's ids to out. Bytes without a token are left out. scratch is used
 * for long words and kept between calls. False: no memory. */
bool bpe_encode(const struct bpe *bpe, struct str word, struct buf *scratch, struct buf *out);
