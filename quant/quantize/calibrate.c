#include "calibrate.h"

#include "half.h"
#include "head.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int32_t no_memory(struct err *err, const char *what)
{
    return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s", what);
}

/* ---- Opening and closing */

/* Tokens by which errors of outputs are measured where nothing else needs H, which takes far longer
 * than the model itself. */
#define MEASURED_TOKENS 2048

/* Experts, the moments of whose inputs take no more than a layer of them. */
static int32_t experts_at_once(const struct hparams *h)
{
    const double layer = 3.0 * h->E * h->D * h->F * sizeof(uint16_t);
    const double each = (double)h->F * h->F * sizeof(float);
    return (int32_t)fmax(1, fmin(layer / each, h->E));
}

static int32_t take_moments(struct calibration *c, int32_t *widest, struct err *err)
{
    const struct quantize_params *p = c->source->params;
    const bool has_limit = p->recipe->is_static || p->method == METHOD_SMOOTH;
    c->n_down = c->layers.arch->experts ? experts_at_once(&c->layers.h) : 1;
    c->moments = arena_take_array(&c->arena, INPUT_DOWN + (size_t)c->n_down, sizeof *c->moments);
    if (!c->moments)
        return no_memory(err, "the moments of inputs");
    for (int32_t i = 0; i < INPUT_DOWN + c->n_down; i++) {
        /* Behind the first of INPUT_DOWN experts alone. */
        const int32_t K = i > INPUT_DOWN ? c->layers.h.F : layers_widest(&c->layers, (enum input)i);
        *widest = MAX(*widest, K);
        if (i > INPUT_DOWN ? moments_init_beside(&c->moments[i], K, &c->moments[INPUT_DOWN], err)
                           : moments_init(&c->moments[i], K, c->source->threads, err))
            return err->code;
        if (has_limit && !c->source->is_measured)
            c->moments[i].limit = MEASURED_TOKENS;
    }
    return INFLIGHT_OK;
}

static int32_t take_attention(struct calibration *c, struct err *err)
{
    const struct hparams *h = &c->layers.h;
    struct attention *a = &c->attention;
    if (c->source->params->method != METHOD_GPTQ || c->source->is_measured)
        return INFLIGHT_OK;
    *a = (struct attention){.T = c->samples.length,
                            .H = h->H,
                            .K = h->K,
                            .dim = h->dim,
                            .threads = c->source->threads,
                            .n = c->samples.n};
    return attention_init(a, h->D, err) ||
                   moments_init_beside(&c->attended, h->D, &c->moments[INPUT_QKV], err)
               ? err->code
               : INFLIGHT_OK;
}

static int32_t take(struct calibration *c, struct err *err)
{
    const size_t tokens = (size_t)c->samples.n * (size_t)c->samples.length;
    const size_t n = (size_t)c->layers.n_matrices;
    int32_t widest = 0;
    if (take_moments(c, &widest, err) || take_attention(c, err))
        return err->code;
    c->made = arena_take_array(&c->arena, n, sizeof *c->made);
    c->slot = arena_take_array(&c->arena, 2 * n, sizeof *c->slot);
    if (!c->made || !c->slot)
        return no_memory(err, "the matrices of a layer");
    c->x = malloc(tokens * (size_t)c->layers.h.D * sizeof *c->x);
    c->X = malloc((size_t)c->samples.length * (size_t)widest * sizeof *c->X);
    return c->x && c->X ? INFLIGHT_OK : no_memory(err, "the hidden states of the samples");
}

static int32_t begin(struct calibration *c, struct err *err)
{
    const struct quantize_params *p = c->source->params;
    const struct checkpoint *checkpoint = c->source->checkpoint;
    if (layers_open(&c->layers, checkpoint, &c->arena, err))
        return err->code;
    c->samples = *c->source->samples;
    if (layers_begin(&c->layers, c->samples.length, p->device, c->source->threads, &c->arena,
                     err) ||
        take(c, err))
        return err->code;
    for (int32_t i = 0; i < c->samples.n; i++)
        if (layers_embed(&c->layers, c->samples.token + (int64_t)i * c->samples.length,
                         calibration_sample(c, i), err))
            return err->code;
    return drift_open(&c->drift, &c->layers, &c->samples, p->device,
                      c->source->is_measured ? 0 : p->correction, &c->arena, err);
}

int32_t calibration_open(struct calibration **out, const struct calibration_source *source,
                         struct err *err)
{
    struct calibration *c = *out = calloc(1, sizeof *c);
    if (!c)
        return no_memory(err, "a calibration");
    c->source = source;
    c->layer = -1;
    arena_init(&c->arena, &mem_system);
    return begin(c, err);
}

void calibration_close(struct calibration *c)
{
    if (!c)
        return;
    for (int32_t i = 0; c->made && i < c->layers.n_matrices; i++) {
        made_give(&c->made[i]);
        free(c->made[i].packed);
    }
    for (int i = 0; i < LAYER_VECTORS; i++)
        free(c->changed[i]);
    for (int32_t i = 0; c->moments && i < INPUT_DOWN + c->n_down; i++)
        moments_release(&c->moments[i]);
    moments_release(&c->attended);
    attention_release(&c->attention);
    free(c->head);
    free(c->x);
    free(c->X);
    drift_close(&c->drift);
    layers_close(&c->layers);
    arena_release(&c->arena);
    free(c);
}

const char *calibration_device(const struct calibration *c)
{
    return c && c->layers.backend ? c->layers.backend->name : "none";
}

const char *calibration_passed(const struct calibration *c)
{
    return c ? c->layers.passed : "";
}

/* ---- Layers */

/* Which outputs of the plan are matrices of the layer. */
static void find_outputs(struct calibration *c)
{
    const struct quantize_plan *plan = c->source->plan;
    c->before = c->layer_bytes = 0;
    for (int32_t i = 0; i < c->layers.n_matrices; i++) {
        made_give(&c->made[i]);
        free(c->made[i].packed);
        c->made[i] = (struct made){0};
    }
    for (int i = 0; i < LAYER_VECTORS; i++) {
        free(c->changed[i]);
        c->changed[i] = NULL;
        c->vector[i] = NULL;
    }
    for (int32_t i = 0; i < plan->n; i++) {
        struct output *o = &plan->output[i];
        if (o->layer < c->layer)
            c->before += o->from->bytes;
        if (o->layer != c->layer)
            continue;
        c->layer_bytes += o->from->bytes;
        for (int32_t s = 0; o->is_encoded && s < c->layers.n_matrices; s++)
            if (c->layers.matrix[s].tensor == o->from)
                c->made[s].output = o;
        for (int v = 0; v < LAYER_VECTORS; v++)
            if (c->layers.vector[v].item && c->layers.vector[v].tensor == o->from)
                c->vector[v] = o;
    }
}

static bool has_any(const struct calibration *c, const int32_t *slot, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        if (slot_is_made(c, slot[i]))
            return true;
    return false;
}

/* As it is: nothing of it is made. */
static int32_t leave_half(struct calibration *c, const struct half *half, struct err *err)
{
    if (half_put_own(c, half, err))
        return err->code;
    for (int32_t i = 0; i < c->samples.n && half->carries; i++)
        if (drift_run(&c->drift, i, half->begin, half->end, err))
            return err->code;
    return INFLIGHT_OK;
}

static int32_t make_half(struct calibration *c, const struct half *half, struct err *err)
{
    const struct quantize_params *p = c->source->params;
    const bool is_scaled = p->method == METHOD_AWQ || p->method == METHOD_SMOOTH;
    const bool is_made =
        has_any(c, half->first, half->n_first) || has_any(c, half->second, half->n_second);
    int32_t rc;
    if (c->source->is_measured)
        return measure_half(c, half, err);
    if (p->recipe->is_static)
        rc = static_half(c, half, err);
    else if (!is_made)
        rc = leave_half(c, half, err);
    else
        rc = (is_scaled ? scaled_half : gptq_half)(c, half, err);
    return rc ? rc : half_pass(c, half, NULL, err);
}

static int32_t make_layer(struct calibration *c, int32_t number, struct err *err)
{
    const int32_t batches = (c->layers.h.E + c->n_down - 1) / c->n_down;
    c->layer = number;
    if (layers_enter(&c->layers, number, err) || drift_enter(&c->drift, number, err))
        return err->code;
    find_outputs(c);
    c->runs_done = 0;
    c->runs_all =
        (int64_t)(HALVES * 3 + (c->attention.T ? 2 : 0) + MAX(batches - 1, 0)) * c->samples.n;
    for (int i = 0; i < HALVES; i++) {
        const struct half half = half_of(c, i);
        if (make_half(c, &half, err))
            return err_prefix(err, "layer %d", number);
    }
    return INFLIGHT_OK;
}

/* NULL: it is not to be encoded. */
static struct output *find_head(const struct quantize_plan *plan)
{
    for (int32_t i = 0; i < plan->n; i++)
        if (plan->output[i].layer == LAYER_HEAD && plan->output[i].is_encoded)
            return &plan->output[i];
    return NULL;
}

int32_t calibration_reach(struct calibration *c, int32_t layer, struct err *err)
{
    /* Buffers of old versions may be named after layers that the model does not have. */
    while (c->layer < MIN(layer, c->layers.h.L - 1))
        if (make_layer(c, c->layer + 1, err))
            return err->code;
    struct output *head = layer == LAYER_HEAD && !c->head ? find_head(c->source->plan) : NULL;
    return head && !c->source->is_measured ? head_make(c, head, err) : INFLIGHT_OK;
}
