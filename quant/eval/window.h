/* A text in windows of as many tokens, each read by a model from its beginning. The first half of a
 * window is context alone; the positions of the second half are scored, but for the last one, whose
 * next token is not in the window. A model with a start token has it in place of a window's
 * first token. So llama.cpp measures as well. */
#pragma once

#include "score.h"

#include "../../plugin/model/model.h"

#define WINDOW_LEAST 16
#define WINDOW_PASS  128 /* tokens of one forward pass, and rows of logits that a model holds */

struct windows {
    const int32_t *token; /* (n * length), borrowed */
    int32_t length, n;
    int32_t start; /* token at the beginning of each, or -1 */
    int32_t threads;
};

/* Called after each pass; non-zero stops. */
typedef int windows_progress(void *user, int64_t tokens);

/* Reads all windows with model and, if it is not NULL, reference: both loaded, of one vocabulary,
 * with a context of `length` and max_tokens and max_rows of WINDOW_PASS. */
int32_t windows_score(const struct windows *w, struct model *model, struct model *reference,
                      struct score *score, windows_progress *progress, void *user, struct err *err);
