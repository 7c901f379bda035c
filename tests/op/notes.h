/* What the operation head notes of the blocks of a row of logits, by its definition. */
#pragma once

#include "../../kernels/batch.h"
#include "../../plugin/base/base.h"

#include <math.h>

struct notes {
    float max;
    double sum;
};

/* Of block b of a row of V logits; scale 0: no sum. */
static inline struct notes notes_of(const float *logit, int V, float scale, int b)
{
    int first = b * LOGIT_BLOCK, last = MIN(first + LOGIT_BLOCK, V);
    struct notes want = {.max = -INFINITY};
    for (int i = first; i < last; i++)
        want.max = fmaxf(logit[i], want.max);
    for (int i = first; i < last && scale > 0 && want.max > -INFINITY; i++)
        if (!isnan(logit[i]))
            want.sum += exp(((double)logit[i] - (double)want.max) * (double)scale);
    return want;
}

/* Sums are of floats; one that is no number is wrong. */
static inline bool notes_agree(const struct logit_block *block, const struct notes *want)
{
    return block->max == want->max &&
           fabs((double)block->sum - want->sum) <= 1e-6 * want->sum + 1e-30;
}
