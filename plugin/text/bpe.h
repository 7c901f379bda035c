/* Byte-pair encoding of one word: its bytes or characters become tokens, then the neighbours with
 * the lowest rank are merged, leftmost first, until no rule applies. Time n log n and
 * memory 48 bytes per byte, however long the word is. */
#pragma once

#include "merges.h"

#include "../base/buf.h"

struct bpe {
    const struct vocab *vocab; /* borrowed */
    struct merges merges;
    bool byte_level;    /* symbols are bytes from the start */
    bool byte_fallback; /* of characters that are no token; else they are unknown */
    bool fuse_unknown;
    /* Some token has a SPACE_MARK behind this byte; else words end there, whatever they are. */
    bool joins_mark[256];
    int32_t unknown;   /* -1: what is unknown is left out */
    struct hash whole; /* words taken as they are, by their bytes; may be empty */
    size_t longest;    /* of them, bytes */
};

/* Memory from the spec's arena. */
int32_t bpe_open(struct bpe *bpe, const struct vocab *v, const struct spec *spec, struct err *err);

/* Appends the word's ids to out. Bytes without a token are left out. scratch is used
 * for long words and kept between calls. False: no memory. */
bool bpe_encode(const struct bpe *bpe, struct str word, struct buf *scratch, struct buf *out);
