/* The ways of families of models to cut text into words that GGUF files name in
 * tokenizer.ggml.pre. One row of a table per way. */
#pragma once

#include "spec.h"

#define FAMILY_STAGES 5

struct family {
    const char *names; /* of tokenizer.ggml.pre, separated by spaces */
    bool nfc;          /* text is brought to Unicode's normal form C first */
    bool whole_words;  /* a word of the vocabulary is taken even if no rule builds it */
    bool start;        /* the start token is added unless the file says otherwise */
    bool digits;       /* of the bytes, runs of digits and then three of them stand alone */
    /* Each stage cuts the pieces of the one before into matches and what lies between. */
    const char *expression[FAMILY_STAGES];
};

/* NULL: there is none of that name. */
const struct family *family_find(struct str pre);

/* Its steps; without an error if its expressions compile, which the tests see to. */
int32_t family_set(const struct family *f, struct spec *s, struct err *err);
