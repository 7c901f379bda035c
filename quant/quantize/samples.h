/* A text as the samples that calibration runs: as many tokens each, cut from all over the text. */
#pragma once

#include "../../plugin/model/checkpoint.h"

#define SAMPLE_LEAST 16
#define SAMPLE_MOST  8192

struct samples {
    int32_t *token; /* (n, length), in the arena */
    int32_t n, length;
};

/* At most n samples of `length` tokens of the model's vocabulary V, and fewer if the text has
 * fewer; it is an error if it has none. A model with a start token has it at the beginning of
 * each. */
int32_t samples_read(struct samples *s, const char *path, const struct checkpoint *c, int32_t V,
                     int32_t n, int32_t length, struct arena *arena, struct err *err);
