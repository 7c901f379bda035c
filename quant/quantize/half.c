/* Which matrices are in a half of a layer, and the samples through it. */
#include "half.h"

#include <string.h>

/* ---- What is in a half */

/* Adds a slot that has a tensor. */
static void add_slot(const struct layers *l, int32_t slot, int32_t *to, int32_t *n)
{
    if (l->matrix[slot].tensor)
        to[(*n)++] = slot;
}

/* The matrices of half i, in c->slot. */
static void list_slots(const struct calibration *c, int i, struct half *half)
{
    const struct layers *l = &c->layers;
    const bool is_attention = i == 0, shares = l->h.parallel && l->arch->one_norm;
    int32_t *first = c->slot, *second = c->slot + l->n_matrices;
    half->first = first;
    half->second = second;
    if (is_attention)
        add_slot(l, SLOT_Q, first, &half->n_first);
    if (is_attention == shares) {
        add_slot(l, SLOT_GATE, first, &half->n_first);
        add_slot(l, SLOT_UP, first, &half->n_first);
    }
    const int32_t alike = half->n_first;
    if (is_attention) {
        add_slot(l, SLOT_V, first, &half->n_first);
        add_slot(l, SLOT_K, first, &half->n_first);
    }
    half->n_attended = half->n_first - alike;
    add_slot(l, is_attention ? SLOT_O : SLOT_DOWN, second, &half->n_second);
    for (int32_t e = 0; e < l->h.E && !is_attention && layers_has_experts(l); e++) {
        add_slot(l, expert_slot(SLOT_GATE, e), first, &half->n_first);
        add_slot(l, expert_slot(SLOT_UP, e), first, &half->n_first);
        add_slot(l, expert_slot(SLOT_DOWN, e), second, &half->n_second);
    }
}

struct half half_of(const struct calibration *c, int i)
{
    const struct arch *arch = c->layers.arch;
    const bool is_parallel = c->layers.h.parallel, is_attention = i == 0;
    const bool has_experts = layers_has_experts(&c->layers);
    struct half half = {.before = INPUT_GATE_UP,
                        .between = INPUT_DOWN,
                        .from = STAGE_GATE_UP,
                        .to = STAGE_GATE_UP,
                        .begin = is_parallel ? STAGE_QKV : STAGE_GATE_UP,
                        .rest = is_parallel ? STAGE_O : STAGE_DOWN,
                        .end = STAGE_DOWN,
                        .carries = true,
                        .adds = !arch->post_norm && !has_experts};
    if (has_experts)
        half.rest = half.end = half.to;
    if (is_attention)
        half = (struct half){.before = INPUT_QKV,
                             .between = INPUT_O,
                             .from = STAGE_QKV,
                             .to = STAGE_ATTEND,
                             .begin = STAGE_QKV,
                             .rest = STAGE_O,
                             .end = STAGE_O,
                             .carries = !is_parallel,
                             .adds = !arch->post_norm && !is_parallel};
    list_slots(c, i, &half);
    return half;
}

/* ---- Samples through steps */

static void show(struct calibration *c)
{
    double share = (double)++c->runs_done / (double)c->runs_all;
    progress_show(c->source->progress,
                  c->before + (uint64_t)(MIN(share, 1.0) * (double)c->layer_bytes));
}

/* slot: of a matrix that reads it. */
static int32_t end_moments(const struct calibration *c, struct moments *m, int32_t slot,
                           struct err *err)
{
    return moments_end(m, err) ? err_prefix(err, "%s", c->layers.matrix[slot].item->name)
                               : INFLIGHT_OK;
}

int32_t observe_before(struct calibration *c, const struct half *half, struct err *err)
{
    struct moments *m = moments_of_first(c, half);
    if (!half->n_first)
        return INFLIGHT_OK;
    moments_clear(m, m->most);
    drift_clear(&c->drift, m->K, false);
    for (int32_t i = 0; i < c->samples.n; i++) {
        if (layers_input(&c->layers, half->before, calibration_sample(c, i), c->X, err))
            return err->code;
        moments_add(m, c->X, c->samples.length);
        if (drift_add(&c->drift, i, half->before, NULL, calibration_sample(c, i), c->X, err))
            return err->code;
        show(c);
    }
    return end_moments(c, m, half->first[0], err);
}

static int32_t weigh(struct calibration *c, int32_t i, struct err *err)
{
    const struct attention_rule rule = layers_attention(&c->layers);
    struct qkv x;
    if (layers_run(&c->layers, STAGE_QKV, STAGE_QKV, calibration_sample(c, i), err) ||
        layers_qkv(&c->layers, &x, err))
        return err->code;
    attention_weigh(&c->attention, &rule, &x, i);
    return INFLIGHT_OK;
}

int32_t observe_attended(struct calibration *c, const struct half *half, enum attended as,
                         struct err *err)
{
    struct moments *m = &c->attended;
    const struct view view = {&c->attention, as};
    moments_clear(m, m->most);
    drift_clear(&c->drift, m->K, false);
    for (int32_t i = 0; i < c->samples.n; i++) {
        const float *x = calibration_sample(c, i);
        if ((as == ATTENDED_VALUES && weigh(c, i, err)) ||
            layers_input(&c->layers, half->before, x, c->X, err))
            return err->code;
        attention_see(&c->attention, as, i, c->X, m->K);
        moments_add(m, c->X, c->samples.length);
        if (drift_add(&c->drift, i, half->before, &view, x, c->X, err))
            return err->code;
        show(c);
    }
    return end_moments(c, m, half->first[half->n_first - 1], err);
}

/* Up to what the second matrix reads. Attention overwrites q, k and v: they are seen before.
 * Experts change x, which is not to be. */
static int32_t run_to_between(struct calibration *c, const struct half *half, int32_t i,
                              struct err *err)
{
    float *x = calibration_sample(c, i);
    if (half->between == INPUT_DOWN && layers_has_experts(&c->layers))
        x = memcpy(c->X, x, (size_t)c->samples.length * (size_t)c->layers.h.D * sizeof *x);
    if (half->between != INPUT_O || !c->source->params->recipe->is_static)
        return layers_run(&c->layers, half->from, half->to, x, err);
    if (layers_run(&c->layers, half->from, half->from, x, err) ||
        layers_kv_peaks(&c->layers, &c->peaks, err))
        return err->code;
    return layers_run(&c->layers, half->to, half->to, x, err);
}

/* What second matrices at .. end - 1 read of the sample that has just been run. */
static int32_t add_between(struct calibration *c, const struct half *half, int32_t at, int32_t end,
                           int32_t sample, struct err *err)
{
    for (int32_t i = at; i < end; i++) {
        struct moments *m = moments_of_second(c, half, at, i);
        int32_t n = c->samples.length;
        if (layers_is_expert(half->second[i])
                ? layers_expert_input(&c->layers, half->second[i], c->X, &n, err)
                : layers_input(&c->layers, half->between, calibration_sample(c, sample), c->X, err))
            return err->code;
        moments_add(m, c->X, n);
    }
    return half_drifts(half) ? drift_add(&c->drift, sample, half->between, NULL,
                                         calibration_sample(c, sample), c->X, err)
                             : INFLIGHT_OK;
}

/* The model as it was through a half, in which it has been run up to half->to. */
static int32_t drift_rest(struct calibration *c, const struct half *half, int32_t i,
                          struct err *err)
{
    return half->carries && half->rest != half->to
               ? drift_run(&c->drift, i, half->rest, half->end, err)
               : INFLIGHT_OK;
}

/* Inputs of the matrix that has a slot. */
static int32_t slot_width(const struct calibration *c, int32_t slot)
{
    return c->layers.matrix[slot].item->matrix.K;
}

int32_t observe_between(struct calibration *c, const struct half *half, int32_t at, struct err *err)
{
    const int32_t end = MIN(at + half_step(c, half), half->n_second);
    for (int32_t i = at; i < end; i++)
        moments_clear(moments_of_second(c, half, at, i), slot_width(c, half->second[i]));
    drift_clear(&c->drift, moments_of_second(c, half, at, at)->K, half->adds);
    for (int32_t i = 0; i < c->samples.n; i++) {
        if ((at == 0 && drift_run(&c->drift, i, half->begin, half->to, err)) ||
            run_to_between(c, half, i, err) || add_between(c, half, at, end, i, err) ||
            (at == 0 && drift_rest(c, half, i, err)))
            return err->code;
        show(c);
    }
    for (int32_t i = at; i < end; i++)
        if (end_moments(c, moments_of_second(c, half, at, i), half->second[i], err))
            return err->code;
    return INFLIGHT_OK;
}

/* Of tokens whose hidden state was `before` and is x, (n, D) both: what was added, squared, in
 * parts of x squared. */
static double change_of(const float *before, const float *x, int64_t n, int32_t D)
{
    double sum = 0;
    for (int64_t t = 0; t < n; t++, before += D, x += D) {
        double added = 0, square = 0;
        for (int32_t i = 0; i < D; i++) {
            double off = (double)x[i] - (double)before[i];
            added += off * off;
            square += (double)x[i] * (double)x[i];
        }
        sum += square > 0 ? added / square : 0;
    }
    return sum;
}

/* A sample through a half, and what that changes. Of halves that are added together each is seen
 * alone: attention by a copy of x, the other part from there. */
static int32_t pass(struct calibration *c, const struct half *half, float *x, double *change,
                    struct err *err)
{
    const int64_t tokens = c->samples.length;
    const size_t bytes = (size_t)(tokens * c->layers.h.D) * sizeof *x;
    if (change) {
        memcpy(c->X, x, bytes);
        if (c->layers.h.parallel && layers_run(&c->layers, STAGE_QKV, STAGE_O, c->X, err))
            return err->code;
    }
    if (change && !half->carries)
        *change += change_of(x, c->X, tokens, c->layers.h.D);
    if (!half->carries)
        return INFLIGHT_OK;
    if (layers_run(&c->layers, half->begin, half->end, x, err))
        return err->code;
    if (change)
        *change += change_of(c->X, x, tokens, c->layers.h.D);
    return INFLIGHT_OK;
}

int32_t half_pass(struct calibration *c, const struct half *half, double *change, struct err *err)
{
    for (int32_t i = 0; i < c->samples.n; i++) {
        if (pass(c, half, calibration_sample(c, i), change, err))
            return err->code;
        show(c);
    }
    if (change)
        *change /= (double)c->samples.length * c->samples.n;
    return INFLIGHT_OK;
}

static int32_t put_own(struct calibration *c, const int32_t *slot, int32_t n, struct err *err)
{
    for (int32_t i = 0; i < n; i++)
        if (layers_put_own(&c->layers, slot[i], err))
            return err->code;
    return INFLIGHT_OK;
}

int32_t half_put_own(struct calibration *c, const struct half *half, struct err *err)
{
    return put_own(c, half->first, half->n_first, err) ||
                   put_own(c, half->second, half->n_second, err)
               ? err->code
               : INFLIGHT_OK;
}

int32_t half_put_second(struct calibration *c, const struct half *half, struct err *err)
{
    const bool is_one_step = half->carries && half->rest == half->to;
    return is_one_step ? put_own(c, half->second, half->n_second, err) : INFLIGHT_OK;
}
