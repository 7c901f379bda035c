/* Runs a plan: the whole forward pass, with no knowledge of any model. */
#pragma once

#include "plan.h"

/* On all lanes of the device; 0 or the first failed step's code. */
int decoder_run(const struct plan *plan, const struct backend *backend, struct device *device,
                const struct batch *batch);

/* The same, queued: backend->launch. */
int decoder_launch(const struct plan *plan, const struct backend *backend, struct device *device,
                   const struct batch *batch);
