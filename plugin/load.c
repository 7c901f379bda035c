/* From a configuration to an engine that can step: the model is measured, then loaded;
 * then every table the loop needs is taken once, sized for the largest step. */
#include "state.h"

#include <string.h>

#define PROGRESS_NS (1000000000u / 30)

/* A sequence in a step has at least one token and at most one row of logits. */
static int32_t most_rows(const struct config *c)
{
    return MIN(c->max_sequences, c->max_step_tokens);
}

/* What the configuration's words are; quantization of model_params. */
static const struct {
    const char *name;
    enum fmt fmt;
} quantizations[] = {
    [QUANTIZATION_NONE] = {"none", FMT_f32},
    [QUANTIZATION_FP8] = {"fp8", FMT_fp8},
    [QUANTIZATION_FP8_BLOCK] = {"fp8_block", FMT_fp8_128},
    [QUANTIZATION_INT8] = {"int8", FMT_int8},
    [QUANTIZATION_INT8_GROUP] = {"int8_group", FMT_q8_0},
    [QUANTIZATION_INT4] = {"int4", FMT_int4_128},
    [QUANTIZATION_INT4_64] = {"int4_64", FMT_int4_64},
    [QUANTIZATION_INT4_32] = {"int4_32", FMT_int4_32},
};

static void model_params_of(struct engine *e, uint64_t budget, struct model_params *params)
{
    const struct config *c = &e->config;
    *params = (struct model_params){.path = c->model_path,
                                    .chat_template = c->chat_template,
                                    .packed_cache = c->packed_cache,
                                    .device = c->device,
                                    .cuda_context = e->host.cuda_context,
                                    .slice = &e->slice,
                                    .fallback = &e->fallback,
                                    .io = e->host.io,
                                    .mem = &e->host.mem,
                                    .context = c->context,
                                    .threads = e->threads,
                                    .isa = c->isa,
                                    .activations = c->activations,
                                    .kv_type = c->kv_type,
                                    .quantization = (int32_t)quantizations[c->quantization].fmt,
                                    .quantize_head = c->quantize_head,
                                    .cublaslt = c->cublaslt,
                                    .prefault = c->prefault,
                                    .kv_tokens = c->kv_tokens,
                                    .max_tokens = c->max_step_tokens,
                                    .max_rows = most_rows(c),
                                    .memory_budget = budget};
}

static int32_t count_ends(const struct engine *e)
{
    const struct tokenizer *t = model_tokenizer(e->model);
    int32_t n = 0;
    for (int32_t id = 0; id < tokenizer_n(t); id++)
        n += tokenizer_is_end(t, id);
    return n;
}

/* Steps whose arrays are needed at once. */
static uint32_t n_batches(const struct engine *e)
{
    return model_launches(e->model) ? STEPS_AHEAD : 1;
}

/* Bytes of the engine beside what the model's plan counts: those taken up to here (queue,
 * ring, tokenizer, chat template) and those of the loop's tables. What a request takes
 * while it lives comes on top. */
static uint64_t own_bytes(const struct engine *e)
{
    const struct config *c = &e->config;
    int32_t n_pages = model_kv_pages(e->model), n_rows = most_rows(c);
    int32_t V = model_hparams(e->model)->V;
    return mem_taken(&e->host.mem) + kv_bytes(n_pages) + prefix_bytes(n_pages) +
           sched_bytes(n_rows) + (uint64_t)count_ends(e) * sizeof *e->end +
           n_batches(e) * batch_bytes(c->max_step_tokens, n_rows) +
           rows_bytes(V, n_rows, e->threads) +
           (model_launches(e->model) ? choices_bytes(V, n_rows) : 0);
}

/* The budget is for everything. What the loop takes depends on the model, so the model is
 * opened once more with what is left if both together are too much: only headers are
 * read for that. */
static int32_t open_model(struct engine *e, struct err *err)
{
    struct model_params params;
    model_params_of(e, e->config.memory_budget, &params);
    int32_t rc = model_open(&e->model, &params, err);
    if (rc || !params.memory_budget)
        return rc;
    uint64_t own = own_bytes(e), budget = e->config.memory_budget;
    if (model_memory(e->model)->total <= budget - MIN(budget, own))
        return INFLIGHT_OK;
    model_close(e->model);
    e->model = NULL;
    char text[2][BYTES_TEXT];
    if (own >= budget)
        return err_set(err, INFLIGHT_E_NOMEM,
                       "the engine's own tables take %s, the memory budget is %s",
                       bytes_text(own, text[0]), bytes_text(budget, text[1]));
    params.memory_budget = budget - own;
    return model_open(&e->model, &params, err);
}

static void publish_model(struct engine *e)
{
    struct buf text;
    buf_init(&text, &e->host.mem);
    model_describe(e->model, &text);
    board_set_text(e->board, BOARD_MODEL, &text);
}

static void publish_texts(struct engine *e)
{
    const struct memory_plan *plan = model_memory(e->model);
    uint64_t own = own_bytes(e);
    struct buf text;
    buf_init(&text, &e->host.mem);
    buf_format(&text, "{\"weights\":%llu,\"kv\":%llu,\"kv_token\":%llu,\"activations\":%llu,",
               (unsigned long long)plan->weights, (unsigned long long)plan->kv,
               (unsigned long long)plan->kv_token, (unsigned long long)plan->activations);
    buf_format(&text, "\"workspace\":%llu,\"logits\":%llu,\"engine\":%llu,\"total\":%llu}",
               (unsigned long long)plan->workspace, (unsigned long long)plan->logits,
               (unsigned long long)own, (unsigned long long)(plan->total + own));
    board_set_text(e->board, BOARD_PLAN, &text);
    publish_model(e);
}

struct progress {
    struct engine *e;
    uint64_t next_ns;
};

static int report_progress(void *user, const char *stage, uint64_t done, uint64_t total)
{
    struct progress *p = user;
    uint64_t now = clock_ns();
    if (now >= p->next_ns) {
        ring_load(p->e->ring, stage, done, total);
        p->next_ns = now + PROGRESS_NS;
    }
    return atomic_load(&p->e->stop);
}

static void copy_page(void *arg, int32_t to, int32_t from, int32_t n)
{
    struct model *model = arg;
    model_backend(model)->copy_page(model_device(model), to, from, n);
}

static int32_t find_ends(struct engine *e, struct err *err)
{
    const struct tokenizer *t = model_tokenizer(e->model);
    int32_t n = count_ends(e), at = 0;
    if (n == 0)
        return INFLIGHT_OK;
    e->end = mem_take(&e->host.mem, (size_t)n * sizeof *e->end, 16);
    if (!e->end)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %d end tokens", n);
    e->n_end = n;
    for (int32_t id = 0; id < tokenizer_n(t); id++)
        if (tokenizer_is_end(t, id))
            e->end[at++] = id;
    return INFLIGHT_OK;
}

static int32_t take_pools(struct engine *e, struct err *err)
{
    const struct mem *mem = &e->host.mem;
    const struct config *c = &e->config;
    int32_t n_pages = model_kv_pages(e->model);
    struct sched_config config = {.mem = mem,
                                  .kv = &e->kv,
                                  .prefix = &e->prefix,
                                  .max_sequences = c->max_sequences,
                                  .max_tokens = c->max_step_tokens,
                                  .is_static = c->batching == BATCHING_STATIC,
                                  .copy_page = copy_page,
                                  .copy_arg = e->model};
    e->context = (int32_t)MIN((int64_t)model_context(e->model), (int64_t)n_pages * PAGE_TOKENS);
    int32_t rc = kv_init(&e->kv, mem, n_pages, err);
    if (!rc)
        rc = prefix_init(&e->prefix, &e->kv, mem, c->prefix_cache, err);
    if (!rc)
        rc = sched_init(&e->sched, &config, err);
    for (uint32_t i = 0; i < n_batches(e) && !rc; i++)
        rc = batch_init(&e->batch[i], mem, c->max_step_tokens, most_rows(c), err);
    if (!rc && model_launches(e->model))
        rc = choices_init(&e->choices, mem, model_hparams(e->model)->V, most_rows(c), err);
    if (!rc)
        rc = rows_init(&e->rows, mem, e->model, most_rows(c), e->threads, err);
    if (!rc)
        rc = find_ends(e, err);
    pace_init(&e->pace, c->step_ms, c->max_step_tokens);
    e->emit.tokenizer = model_tokenizer(e->model);
    return rc;
}

/* Again, with the next device, if one turns out at loading not to be what it promised. */
static int32_t open_and_load(struct engine *e, struct err *err)
{
    struct progress progress = {.e = e};
    int32_t rc;
    do {
        model_close(e->model);
        e->model = NULL;
        rc = open_model(e, err);
        if (rc)
            return rc;
        publish_texts(e);
        if (e->host.plan_only)
            return INFLIGHT_OK;
        rc = model_load(e->model, report_progress, &progress, err);
    } while (rc && model_pass_over(e->model, &e->fallback, err));
    if (!rc && e->config.quantization)
        publish_model(e); /* with the errors of what was converted */
    return rc;
}

static int32_t load(struct engine *e, struct err *err)
{
    int32_t rc = open_and_load(e, err);
    return rc || e->host.plan_only ? rc : take_pools(e, err);
}

static void release_tables(struct engine *e)
{
    rows_release(&e->rows);
    choices_release(&e->choices);
    for (int i = 0; i < STEPS_AHEAD; i++)
        batch_release(&e->batch[i]);
    sched_release(&e->sched);
    prefix_release(&e->prefix);
    kv_release(&e->kv);
    mem_give(&e->host.mem, e->end, (size_t)e->n_end * sizeof *e->end);
    e->end = NULL;
    e->n_end = 0;
}

static void release_model(struct engine *e)
{
    release_tables(e);
    model_close(e->model);
    e->model = NULL;
}

/* In READY, and a line of the log. */
static void say_packed(struct engine *e, struct buf *json)
{
    static const char *const names[] = {[PACKED_UNUSED] = "unused",
                                        [PACKED_MAPPED] = "mapped",
                                        [PACKED_WRITTEN] = "written",
                                        [PACKED_REFUSED] = "refused"};
    const char *note, *path = e->config.packed_cache;
    enum packed_use use = model_packed_use(e->model, &note);
    if (!path || e->host.plan_only)
        return;
    buf_format(json, ",\"packed_cache\":\"%s\"", names[use]);
    engine_log(e, use == PACKED_REFUSED ? 1 : 2, "model.packed_cache %s: %s%s%s", path, names[use],
               *note ? ": it " : "", note);
}

/* What READY and DEVICE say of a model that serves. */
static void say(struct engine *e, void (*ring_say)(struct ring *, int32_t, struct str),
                uint64_t load_ns)
{
    const struct model *m = e->model;
    const char *device = e->host.plan_only ? model_backend(m)->name
                                           : model_backend(m)->describe(model_device(e->model));
    const char *name = model_hparams(m)->name;
    struct buf json;
    buf_init(&json, &e->host.mem);
    buf_put_text(&json, "{\"device\":");
    buf_put_json(&json, device, strlen(device));
    if (*e->fallback.text) {
        engine_log(e, 2, "device.kind auto: %s", e->fallback.text);
        buf_put_text(&json, ",\"fallback\":");
        buf_put_json(&json, e->fallback.text, strlen(e->fallback.text));
    }
    buf_put_text(&json, ",\"model\":");
    buf_put_json(&json, name, strlen(name));
    if (e->config.quantization)
        buf_format(&json, ",\"quantization\":\"%s\"", quantizations[e->config.quantization].name);
    say_packed(e, &json);
    buf_format(&json, ",\"context\":%d,\"threads\":%d,\"weights_bytes\":%llu,", e->context,
               e->threads, (unsigned long long)model_memory(m)->weights);
    buf_format(&json, "\"kv_tokens\":%lld,\"load_ms\":%llu}",
               (long long)model_kv_pages(m) * PAGE_TOKENS,
               (unsigned long long)(load_ns / 1000000u));
    ring_say(e->ring, INFLIGHT_OK, (struct str){json.ptr, json.failed ? 0 : json.len});
    buf_release(&json);
}

static void run(struct engine *e, void (*ring_say)(struct ring *, int32_t, struct str))
{
    uint64_t start_ns = clock_ns();
    if (load(e, &e->failed)) {
        engine_log(e, 0, "loading failed: %s", e->failed.text);
        release_model(e);
        ring_say(e->ring, e->failed.code, (struct str){e->failed.text, strlen(e->failed.text)});
        return;
    }
    e->context = e->host.plan_only ? model_context(e->model) : e->context;
    if (e->host.plan_only)
        (void)err_set(&e->failed, INFLIGHT_E_STATE,
                      "the engine was opened to plan only: no model is loaded");
    else
        atomic_store(&e->ready, e->model); /* before the host can know */
    say(e, ring_say, clock_ns() - start_ns);
}

void load_run(struct engine *e)
{
    run(e, ring_ready);
}

/* Hosts may be asking the old model's tokenizer at this moment: it stays until the end. */
void load_elsewhere(struct engine *e)
{
    struct err err = {0};
    (void)err_set(&err, INFLIGHT_E_DEVICE, "the device was lost: %s",
                  model_backend(e->model)->describe(model_device(e->model)));
    e->is_lost = false;
    if (e->n_lost == MODELS_LOST || !model_pass_over(e->model, &e->fallback, &err)) {
        e->failed = err;
        ring_device(e->ring, err.code, (struct str){err.text, strlen(err.text)});
        return;
    }
    release_tables(e);
    model_unload(e->model);
    e->lost[e->n_lost++] = e->model;
    e->model = NULL;
    run(e, ring_device);
    if (e->model && e->active_threads != e->threads)
        model_backend(e->model)->set_threads(model_device(e->model), e->active_threads);
}

void load_release(struct engine *e)
{
    release_model(e);
    for (int32_t i = 0; i < e->n_lost; i++)
        model_close(e->lost[i]);
    e->n_lost = 0;
}
