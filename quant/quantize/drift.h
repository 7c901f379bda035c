/* What rounding has changed of the samples so far, and what makes up for it: the model as it was
 * runs beside the one that is made, and a matrix W is rounded as if it were
 *
 *   W' = W + share (W (Y - X)^T X + (y - x)^T X) (X^T X)^-1
 *
 * with X what it reads, and Y what it read in the model as it was, (tokens, K) both. Of all
 * matrices W' (share 1) gives what is nearest to the outputs as they were; if these are added to
 * the hidden state, x now and y as it was, (tokens, D) both, to that, else without the second part.
 * A smaller share learns less of the text. It is the objective of GPTAQ, Li et al. 2025, to which
 * that comes column by column, and without a hidden state.
 *
 * With a share of 0 nothing is kept and nothing done. */
#pragma once

#include "factor.h"
#include "layers.h"
#include "samples.h"

struct drift {
    float share;
    int32_t D, threads;
    struct layers layers; /* the model as it was */
    float *x;             /* (n, length, D): y above; owned, as all of these */
    float *away;          /* (length, widest): a sample's Y - X, or y - x */
    float *inputs;        /* (K, K): X^T (Y - X); once it is solved (Y - X)^T X inverse */
    float *hidden;        /* (K, D): X^T (y - x) */
    float *inverse;       /* (K, K): share (X^T X)^-1 */
    bool has_hidden;
};

/* Beside a model that samples are to be run through, before its first layer. */
int32_t drift_open(struct drift *d, const struct layers *made, const struct samples *samples,
                   const char *device, float share, struct arena *arena, struct err *err);
void drift_close(struct drift *d); /* zeroed is allowed */

/* Layer `number` as it was. */
int32_t drift_enter(struct drift *d, int32_t number, struct err *err);

/* Runs stages first .. last of sample i of the model as it was, which may be those behind the ones
 * that it ran last. */
int32_t drift_run(struct drift *d, int32_t i, enum stage first, enum stage last, struct err *err);

/* Nothing has been added of what reads K inputs; has_hidden: its outputs are added to the hidden
 * state as they are. */
void drift_clear(struct drift *d, int32_t K, bool has_hidden);

/* As which of the two attention sees inputs; NULL where neither is meant: as they are. */
struct view {
    const struct attention *attention;
    enum attended as;
};

/* Adds sample i, whose hidden state is x (length, D) now and which is read as X (length, K), as it
 * is seen. */
int32_t drift_add(struct drift *d, int32_t i, enum input input, const struct view *view,
                  const float *x, const float *X, struct err *err);

/* After the last sample, with the factor of X^T X, whose scratch it takes. */
void drift_solve(struct drift *d, struct factor *f);

/* W (N, K) becomes W'. */
int32_t drift_apply(const struct drift *d, float *W, int64_t N, int64_t K, struct err *err);
