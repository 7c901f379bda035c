#include "model.h"

#include "decoder.h"
#include "rope.h"

#include <stdio.h>
#include <string.h>

#define KV_TOKENS_MIN 16384 /* automatic pool: room for several sequences of a small model */

struct model {
    struct arena arena;
    const struct mem *mem;
    struct file file; /* open until loaded */
    struct gguf gguf;
    struct hparams h;
    const struct arch *arch;
    struct tokenizer *tokenizer;
    struct chat *chat;
    const struct backend *backend;
    struct device *device;
    struct device_config config;
    int32_t context;
    struct weights weights;
    struct plan_buffers buffers;
    void *activations; /* (buffers.bytes) */
    struct plan plan;
    struct memory_plan memory;
};

static int32_t pages_of(int64_t tokens)
{
    return (int32_t)((tokens + PAGE_TOKENS - 1) / PAGE_TOKENS);
}

/* ---- Opening: everything that can be known from the header */

static int32_t open_chat(struct model *m, const struct model_params *p, struct err *err)
{
    struct str source;
    if (!p->chat_template) {
        if (!gguf_str(&m->gguf, "tokenizer.chat_template", &source))
            return INFLIGHT_OK;
        if (chat_open(&m->chat, source, m->mem, err))
            return err_prefix(err, "the model's chat template");
        return INFLIGHT_OK;
    }
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

/* Llama 3 files carry a factor per rotary frequency. */
static int32_t read_rope_factors(struct model *m, struct err *err)
{
    const struct gguf_tensor *t = gguf_find_tensor(&m->gguf, "rope_freqs.weight");
    if (!t)
        return INFLIGHT_OK;
    float factor[FREQ_MAX];
    struct buf scratch;
    if (t->fmt != FMT_f32 || t->dim[0] != m->h.dim / 2)
        return err_set(err, INFLIGHT_E_MODEL, "tensor rope_freqs.weight is not %d floats",
                       m->h.dim / 2);
    buf_init(&scratch, m->mem);
    const void *data = file_view(&m->file, t->offset, t->bytes, &scratch, err);
    if (data)
        memcpy(factor, data, t->bytes);
    buf_release(&scratch);
    return data ? rope_apply_factors(&m->h, factor, err) : err->code;
}

static int32_t choose_backend(struct model *m, const struct model_params *p, struct err *err)
{
    bool automatic = strcmp(p->device, "auto") == 0;
    m->backend = automatic ? backends[0] : backend_find(p->device);
    if (!m->backend)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "this build has no device \"%s\"", p->device);
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
        .kv_type = p->kv_type,
        /* One page more than a full context, for the copy of a shared last page. */
        .kv_pages = MAX(pages_of(tokens), pages_of(m->context) + 1),
    };
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
        .logits = m->buffers.logits_bytes,
    };
    m->memory.total = m->memory.weights + m->memory.kv + m->memory.activations +
                      m->memory.workspace + m->memory.logits;
    return INFLIGHT_OK;
}

/* An automatic pool shrinks to fit the budget, down to one context; anything more is
 * the user's to decide. */
static int32_t fit_budget(struct model *m, const struct model_params *p, struct err *err)
{
    char need[BYTES_TEXT], have[BYTES_TEXT], kv[BYTES_TEXT];
    if (measure(m, err))
        return err->code;
    if (!p->memory_budget || m->memory.total <= p->memory_budget)
        return INFLIGHT_OK;
    uint64_t fixed = m->memory.total - m->memory.kv;
    uint64_t page = m->memory.kv / (uint64_t)m->config.kv_pages;
    int32_t least = pages_of(m->context) + 1;
    if (!p->kv_tokens && fixed + page * (uint64_t)least <= p->memory_budget) {
        m->config.kv_pages = (int32_t)((p->memory_budget - fixed) / page);
        return measure(m, err);
    }
    return err_set(err, INFLIGHT_E_NOMEM,
                   "the model needs %s (%s of it for %d cached positions), the budget is %s",
                   bytes_text(m->memory.total, need), bytes_text(m->memory.kv, kv),
                   m->config.kv_pages * PAGE_TOKENS, bytes_text(p->memory_budget, have));
}

/* What the header says, once it has been read. */
static int32_t open_contents(struct model *m, const struct model_params *p, struct err *err)
{
    m->arch = arch_find(m->h.arch);
    if (!m->arch)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "architecture \"%s\" is not served", m->h.arch);
    if (tokenizer_open(&m->tokenizer, &m->gguf, &m->arena, err) || open_chat(m, p, err) ||
        choose_backend(m, p, err) ||
        weights_open(&m->weights, &m->gguf, m->arch, &m->h, &m->arena, err) ||
        plan_reserve(&m->plan, m->h.L, &m->arena, err))
        return err->code;
    configure_device(m, p);
    plan_measure(&m->buffers, &m->h, p->max_tokens, p->max_rows);
    if (weights_measure(&m->weights, m->backend, &m->config, err))
        return err->code;
    return fit_budget(m, p, err);
}

static int32_t open_header(struct model *m, const struct model_params *p, struct err *err)
{
    if (file_open(&m->file, p->path, p->io, err) || gguf_open(&m->gguf, &m->file, &m->arena, err))
        return err->code;
    if (hparams_read(&m->h, &m->gguf, err) || open_contents(m, p, err))
        return err_prefix(err, "%s", m->file.path);
    return read_rope_factors(m, err);
}

int32_t model_open(struct model **out, const struct model_params *params, struct err *err)
{
    struct model *m = mem_take_zeroed(params->mem, sizeof *m, CACHE_LINE);
    *out = NULL;
    if (!m)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a model");
    m->mem = params->mem;
    arena_init(&m->arena, m->mem);
    if (open_header(m, params, err)) {
        model_close(m);
        return err->code;
    }
    *out = m;
    return INFLIGHT_OK;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    const struct mem *mem = m->mem;
    if (m->device)
        m->backend->close(m->device);
    if (m->activations)
        mem_give(mem, m->activations, m->buffers.bytes);
    weights_release(&m->weights);
    chat_close(m->chat);
    tokenizer_close(m->tokenizer);
    file_close(&m->file);
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

int32_t model_load(struct model *m, model_progress *progress, void *user, struct err *err)
{
    char text[BYTES_TEXT];
    struct loading loading = {progress, user};
    if (m->backend->open(&m->config, m->mem, &m->device, err))
        return err->code;
    m->activations = mem_take_zeroed(m->mem, m->buffers.bytes, CACHE_LINE);
    if (!m->activations)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s of activations",
                       bytes_text(m->buffers.bytes, text));
    struct weights_source source = {&m->file,  m->backend, m->device,
                                    m->h.freq, on_weights, &loading};
    if (weights_load(&m->weights, &source, m->mem, err))
        return err->code;
    file_close(&m->file);
    struct plan_source plan = {m->arch, &m->h, &m->weights, &m->buffers, m->activations};
    plan_compile(&m->plan, &plan);
    return INFLIGHT_OK;
}

/* ---- Running and reading */

int model_forward(struct model *m, const struct batch *batch)
{
    return decoder_run(&m->plan, m->backend, m->device, batch);
}

float *model_logits(struct model *m, int32_t r)
{
    return m->plan.logits + (size_t)r * (size_t)m->h.V;
}

struct logit_block *model_blocks(struct model *m, int32_t r)
{
    return m->plan.block + (size_t)r * (size_t)logit_blocks(m->h.V);
}

void model_discard(struct model *m, bool pages)
{
    mem_discard(m->activations, m->buffers.bytes);
    m->backend->discard(m->device, pages);
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
               "\"tensors\": %llu, \"file_bytes\": %llu}",
               h->L, h->D, h->F, h->H, h->K, h->dim, h->V, h->context, m->context,
               m->chat ? "true" : "false", (unsigned long long)m->gguf.n_tensors,
               (unsigned long long)m->weights.file_bytes);
}
