/* What the matrices of a half cost, as rounded to the nearest, one by one and by the inputs that
 * they have in the model as it is. */
#include "half.h"
#include "nearest.h"

#include <stdlib.h>

/* The error of the outputs of p, in parts of them, both squared. */
static int32_t measure(const struct calibration *c, const struct made *m,
                       const struct moments *moments, const struct packing *p, double *out,
                       struct err *err)
{
    const size_t row = fmt_row_bytes(p->fmt, p->K);
    uint8_t *rows = malloc((size_t)p->N * row);
    if (!rows)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s", m->output->module);
    nearest_matrix(p, m->W, c->source->threads, rows);
    for (int64_t r = 0; r < p->N; r++)
        fmt_decode_row(p->fmt, rows + (size_t)r * row, p->K, m->back + r * p->K);
    const double all = moments_energy(moments, m->W, NULL, p->N);
    *out = all > 0 ? moments_energy(moments, m->W, m->back, p->N) / all : 0;
    free(rows);
    return INFLIGHT_OK;
}

static int32_t measure_matrix(struct calibration *c, int32_t slot, const struct moments *moments,
                              struct err *err)
{
    struct made *m = &c->made[slot];
    if (!m->output)
        return INFLIGHT_OK;
    struct output trial = *m->output;
    if (made_read(c, slot, err) || measure(c, m, moments, &trial.packing, &m->output->cost[0], err))
        return err->code;
    for (int32_t level = 1; level <= FINER_MOST; level++) {
        const enum fmt fmt = plan_finer(m->output, level);
        if (fmt == FMT_COUNT)
            continue;
        plan_format(&trial, fmt, c->source->params);
        if (measure(c, m, moments, &trial.packing, &m->output->cost[level], err))
            return err->code;
    }
    made_give(m);
    return INFLIGHT_OK;
}

static void scale_costs(struct calibration *c, int32_t slot, double by)
{
    struct output *o = c->made[slot].output;
    for (size_t i = 0; o && i < COUNT_OF(o->cost); i++)
        o->cost[i] *= by;
}

static int32_t measure_all(struct calibration *c, const struct half *half, struct err *err)
{
    const int32_t step = half_step(c, half);
    if (observe_before(c, half, err))
        return err->code;
    for (int32_t i = 0; i < half->n_first; i++)
        if (measure_matrix(c, half->first[i], moments_of_first(c, half), err))
            return err->code;
    for (int32_t i = 0; i < half->n_second; i++) {
        const int32_t at = i - i % step;
        if ((i == at && observe_between(c, half, at, err)) ||
            measure_matrix(c, half->second[i], moments_of_second(c, half, at, i), err))
            return err->code;
    }
    return INFLIGHT_OK;
}

int32_t measure_half(struct calibration *c, const struct half *half, struct err *err)
{
    double change = 0;
    if (half_put_own(c, half, err) || measure_all(c, half, err) || half_pass(c, half, &change, err))
        return err->code;
    for (int32_t i = 0; i < half->n_first; i++)
        scale_costs(c, half->first[i], change);
    for (int32_t i = 0; i < half->n_second; i++)
        scale_costs(c, half->second[i], change);
    return INFLIGHT_OK;
}
