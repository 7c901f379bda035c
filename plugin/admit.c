/* Requests -> jobs -> sequences. Whatever is wrong with a request ends it here, with a
 * sentence, and touches no other. */
#include "state.h"

#include "config/options.h"

#include "base/hash.h"

#include <string.h>

/* Text encoded per turn before the next step may go on; at least one request is. */
#define ADMIT_BYTES ((size_t)256 << 10)

static int32_t encode_chat(const struct engine *e, struct str messages, struct buf *ids,
                           struct err *err)
{
    const struct tokenizer *t = model_tokenizer(e->model);
    const struct chat *chat = model_chat(e->model);
    if (!chat)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "the model has no chat template: send the text as INFLIGHT_PROMPT, or "
                       "name a template in the configuration");
    struct chat_input input = {.messages = messages, .add_generation_prompt = true};
    if (tokenizer_bos(t) >= 0)
        input.bos = tokenizer_name(t, tokenizer_bos(t));
    if (tokenizer_eos(t) >= 0)
        input.eos = tokenizer_name(t, tokenizer_eos(t));
    struct buf text, trusted;
    buf_init(&text, &e->host.mem);
    buf_init(&trusted, &e->host.mem);
    int32_t rc = chat_render(chat, &input, &text, &trusted, err);
    if (rc == INFLIGHT_OK && (text.failed || trusted.failed))
        rc = err_set(err, INFLIGHT_E_NOMEM, "no memory for the rendered prompt");
    if (rc == INFLIGHT_OK) /* The template writes the start token itself if it wants one. */
        rc = tokenizer_encode(t, (struct str){text.ptr, text.len}, (const uint8_t *)trusted.ptr,
                              false, ids, err);
    buf_release(&text);
    buf_release(&trusted);
    return rc;
}

/* A folder's tokenizer may have been given tokens that its matrices have no rows for. */
static int32_t check_rows(const struct engine *e, const struct buf *ids, struct err *err)
{
    const int32_t *id = (const int32_t *)(const void *)ids->ptr;
    int32_t V = model_hparams(e->model)->V;
    for (size_t i = 0; i < ids->len / sizeof *id; i++)
        if (id[i] >= V)
            return err_set(err, INFLIGHT_E_MODEL,
                           "token %zu of the prompt has id %d, the model has rows for %d", i + 1,
                           id[i], V);
    return INFLIGHT_OK;
}

static int32_t encode(const struct engine *e, const struct request *request, struct buf *ids,
                      struct err *err)
{
    int32_t rc =
        request->kind == INFLIGHT_CHAT
            ? encode_chat(e, request->input, ids, err)
            : tokenizer_encode(model_tokenizer(e->model), request->input, NULL, true, ids, err);
    if (rc == INFLIGHT_OK && ids->failed)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the tokens of %zu bytes of prompt",
                       request->input.len);
    return rc ? rc : check_rows(e, ids, err);
}

/* The tokenizer's end tokens and the request's. With ignore_eos the former are barred and
 * the latter still end generation, so they stand alone. */
static bool collect_ends(const struct engine *e, struct job *job)
{
    job->end = e->end;
    job->n_end = e->n_end;
    int32_t n_stop = job->sampling.n_stop_token;
    if (job->sampling.ignore_eos || n_stop == 0)
        return true;
    int32_t *end = arena_take_array(&job->arena, (size_t)e->n_end + (size_t)n_stop, sizeof *end);
    if (!end)
        return false;
    memcpy(end, e->end, (size_t)e->n_end * sizeof *end);
    memcpy(end + e->n_end, job->sampling.stop_token, (size_t)n_stop * sizeof *end);
    job->end = end;
    job->n_end += n_stop;
    return true;
}

static int32_t make_sequences(struct engine *e, struct job *job, const struct buf *ids,
                              struct err *err)
{
    size_t n_ids = ids->len / sizeof(int32_t);
    if (n_ids == 0)
        return err_set(err, INFLIGHT_E_ARG, "the prompt is empty");
    if (n_ids >= (size_t)e->context)
        return err_set(err, INFLIGHT_E_TOO_LONG,
                       "the prompt has %zu tokens; the context holds %d, one of them generated",
                       n_ids, e->context);
    int32_t n_prompt = (int32_t)n_ids, room = e->context - n_prompt;
    int32_t max_tokens = job->sampling.max_tokens;
    struct seq_start start = {.prompt = (const int32_t *)(const void *)ids->ptr,
                              .n_prompt = n_prompt,
                              .limit = n_prompt + (max_tokens ? MIN(max_tokens, room) : room),
                              .tokenizer = model_tokenizer(e->model)};
    int32_t n = MAX(job->sampling.n, 1);
    job->n_prompt = n_prompt;
    job->seq = arena_take_array(&job->arena, (size_t)n, sizeof *job->seq);
    for (; job->seq && job->n_seq < n; job->n_seq++)
        if (!seq_init(&job->seq[job->n_seq], job, (uint32_t)job->n_seq, &start)) {
            seq_release(&job->seq[job->n_seq]);
            break;
        }
    if (job->n_seq < n || !collect_ends(e, job))
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %d choices of %d tokens", n,
                       start.limit);
    job->n_open = n;
    for (int32_t i = 0; i < n; i++)
        sched_add(&e->sched, &job->seq[i]);
    return INFLIGHT_OK;
}

static int32_t prepare(struct engine *e, struct job *job, struct err *err)
{
    const struct request *request = job->request;
    job->sampling = e->config.sampling;
    int32_t rc = options_parse(&job->sampling, request->options, &job->arena, err);
    if (rc)
        return rc;
    if (request->max_tokens)
        job->sampling.max_tokens = (int32_t)MIN(request->max_tokens, (uint32_t)INT32_MAX);
    if (!job->sampling.has_seed)
        job->sampling.seed = hash_bytes(&job->serial, sizeof job->serial, e->seed);
    job->scale = sample_scale(&job->sampling, model_hparams(e->model)->V);
    struct buf ids;
    buf_init(&ids, &e->host.mem);
    rc = encode(e, request, &ids, err);
    if (rc == INFLIGHT_OK)
        rc = make_sequences(e, job, &ids, err);
    buf_release(&ids);
    return rc;
}

/* Ends the job if the host or the clock wants that. */
static void check_job(struct engine *e, struct job *job)
{
    if (job->over)
        return;
    if (queue_cancelled(e->queue, job->slot)) {
        job_fail(job, INFLIGHT_E_CANCELLED, "cancelled by the host");
        job->finish = INFLIGHT_FINISH_CANCEL;
    } else if (job->request->deadline_ns && e->now_ns >= job->request->deadline_ns) {
        job_fail(
            job, INFLIGHT_E_DEADLINE, "the deadline passed after %llu ms",
            (unsigned long long)((e->now_ns - MIN(e->now_ns, job->request->submit_ns)) / 1000000u));
        job->finish = INFLIGHT_FINISH_DEADLINE;
    }
}

static void admit(struct engine *e, uint32_t slot)
{
    const struct request *request = queue_at(e->queue, slot);
    struct job *job = &e->job[slot];
    *job = (struct job){.request = request, .slot = slot, .mem = &e->host.mem};
    arena_init(&job->arena, &e->host.mem);
    job->serial = e->n_admitted++;
    job->rank_ns =
        (int64_t)request->submit_ns - (int64_t)MIN(request->priority, 255u) * SCHED_PRIORITY_NS;
    e->live[e->n_live++] = slot;
    ring_begin(e->ring, slot, request);
    check_job(e, job);
    if (job->over)
        return;
    struct err err = e->failed;
    if (err.code || prepare(e, job, &err))
        job_fail(job, err.code, "%s", err.text);
}

void admit_requests(struct engine *e)
{
    size_t bytes = 0;
    uint32_t slot;
    while (bytes < ADMIT_BYTES && queue_take(e->queue, &slot, 1) == 1) {
        admit(e, slot);
        bytes += queue_at(e->queue, slot)->input.len;
    }
    bool waits = e->sched.n_held || e->emit.n_draining;
    for (uint32_t i = 0; i < e->n_live; i++) {
        struct job *job = &e->job[e->live[i]];
        check_job(e, job);
        for (int32_t k = 0; waits && !job->over && k < job->n_seq; k++)
            emit_resume(&e->emit, &job->seq[k]);
    }
}
