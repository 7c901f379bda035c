#include "calibrate.h"

#include "head.h"

#include "../encode.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HALVES 2

/* Half i of a layer. */
static struct half half_of(const struct layers *l, int i)
{
    const bool fused = l->arch->fused;
    if (i == 0)
        return (struct half){.first = {SLOT_Q, SLOT_K, SLOT_V},
                             .n_first = fused ? 1 : 3,
                             .second = SLOT_O,
                             .before = INPUT_QKV,
                             .between = INPUT_O,
                             .from = STAGE_QKV,
                             .to = STAGE_ATTEND,
                             .last = STAGE_O};
    return (struct half){.first = {SLOT_GATE, SLOT_UP},
                         .n_first = fused ? 1 : 2,
                         .second = SLOT_DOWN,
                         .before = INPUT_GATE_UP,
                         .between = INPUT_DOWN,
                         .from = STAGE_GATE_UP,
                         .to = STAGE_GATE_UP,
                         .last = STAGE_DOWN};
}

static int32_t no_memory(struct err *err, const char *what)
{
    return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s", what);
}

static float *sample_of(const struct calibration *c, int32_t i)
{
    return c->x + (int64_t)i * c->samples.length * c->layers.h.D;
}

/* ---- Opening and closing */

/* Tokens by which errors of outputs are measured where nothing else needs H, which takes far longer
 * than the model itself. */
#define MEASURED_TOKENS 2048

static int32_t take(struct calibration *c, struct err *err)
{
    const struct quantize_params *p = c->source->params;
    const size_t tokens = (size_t)c->samples.n * (size_t)c->samples.length;
    int32_t widest = 0;
    for (int i = 0; i < INPUTS; i++) {
        int32_t K = layers_width(&c->layers, (enum input)i);
        widest = MAX(widest, K);
        if (moments_init(&c->moments[i], K, c->source->threads, err))
            return err->code;
        if ((p->recipe->is_static || p->method == METHOD_SMOOTH) && !c->source->is_measured)
            c->moments[i].limit = MEASURED_TOKENS;
    }
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
    if (p->length > c->layers.h.context)
        return err_set(err, INFLIGHT_E_ARG, "samples of %d tokens: %s has contexts of %d",
                       p->length, checkpoint->path, c->layers.h.context);
    if (samples_read(&c->samples, p->calibration, checkpoint, c->layers.h.V, p->samples, p->length,
                     &c->arena, err) ||
        layers_begin(&c->layers, p->length, p->device, c->source->threads, &c->arena, err) ||
        take(c, err))
        return err->code;
    for (int32_t i = 0; i < c->samples.n; i++)
        if (layers_embed(&c->layers, c->samples.token + (int64_t)i * c->samples.length,
                         sample_of(c, i), err))
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

void matrix_give(struct matrix *m)
{
    free(m->W);
    free(m->back);
    free(m->wanted);
    free(m->rows);
    m->W = m->back = m->wanted = NULL;
    m->rows = NULL;
}

void calibration_close(struct calibration *c)
{
    if (!c)
        return;
    for (int i = 0; i < SLOTS; i++) {
        matrix_give(&c->matrix[i]);
        free(c->matrix[i].packed);
    }
    for (int i = 0; i < VECTORS; i++)
        free(c->changed[i]);
    for (int i = 0; i < INPUTS; i++)
        moments_release(&c->moments[i]);
    free(c->head);
    free(c->x);
    free(c->X);
    drift_close(&c->drift);
    layers_close(&c->layers);
    arena_release(&c->arena);
    free(c);
}

int32_t calibration_samples(const struct calibration *c)
{
    return c ? c->samples.n : 0;
}

const char *calibration_device(const struct calibration *c)
{
    return c && c->layers.backend ? c->layers.backend->name : "none";
}

const char *calibration_passed(const struct calibration *c)
{
    return c ? c->layers.passed : "";
}

/* ---- Samples through steps */

static void show(struct calibration *c)
{
    double share = (double)++c->runs_done / (double)c->runs_all;
    progress_show(c->source->progress,
                  c->before + (uint64_t)(MIN(share, 1.0) * (double)c->layer_bytes));
}

static int32_t observe(struct calibration *c, enum input input, int32_t i, struct err *err)
{
    if (layers_input(&c->layers, input, sample_of(c, i), c->X, err))
        return err->code;
    moments_add(&c->moments[input], c->X, c->samples.length);
    return drift_add(&c->drift, i, input, sample_of(c, i), c->X, err);
}

static int32_t end_moments(struct calibration *c, enum input input, struct err *err)
{
    static const char *const readers[INPUTS] = {
        [INPUT_QKV] = "self_attn.q_proj",
        [INPUT_O] = "self_attn.o_proj",
        [INPUT_GATE_UP] = "mlp.gate_proj",
        [INPUT_DOWN] = "mlp.down_proj",
    };
    return moments_end(&c->moments[input], err) ? err_prefix(err, "%s", readers[input])
                                                : INFLIGHT_OK;
}

int32_t observe_before(struct calibration *c, const struct half *half, struct err *err)
{
    moments_clear(&c->moments[half->before]);
    drift_clear(&c->drift, c->moments[half->before].K, false);
    for (int32_t i = 0; i < c->samples.n; i++) {
        if (observe(c, half->before, i, err))
            return err->code;
        show(c);
    }
    return end_moments(c, half->before, err);
}

/* Up to what the second matrix reads. Attention overwrites q, k and v: they are seen before. */
static int32_t run_to_between(struct calibration *c, const struct half *half, int32_t i,
                              struct err *err)
{
    float *x = sample_of(c, i);
    if (half->second != SLOT_O || !c->source->params->recipe->is_static)
        return layers_run(&c->layers, half->from, half->to, x, err);
    if (layers_run(&c->layers, half->from, half->from, x, err) ||
        layers_kv_peaks(&c->layers, &c->peaks, err))
        return err->code;
    return layers_run(&c->layers, half->to, half->to, x, err);
}

int32_t observe_between(struct calibration *c, const struct half *half, struct err *err)
{
    moments_clear(&c->moments[half->between]);
    drift_clear(&c->drift, c->moments[half->between].K, !c->layers.arch->post_norm);
    for (int32_t i = 0; i < c->samples.n; i++) {
        if (drift_run(&c->drift, i, half->from, half->to, err) || run_to_between(c, half, i, err) ||
            observe(c, half->between, i, err) ||
            drift_run(&c->drift, i, half->last, half->last, err))
            return err->code;
        show(c);
    }
    return end_moments(c, half->between, err);
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

int32_t half_pass(struct calibration *c, const struct half *half, double *change, struct err *err)
{
    const int64_t tokens = c->samples.length;
    double sum = 0;
    for (int32_t i = 0; i < c->samples.n; i++) {
        float *x = sample_of(c, i);
        if (change)
            memcpy(c->X, x, (size_t)(tokens * c->layers.h.D) * sizeof *x);
        if (layers_run(&c->layers, half->from, half->last, x, err))
            return err->code;
        if (change)
            sum += change_of(c->X, x, tokens, c->layers.h.D);
        show(c);
    }
    if (change)
        *change = sum / (double)(tokens * c->samples.n);
    return INFLIGHT_OK;
}

/* ---- Matrices */

bool matrix_is_made(const struct calibration *c, enum slot slot)
{
    return c->matrix[slot].output != NULL;
}

int32_t matrix_read(struct calibration *c, enum slot slot, struct err *err)
{
    struct matrix *m = &c->matrix[slot];
    const struct packing *p = &m->output->packing;
    const struct tensor *t = m->output->from;
    const size_t row = fmt_row_bytes(t->fmt, p->K), n = (size_t)(p->N * p->K);
    const char *data = tensors_view(&c->layers.checkpoint->tensors, t, &c->layers.scratch, err);
    if (!data)
        return err->code;
    m->W = malloc(n * sizeof *m->W);
    m->back = malloc(n * sizeof *m->back);
    m->rows = malloc((size_t)p->N * fmt_row_bytes(p->fmt, p->K));
    if (!m->W || !m->back || !m->rows)
        return no_memory(err, m->output->module);
    for (int64_t r = 0; r < p->N; r++) {
        float *value = m->W + r * p->K;
        fmt_decode_row(t->fmt, data + (size_t)r * row, p->K, value);
        if (!(encode_largest(value, p->K) <= encode_most(p->fmt)))
            return err_set(err, INFLIGHT_E_MODEL,
                           "%s.weight has what is not a number, or is too large, in row %lld",
                           m->output->module, (long long)r);
    }
    tensors_done(&c->layers.checkpoint->tensors, t);
    return INFLIGHT_OK;
}

static double energy(const float *A, const float *B, int64_t n)
{
    double sum[4] = {0};
    for (int64_t i = 0; i < n; i++) {
        double off = (double)A[i] - (B ? (double)B[i] : 0);
        sum[i % 4] += off * off;
    }
    return sum[0] + sum[1] + sum[2] + sum[3];
}

static double relative(double error, double of)
{
    return of > 0 ? sqrt(error / of) : 0;
}

int32_t matrix_finish(struct calibration *c, enum slot slot, const struct moments *moments,
                      const float *s, const float *t, struct err *err)
{
    struct matrix *m = &c->matrix[slot];
    struct output *o = m->output;
    const struct packing *p = &o->packing;
    const size_t row = fmt_row_bytes(p->fmt, p->K);
    for (int64_t r = 0; r < p->N; r++) {
        float *back = m->back + r * p->K;
        fmt_decode_row(p->fmt, m->rows + (size_t)r * row, p->K, back);
        for (int64_t k = 0; k < p->K; k++)
            back[k] *= (t ? t[r] : 1) / (s ? s[k] : 1);
    }
    o->error = relative(energy(m->W, m->back, p->N * p->K), energy(m->W, NULL, p->N * p->K));
    o->output_error = relative(moments_energy(moments, matrix_wanted(m), m->back, p->N),
                               moments_energy(moments, m->W, NULL, p->N));
    m->packed = calloc(1, p->bytes);
    if (!m->packed)
        return no_memory(err, o->module);
    pack_rows(p, 0, p->N, m->rows, m->packed);
    o->made = m->packed;
    struct weight_source source = {
        .fmt = p->fmt, .N = (int32_t)p->N, .K = (int32_t)p->K, .data = m->rows};
    int32_t rc = layers_put(&c->layers, slot, &source, err);
    matrix_give(m);
    return rc;
}

/* ---- Layers */

/* Which outputs of the plan are matrices of the layer. */
static void find_outputs(struct calibration *c)
{
    const struct quantize_plan *plan = c->source->plan;
    c->before = c->layer_bytes = 0;
    for (int i = 0; i < SLOTS; i++) {
        matrix_give(&c->matrix[i]);
        free(c->matrix[i].packed);
        c->matrix[i] = (struct matrix){0};
    }
    for (int i = 0; i < VECTORS; i++) {
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
        for (int s = 0; s < SLOTS; s++)
            if (o->is_encoded && c->layers.matrix[s].tensor == o->from)
                c->matrix[s].output = o;
        for (int v = 0; v < VECTORS; v++)
            if (c->layers.vector[v].tensor == o->from)
                c->vector[v] = o;
    }
}

static int32_t make_half(struct calibration *c, const struct half *half, struct err *err)
{
    const struct quantize_params *p = c->source->params;
    const bool is_scaled = p->method == METHOD_AWQ || p->method == METHOD_SMOOTH;
    int32_t rc;
    if (c->source->is_measured)
        return measure_half(c, half, err);
    if (p->recipe->is_static)
        rc = static_half(c, half, err);
    else
        rc = (is_scaled ? scaled_half : gptq_half)(c, half, err);
    return rc ? rc : half_pass(c, half, NULL, err);
}

static int32_t make_layer(struct calibration *c, int32_t number, struct err *err)
{
    c->layer = number;
    if (layers_enter(&c->layers, number, err) || drift_enter(&c->drift, number, err))
        return err->code;
    find_outputs(c);
    c->runs_done = 0;
    c->runs_all = (int64_t)HALVES * 3 * c->samples.n;
    for (int i = 0; i < HALVES; i++) {
        const struct half half = half_of(&c->layers, i);
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
