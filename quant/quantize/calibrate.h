/* Calibrated rounding of a model's matrices: which numbers they become, and the scales of what they
 * read, are decided by what the model computes of samples.
 *
 *   text, or what the model writes
 *     -> samples (n, length) -> x (n, length, D) in host memory
 *                                   |
 *   for each layer:                 v
 *     first half    x --norm--> X ----------> H, magnitudes -> q, k, v
 *                   x --q, k, v, attention--> H, magnitudes -> o        weights are rounded,
 *                   x += attention's o^T                                then x goes on
 *     second half   x --norm--> X ----------> H, magnitudes -> gate, up
 *                   x --gate, up------------> H, magnitudes -> down
 *                   x += ... down^T
 *                                   |
 *                                   v  of the next layer; of the last, normalised, of the head
 *
 * Where both halves are of the layer's input they are made one after the other of the same x, which
 * goes on behind the second. Of experts the second half has a matrix for each, which reads what its
 * own tokens give; as many of these are seen at once as their H take no more than the layer.
 *
 * One layer is on the back end at a time, and the samples run through it one by one. gptq and
 * static recipes: what a matrix reads has gone through all that was rounded before it, also in its
 * own layer; gptq makes up for some of that, with samples that go through the model as it was, see
 * drift.h. awq and smooth: through the halves before, and of its own half through the weights as
 * they were, since it is by those that all scales of a half are chosen before any of its matrices
 * is rounded.
 *
 * Nothing of this is kept by a run that is stopped: the next one computes the layers of files that
 * are complete again, with the same bits if it is on the same back end, and writes those that are
 * missing.
 *
 * Memory: x, the weights of one layer on the device and rounded, and H of all inputs of a layer,
 * of the widest three times while it is factorized; with drift.h twice x, another layer, and the
 * square of the widest input twice more. */
#pragma once

#include "../tools/progress.h"
#include "plan.h"
#include "samples.h"

struct calibration;

struct calibration_source {
    const struct checkpoint *checkpoint;
    const struct quantize_plan *plan;
    const struct quantize_params *params;
    const struct samples *samples; /* outlives it; NULL: there is no calibration */
    struct progress *progress;     /* in bytes of the model */
    int32_t threads;
    bool is_quiet;    /* no messages on standard error */
    bool is_measured; /* nothing is rounded: costs of the plan's outputs alone, see budget.h */
};

/* Runs the embedding. */
int32_t calibration_open(struct calibration **out, const struct calibration_source *source,
                         struct err *err);
void calibration_close(struct calibration *c); /* NULL is allowed */

/* The name of the back end that computes; "none" of NULL. */
const char *calibration_device(const struct calibration *c);

/* Those that "auto" could not use, and why; empty: none. */
const char *calibration_passed(const struct calibration *c);

/* Goes on to a layer, or LAYER_HEAD, not below that of the last call, and makes its outputs, whose
 * bytes are there until the next call. */
int32_t calibration_reach(struct calibration *c, int32_t layer, struct err *err);
