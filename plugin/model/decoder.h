/* Runs a plan: the whole forward pass, with no knowledge of any model. */
#pragma once

#include "plan.h"

/* Host memory for what the host reads of a step on a device whose memory is not the host's; NULL
 * elsewhere. */
struct decoder_copy {
    float *logits;             /* (R, V) */
    struct logit_block *block; /* (R, logit_blocks(V)) */
    int32_t V;
};

/* On all lanes of the device; 0 or the first failed step's code. */
int decoder_run(const struct plan *plan, const struct backend *backend, struct device *device,
                const struct batch *batch, const struct decoder_copy *copy);

/* The same, queued: backend->launch. */
int decoder_launch(const struct plan *plan, const struct backend *backend, struct device *device,
                   const struct batch *batch);
