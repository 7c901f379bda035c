/* A matrix of floats becomes the tensors of its packing, on several threads. */
#pragma once

#include "plan.h"

#include "../../plugin/base/thread.h"

struct encoder {
    int32_t threads;
    struct buf memory; /* the packed matrix */
    struct buf source; /* the floats, where a hook reads them */
};

void encoder_init(struct encoder *e, int32_t threads);
void encoder_release(struct encoder *e);

/* Makes the tensors of o in e->memory, and o->error. done: rows that are made, added to by
 * several threads; another thread may read it. */
int32_t encoder_run(struct encoder *e, const struct tensors *tensors, struct output *o,
                    struct err *err);
