/* The loop: one turn is the table in engine.h from top to bottom, one call per stage.
 * A turn allocates only while it admits requests. */
#include "state.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void schedule(struct engine *e)
{
    e->sched.n_pick = e->sched.n_tokens = 0;
    if (!e->paused && !e->failed.code) {
        e->sched.beside = e->pace.tokens;
        sched_pick(&e->sched);
    }
}

static void publish(struct engine *e)
{
    const struct sched *s = &e->sched;
    inflight_stats stats = {.steps = e->counts.steps,
                            .prompt_tokens = s->n_prefilled,
                            .cached_tokens = s->n_cached,
                            .generated_tokens = e->counts.generated,
                            .step_ns = e->counts.step_ns,
                            .batch_rows = e->counts.batch_rows,
                            .kv_pages = (uint64_t)e->kv.n_pages,
                            .kv_pages_cached = (uint64_t)e->prefix.n_idle,
                            .preemptions = s->n_preempted,
                            .running = (uint32_t)s->n_pick,
                            .parked = (uint32_t)(s->n_held + e->emit.n_draining),
                            .threads = (uint32_t)e->active_threads};
    stats.kv_pages_used = (uint64_t)(e->kv.n_pages - e->kv.n_free - e->prefix.n_idle);
    for (const struct seq *q = s->first; q; q = q->after) {
        stats.waiting += q->state == SEQ_WAITING || q->state == SEQ_FORK;
        stats.parked += q->state == SEQ_PARKED_PAGES;
    }
    if (e->model) {
        const struct memory_plan *plan = model_memory(e->model);
        stats.weights_bytes = plan->weights;
        stats.kv_bytes = plan->kv;
        stats.workspace_bytes = plan->workspace + plan->activations + plan->logits;
    }
    board_set_stats(e->board, &stats);
}

/* The nearest deadline of a request that is not over, UINT64_MAX if there is none. */
static uint64_t next_deadline(const struct engine *e)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < e->n_live; i++) {
        uint64_t deadline = e->job[e->live[i]].request->deadline_ns;
        if (deadline && deadline < next && !e->job[e->live[i]].over)
            next = deadline;
    }
    return next;
}

/* Begins a turn; sleeps before if the last one found nothing to do. False: the end. */
static bool begin_turn(struct engine *e)
{
    if (e->idle && !atomic_load(&e->stop))
        queue_wait(e->queue, next_deadline(e));
    time_slice_wait(&e->slice);
    e->now_ns = clock_ns();
    return !atomic_load(&e->stop);
}

/* Sequences of jobs that are over leave the order and give their pages back. */
static void withdraw(struct engine *e)
{
    for (uint32_t i = 0; i < e->n_live; i++) {
        struct job *job = &e->job[e->live[i]];
        for (int32_t k = 0; job->over && k < job->n_seq; k++)
            sched_remove(&e->sched, &job->seq[k]);
    }
}

/* Jobs that are over get their DONE, and their memory is given back; those whose last text
 * waits for the host only if this is the end of all. */
static uint32_t retire(struct engine *e, bool last)
{
    uint32_t n_left = 0, n_live = e->n_live;
    uint64_t now_ns = clock_ns();
    for (uint32_t i = 0; i < n_live; i++) {
        struct job *job = &e->job[e->live[i]];
        if (!job->over || (!emit_rest(&e->emit, job) && !last)) {
            e->live[n_left++] = e->live[i];
            continue;
        }
        emit_done(&e->emit, job, now_ns);
        step_forget(e, job);
        job_release(job);
    }
    e->n_live = n_left;
    return n_live - n_left;
}

/* The counters are published before any DONE: whoever has seen one finds it counted. */
static void finish_turn(struct engine *e, bool stepped)
{
    withdraw(e);
    publish(e);
    uint32_t n_retired = retire(e, false);
    e->idle = !stepped && n_retired == 0 && queue_waiting(e->queue) == 0;
}

/* What was begun on the device that is lost ends with it; what waits in the queue goes on. */
static void recover(struct engine *e)
{
    step_settle(e);
    for (uint32_t i = 0; i < e->n_live; i++)
        job_fail(&e->job[e->live[i]], INFLIGHT_E_DEVICE, "the device was lost");
    withdraw(e);
    load_elsewhere(e);
    e->idle = false;
}

/* Every request that was ever accepted has its DONE when this returns. */
static void shut_down(struct engine *e)
{
    queue_shut(e->queue, INFLIGHT_E_SHUTDOWN);
    step_settle(e);
    if (!e->failed.code)
        (void)err_set(&e->failed, INFLIGHT_E_SHUTDOWN, "the engine is being freed");
    do {
        admit_requests(e);
        for (uint32_t i = 0; i < e->n_live; i++)
            job_fail(&e->job[e->live[i]], INFLIGHT_E_SHUTDOWN, "the engine is being freed");
        withdraw(e);
    } while (retire(e, true) > 0);
}

static void *engine_main(void *arg)
{
    struct engine *e = arg;
    thread_lower((enum thread_priority)e->config.priority); /* lanes inherit it */
    load_run(e);
    publish(e);
    while (begin_turn(e)) {
        control_apply(e);
        admit_requests(e);           /* queue -> sequences */
        schedule(e);                 /* sequences, pages -> picks */
        finish_turn(e, step_run(e)); /* picks -> tokens -> events; ended -> DONE */
        if (e->is_lost)
            recover(e);
    }
    shut_down(e);
    load_release(e); /* here: a device's context is never current on a thread of the host */
    return NULL;
}

static int32_t open_parts(struct engine *e, struct err *err)
{
    const struct mem *mem = &e->host.mem;
    uint32_t slots = (uint32_t)e->config.max_requests;
    struct ring_config ring = {.slots = slots,
                               .stream_bytes = (uint32_t)e->config.stream_bytes,
                               .user = e->host.user,
                               .wakeup = e->host.wakeup};
    e->job = arena_take_array(&e->arena, slots, sizeof *e->job);
    e->live = arena_take_array(&e->arena, slots, sizeof *e->live);
    if (!e->job || !e->live)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %u requests", slots);
    int32_t rc = board_open(&e->board, mem, err);
    if (!rc)
        rc = queue_open(&e->queue, mem, slots, err);
    if (!rc)
        rc = ring_open(&e->ring, mem, &ring, e->queue, err);
    return rc;
}

static void engine_free(struct engine *e)
{
    if (e->ring)
        ring_close(e->ring);
    if (e->queue)
        queue_close(e->queue);
    board_close(e->board);
    time_slice_release(&e->slice);
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
    e->config = *config;
    e->arena = *arena;
    e->arena.mem = &e->host.mem;
    *arena = (struct arena){0};
    if (host->io) {
        e->io = *host->io;
        e->host.io = &e->io;
    }
    e->threads = e->active_threads = config->threads ? config->threads : cores_available();
    e->seed = clock_ns();
    e->idle = true;
    int32_t rc = time_slice_init(&e->slice, err);
    if (!rc)
        rc = open_parts(e, err);
    if (rc)
        goto fail;
    e->emit = (struct emit){.ring = e->ring, .sched = &e->sched};
    struct buf text;
    buf_init(&text, &e->host.mem);
    config_print(config, &text);
    board_set_text(e->board, BOARD_CONFIG, &text);
    rc = thread_start(&e->thread, "inflight-engine", engine_main, e, err);
    if (rc)
        goto fail;
    *out = e;
    return INFLIGHT_OK;
fail:
    engine_free(e);
    return rc;
}

int32_t engine_close(struct engine *e)
{
    if (pthread_equal(pthread_self(), e->thread.id))
        return INFLIGHT_E_BUSY;
    atomic_store(&e->stop, true);
    time_slice_grant(&e->slice, UINT64_MAX);
    queue_wake(e->queue);
    thread_join(&e->thread);
    engine_free(e);
    return INFLIGHT_OK;
}

void engine_run_until(struct engine *e, uint64_t until_ns)
{
    time_slice_grant(&e->slice, until_ns);
}

struct queue *engine_queue(struct engine *e)
{
    return e->queue;
}

struct ring *engine_ring(struct engine *e)
{
    return e->ring;
}

void engine_stats(const struct engine *e, inflight_stats *out)
{
    board_stats(e->board, out);
    out->waiting += queue_waiting(e->queue);
}

int32_t engine_text(const struct engine *e, uint32_t what, struct buf *out)
{
    switch (what) {
    case INFLIGHT_Q_CONFIG:
        return board_text(e->board, BOARD_CONFIG, out);
    case INFLIGHT_Q_PLAN:
        return board_text(e->board, BOARD_PLAN, out);
    case INFLIGHT_Q_MODEL:
        return board_text(e->board, BOARD_MODEL, out);
    default:
        return INFLIGHT_E_ARG;
    }
}

const struct model *engine_model(const struct engine *e)
{
    return atomic_load(&e->ready);
}

void engine_set_tap(struct engine *e, engine_tap *tap, void *user)
{
    e->tap = tap;
    e->tap_user = user;
}

void engine_log(struct engine *e, int32_t level, const char *format, ...)
{
    if (level > e->config.log_level)
        return;
    char line[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : MIN((size_t)n, sizeof line - 1);
    if (e->host.log)
        e->host.log(e->host.user, level, line, len);
    else
        ring_log(e->ring, level, (struct str){line, len});
}
