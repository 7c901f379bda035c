/* A stand-in for the engine and what lies behind it, to test the boundary alone: the real
 * abi, queue and ring around a thread that makes up tokens. Linked instead of engine.c,
 * config.c, file/, model/ and text/ into libfake.so. Its configuration is lines of
 * "key: value"; see fake_config.c. */
#include "fake.h"

#include "plugin/base/arena.h"
#include "plugin/base/buf.h"
#include "plugin/base/thread.h"

#include <stdatomic.h>
#include <string.h>

#define SLOTS_MOST 1024

struct job {
    bool running, full;
    uint32_t slot, left, made;
    uint64_t first_ns;
};

struct engine {
    struct engine_host host;
    struct fake_config config;
    struct arena arena;
    struct queue *queue;
    struct ring *ring;
    struct thread thread;
    struct job job[SLOTS_MOST];
    atomic_bool stop, paused, ready;
    _Atomic uint64_t steps, tokens;
    _Atomic uint32_t budget; /* value of the last control + 1, to report */
};

static const char *const words[] = {
    " the", " sea", " h\xc3\xa9llo", " \xe2\x82\xac", " \xf0\x9f\x8c\x8a", ",", " a", "\n"};

static void finish(struct engine *e, struct job *job, int32_t status, uint32_t finish)
{
    const struct request *r = queue_at(e->queue, job->slot);
    struct ring_done done = {.status = status,
                             .finish = finish,
                             .n_tokens = job->made,
                             .n_prompt = (uint32_t)(r->input.len / 4 + 1),
                             .ttft_ns = job->first_ns ? job->first_ns - r->submit_ns : 0,
                             .total_ns = clock_ns() - r->submit_ns};
    const char *why = inflight_strerror(status);
    if (status)
        done.text = (struct str){why, strlen(why)};
    job->running = false;
    ring_done(e->ring, job->slot, &done);
}

static void step_job(struct engine *e, struct job *job)
{
    const struct request *r = queue_at(e->queue, job->slot);
    uint64_t now = clock_ns();
    if (queue_cancelled(e->queue, job->slot)) {
        finish(e, job, INFLIGHT_E_CANCELLED, INFLIGHT_FINISH_CANCEL);
        return;
    }
    if (r->deadline_ns && now >= r->deadline_ns) {
        finish(e, job, INFLIGHT_E_DEADLINE, INFLIGHT_FINISH_DEADLINE);
        return;
    }
    if (job->full && !ring_half_free(e->ring, job->slot))
        return;
    const char *word = words[(r->id + job->made) % COUNT_OF(words)];
    job->full = ring_text(e->ring, job->slot, 0, (struct str){word, strlen(word)}, 1) == RING_FULL;
    if (job->full && r->overflow == INFLIGHT_OVERFLOW_FAIL) {
        finish(e, job, INFLIGHT_E_OVERFLOW, INFLIGHT_FINISH_NONE);
        return;
    }
    if (job->full)
        return;
    if (!job->made++)
        job->first_ns = now;
    atomic_fetch_add(&e->tokens, 1);
    if (job->made >= job->left)
        finish(e, job, INFLIGHT_OK, INFLIGHT_FINISH_LENGTH);
}

static void admit(struct engine *e, int32_t failed)
{
    uint32_t slot[16], n = queue_take(e->queue, slot, 16);
    for (uint32_t i = 0; i < n; i++) {
        const struct request *r = queue_at(e->queue, slot[i]);
        struct job *job = &e->job[slot[i]];
        *job = (struct job){.running = true, .slot = slot[i], .left = r->max_tokens};
        if (!job->left)
            job->left = 16;
        ring_begin(e->ring, slot[i], r);
        if (failed)
            finish(e, job, failed, INFLIGHT_FINISH_NONE);
    }
}

/* One token for each; the earliest time at which waiting would have to end, 0: at once. */
static uint64_t step(struct engine *e)
{
    uint64_t until = UINT64_MAX;
    atomic_fetch_add(&e->steps, 1);
    for (uint32_t i = 0; i < e->config.requests; i++) {
        struct job *job = &e->job[i];
        if (!job->running)
            continue;
        step_job(e, job);
        if (!job->running)
            continue;
        uint64_t deadline = queue_at(e->queue, i)->deadline_ns;
        uint64_t wake = job->full ? (deadline ? deadline : UINT64_MAX) : 0;
        until = MIN(until, wake);
    }
    return until;
}

static void load(struct engine *e)
{
    const uint64_t total = 8;
    for (uint64_t i = 0; i <= total && !atomic_load(&e->stop); i++) {
        ring_load(e->ring, "weights", i, total);
        queue_wait(e->queue, clock_ns() + e->config.load_us * 1000 / total);
    }
    if (e->host.log)
        e->host.log(e->host.user, 2, "loaded", 6);
    else
        ring_log(e->ring, 2, (struct str){"loaded", 6});
    static const char json[] = "{\"device\":\"fake\"}", broken[] = "the model is broken";
    if (e->config.broken)
        ring_ready(e->ring, INFLIGHT_E_MODEL, (struct str){broken, sizeof broken - 1});
    else
        ring_ready(e->ring, INFLIGHT_OK, (struct str){json, sizeof json - 1});
    atomic_store(&e->ready, !e->config.broken);
}

static void *run(void *arg)
{
    struct engine *e = arg;
    load(e);
    while (!atomic_load(&e->stop)) {
        admit(e, e->config.broken ? INFLIGHT_E_MODEL : INFLIGHT_OK);
        uint32_t budget = atomic_exchange(&e->budget, 0);
        if (budget)
            ring_budget(e->ring, INFLIGHT_OK, budget - 1);
        uint64_t until = atomic_load(&e->paused) ? UINT64_MAX : step(e);
        if (!until)
            until = clock_ns() + e->config.token_us * 1000;
        if (e->config.token_us || until == UINT64_MAX)
            queue_wait(e->queue, until);
    }
    queue_shut(e->queue, INFLIGHT_E_SHUTDOWN);
    return NULL;
}

static void release(struct engine *e)
{
    ring_close(e->ring);
    queue_close(e->queue);
    arena_release(&e->arena);
    struct mem mem = e->host.mem;
    mem_give(&mem, e, sizeof *e);
}

int32_t engine_open(struct engine **out, const struct engine_host *host,
                    const struct config *config, struct arena *arena, struct err *err)
{
    *out = NULL;
    struct engine *e = mem_take_zeroed(&host->mem, sizeof *e, CACHE_LINE);
    if (!e) {
        arena_release(arena);
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for an engine");
    }
    e->host = *host;
    e->config = *fake_config_of(config);
    e->config.requests = MIN(e->config.requests, SLOTS_MOST);
    e->arena = *arena;
    e->arena.mem = &e->host.mem;
    *arena = (struct arena){0};
    struct ring_config rc = {e->config.requests, e->config.stream_bytes, host->user, host->wakeup};
    if (queue_open(&e->queue, &host->mem, rc.slots, err) ||
        ring_open(&e->ring, &host->mem, &rc, e->queue, err) ||
        thread_start(&e->thread, "inflight-fake", run, e, err)) {
        release(e);
        return err->code;
    }
    *out = e;
    return INFLIGHT_OK;
}

int32_t engine_close(struct engine *e)
{
    if (pthread_equal(pthread_self(), e->thread.id))
        return INFLIGHT_E_BUSY;
    atomic_store(&e->stop, true);
    queue_wake(e->queue);
    thread_join(&e->thread);
    release(e);
    return INFLIGHT_OK;
}

struct queue *engine_queue(struct engine *e)
{
    return e->queue;
}

struct ring *engine_ring(struct engine *e)
{
    return e->ring;
}

int32_t engine_control(struct engine *e, uint32_t op, uint32_t value, struct err *err)
{
    if (op != INFLIGHT_CTL_PAUSE && op != INFLIGHT_CTL_RESUME)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "control %u: not in a fake", op);
    atomic_store(&e->paused, op == INFLIGHT_CTL_PAUSE);
    atomic_store(&e->budget, value + 1);
    queue_wake(e->queue);
    return INFLIGHT_OK;
}

void engine_stats(const struct engine *e, inflight_stats *out)
{
    out->steps = atomic_load(&e->steps);
    out->generated_tokens = atomic_load(&e->tokens);
    out->waiting = queue_waiting(e->queue);
    out->threads = 1;
}

int32_t engine_text(const struct engine *e, uint32_t what, struct buf *out)
{
    if (what == INFLIGHT_Q_CONFIG)
        buf_format(out, "version: 1\ntoken_us: %u\n", (unsigned)e->config.token_us);
    else if (atomic_load(&e->ready))
        buf_put_text(out, "{\"fake\":true}");
    else
        return INFLIGHT_E_STATE;
    return INFLIGHT_OK;
}

/* Only that there is one is looked at: fake_text.c gives its tokenizer. */
const struct model *engine_model(const struct engine *e)
{
    return atomic_load(&e->ready) ? (const struct model *)(const void *)e : NULL;
}

void engine_set_tap(struct engine *e, engine_tap *tap, void *user)
{
    (void)e;
    (void)tap;
    (void)user;
}
