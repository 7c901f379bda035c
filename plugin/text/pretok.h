/* Pre-tokenizers: each family of models cuts text into words by its own steps before merging,
 * most of them regular expressions. */
#pragma once

#include "regex.h"
#include "spec.h"

struct pretok {
    struct pretok_step step[SPEC_STEPS]; /* without patterns */
    struct regex regex[SPEC_STEPS];
    int n;
};

int32_t pretok_open(struct pretok *p, const struct spec *spec, struct err *err);
void pretok_close(struct pretok *p); /* zeroed or closed is allowed */

/* One step's work on a piece of the step before. */
struct pretok_stage {
    struct str piece; /* being cut; empty: done */
    size_t at;        /* what was given out ends here */
    size_t from, to;  /* the match after at */
    struct buf text;  /* of steps that change it */
};

/* The cutting of texts by one thread. */
struct pretok_cut {
    const struct pretok *pretok; /* borrowed */
    struct regex_search search;
    struct pretok_stage stage[SPEC_STEPS];
    int depth; /* stages that have a piece */
    bool begins;
    struct str whole; /* the text, if there are no steps */
};

/* False: no memory. */
bool pretok_cut_init(struct pretok_cut *cut, const struct pretok *p, const struct mem *mem);
void pretok_cut_release(struct pretok_cut *cut);

/* text: well-formed UTF-8, borrowed until the last word was taken. begins: it is the beginning of
 * the input. */
int32_t pretok_begin(struct pretok_cut *cut, struct str text, bool begins);

/* The next word, never empty, valid until the next call: 1; the end: 0; or a negative code. */
int32_t pretok_next(struct pretok_cut *cut, struct str *word);
