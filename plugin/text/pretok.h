/* Pre-tokenizers: each family of models cuts text into words by its own regular
 * expressions before merging. One row of a table per family, named as in
 * tokenizer.ggml.pre. */
#pragma once

#include "../base/buf.h"
#include "../base/err.h"

#define PRETOK_STAGES 5

struct pretok_row {
    const char *names; /* of tokenizer.ggml.pre, separated by spaces */
    bool nfc;          /* text is brought to Unicode's normal form C first */
    bool whole_words;  /* a word of the vocabulary is taken even if no rule builds it */
    bool start;        /* the start token is added unless the file says otherwise */
    /* Each stage cuts the pieces of the one before into matches and what lies between. */
    const char *expression[PRETOK_STAGES];
};

struct pretok {
    const struct pretok_row *row;
    int n_stages;
    void *code[PRETOK_STAGES]; /* pcre2_code, owned */
};

/* pre: the name of the family. */
int32_t pretok_open(struct pretok *p, struct str pre, struct err *err);
void pretok_close(struct pretok *p);

/* The cutting of texts by one thread. */
struct pretok_cut {
    const struct pretok *pretok; /* borrowed */
    void *match, *limits;        /* pcre2_match_data, pcre2_match_context, owned */
    struct pretok_stage {
        struct str piece; /* being cut; empty: done */
        size_t at;        /* what was given out ends here */
        size_t from, to;  /* the match after at */
    } stage[PRETOK_STAGES];
    int depth; /* stages that have a piece */
};

/* False: no memory. */
bool pretok_cut_init(struct pretok_cut *cut, const struct pretok *p);
void pretok_cut_release(struct pretok_cut *cut);

/* text: well-formed UTF-8, borrowed until the last word was taken. */
void pretok_begin(struct pretok_cut *cut, struct str text);

/* The next word, never empty: 1; the end: 0; or a negative code. */
int32_t pretok_next(struct pretok_cut *cut, struct str *word);
