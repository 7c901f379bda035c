#include "layers_device.h"

#include "heads.h"
#include "jobs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

float layers_offset(const struct layers *l, enum vector vector)
{
    return l->vector[vector].item->values == ONE_MORE ? 1 : 0;
}

struct plan_source layers_source(const struct layers *l)
{
    return (struct plan_source){l->arch, &l->h, &l->weights, &l->buffers, l->activations};
}

/* ---- Opening and closing */

int32_t layers_open(struct layers *l, const struct checkpoint *c, struct arena *arena,
                    struct err *err)
{
    *l = (struct layers){.checkpoint = c, .number = -1};
    buf_init(&l->scratch, &mem_system);
    buf_init(&l->rows, &mem_system);
    buf_init(&l->heads, &mem_system);
    if (hparams_read(&l->h, c, err))
        return err_prefix(err, "%s", c->path);
    l->arch = weights_arch(&l->h, &l->checkpoint->tensors);
    if (weights_open(&l->weights, &c->tensors, &c->scheme, l->arch, &l->h, arena, err))
        return err_prefix(err, "%s", c->path);
    l->n_matrices = SLOTS + (l->arch->experts ? 3 * l->h.E : 0);
    l->matrix = arena_take_array(arena, (size_t)l->n_matrices, sizeof *l->matrix);
    if (!l->matrix)
        return layers_no_memory(err, (size_t)l->n_matrices * sizeof *l->matrix);
    return plan_reserve(&l->plan, 1, arena, err);
}

static void open_loader(struct layers *l)
{
    l->origin = (struct weights_source){.backend = l->backend,
                                        .device = l->device,
                                        .config = &l->config,
                                        .mem = &mem_system,
                                        .h = &l->h};
    l->loader = (struct weights_loader){.w = &l->weights, .source = &l->origin};
    buf_init(&l->loader.file, &mem_system);
    matrix_reader_init(&l->loader.reader, l->config.threads, &mem_system);
}

int32_t layers_begin(struct layers *l, int32_t length, const char *device, int32_t threads,
                     struct arena *arena, struct err *err)
{
    l->length = length;
    l->count = arena_take_array(arena, (size_t)length, sizeof *l->count);
    if (!l->count)
        return layers_no_memory(err, (size_t)length * sizeof *l->count);
    for (int32_t i = 0; i < length; i++)
        l->count[i] = i;
    if (layers_open_device(l, device, threads, err))
        return err->code;
    open_loader(l);
    return layers_load(l, err);
}

static void close_loader(struct layers *l)
{
    if (!l->loader.w)
        return;
    matrix_reader_close(&l->loader.reader);
    buf_release(&l->loader.file);
}

void layers_close(struct layers *l)
{
    for (int32_t i = 0; l->matrix && i < l->n_matrices; i++)
        layers_give(l, &l->matrix[i]);
    for (int i = 0; i < VECTORS; i++)
        layers_give(l, &l->vector[i]);
    close_loader(l);
    if (l->activations)
        l->backend->give(l->device, l->activations, l->buffers.bytes);
    if (l->device)
        l->backend->close(l->device);
    buf_release(&l->scratch);
    buf_release(&l->rows);
    buf_release(&l->heads);
    l->device = NULL;
}

/* ---- Running */

int32_t layers_run_plan(struct layers *l, const struct plan *plan, struct err *err)
{
    struct batch_seq seq = {.first = 0, .n = l->length, .position = 0, .page = l->count};
    struct batch batch = {.T = l->length,
                          .S = 1,
                          .token = l->count,
                          .position = l->count,
                          .seq = &seq,
                          .row = l->count};
    int code = decoder_run(plan, l->backend, l->device, &batch, NULL);
    char what[64];
    (void)snprintf(what, sizeof what, "a sample of %d tokens cannot be run", l->length);
    return code ? layers_error(l, code, what, err) : INFLIGHT_OK;
}

size_t layers_x_bytes(const struct layers *l)
{
    return (size_t)l->length * (size_t)l->h.D * sizeof(float);
}

enum { WIDE_NORMS = 2 }; /* steps behind the product, of queries and of keys */

/* The steps of the plan that a stage begins and ends with, see plan.c. */
static int32_t first_step(const struct layers *l, enum stage stage)
{
    static const int32_t together[] = {
        [STAGE_QKV] = 0, [STAGE_ATTEND] = 1, [STAGE_GATE_UP] = 2, [STAGE_O] = 3, [STAGE_DOWN] = 4};
    if (l->h.parallel)
        return together[stage];
    if (layers_has_experts(l) && stage == STAGE_DOWN)
        stage = STAGE_GATE_UP;
    return (int32_t)stage + (l->arch->post_norm && stage > STAGE_O) +
           (l->arch->wide_norm && stage > STAGE_QKV ? WIDE_NORMS : 0);
}

static int32_t last_step(const struct layers *l, enum stage stage)
{
    const bool is_normed = l->arch->post_norm && (stage == STAGE_O || stage == STAGE_DOWN);
    const int32_t wide = l->arch->wide_norm && stage == STAGE_QKV ? WIDE_NORMS : 0;
    if (layers_has_experts(l) && stage >= STAGE_GATE_UP)
        return l->plan.len - 1;
    return first_step(l, stage) + is_normed + wide;
}

int32_t layers_run(struct layers *l, enum stage first, enum stage last, float *x, struct err *err)
{
    struct plan part = l->plan;
    part.step += first_step(l, first);
    part.len = last_step(l, last) - first_step(l, first) + 1;
    if (layers_write(l, l->activations + l->buffers.x, x, layers_x_bytes(l), err))
        return err->code;
    return layers_run_plan(l, &part, err) ? err->code
                                          : layers_read(l, x, l->buffers.x, layers_x_bytes(l), err);
}

/* ---- Inputs */

bool layers_has_experts(const struct layers *l)
{
    return layer_has_experts(l->arch, &l->h, l->number);
}

/* Of INPUT_DOWN in a layer of experts, or in one that has none. */
static int32_t down_width(const struct layers *l, bool has_experts)
{
    if (has_experts)
        return l->h.shared_F;
    return l->arch->experts ? l->h.dense_F : l->h.F;
}

int32_t layers_width(const struct layers *l, enum input input)
{
    if (input == INPUT_DOWN)
        return down_width(l, layers_has_experts(l));
    return input == INPUT_O ? l->h.H * l->h.dim : l->h.D;
}

int32_t layers_widest(const struct layers *l, enum input input)
{
    if (input != INPUT_DOWN)
        return layers_width(l, input);
    if (!l->arch->experts)
        return l->h.F;
    const int32_t shared = down_width(l, true), dense = l->h.dense ? down_width(l, false) : 0;
    return MAX(l->h.F, MAX(shared, dense));
}

enum vector layers_norm(const struct layers *l, enum input input)
{
    return input == INPUT_QKV || !l->vector[FFN_NORM].item ? ATTN_NORM : FFN_NORM;
}

/* enum norm_kind; bias may be NULL. */
static void normalise(const float *x, const float *weight, const float *bias, int32_t D, float eps,
                      bool is_layer_norm, float *out)
{
    double mean = 0, sum = 0;
    for (int32_t i = 0; i < D && is_layer_norm; i++)
        mean += (double)x[i] / D;
    for (int32_t i = 0; i < D; i++)
        sum += ((double)x[i] - mean) * ((double)x[i] - mean);
    const float scale = (float)(1 / sqrt(sum / D + (double)eps)), less = (float)mean;
    for (int32_t i = 0; i < D; i++)
        out[i] = (x[i] - less) * scale * weight[i] + (bias ? bias[i] : 0);
}

struct normalising {
    const struct layers *l;
    enum vector norm;
    const float *x;
    float *X;
};

static void normalise_token(void *arg, int64_t t, int32_t thread)
{
    const struct normalising *n = arg;
    const struct layers *l = n->l;
    const struct held *bias = &l->vector[n->norm + 1];
    const int64_t D = l->h.D;
    (void)thread;
    normalise(n->x + t * D, l->vector[n->norm].value, bias->item ? bias->value : NULL, (int32_t)D,
              l->h.eps, l->arch->layer_norm, n->X + t * D);
}

void layers_normalise(const struct layers *l, const float *x, enum vector norm, float *X)
{
    struct normalising n = {.l = l, .norm = norm, .x = x, .X = X};
    jobs_run(l->config.threads, l->length, normalise_token, &n);
}

int32_t layers_input(struct layers *l, enum input input, const float *x, float *X, struct err *err)
{
    const size_t bytes = (size_t)l->length * (size_t)layers_width(l, input) * sizeof *X;
    if (input == INPUT_O)
        return layers_read(l, X, l->buffers.attn, bytes, err);
    if (input == INPUT_DOWN)
        return layers_read(l, X, layers_has_experts(l) ? l->buffers.shared : l->buffers.ffn, bytes,
                           err);
    if (l->arch->bare)
        memcpy(X, x, bytes);
    else
        layers_normalise(l, x, layers_norm(l, input), X);
    return INFLIGHT_OK;
}

/* See struct op_experts: slots of each expert stand together. */
int32_t layers_expert_input(struct layers *l, int32_t slot, float *X, int32_t *n, struct err *err)
{
    const uint64_t e = (uint64_t)(slot - SLOTS) / 3, row = (uint64_t)l->h.F * sizeof *X;
    const uint64_t count = (uint64_t)l->h.E + 1 + e; /* behind first */
    int32_t first;
    if (layers_read(l, &first, l->buffers.slots + e * sizeof first, sizeof first, err) ||
        layers_read(l, n, l->buffers.slots + count * sizeof *n, sizeof *n, err))
        return err->code;
    return *n ? layers_read(l, X, l->buffers.ffn + (uint64_t)first * row, (uint64_t)*n * row, err)
              : INFLIGHT_OK;
}

/* ---- What attention reads */

static const struct op_attend *attend_of(const struct layers *l)
{
    return &l->plan.step[first_step(l, STAGE_ATTEND)].a.attend;
}

struct attention_rule layers_attention(const struct layers *l)
{
    const struct op_attend *attend = attend_of(l);
    return (struct attention_rule){.scale = attend->scale,
                                   .cap = attend->cap,
                                   .growth = attend->growth,
                                   .growth_from = attend->growth_from,
                                   .window = attend->window,
                                   .slopes = attend->slopes ? l->vector[SLOPE].value : NULL,
                                   .sinks = attend->sinks ? l->vector[SINKS].value : NULL};
}

int32_t layers_qkv(struct layers *l, struct qkv *out, struct err *err)
{
    const struct hparams *h = &l->h;
    const struct op_attend *attend = attend_of(l);
    const bool is_near = h->turns_twice && h->slides[l->number];
    const int64_t row = (int64_t)(h->H + 2 * h->K) * h->dim, T = l->length;
    const size_t bytes = (size_t)(T * row) * sizeof(float);
    const size_t table = attend->rotary ? (size_t)(T * h->rotary_dim) * sizeof(float) : 0;
    l->heads.len = 0;
    float *q = (float *)(void *)buf_room(&l->heads, bytes + table);
    if (!q)
        return layers_no_memory(err, bytes + table);
    float *rotary = q + T * row, *k = q + (int64_t)h->H * h->dim;
    if (layers_read(l, q, l->buffers.qkv, bytes, err) ||
        (table && layers_read(l, rotary, l->buffers.rotary[is_near], table, err)))
        return err->code;
    struct heads queries = {.K = h->H,
                            .dim = h->dim,
                            .rotary_dim = h->rotary_dim,
                            .rope = (enum rope_kind)attend->rope,
                            .norm = attend->q_norm ? l->vector[Q_NORM].value : NULL,
                            .eps = attend->eps};
    struct heads keys = queries;
    keys.K = h->K;
    keys.norm = attend->k_norm ? l->vector[K_NORM].value : NULL;
    for (int64_t t = 0; t < T; t++) {
        const float *turn = table ? rotary + t * h->rotary_dim : NULL;
        heads_turn(&queries, q + t * row, turn, q + t * row);
        heads_turn(&keys, k + t * row, turn, k + t * row);
    }
    *out = (struct qkv){q, k, k + (int64_t)h->K * h->dim, row};
    return INFLIGHT_OK;
}

int32_t layers_kv_peaks(struct layers *l, struct kv_peaks *peaks, struct err *err)
{
    const int64_t n = (int64_t)l->h.K * l->h.dim;
    struct qkv x;
    if (layers_qkv(l, &x, err))
        return err->code;
    for (int64_t t = 0; t < l->length; t++) {
        peaks->key = values_peak(x.k + t * x.row, n, peaks->key);
        peaks->value = values_peak(x.v + t * x.row, n, peaks->value);
    }
    if (!isfinite(peaks->key) || !isfinite(peaks->value))
        return err_set(err, INFLIGHT_E_MODEL, "%s are not all finite",
                       isfinite(peaks->key) ? "values" : "keys");
    return INFLIGHT_OK;
}
