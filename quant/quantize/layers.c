#include "layers.h"

#include "heads.h"

#include "../../plugin/model/rope.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
    const char *name; /* after the layer's prefix */
    size_t offset;    /* in struct layer */
};

/* clang-format off */
static const struct row matrix_rows[SLOTS] = {
    [SLOT_Q]    = {"self_attn.q_proj.weight", offsetof(struct layer, q)},
    [SLOT_K]    = {"self_attn.k_proj.weight", offsetof(struct layer, k)},
    [SLOT_V]    = {"self_attn.v_proj.weight", offsetof(struct layer, v)},
    [SLOT_O]    = {"self_attn.o_proj.weight", offsetof(struct layer, o)},
    [SLOT_GATE] = {"mlp.gate_proj.weight", offsetof(struct layer, gate)},
    [SLOT_UP]   = {"mlp.up_proj.weight", offsetof(struct layer, up)},
    [SLOT_DOWN] = {"mlp.down_proj.weight", offsetof(struct layer, down)},
};

static const struct row vector_rows[VECTORS] = {
    [ATTN_NORM] = {"input_layernorm.weight", offsetof(struct layer, attn_norm)},
    [FFN_NORM]  = {"post_attention_layernorm.weight", offsetof(struct layer, ffn_norm)},
    [ATTN_POST_NORM] = {NULL, offsetof(struct layer, attn_post_norm)},
    [FFN_POST_NORM] = {NULL, offsetof(struct layer, ffn_post_norm)},
    [Q_BIAS]    = {"self_attn.q_proj.bias", offsetof(struct layer, q_bias)},
    [K_BIAS]    = {"self_attn.k_proj.bias", offsetof(struct layer, k_bias)},
    [V_BIAS]    = {"self_attn.v_proj.bias", offsetof(struct layer, v_bias)},
    [Q_NORM]    = {"self_attn.q_norm.weight", offsetof(struct layer, q_norm)},
    [K_NORM]    = {"self_attn.k_norm.weight", offsetof(struct layer, k_norm)},
};
/* clang-format on */

/* The name of a matrix; NULL: it is of another's rows. */
static const char *matrix_name(const struct layers *l, enum slot slot)
{
    const bool is_row = slot == SLOT_K || slot == SLOT_V || slot == SLOT_UP;
    if (!l->arch->fused || slot == SLOT_O || slot == SLOT_DOWN)
        return matrix_rows[slot].name;
    return is_row ? NULL : slot == SLOT_Q ? "self_attn.qkv_proj.weight" : "mlp.gate_up_proj.weight";
}

/* The name of a vector; NULL: such a layer has none. What follows attention is of a name that
 * others have for what comes before the feed-forward part. */
static const char *vector_name(const struct layers *l, enum vector vector)
{
    if (l->arch->post_norm && vector == FFN_NORM)
        return "pre_feedforward_layernorm.weight";
    if (l->arch->post_norm && vector == ATTN_POST_NORM)
        return "post_attention_layernorm.weight";
    if (l->arch->post_norm && vector == FFN_POST_NORM)
        return "post_feedforward_layernorm.weight";
    return vector_rows[vector].name;
}

float layers_norm_offset(const struct layers *l)
{
    return l->arch->norm_less_one ? 1 : 0;
}

static int32_t no_memory(struct err *err, size_t bytes)
{
    char text[BYTES_TEXT];
    return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s of a layer", bytes_text(bytes, text));
}

/* With what a card says of itself: if it is lost, that explains what it refused. */
static int32_t device_error(const struct layers *l, int32_t code, const char *what, struct err *err)
{
    const bool is_lost = l->backend->is_lost && l->backend->is_lost(l->device);
    if (!l->backend->is_host)
        return err_set(err, is_lost ? INFLIGHT_E_DEVICE : code, "%s: %s", what,
                       l->backend->describe(l->device));
    return err_set(err, code, "%s", what);
}

static int32_t no_room(const struct layers *l, size_t bytes, struct err *err)
{
    char text[BYTES_TEXT], what[96];
    (void)snprintf(what, sizeof what, "no memory of the device for %s", bytes_text(bytes, text));
    return device_error(l, INFLIGHT_E_NOMEM, what, err);
}

static int32_t write_device(const struct layers *l, void *to, const void *from, size_t bytes,
                            struct err *err)
{
    return l->backend->write(l->device, to, from, bytes)
               ? device_error(l, INFLIGHT_E_DEVICE, "the device cannot be written to", err)
               : INFLIGHT_OK;
}

/* ---- Opening and closing */

#define FREQ_BYTES ((size_t)2 * FREQ_MAX * sizeof(float))

int32_t layers_open(struct layers *l, const struct checkpoint *c, struct arena *arena,
                    struct err *err)
{
    *l = (struct layers){.checkpoint = c, .number = -1};
    buf_init(&l->scratch, &mem_system);
    buf_init(&l->heads, &mem_system);
    if (hparams_read(&l->h, c, err))
        return err_prefix(err, "%s", c->path);
    l->arch = weights_arch(&l->h, &l->checkpoint->tensors);
    if (l->arch->names || l->arch->experts)
        return err_set(
            err, INFLIGHT_E_UNSUPPORTED,
            "%s: recipes that run the model do not serve architecture %s, those that round "
            "alone do",
            c->path, l->arch->id);
    if (weights_open(&l->weights, &c->tensors, &c->scheme, l->arch, &l->h, arena, err))
        return err_prefix(err, "%s", c->path);
    return plan_reserve(&l->plan, 1, arena, err);
}

static void configure(struct layers *l, int32_t threads)
{
    const struct hparams *h = &l->h;
    l->config = (struct device_config){
        .threads = threads,
        .activations = ACT_FLOAT,
        .max_tokens = l->length,
        .max_rows = 1,
        .max_context = l->length,
        .max_width = l->weights.max_width,
        .L = 1,
        .H = h->H,
        .K = h->K,
        .dim = h->dim,
        .kv_pages = l->length / PAGE_TOKENS + 2,
    };
}

static int32_t try_backend(struct layers *l, const struct backend *backend, struct err *err)
{
    struct device_bytes bytes;
    l->backend = backend;
    return backend->probe(err) || backend->measure(&l->config, &bytes, err) ||
                   backend->open(&l->config, &mem_system, &l->device, err)
               ? err->code
               : INFLIGHT_OK;
}

static int32_t choose_backend(struct layers *l, const char *device, struct err *err)
{
    const struct backend *backend = backend_find(device);
    if (strcmp(device, "auto") != 0 && !backend)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "this build has no device \"%s\"", device);
    if (backend)
        return try_backend(l, backend, err) ? err_prefix(err, "device %s", device) : INFLIGHT_OK;
    for (const struct backend *const *b = backends; *b; b++) {
        const size_t len = strlen(l->passed);
        *err = (struct err){0};
        if (!try_backend(l, *b, err))
            return INFLIGHT_OK;
        (void)snprintf(l->passed + len, sizeof l->passed - len, "%s%s: %.200s", len ? "; " : "",
                       (*b)->name, err->text);
    }
    return err->code;
}

static int32_t open_device(struct layers *l, const char *device, int32_t threads, struct err *err)
{
    const struct hparams *h = &l->h;
    configure(l, threads);
    rope_choose(&l->h, l->length);
    plan_measure(&l->buffers, l->arch, h, l->length, 1);
    if (choose_backend(l, device, err))
        return err->code;
    l->activations = l->backend->take(l->device, l->buffers.bytes);
    l->freq = l->backend->take(l->device, FREQ_BYTES);
    if (!l->activations || !l->freq)
        return no_room(l, l->buffers.bytes, err);
    l->weights.freq = l->freq;
    l->weights.near_freq = l->freq + FREQ_MAX;
    return write_device(l, l->freq, h->freq, sizeof h->freq, err)
               ? err->code
               : write_device(l, l->freq + FREQ_MAX, h->near_freq, sizeof h->near_freq, err);
}

int32_t layers_begin(struct layers *l, int32_t length, const char *device, int32_t threads,
                     struct arena *arena, struct err *err)
{
    l->length = length;
    l->count = arena_take_array(arena, (size_t)length, sizeof *l->count);
    if (!l->count)
        return no_memory(err, (size_t)length * sizeof *l->count);
    for (int32_t i = 0; i < length; i++)
        l->count[i] = i;
    return open_device(l, device, threads, err);
}

static void give(struct layers *l, struct held *held)
{
    if (held->memory)
        l->backend->give(l->device, held->memory, held->bytes);
    free(held->value);
    *held = (struct held){.tensor = held->tensor};
}

void layers_close(struct layers *l)
{
    for (int i = 0; i < SLOTS; i++)
        give(l, &l->matrix[i]);
    for (int i = 0; i < VECTORS; i++)
        give(l, &l->vector[i]);
    if (l->freq)
        l->backend->give(l->device, l->freq, FREQ_BYTES);
    if (l->activations)
        l->backend->give(l->device, l->activations, l->buffers.bytes);
    if (l->device)
        l->backend->close(l->device);
    buf_release(&l->scratch);
    buf_release(&l->heads);
    l->device = NULL;
}

/* ---- Weights */

/* Memory of the device for `bytes`, that which is there if it is as large. */
static int32_t reserve(struct layers *l, struct held *held, size_t bytes, struct err *err)
{
    if (held->memory && held->bytes == bytes)
        return INFLIGHT_OK;
    give(l, held);
    held->memory = l->backend->take(l->device, bytes);
    held->bytes = bytes;
    return held->memory ? INFLIGHT_OK : no_room(l, bytes, err);
}

/* A matrix of a layer or, as it is one for a sample, of embeddings. */
static int32_t pack(struct layers *l, struct held *held, const struct weight_source *source,
                    struct weight *out, struct err *err)
{
    size_t bytes = l->backend->packed_bytes(&l->config, source->fmt, source->N, source->K);
    if (!bytes)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s rows of %d values are not served by %s",
                       fmt_info[source->fmt].name, source->K, l->backend->name);
    if (reserve(l, held, bytes, err))
        return err->code;
    *out = (struct weight){
        .fmt = source->fmt, .N = source->N, .K = source->K, .data = held->memory, .bytes = bytes};
    return l->backend->pack(l->device, source, out, err);
}

static int32_t put(struct layers *l, enum slot slot, const struct weight_source *source,
                   struct err *err)
{
    char *layer = (char *)&l->weights.layer[l->number];
    return pack(l, &l->matrix[slot], source,
                (struct weight *)(void *)(layer + matrix_rows[slot].offset), err);
}

int32_t layers_put(struct layers *l, enum slot slot, const struct weight_source *source,
                   struct err *err)
{
    if (!l->arch->fused || slot != SLOT_GATE)
        return put(l, slot, source, err);
    struct weight_source gate = *source, up = *source;
    gate.N = up.N = source->N / 2;
    up.data = (const char *)source->data + (size_t)gate.N * fmt_row_bytes(source->fmt, source->K);
    return put(l, SLOT_GATE, &gate, err) ? err->code : put(l, SLOT_UP, &up, err);
}

int32_t layers_put_own(struct layers *l, enum slot slot, struct err *err)
{
    const struct tensor *t = l->matrix[slot].tensor;
    if (!matrix_name(l, slot))
        return INFLIGHT_OK;
    if (!t || (t->fmt != FMT_f32 && t->fmt != FMT_f16 && t->fmt != FMT_bf16))
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "%s is not a matrix of floats: the model is quantized already",
                       matrix_name(l, slot));
    struct weight_source source = {.fmt = t->fmt, .N = (int32_t)t->dim[1], .K = (int32_t)t->dim[0]};
    source.data = tensors_view(&l->checkpoint->tensors, t, &l->scratch, err);
    if (!source.data || layers_put(l, slot, &source, err))
        return err->code;
    tensors_done(&l->checkpoint->tensors, t);
    return INFLIGHT_OK;
}

int32_t layers_set(struct layers *l, enum vector vector, const float *value, struct err *err)
{
    struct held *held = &l->vector[vector];
    const size_t bytes = (size_t)held->tensor->dim[0] * sizeof *value;
    char *layer = (char *)&l->weights.layer[l->number];
    if (reserve(l, held, bytes, err))
        return err->code;
    if (!held->value)
        held->value = malloc(bytes);
    if (!held->value)
        return no_memory(err, bytes);
    memmove(held->value, value, bytes);
    *(const float **)(void *)(layer + vector_rows[vector].offset) = held->memory;
    return write_device(l, held->memory, value, bytes, err);
}

static int32_t load_vector(struct layers *l, enum vector vector, struct err *err)
{
    const struct tensor *t = l->vector[vector].tensor;
    const void *data = tensors_view(&l->checkpoint->tensors, t, &l->scratch, err);
    if (!data)
        return err->code;
    float *value = malloc((size_t)t->dim[0] * sizeof *value);
    if (!value)
        return no_memory(err, (size_t)t->dim[0] * sizeof *value);
    fmt_decode_row(t->fmt, data, t->dim[0], value);
    for (int64_t i = 0; i < t->dim[0]; i++)
        value[i] += layers_norm_offset(l); /* only norms are vectors where there is one */
    int32_t rc = layers_set(l, vector, value, err);
    free(value);
    return rc;
}

static const struct tensor *find(const struct layers *l, const char *name)
{
    char full[96];
    (void)snprintf(full, sizeof full, "model.layers.%d.%s", l->number, name);
    return tensors_find(&l->checkpoint->tensors, full);
}

static struct plan_source source_of(const struct layers *l)
{
    return (struct plan_source){l->arch, &l->h, &l->weights, &l->buffers, l->activations};
}

int32_t layers_enter(struct layers *l, int32_t number, struct err *err)
{
    struct plan_source source = source_of(l);
    l->number = number;
    for (int i = 0; i < SLOTS; i++) {
        const char *name = matrix_name(l, (enum slot)i);
        l->matrix[i].tensor = name ? find(l, name) : NULL;
    }
    for (int i = 0; i < VECTORS; i++) {
        const char *name = vector_name(l, (enum vector)i);
        l->vector[i].tensor = name ? find(l, name) : NULL;
        if (l->vector[i].tensor && load_vector(l, (enum vector)i, err))
            return err->code;
    }
    plan_compile_layer(&l->plan, &source, number);
    return INFLIGHT_OK;
}

/* ---- Running */

static int32_t run(struct layers *l, const struct plan *plan, struct err *err)
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
    return code ? device_error(l, code, what, err) : INFLIGHT_OK;
}

static size_t x_bytes(const struct layers *l)
{
    return (size_t)l->length * (size_t)l->h.D * sizeof(float);
}

static int32_t copy(struct layers *l, void *host, uint64_t offset, size_t bytes, struct err *err)
{
    return l->backend->read(l->device, host, l->activations + offset, bytes)
               ? device_error(l, INFLIGHT_E_DEVICE, "the device cannot be read", err)
               : INFLIGHT_OK;
}

/* The tokens' rows as a table of their own: row t is that of token t. */
int32_t layers_embed(struct layers *l, const int32_t *token, float *x, struct err *err)
{
    const struct tensor *t = tensors_find(&l->checkpoint->tensors, "model.embed_tokens.weight");
    const size_t row = fmt_row_bytes(t->fmt, t->dim[0]);
    struct held held = {0};
    struct plan_source source = source_of(l);
    const char *table = tensors_view(&l->checkpoint->tensors, t, &l->scratch, err);
    char *rows = table ? malloc((size_t)l->length * row) : NULL;
    if (!rows)
        return table ? no_memory(err, (size_t)l->length * row) : err->code;
    for (int32_t i = 0; i < l->length; i++)
        memcpy(rows + (size_t)i * row, table + (size_t)token[i] * row, row);
    struct weight_source matrix = {.fmt = t->fmt, .N = l->length, .K = l->h.D, .data = rows};
    int32_t rc = pack(l, &held, &matrix, &l->weights.embed, err);
    plan_compile_embed(&l->plan, &source);
    if (!rc)
        rc = run(l, &l->plan, err);
    if (!rc)
        rc = copy(l, x, l->buffers.x, x_bytes(l), err);
    give(l, &held);
    free(rows);
    tensors_done(&l->checkpoint->tensors, t);
    return rc;
}

/* The step of the plan that a stage begins with. */
static int32_t first_step(const struct layers *l, enum stage stage)
{
    return (int32_t)stage + (l->arch->post_norm && stage > STAGE_O);
}

int32_t layers_run(struct layers *l, enum stage first, enum stage last, float *x, struct err *err)
{
    const bool is_normed = l->arch->post_norm && (last == STAGE_O || last == STAGE_DOWN);
    struct plan part = l->plan;
    part.step += first_step(l, first);
    part.len = first_step(l, last) + is_normed - first_step(l, first) + 1;
    if (write_device(l, l->activations + l->buffers.x, x, x_bytes(l), err))
        return err->code;
    return run(l, &part, err) ? err->code : copy(l, x, l->buffers.x, x_bytes(l), err);
}

/* ---- Inputs */

int32_t layers_width(const struct layers *l, enum input input)
{
    return input == INPUT_O ? l->h.H * l->h.dim : input == INPUT_DOWN ? l->h.F : l->h.D;
}

static void normalise(const float *x, const float *weight, int32_t D, float eps, float *out)
{
    double sum = 0;
    for (int32_t i = 0; i < D; i++)
        sum += (double)x[i] * (double)x[i];
    const float scale = (float)(1 / sqrt(sum / D + (double)eps));
    for (int32_t i = 0; i < D; i++)
        out[i] = x[i] * scale * weight[i];
}

void layers_normalise(const struct layers *l, const float *x, const float *norm, float *X)
{
    const int64_t D = l->h.D;
    for (int64_t t = 0; t < l->length; t++)
        normalise(x + t * D, norm, (int32_t)D, l->h.eps, X + t * D);
}

int32_t layers_input(struct layers *l, enum input input, const float *x, float *X, struct err *err)
{
    const size_t bytes = (size_t)l->length * (size_t)layers_width(l, input) * sizeof *X;
    if (input == INPUT_O)
        return copy(l, X, l->buffers.attn, bytes, err);
    if (input == INPUT_DOWN)
        return copy(l, X, l->buffers.ffn, bytes, err);
    layers_normalise(l, x, l->vector[input == INPUT_QKV ? ATTN_NORM : FFN_NORM].value, X);
    return INFLIGHT_OK;
}

/* ---- Keys and values */

int32_t layers_kv_peaks(struct layers *l, struct kv_peaks *peaks, struct err *err)
{
    const struct hparams *h = &l->h;
    const struct op_attend *attend = &l->plan.step[first_step(l, STAGE_ATTEND)].a.attend;
    const bool is_near = arch_turns_twice(l->arch) && h->slides[l->number];
    const int64_t row = (int64_t)(h->H + 2 * h->K) * h->dim, T = l->length;
    const size_t bytes = (size_t)(T * row) * sizeof(float);
    const size_t table = (size_t)(T * h->rotary_dim) * sizeof(float);
    l->heads.len = 0;
    float *qkv = (float *)(void *)buf_room(&l->heads, bytes + table);
    if (!qkv)
        return no_memory(err, bytes + table);
    float *rotary = qkv + T * row;
    if (copy(l, qkv, l->buffers.qkv, bytes, err) ||
        copy(l, rotary, l->buffers.rotary[is_near], table, err))
        return err->code;
    const struct heads keys = {.K = h->K,
                               .dim = h->dim,
                               .rotary_dim = h->rotary_dim,
                               .rope = (enum rope_kind)attend->rope,
                               .norm = attend->k_norm ? l->vector[K_NORM].value : NULL,
                               .eps = attend->eps};
    for (int64_t t = 0; t < T; t++) {
        const float *key = qkv + t * row + (int64_t)h->H * h->dim;
        const float *value = key + (int64_t)h->K * h->dim;
        peaks->key =
            heads_peak(&keys, key, attend->rotary ? rotary + t * h->rotary_dim : NULL, peaks->key);
        peaks->value = values_peak(value, (int64_t)h->K * h->dim, peaks->value);
    }
    if (!isfinite(peaks->key) || !isfinite(peaks->value))
        return err_set(err, INFLIGHT_E_MODEL, "%s are not all finite",
                       isfinite(peaks->key) ? "values" : "keys");
    return INFLIGHT_OK;
}
