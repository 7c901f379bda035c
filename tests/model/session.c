#include "session.h"

#include "device.h"
#include "t.h"

#include "plugin/base/hash.h"
#include "plugin/base/thread.h"

#include <stdlib.h>

bool session_prepare(struct session *s)
{
    struct err err = {0};
    const char *path = test_model(TEST_MODEL);
    char yaml[256];
    *s = (struct session){0};
    FILE *f = fopen(path, "rb");
    if (!f) {
        t_skip("no model: make check-build");
        return false;
    }
    fclose(f);
    pthread_mutex_init(&s->lock, NULL);
    s->mem = mem_system;
    s->mem.taken = &s->taken;
    arena_init(&s->arena, &s->mem);
    int len = snprintf(yaml, sizeof yaml, "version: 1\nmodel: {path: %s, context: 2048}\n", path);
    struct str text = {yaml, (size_t)len};
    if (config_parse(&s->config, text, NULL, &s->arena, &err)) {
        t_fail(__FILE__, __LINE__, "%s", err.text);
        return false;
    }
    s->config.device = test_device();
    return true;
}

static void tap(void *user, inflight_req req, uint32_t choice, int32_t position,
                const float *logits, int32_t V)
{
    struct session *s = user;
    (void)position;
    if (choice)
        return;
    pthread_mutex_lock(&s->lock);
    for (int32_t i = 0; i < s->n_answer; i++) {
        struct answer *a = &s->answer[i];
        if (a->req == req && a->n_hash < ANSWER_TOKENS)
            a->hash[a->n_hash++] = hash_bytes(logits, (size_t)V * sizeof *logits, 0);
    }
    pthread_mutex_unlock(&s->lock);
}

static struct answer *answer_of(struct session *s, inflight_req req)
{
    for (int32_t i = 0; i < s->n_answer; i++)
        if (s->answer[i].req == req)
            return &s->answer[i];
    return NULL;
}

static void take_event(struct session *s, const inflight_event *e)
{
    if (e->type == INFLIGHT_EV_READY) {
        s->ready = true;
        s->status = e->status;
        snprintf(s->why, sizeof s->why, "%.*s", (int)e->data_len, e->data);
    }
    struct answer *a = e->req ? answer_of(s, e->req) : NULL;
    if (!a)
        return;
    CHECK(!a->done);
    if (e->type == INFLIGHT_EV_TEXT && e->choice == 0) {
        CHECK(a->len + e->data_len < ANSWER_BYTES);
        memcpy(a->text + a->len, e->data, e->data_len);
        a->len += e->data_len;
    }
    if (e->type == INFLIGHT_EV_LOGPROBS && e->choice == 0) {
        CHECK(a->logprobs_len + e->data_len + 1 < LOGPROBS_BYTES);
        memcpy(a->logprobs + a->logprobs_len, e->data, e->data_len);
        a->logprobs_len += e->data_len;
        a->logprobs[a->logprobs_len++] = '\n';
    }
    if (e->type == INFLIGHT_EV_DONE) {
        a->done = true;
        a->status = e->status;
        a->finish = e->finish;
        a->n_tokens = e->n_tokens;
        a->n_prompt = e->n_prompt;
        a->n_cached = e->n_cached;
    }
}

/* Polls until stop says so; fails after two minutes. */
static bool poll_until(struct session *s, bool (*stop)(const struct session *s))
{
    uint64_t end = clock_ns() + UINT64_C(120000000000);
    while (!stop(s)) {
        inflight_event event[16];
        int32_t n =
            ring_poll(engine_ring(s->engine), event, sizeof event[0], COUNT_OF(event), 50000000);
        for (int32_t i = 0; i < n; i++)
            take_event(s, &event[i]);
        if (n < 0 || clock_ns() > end) {
            t_fail(__FILE__, __LINE__, "poll returned %d, or nothing came for two minutes", n);
            return false;
        }
    }
    return true;
}

static bool is_ready(const struct session *s)
{
    return s->ready;
}

static bool all_done(const struct session *s)
{
    for (int32_t i = 0; i < s->n_answer; i++)
        if (!s->answer[i].done)
            return false;
    return true;
}

bool session_open(struct session *s)
{
    struct engine_host host = {.mem = s->mem};
    struct err err = {0};
    if (engine_open(&s->engine, &host, &s->config, &s->arena, &err)) {
        t_fail(__FILE__, __LINE__, "%s", err.text);
        return false;
    }
    if (!s->is_untapped)
        engine_set_tap(s->engine, tap, s);
    if (!poll_until(s, is_ready))
        return false;
    if (s->status)
        t_fail(__FILE__, __LINE__, "READY %d: %s", s->status, s->why);
    return s->status == 0;
}

void session_close(struct session *s)
{
    if (s->engine)
        CHECK_EQ(engine_close(s->engine), INFLIGHT_OK);
    pthread_mutex_destroy(&s->lock);
}

bool session_run(struct session *s, const struct ask *asks, struct answer *answers, int32_t n)
{
    struct err err = {0};
    memset(answers, 0, (size_t)n * sizeof *answers);
    pthread_mutex_lock(&s->lock);
    s->answer = answers;
    s->n_answer = n;
    for (int32_t i = 0; i < n; i++) {
        inflight_request r = {.h = {sizeof r, INFLIGHT_ABI}, .kind = asks[i].kind};
        r.priority = asks[i].priority;
        r.input = (inflight_str){asks[i].input, strlen(asks[i].input)};
        if (asks[i].options)
            r.options = (inflight_str){asks[i].options, strlen(asks[i].options)};
        if (queue_submit(engine_queue(s->engine), &r, &answers[i].req, &err)) {
            t_fail(__FILE__, __LINE__, "%s", err.text);
            s->n_answer = i;
        }
    }
    pthread_mutex_unlock(&s->lock);
    bool ok = s->n_answer == n && poll_until(s, all_done);
    pthread_mutex_lock(&s->lock);
    s->n_answer = 0;
    pthread_mutex_unlock(&s->lock);
    return ok;
}
