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
static int32_t correct(struct calibration *c, struct matrix *m, struct err *err)
{
    const struct packing *p = &m->output->packing;
    const int64_t n = p->N * p->K;
    if (c->drift.share <= 0)
        return INFLIGHT_OK;
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

static int32_t round_matrix(struct calibration *c, const struct factor *f, enum slot slot,
                            const struct moments *moments, struct err *err)
{
    struct matrix *m = &c->matrix[slot];
    if (matrix_read(c, slot, err) || correct(c, m, err))
        return err->code;
    const struct packing *p = &m->output->packing;
    const struct gptq gptq = {.factor = f,
                              .fmt = p->fmt,
                              .style = {p->is_symmetric, p->is_bf16},
                              .threads = c->source->threads};
    nearest_matrix(p, matrix_wanted(m), gptq.threads, m->rows);
    if (c->source->params->method == METHOD_GPTQ &&
        gptq_improve(&gptq, moments, matrix_wanted(m), m->back, p->N, m->rows, err))
        return err_prefix(err, "%s", m->output->module);
    return matrix_finish(c, slot, moments, NULL, NULL, err);
}

/* What the matrices of a group share. */
static int32_t make_factor(struct calibration *c, struct factor *f, const struct moments *moments,
                           const char *module, struct err *err)
{
    if (half_factor(c, f, moments, module, err))
        return err->code;
    drift_solve(&c->drift, f);
    return INFLIGHT_OK;
}

/* Matrices that read the same inputs. */
static int32_t gptq_group(struct calibration *c, const enum slot *slot, int32_t n, enum input input,
                          struct err *err)
{
    const struct moments *moments = &c->moments[input];
    struct factor f = {0};
    int32_t rc = INFLIGHT_OK;
    for (int32_t i = 0; i < n && !rc; i++) {
        if (!matrix_is_made(c, slot[i])) {
            rc = layers_put_own(&c->layers, slot[i], err);
            continue;
        }
        if (!f.U && c->source->params->method == METHOD_GPTQ)
            rc = make_factor(c, &f, moments, c->matrix[slot[i]].output->module, err);
        if (!rc)
            rc = round_matrix(c, &f, slot[i], moments, err);
    }
    factor_release(&f);
    return rc;
}

int32_t gptq_half(struct calibration *c, const struct half *half, struct err *err)
{
    if (observe_before(c, half, err) ||
        gptq_group(c, half->first, half->n_first, half->before, err) ||
        observe_between(c, half, err))
        return err->code;
    return gptq_group(c, &half->second, 1, half->between, err);
}
