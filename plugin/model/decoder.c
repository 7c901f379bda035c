#include "decoder.h"

struct job {
    const struct plan *plan;
    const struct backend *backend;
    const struct batch *batch;
    const struct decoder_copy *copy; /* or NULL */
};

/* Behind the step, so that one wait is for all of it. */
static int fetch_rows(struct lane *lane, const struct job *job)
{
    const struct decoder_copy *copy = job->copy;
    size_t R = (size_t)job->batch->R;
    size_t logits = R * (size_t)copy->V * sizeof *copy->logits;
    size_t blocks = R * (size_t)logit_blocks(copy->V) * sizeof *copy->block;
    int rc = job->backend->fetch(lane, copy->logits, job->plan->logits, logits);
    return rc ? rc : job->backend->fetch(lane, copy->block, job->plan->block, blocks);
}

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
    return job->copy ? fetch_rows(lane, job) : 0;
}

int decoder_run(const struct plan *plan, const struct backend *backend, struct device *device,
                const struct batch *batch, const struct decoder_copy *copy)
{
    struct job job = {.plan = plan, .backend = backend, .batch = batch, .copy = copy};
    return backend->run(device, run_lane, &job);
}

int decoder_launch(const struct plan *plan, const struct backend *backend, struct device *device,
                   const struct batch *batch)
{
    struct job job = {.plan = plan, .backend = backend, .batch = batch};
    return backend->launch(device, run_lane, &job);
}
