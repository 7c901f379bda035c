#include "decoder.h"

struct job {
    const struct plan *plan;
    const struct backend *backend;
    const struct batch *batch;
};

/* Every lane runs every step in order; a step ends on all lanes together. */
static int run_lane(struct lane *lane, void *arg)
{
    const struct job *job = arg;
    const struct backend *backend = job->backend;
    for (int32_t i = 0; i < job->plan->len; i++) {
        const struct step *step = &job->plan->step[i];
        int rc = INFLIGHT_E_INTERNAL;
        switch (step->op) {
#define OP(name, doc)                                        \
    case OP_##name:                                          \
        rc = backend->name(lane, &step->a.name, job->batch); \
        break;
#include "../../kernels/ops.def"
#undef OP
        case OP_COUNT:
            break;
        }
        if (rc)
            return rc;
    }
    return 0;
}

int decoder_run(const struct plan *plan, const struct backend *backend, struct device *device,
                const struct batch *batch)
{
    struct job job = {plan, backend, batch};
    return backend->run(device, run_lane, &job);
}

int decoder_launch(const struct plan *plan, const struct backend *backend, struct device *device,
                   const struct batch *batch)
{
    struct job job = {plan, backend, batch};
    return backend->launch(device, run_lane, &job);
}
