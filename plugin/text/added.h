/* Tokens that stand for their written form wherever it occurs: control tokens, in
 * trusted bytes, and those a user added, everywhere. The leftmost match wins, of
 * several that begin there the longest. */
#pragma once

#include "spec.h"

struct added {
    struct spec_added *token; /* in order of their bytes, none empty */
    size_t n;
    int32_t first[257]; /* first[b] .. first[b + 1]: those that begin with byte b */
};

/* What begins and ends in a text, with the spaces it takes. */
struct added_match {
    const struct spec_added *token; /* NULL: none */
    size_t at, end;
};

/* Those of the spec that are found in normalised text, or the others. Texts are copied into its
 * arena. */
int32_t added_open(struct added *added, const struct spec *spec, bool normalized, struct err *err);

/* The first match at or after from; none: at and end are the end of the text. trusted as in
 * tokenizer_encode. */
struct added_match added_find(const struct added *added, struct str text, const uint8_t *trusted,
                              size_t from);
