/* See fake_host.h. */
#define _GNU_SOURCE
#include "fake_host.h"

#include "plugin/base/hash.h"

#include <stdlib.h>

static void *count_alloc(void *user, uint64_t bytes, uint64_t align)
{
    struct host *h = user;
    int64_t n = atomic_fetch_add(&h->n_taken, 1) + 1;
    if (n == atomic_load(&h->fail_at))
        return NULL;
    void *ptr = NULL;
    if (posix_memalign(&ptr, align < sizeof(void *) ? sizeof(void *) : align, bytes))
        return NULL;
    memset(ptr, 0xa5, bytes);
    atomic_fetch_add(&h->n_out, 1);
    return ptr;
}

static void count_release(void *user, void *ptr, uint64_t bytes)
{
    struct host *h = user;
    (void)bytes;
    atomic_fetch_sub(&h->n_out, 1);
    free(ptr);
}

void host_init(struct host *h)
{
    memset(h, 0, sizeof *h);
    h->mem = (struct mem){h, &h->taken, count_alloc, count_release};
    h->config = (struct config){.model_path = "fake",
                                .device = "auto",
                                .threads = 2,
                                .prefix_cache = true,
                                .max_sequences = 16,
                                .max_step_tokens = 64,
                                .max_requests = 64,
                                .stream_bytes = 16384,
                                .log_level = -1};
    h->config.sampling =
        (struct sampling){.top_p = 1, .repetition_penalty = 1, .n = 1, .logprobs = -1};
    fake_reset();
}

/* Once for each step. */
static void check_step(void *user)
{
    struct host *h = user;
    h->n_broken_steps += !sched_check(&h->e->sched, h->scratch);
    if (h->on_step) {
        h->on_step(h);
        h->n_broken_steps += !sched_check(&h->e->sched, h->scratch);
    }
}

static void tap(void *user, inflight_req req, uint32_t choice, int32_t position,
                const float *logits, int32_t V)
{
    struct host *h = user;
    (void)req, (void)choice, (void)position, (void)logits, (void)V;
    if (h->last_forward != fake.n_forward)
        check_step(h);
    h->last_forward = fake.n_forward;
}

static void wake_up(void *user)
{
    struct host *h = user;
    if (atomic_exchange(&h->close_in_hook, false))
        atomic_store(&h->hook_status, engine_close(h->e));
}

int32_t host_open(struct host *h)
{
    struct err err = {0};
    struct engine_host lent = {
        .mem = h->mem, .user = h, .wakeup = wake_up, .plan_only = h->plan_only};
    struct arena arena;
    arena_init(&arena, &h->mem);
    int32_t rc = engine_open(&h->e, &lent, &h->config, &arena, &err);
    arena_release(&arena);
    if (rc)
        return rc;
    if (fake.ahead) {
        fake.user = h;
        fake.on_settle = check_step;
    } else {
        engine_set_tap(h->e, tap, h);
    }
    uint64_t end = clock_ns() + 10000000000u;
    while (!h->is_ready && clock_ns() < end)
        host_poll(h, 10000000);
    CHECK(h->is_ready);
    return rc;
}

inflight_request host_request(const char *prompt, const char *options)
{
    inflight_request request = {.h = {sizeof request, INFLIGHT_ABI}, .kind = INFLIGHT_PROMPT};
    request.input = (inflight_str){prompt, strlen(prompt)};
    request.options = (inflight_str){options, strlen(options)};
    return request;
}

int32_t host_submit(struct host *h, const inflight_request *request)
{
    if (h->n == HOST_REQUESTS)
        return -1;
    int32_t i = h->n;
    inflight_request mine = *request;
    mine.user = (uint64_t)i;
    struct err err;
    if (queue_submit(engine_queue(h->e), &mine, &h->result[i].req, &err))
        return -1;
    h->n++;
    return i;
}

int32_t host_ask(struct host *h, const char *prompt, uint32_t max_tokens)
{
    inflight_request request = host_request(prompt, "");
    request.max_tokens = max_tokens;
    return host_submit(h, &request);
}

static void add_text(char *to, size_t cap, const inflight_event *ev)
{
    size_t have = strlen(to), n = MIN((size_t)ev->data_len, cap - 1 - have);
    if (n)
        memcpy(to + have, ev->data, n);
    to[have + n] = '\0';
}

static void take_request_event(struct host *h, const inflight_event *ev)
{
    struct host_result *r = &h->result[ev->user];
    CHECK_EQ(ev->req, r->req);
    r->n_after_done += r->n_done > 0;
    if (ev->type == INFLIGHT_EV_TEXT) {
        add_text(r->text[ev->choice], sizeof r->text[0], ev);
        r->n_text_tokens += ev->n_tokens;
        r->n_gap += (ev->flags & INFLIGHT_EVF_GAP) != 0;
        if (ev->flags & INFLIGHT_EVF_LAST) {
            r->n_last++;
            r->finish[ev->choice] = ev->finish;
        }
    } else if (ev->type == INFLIGHT_EV_LOGPROBS) {
        if (r->n_logprobs++ == 0)
            add_text(r->logprobs, sizeof r->logprobs, ev);
        r->logprobs_hash[ev->choice] =
            hash_bytes(ev->data, (size_t)ev->data_len, r->logprobs_hash[ev->choice]);
    } else if (ev->type == INFLIGHT_EV_DONE) {
        r->n_done++;
        h->n_done++;
        r->done = *ev;
        r->finish[0] = ev->finish;
        add_text(r->error, sizeof r->error, ev);
    }
}

int32_t host_poll(struct host *h, uint64_t timeout_ns)
{
    inflight_event event[16];
    int32_t n = ring_poll(engine_ring(h->e), event, sizeof event[0], 16, timeout_ns);
    for (int32_t i = 0; i < n; i++) {
        const inflight_event *ev = &event[i];
        if (ev->req) {
            take_request_event(h, ev);
        } else if (ev->type == INFLIGHT_EV_READY) {
            CHECK(!h->is_ready);
            h->is_ready = true;
            h->ready = *ev;
            add_text(h->ready_text, sizeof h->ready_text, ev);
        } else if (ev->type == INFLIGHT_EV_DEVICE) {
            CHECK_EQ(h->device.type, 0);
            h->device = *ev;
            add_text(h->device_text, sizeof h->device_text, ev);
        } else if (ev->type == INFLIGHT_EV_BUDGET) {
            h->budget = *ev;
            h->n_budget++;
        }
    }
    return n;
}

bool host_finish(struct host *h)
{
    uint64_t end = clock_ns() + 30000000000u;
    while (h->n_done < h->n && clock_ns() < end)
        host_poll(h, 100000000);
    CHECK_EQ(h->n_done, h->n);
    return h->n_done == h->n;
}

void host_close(struct host *h)
{
    CHECK_EQ(engine_close(h->e), INFLIGHT_OK);
    CHECK_EQ(atomic_load(&h->n_out), 0);
    CHECK_EQ(h->n_broken_steps, 0);
    CHECK_EQ(fake.n_errors, 0);
    CHECK_TEXT(fake.error, "");
    for (int32_t i = 0; i < h->n; i++) {
        CHECK(h->result[i].n_done <= 1);
        CHECK_EQ(h->result[i].n_after_done, 0);
    }
}

void host_check_text(const struct host *h, int32_t i, const char *prompt, int32_t max_tokens)
{
    char want[2000];
    const struct host_result *r = &h->result[i];
    int32_t n = fake_generate(prompt, max_tokens, want);
    bool ended = (int32_t)strlen(want) < n;
    CHECK_TEXT(r->text[0], want);
    CHECK_EQ(r->done.status, INFLIGHT_OK);
    CHECK_EQ(r->done.n_tokens, n);
    CHECK_EQ(r->done.n_prompt, strlen(prompt));
    CHECK_EQ(r->done.finish, ended ? INFLIGHT_FINISH_STOP : INFLIGHT_FINISH_LENGTH);
    CHECK(r->done.ttft_ns > 0 && r->done.ttft_ns <= r->done.total_ns);
}

const char *host_prompt(int32_t seed, int32_t n, char *out)
{
    for (int32_t i = 0; i < n; i++)
        out[i] = (char)('a' + hash_bytes(&i, sizeof i, (uint64_t)seed) % 26);
    out[n] = '\0';
    return out;
}
