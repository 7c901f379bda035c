/* Tokens -> text: whole UTF-8 code points only, and nothing that might still become
 * a stop string. One per sequence. */
#pragma once

#include "text/tokenizer.h"

struct detok {
    const struct tokenizer *tokenizer; /* borrowed */
    const struct str *stop;            /* (n_stop) borrowed, outlives the detok */
    int32_t n_stop;
    struct buf held; /* bytes not yet given out */
    bool is_written; /* control tokens become their written form, else nothing */
    int32_t strip;   /* spaces that the tokenizer may have put before the text, not yet dropped */
};

void detok_init(struct detok *d, const struct tokenizer *tokenizer, const struct str *stop,
                int32_t n_stop, const struct mem *mem);
void detok_release(struct detok *d);

/* The text stands alone, as an answer does, and is no continuation of another: spaces at its
 * beginning that are the tokenizer's own are dropped. */
void detok_stand_alone(struct detok *d);

enum detok_result {
    DETOK_GO,    /* go on */
    DETOK_STOP,  /* a stop string was met: out ends right before it, later text is dropped */
    DETOK_NOMEM, /* out or the held bytes could not grow */
};

/* Appends to out what has become certain with this token. */
enum detok_result detok_push(struct detok *d, int32_t token, struct buf *out);

/* The end without a stop string: appends what was held; an incomplete code point
 * becomes U+FFFD. */
enum detok_result detok_flush(struct detok *d, struct buf *out);
