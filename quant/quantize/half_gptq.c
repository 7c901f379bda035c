/* What a matrix reads has gone through the matrices rounded before it, also of its own half. */
#include "gptq.h"
#include "half.h"
#include "nearest.h"

#include "../encode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int32_t no_memory(struct err *err, const char *what)
{
    return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s", what);
}

int32_t half_factor(struct calibration *c, struct factor *f, const struct moments *moments,
                    const char *module, struct err *err)
{
    if (factor_init(f, moments->K, err))
        return err->code;
    if (c->source->params->act_order) {
        int32_t *order = malloc((size_t)f->K * sizeof *order);
        f->order = order;
        if (!order || gptq_order(moments->H, f->K, order, err))
            return order ? err->code : no_memory(err, "an order of columns");
    }
    if (factor_make(f, moments->H, c->source->threads, err))
        return err_prefix(err, "%s", module);
    if (f->damping > FACTOR_DAMPING && !c->source->is_quiet)
        (void)fprintf(stderr,
                      "inflight-quantize: %s: moments of the inputs are nearly singular; %g of "
                      "their mean is added\n",
                      module, f->damping);
    return INFLIGHT_OK;
}

/* What is rounded in place of the matrix. */
static int32_t correct(struct calibration *c, struct made *m, struct err *err)
{
    const struct packing *p = &m->output->packing;
    const int64_t n = p->N * p->K;
    m->wanted = malloc((size_t)n * sizeof *m->wanted);
    if (!m->wanted)
        return no_memory(err, m->output->module);
    memcpy(m->wanted, m->W, (size_t)n * sizeof *m->wanted);
    if (drift_apply(&c->drift, m->wanted, p->N, p->K, err))
        return err->code;
    if (!(encode_largest(m->wanted, n) <= encode_most(p->fmt)))
        return err_set(err, INFLIGHT_E_MODEL,
                       "%s: what would make up for rounding is no number, or too large; --correct "
                       "0 goes without",
                       m->output->module);
    return INFLIGHT_OK;
}

/* Matrices that read the same inputs. */
struct group {
    const int32_t *slot; /* (n) */
    int32_t n;
    const struct moments *moments;
    bool is_corrected;
};

/* factor: NULL, or of the group's moments. */
static int32_t round_matrix(struct calibration *c, const struct group *group,
                            const struct factor *factor, int32_t slot, struct err *err)
{
    struct made *m = &c->made[slot];
    if (made_read(c, slot, err) || (group->is_corrected && correct(c, m, err)))
        return err->code;
    const struct packing *p = &m->output->packing;
    const struct gptq gptq = {.factor = factor,
                              .fmt = p->fmt,
                              .style = {p->is_symmetric, p->is_bf16},
                              .threads = c->source->threads};
    nearest_matrix(p, made_wanted(m), gptq.threads, m->rows);
    if (factor && gptq_improve(&gptq, group->moments, made_wanted(m), m->back, p->N, m->rows, err))
        return err_prefix(err, "%s", m->output->module);
    return made_finish(c, slot, group->moments, NULL, NULL, err);
}

static int32_t make_factor(struct calibration *c, struct factor *f, const struct group *group,
                           const char *module, struct err *err)
{
    if (half_factor(c, f, group->moments, module, err))
        return err->code;
    if (group->is_corrected)
        drift_solve(&c->drift, f);
    return INFLIGHT_OK;
}

/* Of an expert that no token of the text has chosen numbers go to the nearest. */
static int32_t gptq_group(struct calibration *c, const struct group *group, struct err *err)
{
    const bool is_gptq = c->source->params->method == METHOD_GPTQ && group->moments->tokens;
    struct factor f = {0};
    int32_t rc = INFLIGHT_OK;
    for (int32_t i = 0; i < group->n && !rc; i++) {
        const int32_t slot = group->slot[i];
        if (!slot_is_made(c, slot)) {
            rc = layers_put_own(&c->layers, slot, err);
            continue;
        }
        if (!f.U && is_gptq)
            rc = make_factor(c, &f, group, c->made[slot].output->module, err);
        if (!rc)
            rc = round_matrix(c, group, is_gptq ? &f : NULL, slot, err);
    }
    factor_release(&f);
    return rc;
}

static int32_t gptq_second(struct calibration *c, const struct half *half, int32_t at,
                           struct err *err)
{
    const int32_t end = MIN(at + half_step(c, half), half->n_second);
    if (observe_between(c, half, at, err))
        return err->code;
    for (int32_t i = at; i < end; i++) {
        const struct group group = {.slot = &half->second[i],
                                    .n = 1,
                                    .moments = moments_of_second(c, half, at, i),
                                    .is_corrected = c->drift.share > 0 && half_drifts(half)};
        if (gptq_group(c, &group, err))
            return err->code;
    }
    return INFLIGHT_OK;
}

int32_t gptq_half(struct calibration *c, const struct half *half, struct err *err)
{
    const struct group first = {.slot = half->first,
                                .n = half->n_first,
                                .moments = moments_of_first(c, half),
                                .is_corrected = c->drift.share > 0};
    if (observe_before(c, half, err) || gptq_group(c, &first, err) || half_put_second(c, half, err))
        return err->code;
    for (int32_t at = 0; at < half->n_second; at += half_step(c, half))
        if (gptq_second(c, half, at, err))
            return err->code;
    return INFLIGHT_OK;
}
