/* What a matrix reads has gone through the matrices rounded before it, also of its own half. Keys
 * and values are rounded for what attention makes of them. */
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

/* Matrices that read the same inputs, and by which moments they are rounded. */
struct group {
    const int32_t *slot; /* (n) */
    int32_t n;
    enum slot of; /* of a matrix that q, k and v are rows of, whose rows */
    const struct moments *moments;
    bool is_corrected;
    bool is_begun; /* there is more to come before they are finished */
};

/* ---- Rows of a matrix */

/* Whether q, k and v are rows of it, of which each is rounded for what becomes of it. */
static bool is_split(const struct calibration *c, int32_t slot)
{
    return slot == SLOT_Q && c->layers.arch->fused && c->attention.T &&
           c->made[slot].output->packing.fmt != FMT_fp8_128;
}

/* Rows that are rounded together: those of the matrix, or a copy of some of them. */
struct part {
    struct packing packing;
    bool is_copy;
    int32_t *row; /* of a copy: (packing.N) those of the matrix; owned, as the next two are then */
    float *W;     /* what is rounded */
    uint8_t *rows;
};

static int32_t take_part(const struct calibration *c, struct part *part, int32_t slot, enum slot of,
                         struct err *err)
{
    const struct made *m = &c->made[slot];
    part->packing = m->output->packing;
    part->W = m->wanted ? m->wanted : m->W;
    part->rows = m->rows;
    if (!is_split(c, slot))
        return INFLIGHT_OK;
    const struct part_rows rows = layers_part(&c->layers, of);
    const int64_t n = part->packing.N = rows.n, K = part->packing.K;
    part->is_copy = true;
    part->row = malloc((size_t)n * sizeof *part->row);
    part->W = malloc((size_t)(n * K) * sizeof *part->W);
    part->rows = malloc((size_t)n * fmt_row_bytes(part->packing.fmt, K));
    if (!part->row || !part->W || !part->rows)
        return no_memory(err, m->output->module);
    for (int64_t i = 0; i < n; i++) {
        part->row[i] = layers_row(&c->layers, slot, rows.first + (int32_t)i);
        memcpy(part->W + i * K, m->W + part->row[i] * K, (size_t)K * sizeof *part->W);
    }
    return INFLIGHT_OK;
}

/* Copies go where they belong. */
static void put_part(const struct part *part, const struct made *m)
{
    const int64_t K = part->packing.K;
    const size_t row = fmt_row_bytes(part->packing.fmt, K);
    for (int64_t i = 0; part->is_copy && i < part->packing.N; i++) {
        memcpy(m->rows + (size_t)part->row[i] * row, part->rows + (size_t)i * row, row);
        if (m->wanted)
            memcpy(m->wanted + part->row[i] * K, part->W + i * K, (size_t)K * sizeof *part->W);
    }
}

static void give_part(struct part *part)
{
    if (!part->is_copy)
        return;
    free(part->row);
    free(part->W);
    free(part->rows);
}

/* ---- Rounding */

/* Its numbers, unless some of its rows are rounded already. */
static int32_t begin_matrix(struct calibration *c, const struct group *group, int32_t slot,
                            struct err *err)
{
    struct made *m = &c->made[slot];
    const size_t n = (size_t)(m->output->packing.N * m->output->packing.K);
    if (m->W)
        return INFLIGHT_OK;
    if (made_read(c, slot, err) || !group->is_corrected)
        return err->code;
    m->wanted = malloc(n * sizeof *m->wanted);
    if (!m->wanted)
        return no_memory(err, m->output->module);
    memcpy(m->wanted, m->W, n * sizeof *m->wanted);
    return INFLIGHT_OK;
}

/* What is rounded in place of rows. */
static int32_t correct(const struct calibration *c, struct part *part, const char *module,
                       struct err *err)
{
    const struct packing *p = &part->packing;
    if (drift_apply(&c->drift, part->W, p->N, p->K, err))
        return err->code;
    if (!(encode_largest(part->W, p->N * p->K) <= encode_most(p->fmt)))
        return err_set(err, INFLIGHT_E_MODEL,
                       "%s: what would make up for rounding is no number, or too large; --correct "
                       "0 goes without",
                       module);
    return INFLIGHT_OK;
}

static int32_t round_part(const struct calibration *c, const struct group *group,
                          const struct factor *factor, int32_t slot, struct part *part,
                          struct err *err)
{
    const struct made *m = &c->made[slot];
    const struct packing *p = &part->packing;
    if (take_part(c, part, slot, group->of, err) ||
        (group->is_corrected && correct(c, part, m->output->module, err)))
        return err->code;
    const struct gptq gptq = {.factor = factor,
                              .fmt = p->fmt,
                              .style = {p->is_symmetric, p->is_bf16},
                              .threads = c->source->threads};
    nearest_matrix(p, part->W, gptq.threads, part->rows);
    if (factor && gptq_improve(&gptq, group->moments, part->W, m->back, p->N, part->rows, err))
        return err_prefix(err, "%s", m->output->module);
    put_part(part, m);
    return INFLIGHT_OK;
}

/* factor: NULL, or of the group's moments. */
static int32_t round_matrix(struct calibration *c, const struct group *group,
                            const struct factor *factor, int32_t slot, struct err *err)
{
    struct part part = {0};
    int32_t rc = begin_matrix(c, group, slot, err);
    if (!rc)
        rc = round_part(c, group, factor, slot, &part, err);
    give_part(&part);
    return rc || group->is_begun ? rc : made_finish(c, slot, group->moments, NULL, NULL, err);
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

/* ---- Halves */

/* Whether values and keys are rounded by themselves: there are some to be rounded. */
static bool is_attended(const struct calibration *c, const struct half *half)
{
    const int32_t values = layers_part(&c->layers, SLOT_V).slot;
    const int32_t keys = layers_part(&c->layers, SLOT_K).slot;
    return c->attention.T && half->before == INPUT_QKV && half->n_first &&
           (slot_is_made(c, values) || slot_is_made(c, keys)) &&
           (values == SLOT_V || is_split(c, values));
}

/* Rows of values, or of keys. */
static int32_t round_attended(struct calibration *c, const struct half *half, enum attended as,
                              struct err *err)
{
    const enum slot of = as == ATTENDED_VALUES ? SLOT_V : SLOT_K;
    const int32_t slot = layers_part(&c->layers, of).slot;
    const struct group group = {.slot = &slot,
                                .n = 1,
                                .of = of,
                                .moments = &c->attended,
                                .is_corrected = c->drift.share > 0,
                                .is_begun = true};
    return observe_attended(c, half, as, err) || gptq_group(c, &group, err) ? err->code
                                                                            : INFLIGHT_OK;
}

/* While attention is that of the model: before queries are rounded. */
static int32_t begin_attended(struct calibration *c, const struct half *half, struct err *err)
{
    for (int32_t slot = SLOT_Q; slot <= SLOT_V; slot++)
        if (layers_put_own(&c->layers, slot, err))
            return err->code;
    return round_attended(c, half, ATTENDED_VALUES, err) ||
                   round_attended(c, half, ATTENDED_KEYS, err)
               ? err->code
               : INFLIGHT_OK;
}

/* Errors that are reported are those for all tokens alike, of every matrix. */
static int32_t finish_attended(struct calibration *c, const struct half *half, struct err *err)
{
    for (int32_t i = half->n_first - half->n_attended; i < half->n_first; i++)
        if (slot_is_made(c, half->first[i]) &&
            made_finish(c, half->first[i], moments_of_first(c, half), NULL, NULL, err))
            return err->code;
    return INFLIGHT_OK;
}

static int32_t gptq_first(struct calibration *c, const struct half *half, struct err *err)
{
    const bool attends = is_attended(c, half);
    const struct group group = {.slot = half->first,
                                .n = half->n_first - (attends ? half->n_attended : 0),
                                .of = SLOT_Q,
                                .moments = moments_of_first(c, half),
                                .is_corrected = c->drift.share > 0};
    if ((attends && begin_attended(c, half, err)) || observe_before(c, half, err) ||
        gptq_group(c, &group, err))
        return err->code;
    return attends ? finish_attended(c, half, err) : INFLIGHT_OK;
}

static int32_t gptq_second(struct calibration *c, const struct half *half, int32_t at,
                           struct err *err)
{
    const int32_t end = MIN(at + half_step(c, half), half->n_second);
    if (observe_between(c, half, at, err))
        return err->code;
    for (int32_t i = at; i < end; i++) {
        const struct moments *moments = moments_of_second(c, half, at, i);
        const struct group group = {.slot = &half->second[i],
                                    .n = 1,
                                    .of = SLOT_O,
                                    .moments = moments,
                                    .is_corrected = c->drift.share > 0 && half_drifts(half)};
        if (gptq_group(c, &group, err))
            return err->code;
    }
    return INFLIGHT_OK;
}

int32_t gptq_half(struct calibration *c, const struct half *half, struct err *err)
{
    if (gptq_first(c, half, err) || half_put_second(c, half, err))
        return err->code;
    for (int32_t at = 0; at < half->n_second; at += half_step(c, half))
        if (gptq_second(c, half, at, err))
            return err->code;
    return INFLIGHT_OK;
}
