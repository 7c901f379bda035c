/* The unigram model: of all ways to put a word together of tokens, that with the highest sum of
 * scores (Viterbi). Time in proportion to the word and to the longest token. */
#pragma once

#include "trie.h"

#include "../base/buf.h"

struct unigram {
    const struct vocab *vocab; /* borrowed */
    struct trie trie;
    double *score; /* (n) */
    double unknown_score;
    int32_t unknown;
    bool byte_fallback, fuse_unknown;
    bool single; /* sums are kept in single precision, as SentencePiece does */
};

/* Memory from the spec's arena. */
int32_t unigram_open(struct unigram *u, const struct vocab *v, const struct spec *spec,
                     struct err *err);

/* Appends the word's ids to out. scratch takes 24 bytes per byte. False: no memory. */
bool unigram_encode(const struct unigram *u, struct str word, struct buf *scratch, struct buf *out);
