#include "model.h"

#include "checkpoint.h"
#include "decoder.h"
#include "rope.h"

#include "../text/chat_source.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define KV_TOKENS_MIN 16384 /* automatic pool: room for several sequences of a small model */

struct model {
    struct arena arena;
    const struct mem *mem;
    struct checkpoint checkpoint; /* its files are open until loaded */
    struct hparams h;
    const struct arch *arch;
    struct tokenizer *tokenizer;
    struct chat *chat;
    const struct backend *backend;
    struct device *device;
    int32_t next; /* index of the back end after this in the list; 0: it was asked for by name */
    struct device_config config;
    uint64_t available; /* bytes of the device that were free */
    int32_t context;
    struct weights weights;
    const char *packed_cache; /* as in model_params */
    struct plan_buffers buffers;
    void *activations; /* (buffers.bytes) of the device */
    void *copy;        /* (copy_bytes) of the host; NULL: the device's memory is the host's */
    float *logits;     /* what is read: in the activations or in the copy */
    struct logit_block *block;
    struct plan plan;
    struct memory_plan memory;
};

static int32_t pages_of(int64_t tokens)
{
    return (int32_t)((tokens + PAGE_TOKENS - 1) / PAGE_TOKENS);
}

/* ---- What the header says */

/* The template of the model's own files, if they have one. */
static int32_t open_own_chat(struct model *m, struct err *err)
{
    const struct checkpoint *c = &m->checkpoint;
    struct buf source;
    bool found;
    buf_init(&source, m->mem);
    int32_t rc = c->folder.path ? chat_source_folder(&c->folder, &source, &found, err)
                                : chat_source_gguf(&c->gguf, &source, &found, err);
    if (!rc && found)
        rc = chat_open(&m->chat, (struct str){source.ptr, source.len}, m->mem, err);
    buf_release(&source);
    return rc ? err_prefix(err, "the model's chat template") : rc;
}

static int32_t open_chat(struct model *m, const struct model_params *p, struct err *err)
{
    if (!p->chat_template)
        return open_own_chat(m, err);
    struct str source;
    struct file file;
    struct buf scratch;
    if (file_open(&file, p->chat_template, p->io, err))
        return err->code;
    buf_init(&scratch, m->mem);
    source.ptr = file_view(&file, 0, (size_t)file.bytes, &scratch, err);
    source.len = (size_t)file.bytes;
    int32_t rc = source.ptr ? chat_open(&m->chat, source, m->mem, err) : err->code;
    buf_release(&scratch);
    file_close(&file);
    return rc ? err_prefix(err, "%s", p->chat_template) : rc;
}

static int32_t open_tokenizer(struct model *m, struct err *err)
{
    const struct checkpoint *c = &m->checkpoint;
    return c->folder.path ? tokenizer_open_folder(&m->tokenizer, &c->folder, &m->arena, err)
                          : tokenizer_open(&m->tokenizer, &c->gguf, &m->arena, err);
}

/* Of a GGUF file, a number for each rotary frequency. *is_there: whether it has them. */
static int32_t read_factors(struct model *m, const char *name, float factor[FREQ_MAX],
                            bool *is_there, struct err *err)
{
    const struct tensor *t = tensors_find(&m->checkpoint.tensors, name);
    struct buf scratch;
    *is_there = t && !m->checkpoint.config;
    if (!*is_there)
        return INFLIGHT_OK;
    if (t->fmt != FMT_f32 || t->dim[0] != m->h.rotary_dim / 2)
        return err_set(err, INFLIGHT_E_MODEL, "tensor %s is not %d floats", name,
                       m->h.rotary_dim / 2);
    buf_init(&scratch, m->mem);
    const void *data = tensors_view(&m->checkpoint.tensors, t, &scratch, err);
    if (data)
        memcpy(factor, data, t->bytes);
    buf_release(&scratch);
    for (int32_t i = 0; data && i < m->h.rotary_dim / 2; i++)
        if (!(factor[i] > 0) || !isfinite(factor[i]))
            return err_set(err, INFLIGHT_E_MODEL, "%s[%d] is not a positive number", name, i);
    return data ? INFLIGHT_OK : err->code;
}

/* Llama 3 files carry one set of them, those of Phi one for each of two lengths. */
static int32_t read_rope_factors(struct model *m, struct err *err)
{
    float factor[FREQ_MAX];
    bool is_there, has_long;
    if (read_factors(m, "rope_freqs.weight", factor, &is_there, err))
        return err->code;
    if (is_there)
        rope_apply_factors(&m->h, factor);
    if (read_factors(m, "rope_factors_short.weight", m->h.stretch[0], &is_there, err) ||
        read_factors(m, "rope_factors_long.weight", m->h.stretch[1], &has_long, err))
        return err->code;
    const bool has_both = is_there && has_long;
    if (!m->checkpoint.config && !has_both && (m->h.has_stretch || is_there || has_long))
        return err_set(err, INFLIGHT_E_MODEL, "tensor rope_factors_%s.weight is missing",
                       is_there ? "long" : "short");
    m->h.has_stretch = m->h.has_stretch || has_both;
    rope_choose(&m->h, m->context);
    return INFLIGHT_OK;
}

static void configure_device(struct model *m, const struct model_params *p)
{
    m->context = p->context && p->context < m->h.context ? p->context : m->h.context;
    int64_t tokens = p->kv_tokens ? p->kv_tokens : MAX(m->context, KV_TOKENS_MIN);
    m->config = (struct device_config){
        .threads = p->threads,
        .isa = p->isa,
        .activations = p->activations,
        .max_tokens = p->max_tokens,
        .max_rows = p->max_rows,
        .max_context = m->context,
        .max_width = m->weights.max_width,
        .L = m->h.L,
        .H = m->h.H,
        .K = m->h.K,
        .dim = m->h.dim,
        .kv_kind = m->arch->has_kinds ? m->h.kv_kind : NULL,
        .near_K = m->h.near_K,
        .near_dim = m->h.near_dim,
        .experts = m->arch->experts ? m->h.E : 0,
        .experts_met = m->arch->experts ? m->h.U : 0,
        .kv_type = p->kv_type,
        .cuda_context = p->cuda_context,
        .slice = p->slice,
        .cublaslt = p->cublaslt,
        .prefault = p->prefault,
        /* One page more than a full context, for the copy of a shared last page. */
        .kv_pages = MAX(pages_of(tokens), pages_of(m->context) + 1),
    };
}

/* Of the logits and notes, for a device whose memory the host cannot read in place. */
static uint64_t copy_bytes(const struct model *m)
{
    return m->backend->is_host ? 0 : m->buffers.logits_bytes;
}

static int32_t measure(struct model *m, struct err *err)
{
    struct device_bytes bytes;
    if (m->backend->measure(&m->config, &bytes, err))
        return err->code;
    m->memory = (struct memory_plan){
        .weights = m->weights.bytes,
        .kv = bytes.kv,
        .kv_token = bytes.kv_token,
        .activations = m->buffers.bytes - m->buffers.logits_bytes,
        .workspace = bytes.workspace,
        .logits = m->buffers.logits_bytes + copy_bytes(m),
    };
    m->memory.total = m->memory.weights + m->memory.kv + m->memory.activations +
                      m->memory.workspace + m->memory.logits;
    m->available = bytes.available;
    return INFLIGHT_OK;
}

/* Most bytes in all: the budget, or what the device has free. */
static uint64_t limit_of(const struct model *m, const struct model_params *p)
{
    uint64_t copy = copy_bytes(m);
    uint64_t device = m->available > UINT64_MAX - copy ? UINT64_MAX : m->available + copy;
    return p->memory_budget ? MIN(p->memory_budget, device) : device;
}

/* An automatic pool shrinks to fit the limit, down to one context; anything more is
 * the user's to decide. */
static int32_t fit(struct model *m, const struct model_params *p, struct err *err)
{
    char need[BYTES_TEXT], have[BYTES_TEXT], kv[BYTES_TEXT];
    if (measure(m, err))
        return err->code;
    uint64_t limit = limit_of(m, p);
    if (m->memory.total <= limit)
        return INFLIGHT_OK;
    uint64_t fixed = m->memory.total - m->memory.kv;
    uint64_t page = m->memory.kv / (uint64_t)m->config.kv_pages;
    int32_t least = pages_of(m->context) + 1;
    if (!p->kv_tokens && fixed + page * (uint64_t)least <= limit) {
        m->config.kv_pages = (int32_t)((limit - fixed) / page);
        return measure(m, err);
    }
    return err_set(
        err, INFLIGHT_E_NOMEM, "the model needs %s (%s of it for %d cached positions), the %s %s",
        bytes_text(m->memory.total, need), bytes_text(m->memory.kv, kv),
        m->config.kv_pages * PAGE_TOKENS,
        limit == p->memory_budget ? "budget is" : "device has free", bytes_text(limit, have));
}

/* ---- Which back end */

/* Whether it is there, serves the model, and has the memory; takes nothing. */
static int32_t try_backend(struct model *m, const struct backend *backend,
                           const struct model_params *p, struct err *err)
{
    m->backend = backend;
    configure_device(m, p);
    /* A context of the host's says which device it is: measure asks that one. */
    bool is_there = p->cuda_context || !backend->probe(err);
    if (!is_there || weights_measure(&m->weights, backend, &m->config, err))
        return err->code;
    return fit(m, p, err);
}

static void pass_over(struct fallback *f, int32_t next, struct err *err)
{
    size_t len = strlen(f->text);
    (void)snprintf(f->text + len, sizeof f->text - len, "%s%s: %s", len ? "; " : "",
                   backends[next - 1]->name, err->text);
    f->n = next;
    *err = (struct err){0};
}

static int32_t choose_automatically(struct model *m, const struct model_params *p, struct err *err)
{
    struct fallback own = {0}, *f = p->fallback ? p->fallback : &own;
    for (;;) {
        m->next = f->n + 1;
        if (!try_backend(m, backends[f->n], p, err))
            return INFLIGHT_OK;
        if (!backends[m->next])
            return err->code;
        pass_over(f, m->next, err);
    }
}

static int32_t choose_backend(struct model *m, const struct model_params *p, struct err *err)
{
    if (strcmp(p->device, "auto") == 0)
        return choose_automatically(m, p, err);
    const struct backend *backend = backend_find(p->device);
    if (!backend)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "this build has no device \"%s\"", p->device);
    return try_backend(m, backend, p, err) ? err_prefix(err, "device %s", p->device) : INFLIGHT_OK;
}

/* What another device may not lack. */
bool model_pass_over(const struct model *m, struct fallback *fallback, struct err *err)
{
    bool elsewhere = err->code == INFLIGHT_E_NOMEM || err->code == INFLIGHT_E_DEVICE ||
                     err->code == INFLIGHT_E_UNSUPPORTED;
    if (!m->next || !backends[m->next] || !elsewhere)
        return false;
    pass_over(fallback, m->next, err);
    return true;
}

/* ---- Opening and closing */

static int32_t open_contents(struct model *m, const struct model_params *p, struct err *err)
{
    m->arch = weights_arch(&m->h, &m->checkpoint.tensors);
    if (open_tokenizer(m, err) || open_chat(m, p, err) ||
        weights_open(&m->weights, &m->checkpoint.tensors, &m->checkpoint.scheme, m->arch, &m->h,
                     &m->arena, err) ||
        plan_reserve(&m->plan, m->h.L, &m->arena, err))
        return err->code;
    if (p->quantization)
        weights_quantize(&m->weights, (enum fmt)p->quantization, p->quantize_head);
    plan_measure(&m->buffers, m->arch, &m->h, p->max_tokens, p->max_rows);
    return choose_backend(m, p, err);
}

static int32_t open_header(struct model *m, const struct model_params *p, struct err *err)
{
    if (checkpoint_open(&m->checkpoint, p->path, p->io, &m->arena, err))
        return err->code;
    if (hparams_read(&m->h, &m->checkpoint, err) || open_contents(m, p, err))
        return err_prefix(err, "%s", m->checkpoint.path);
    return read_rope_factors(m, err);
}

int32_t model_open(struct model **out, const struct model_params *params, struct err *err)
{
    struct model *m = mem_take_zeroed(params->mem, sizeof *m, CACHE_LINE);
    *out = NULL;
    if (!m)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a model");
    m->mem = params->mem;
    m->packed_cache = params->packed_cache;
    arena_init(&m->arena, m->mem);
    if (open_header(m, params, err)) {
        model_close(m);
        return err->code;
    }
    *out = m;
    return INFLIGHT_OK;
}

void model_unload(struct model *m)
{
    if (m->copy)
        m->backend->give_host(m->device, m->copy, copy_bytes(m));
    weights_release(&m->weights);
    if (m->activations)
        m->backend->give(m->device, m->activations, m->buffers.bytes);
    if (m->device)
        m->backend->close(m->device);
    m->copy = m->activations = NULL;
    m->device = NULL;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    const struct mem *mem = m->mem;
    model_unload(m);
    chat_close(m->chat);
    tokenizer_close(m->tokenizer);
    checkpoint_close(&m->checkpoint);
    arena_release(&m->arena);
    mem_give(mem, m, sizeof *m);
}

/* ---- Loading */

struct loading {
    model_progress *progress;
    void *user;
};

static int on_weights(void *user, uint64_t done, uint64_t total)
{
    struct loading *l = user;
    return l->progress ? l->progress(l->user, "weights", done, total) : 0;
}

static int32_t take_activations(struct model *m, struct err *err)
{
    char text[BYTES_TEXT];
    m->activations = m->backend->take(m->device, m->buffers.bytes);
    if (!m->activations)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s of activations",
                       bytes_text(m->buffers.bytes, text));
    if (m->config.prefault && m->backend->touch)
        m->backend->touch(m->device, m->activations, m->buffers.bytes);
    if (m->backend->is_host)
        return INFLIGHT_OK;
    m->copy = m->backend->take_host(m->device, copy_bytes(m));
    if (!m->copy)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a copy of %s of logits",
                       bytes_text(copy_bytes(m), text));
    return INFLIGHT_OK;
}

/* The copy is laid out as the original. */
static void place_logits(struct model *m)
{
    char *copy = m->copy;
    m->logits = m->plan.logits;
    m->block = m->plan.block;
    if (copy) {
        m->logits = (float *)(void *)copy;
        m->block = (struct logit_block *)(void *)(copy + (m->buffers.block - m->buffers.logits));
    }
}

int32_t model_load(struct model *m, model_progress *progress, void *user, struct err *err)
{
    struct loading loading = {progress, user};
    if (m->backend->open(&m->config, m->mem, &m->device, err) || take_activations(m, err))
        return err->code;
    struct weights_source source = {.backend = m->backend,
                                    .device = m->device,
                                    .config = &m->config,
                                    .mem = m->mem,
                                    .packed = m->packed_cache,
                                    .h = &m->h,
                                    .progress = on_weights,
                                    .user = &loading};
    if (weights_load(&m->weights, &source, err))
        return err->code;
    checkpoint_close_files(&m->checkpoint);
    struct plan_source plan = {m->arch, &m->h, &m->weights, &m->buffers, m->activations};
    plan_compile(&m->plan, &plan);
    place_logits(m);
    return INFLIGHT_OK;
}

/* ---- Running and reading */

int model_forward(struct model *m, const struct batch *batch)
{
    const struct decoder_copy copy = {.logits = m->logits, .block = m->block, .V = m->h.V};
    return decoder_run(&m->plan, m->backend, m->device, batch, m->copy ? &copy : NULL);
}

bool model_is_lost(const struct model *m)
{
    return m->backend->is_lost && m->backend->is_lost(m->device);
}

bool model_launches(const struct model *m)
{
    return m->backend->launch != NULL;
}

int model_launch(struct model *m, const struct batch *batch)
{
    return decoder_launch(&m->plan, m->backend, m->device, batch);
}

int model_settle(struct model *m, struct sample_output *output)
{
    return m->backend->settle(m->device, output);
}

float *model_logits(struct model *m, int32_t r)
{
    return m->logits + (size_t)r * (size_t)m->h.V;
}

struct logit_block *model_blocks(struct model *m, int32_t r)
{
    return m->block + (size_t)r * (size_t)logit_blocks(m->h.V);
}

void model_discard(struct model *m, bool pages)
{
    if (m->backend->is_host)
        mem_discard(m->activations, m->buffers.bytes);
    m->backend->discard(m->device, pages);
}

enum packed_use model_packed_use(const struct model *m, const char **note)
{
    *note = m->weights.packed_note.text;
    return m->weights.packed_use;
}

const struct hparams *model_hparams(const struct model *m)
{
    return &m->h;
}

const struct memory_plan *model_memory(const struct model *m)
{
    return &m->memory;
}

const struct tokenizer *model_tokenizer(const struct model *m)
{
    return m->tokenizer;
}

const struct chat *model_chat(const struct model *m)
{
    return m->chat;
}

const struct backend *model_backend(const struct model *m)
{
    return m->backend;
}

struct device *model_device(struct model *m)
{
    return m->device;
}

int32_t model_context(const struct model *m)
{
    return m->context;
}

int32_t model_kv_pages(const struct model *m)
{
    return m->config.kv_pages;
}

void model_describe(const struct model *m, struct buf *out)
{
    const struct hparams *h = &m->h;
    buf_put_text(out, "{\"architecture\": ");
    buf_put_json(out, h->arch, strlen(h->arch));
    buf_put_text(out, ", \"name\": ");
    buf_put_json(out, h->name, strlen(h->name));
    buf_format(out,
               ", \"layers\": %d, \"width\": %d, \"ffn_width\": %d, \"heads\": %d, "
               "\"kv_heads\": %d, \"head_width\": %d, \"vocabulary\": %d, "
               "\"trained_context\": %d, \"context\": %d, \"chat_template\": %s, "
               "\"files\": %d, \"tensors\": %llu, \"file_bytes\": %llu",
               h->L, h->D, h->F, h->H, h->K, h->dim, h->V, h->context, m->context,
               m->chat ? "true" : "false", m->checkpoint.n_files,
               (unsigned long long)m->checkpoint.tensors.n,
               (unsigned long long)m->weights.file_bytes);
    if (m->checkpoint.whole) {
        const char *of = json_string_value(json_object_get(m->checkpoint.whole, "model_type"));
        buf_put_text(out, ", \"text_of\": ");
        buf_put_json(out, of, strlen(of));
    }
    if (m->weights.quantization) {
        buf_put_text(out, ", \"quantized\": ");
        weights_describe(&m->weights, out);
    }
    buf_put_text(out, "}");
}
