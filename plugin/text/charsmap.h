/* SentencePiece's table of replacements ("nmt_nfkc" and others), as it is in its files: a trie in
 * a double array and the texts its leaves stand for. Format: sentencepiece's normalizer.cc. */
#pragma once

#include "spec.h"

struct charsmap {
    const uint8_t *trie; /* (n_units) little-endian words, in the arena */
    size_t n_units;
    struct str texts; /* each with a NUL at its end */
};

/* bytes: the file's blob, copied into the arena. */
int32_t charsmap_open(struct charsmap *map, struct str bytes, struct arena *arena, struct err *err);

/* The longest, or shortest, beginning of text that is replaced: how many bytes, and by what.
 * 0: none is. */
size_t charsmap_find(const struct charsmap *map, struct str text, bool shortest,
                     struct str *content);
