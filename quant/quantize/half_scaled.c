/* AWQ and SmoothQuant, which choose scales of columns by what they read. Those of both kinds of
 * inputs are chosen first, by the weights as they were. Then:
 *
 *   norm / s            the first matrices' columns * s
 *   v's, up's rows / t  the second matrix' columns * t
 *
 * A column of o has the scale of the row of v that it came from; query heads that share a key/value
 * head have theirs in common. Matrices that stay as they are, or are finer by a budget, take no
 * scale, nor do others then that would have to agree with them. There is no s where there is no
 * norm, or experts are chosen by the same one, whose matrix stays as it is, and no t behind an
 * activation, or where up is rounded before, with q, k and v. */
#include "awq.h"
#include "half.h"
#include "nearest.h"
#include "smooth.h"

#include "../bf16.h"
#include "../f16.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_MOST = 5 }; /* first matrices that take scales together: q, k, v, gate, up */

/* A second matrix with its first ones: a half, or an expert of it. */
struct smoothing {
    const int32_t *first; /* slots, (n_first) */
    int32_t n_first, second;
    const struct moments *before, *between; /* of what they read */
    bool is_attention, has_norm;
    int32_t giver; /* of the first, the slot whose outputs the second's inputs are of; -1: none */
    int32_t rows, first_row; /* the slot that has these outputs as rows, from first_row on */
    enum vector norm, bias;  /* of what the first read; of the giver */
    float *s;                /* (K of the first), NULL: there is no scale; owned */
    float *t, *t_rows;       /* (K of the second), (N of the giver); the same */
    double *magnitude;       /* (K of the second), owned */
};

static bool is_smooth(const struct calibration *c)
{
    return c->source->params->method == METHOD_SMOOTH;
}

static struct awq_matrix matrix_of(const struct made *m)
{
    const struct packing *p = &m->output->packing;
    return (struct awq_matrix){.W = m->W,
                               .back = m->back,
                               .N = p->N,
                               .fmt = p->fmt,
                               .style = {p->is_symmetric, p->is_bf16}};
}

/* Of the giver's tensor, the row that a column of the second matrix came from. */
static int32_t row_of(const struct calibration *c, const struct smoothing *s, int32_t column)
{
    const struct hparams *h = &c->layers.h;
    if (s->is_attention)
        column = column / h->dim / (h->H / h->K) * h->dim + column % h->dim;
    return layers_row(&c->layers, s->rows, s->first_row + column);
}

/* ---- Vectors, as numbers of their tensors */

static size_t number_bytes(enum fmt fmt)
{
    return fmt == FMT_f32 ? sizeof(float) : sizeof(uint16_t);
}

static void put_number(enum fmt fmt, float value, uint8_t *out)
{
    uint16_t half = fmt == FMT_bf16 ? bf16_of_float(value) : f16_of_float(value);
    if (fmt == FMT_f32)
        memcpy(out, &value, sizeof value);
    else
        memcpy(out, &half, sizeof half);
}

/* What a vector becomes: `value` as its tensor holds it, in the file and on the device. */
static int32_t change_vector(struct calibration *c, enum vector vector, float *value,
                             struct err *err)
{
    struct output *o = c->vector[vector];
    const enum fmt fmt = o->from->fmt;
    const int64_t n = o->from->dim[0];
    uint8_t *bytes = c->changed[vector] = malloc((size_t)n * number_bytes(fmt));
    if (!bytes)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %lld numbers", (long long)n);
    const float offset = layers_offset(&c->layers, vector);
    for (int64_t i = 0; i < n; i++)
        put_number(fmt, value[i] - offset, bytes + (size_t)i * number_bytes(fmt));
    fmt_decode_row(fmt, bytes, n, value);
    for (int64_t i = 0; i < n; i++)
        value[i] += offset;
    o->made = bytes;
    return layers_set(&c->layers, vector, value, err);
}

/* A vector divided by numbers. */
static int32_t divide_vector(struct calibration *c, enum vector vector, const float *by,
                             struct err *err)
{
    const int64_t n = c->vector[vector]->from->dim[0];
    float *value = calloc((size_t)n, sizeof *value);
    if (!value)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %lld numbers", (long long)n);
    for (int64_t i = 0; i < n; i++)
        value[i] = c->layers.vector[vector].value[i] / by[i];
    int32_t rc = change_vector(c, vector, value, err);
    free(value);
    return rc;
}

/* The norm divided by s. It is rounded; s becomes what makes up for that exactly, but for the
 * norm's bias, which is rounded, too. */
static int32_t fold_norm(struct calibration *c, const struct smoothing *sm, struct err *err)
{
    const float *norm = c->layers.vector[sm->norm].value;
    const enum fmt fmt = c->vector[sm->norm]->from->fmt;
    const int32_t D = c->layers.h.D;
    const float offset = layers_offset(&c->layers, sm->norm);
    float *value = calloc((size_t)D, sizeof *value);
    if (!value)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %d numbers", D);
    for (int32_t i = 0; i < D; i++) {
        uint8_t number[sizeof(float)] = {0};
        put_number(fmt, norm[i] / sm->s[i] - offset, number);
        fmt_decode_row(fmt, number, 1, &value[i]);
        value[i] += offset;
        float s = norm[i] / value[i];
        bool is_usable = isfinite(value[i]) && isfinite(s) && s > 0;
        sm->s[i] = is_usable ? s : 1;
        if (!is_usable)
            value[i] = norm[i];
    }
    int32_t rc = change_vector(c, sm->norm, value, err);
    free(value);
    if (!rc && c->vector[sm->norm + 1])
        rc = divide_vector(c, sm->norm + 1, sm->s, err);
    return rc;
}

/* ---- Choosing */

/* Of what the second matrix reads, columns that have a scale in common are given what is largest in
 * any of them. */
static void share_largest(const struct calibration *c, const struct smoothing *sm, int32_t K,
                          float *largest)
{
    const int32_t dim = c->layers.h.dim, share = c->layers.h.H / c->layers.h.K;
    if (!sm->is_attention)
        return;
    for (int32_t first = 0; first < K; first += share * dim)
        for (int32_t i = first; i < first + dim; i++) {
            float most = 0;
            for (int32_t h = 0; h < share; h++)
                most = fmaxf(most, largest[i + h * dim]);
            for (int32_t h = 0; h < share; h++)
                largest[i + h * dim] = most;
        }
}

static int32_t choose_smooth(struct calibration *c, struct smoothing *sm, const int32_t *slot,
                             int32_t n, const struct moments *m, float *s, struct err *err)
{
    const size_t K = (size_t)m->K;
    float *inputs = calloc(2 * K, sizeof *inputs), *weights = inputs + K;
    if (!inputs)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %zu scales", K);
    memcpy(inputs, m->largest, K * sizeof *inputs);
    for (int32_t i = 0; i < n; i++)
        smooth_columns(c->made[slot[i]].W, c->made[slot[i]].output->packing.N, m->K, weights);
    if (slot[0] == sm->second) {
        share_largest(c, sm, m->K, inputs);
        share_largest(c, sm, m->K, weights);
    }
    smooth_scales(inputs, weights, m->K, c->source->params->alpha, s);
    free(inputs);
    return INFLIGHT_OK;
}

/* magnitude: of the columns, for AWQ; SmoothQuant does not read it. */
static int32_t choose(struct calibration *c, struct smoothing *sm, const int32_t *slot, int32_t n,
                      const struct moments *m, const double *magnitude, float *s, struct err *err)
{
    struct awq_matrix matrix[FIRST_MOST];
    if (is_smooth(c))
        return choose_smooth(c, sm, slot, n, m, s, err);
    for (int32_t i = 0; i < n; i++)
        matrix[i] = matrix_of(&c->made[slot[i]]);
    awq_scales(m, magnitude, matrix, n, s);
    return INFLIGHT_OK;
}

static bool is_scaled(const struct calibration *c, int32_t slot)
{
    return slot_is_made(c, slot) && !c->made[slot].output->is_finer;
}

static int32_t choose_first(struct calibration *c, struct smoothing *sm, struct err *err)
{
    const struct moments *m = sm->before;
    if (!sm->has_norm || !sm->n_first)
        return INFLIGHT_OK;
    for (int32_t i = 0; i < sm->n_first; i++)
        if (!is_scaled(c, sm->first[i]))
            return INFLIGHT_OK;
    sm->s = malloc((size_t)m->K * sizeof *sm->s);
    if (!sm->s)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %d scales", m->K);
    if (choose(c, sm, sm->first, sm->n_first, m, m->magnitude, sm->s, err))
        return err->code;
    return fold_norm(c, sm, err);
}

/* Columns that have a scale in common count with the sum of all of them. */
static int32_t share_magnitude(struct calibration *c, struct smoothing *sm, int32_t N,
                               struct err *err)
{
    const struct moments *m = sm->between;
    double *sum = calloc((size_t)N, sizeof *sum);
    sm->magnitude = malloc((size_t)m->K * sizeof *sm->magnitude);
    if (!sum || !sm->magnitude) {
        free(sum);
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %d scales", m->K);
    }
    for (int32_t i = 0; i < m->K; i++)
        sum[row_of(c, sm, i)] += m->magnitude[i];
    for (int32_t i = 0; i < m->K; i++)
        sm->magnitude[i] = sum[row_of(c, sm, i)];
    free(sum);
    return INFLIGHT_OK;
}

/* Rows of the giver are divided when it is rounded. */
static int32_t choose_second(struct calibration *c, struct smoothing *sm, struct err *err)
{
    const struct moments *m = sm->between;
    if (sm->giver < 0 || !is_scaled(c, sm->second) || !is_scaled(c, sm->giver) || !m->tokens)
        return INFLIGHT_OK;
    const size_t K = (size_t)m->K, N = (size_t)c->made[sm->giver].output->packing.N;
    sm->t = malloc(K * sizeof *sm->t);
    sm->t_rows = malloc(N * sizeof *sm->t_rows);
    if (!sm->t || !sm->t_rows)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %zu scales", K);
    for (size_t i = 0; i < N; i++)
        sm->t_rows[i] = 1;
    if (!is_smooth(c) && share_magnitude(c, sm, (int32_t)N, err))
        return err->code;
    if (choose(c, sm, &sm->second, 1, m, sm->magnitude, sm->t, err))
        return err->code;
    for (int32_t i = 0; i < m->K; i++)
        sm->t_rows[row_of(c, sm, i)] = sm->t[i];
    return c->vector[sm->bias] ? divide_vector(c, sm->bias, sm->t_rows, err) : INFLIGHT_OK;
}

/* ---- Rounding */

static int32_t read_all(struct calibration *c, const struct smoothing *sm, struct err *err)
{
    for (int32_t i = 0; i < sm->n_first; i++)
        if (slot_is_made(c, sm->first[i]) && made_read(c, sm->first[i], err))
            return err->code;
    return slot_is_made(c, sm->second) ? made_read(c, sm->second, err) : INFLIGHT_OK;
}

static int32_t round_one(struct calibration *c, const struct smoothing *sm, int32_t slot,
                         struct err *err)
{
    const bool is_second = slot == sm->second;
    const struct moments *m = is_second ? sm->between : sm->before;
    const float *s = is_second ? sm->t : sm->s, *t = slot == sm->giver ? sm->t_rows : NULL;
    struct made *made = &c->made[slot];
    if (!slot_is_made(c, slot))
        return INFLIGHT_OK;
    if (!is_scaled(c, slot) || !m->tokens) {
        nearest_matrix(&made->output->packing, made->W, c->source->threads, made->rows);
        return made_finish(c, slot, m, NULL, NULL, err);
    }
    struct awq_matrix matrix = matrix_of(made);
    if (is_smooth(c))
        smooth_round(&(struct smooth_matrix){.packing = &made->output->packing,
                                             .W = made->W,
                                             .s = s,
                                             .t = t,
                                             .back = made->back,
                                             .rows = made->rows},
                     c->source->threads);
    else
        awq_round(m, &matrix, s, t, made->rows);
    return made_finish(c, slot, m, s, t, err);
}

static int32_t smooth(struct calibration *c, struct smoothing *sm, struct err *err)
{
    if (read_all(c, sm, err) || choose_first(c, sm, err) || choose_second(c, sm, err))
        return err->code;
    for (int32_t i = 0; i < sm->n_first; i++)
        if (round_one(c, sm, sm->first[i], err))
            return err->code;
    return round_one(c, sm, sm->second, err);
}

/* ---- A half */

/* Where what the second reads comes from, unless an activation is in between, or that has been
 * rounded with the half before: of layers whose parts read the same. */
static void find_giver(const struct calibration *c, struct smoothing *sm)
{
    const struct layers *l = &c->layers;
    const struct hparams *h = &l->h;
    sm->giver = sm->rows = sm->is_attention ? SLOT_V : SLOT_UP;
    sm->bias = sm->is_attention ? V_BIAS : UP_BIAS;
    if (layers_is_expert(sm->second))
        sm->giver = sm->rows = sm->second - 1;
    else if (!sm->is_attention && l->arch->plain)
        sm->giver = -1;
    else if (l->arch->fused && sm->is_attention) {
        sm->giver = sm->rows = SLOT_Q;
        sm->bias = Q_BIAS;
        sm->first_row = (h->H + h->K) * h->dim;
    } else if (!sm->is_attention && !l->matrix[SLOT_UP].tensor)
        sm->giver = SLOT_GATE;
    bool is_ahead = true;
    for (int32_t i = 0; i < sm->n_first; i++)
        is_ahead &= sm->first[i] != sm->giver;
    if (is_ahead)
        sm->giver = -1;
}

/* Second matrix number i, `at` as it was observed last. */
static int32_t smooth_second(struct calibration *c, const struct half *half, int32_t at, int32_t i,
                             struct err *err)
{
    const int32_t share = half_share(half);
    const bool of_experts = half->between == INPUT_DOWN && layers_has_experts(&c->layers);
    struct smoothing sm = {.first = half->first + i * share,
                           .n_first = share,
                           .second = half->second[i],
                           .before = moments_of_first(c, half),
                           .between = moments_of_second(c, half, at, i),
                           .is_attention = half->between == INPUT_O,
                           .has_norm = !of_experts && !c->layers.arch->bare,
                           .norm = layers_norm(&c->layers, half->before)};
    find_giver(c, &sm);
    int32_t rc = smooth(c, &sm, err);
    free(sm.s);
    free(sm.t);
    free(sm.t_rows);
    free(sm.magnitude);
    return rc;
}

/* A matrix that cannot be used is to be named before what comes of it is. */
static int32_t check(struct calibration *c, const int32_t *slot, int32_t n, struct err *err)
{
    for (int32_t i = 0; i < n; i++) {
        if (slot_is_made(c, slot[i]) && made_read(c, slot[i], err))
            return err->code;
        made_give(&c->made[slot[i]]);
    }
    return INFLIGHT_OK;
}

int32_t scaled_half(struct calibration *c, const struct half *half, struct err *err)
{
    const int32_t step = half_step(c, half);
    if (check(c, half->first, half->n_first, err) || check(c, half->second, half->n_second, err) ||
        half_put_own(c, half, err) || observe_before(c, half, err))
        return err->code;
    for (int32_t i = 0; i < half->n_second; i++) {
        const int32_t at = i - i % step;
        if ((i == at && observe_between(c, half, at, err)) || smooth_second(c, half, at, i, err))
            return err->code;
    }
    return INFLIGHT_OK;
}
