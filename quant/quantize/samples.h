/* The samples that calibration runs, of as many tokens each: cut from all over a text, or written
 * by the model. */
#pragma once

#include "../tools/progress.h"

#include "../../plugin/model/checkpoint.h"
#include "../../plugin/text/tokenizer.h"

#define SAMPLE_LEAST 16
#define SAMPLE_MOST  8192

struct samples {
    int32_t *token; /* (n, length), in the arena */
    int32_t n, length;
};

struct samples_source {
    const struct checkpoint *checkpoint;
    const char *text;   /* a file; NULL: the model writes them */
    const char *device; /* on which it does: auto, or a back end's name */
    int32_t n, length;
    int32_t threads;
    struct progress *progress; /* in tokens of what the model writes */
    bool is_quiet;             /* none is shown */
};

/* Of a text n samples at most, and fewer if it has fewer; it is an error if it has none. A model
 * with a start token has it at the beginning of each. */
int32_t samples_take(struct samples *s, const struct samples_source *source, struct arena *arena,
                     struct err *err);

/* n at most, from all over them; tokens borrowed or in the arena. */
int32_t samples_some(struct samples *some, const struct samples *all, int32_t n,
                     struct arena *arena, struct err *err);

/* What the model writes from its start token on, each token drawn as likely as it finds it; behind
 * an end token it goes on. V: of the model. The same samples every time on the same back end. The
 * whole model is in memory for as long as it writes. */
int32_t samples_write(struct samples *s, const struct samples_source *source, int32_t V,
                      struct arena *arena, struct err *err);

/* The token that a text begins with, if the model wants one, or -1. */
int32_t samples_start(const struct tokenizer *t);
