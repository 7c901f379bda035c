/* The loop and its host: cancel, deadlines, a host that does not poll, controls, close. */
#define _GNU_SOURCE
#include "fake_host.h"

#include "plugin/base/rng.h"

#include <sched.h>
#include <time.h>

static uint64_t soon(uint64_t ms)
{
    return clock_ns() + ms * 1000000u;
}

TEST(engine_host, cancel_and_deadline_at_any_moment_give_one_done)
{
    static struct host h;
    char prompt[200];
    for (uint32_t round = 0; round < 6; round++) {
        host_init(&h);
        fake.pages = 30;
        fake.step_us = 100;
        fake.end_bias = -100;
        h.config.max_sequences = 4;
        host_open(&h);
        for (uint32_t i = 0; i < 60; i++) {
            uint32_t dice[4];
            rng_philox(round, i, 0, dice);
            inflight_request request =
                host_request(host_prompt((int32_t)i, 1 + (int32_t)(dice[0] % 150), prompt),
                             dice[3] % 4 ? "" : "{\"n\":2}");
            request.max_tokens = 30;
            request.deadline_ns = dice[1] % 3 ? 0 : clock_ns() + dice[1] % 20000000;
            host_submit(&h, &request);
            if (dice[2] % 3 == 0)
                queue_cancel(engine_queue(h.e), h.result[dice[2] % (i + 1)].req);
            if (dice[3] % 2)
                host_poll(&h, 0);
        }
        host_finish(&h);
        for (int32_t i = 0; i < h.n; i++) {
            const struct host_result *r = &h.result[i];
            CHECK_EQ(r->n_done, 1);
            if (r->done.status == INFLIGHT_E_CANCELLED)
                CHECK_EQ(r->done.finish, INFLIGHT_FINISH_CANCEL);
            else if (r->done.status == INFLIGHT_E_DEADLINE)
                CHECK_EQ(r->done.finish, INFLIGHT_FINISH_DEADLINE);
            else
                CHECK_EQ(r->done.status, INFLIGHT_OK);
        }
        host_close(&h);
    }
}

static void note_policy(struct host *h)
{
    h->on_step_arg = sched_getscheduler(0);
}

TEST(engine_host, the_engine_thread_has_the_priority_of_the_configuration)
{
    static const int policy[] = {
        [THREAD_NORMAL] = SCHED_OTHER, [THREAD_LOW] = SCHED_BATCH, [THREAD_IDLE] = SCHED_IDLE};
    static struct host h;
    for (int32_t i = 0; i < (int32_t)COUNT_OF(policy); i++) {
        host_init(&h);
        h.config.priority = i;
        h.on_step = note_policy;
        host_open(&h);
        host_ask(&h, "hello", 5);
        host_finish(&h);
        CHECK_EQ(h.on_step_arg, policy[i]);
        host_close(&h);
    }
    CHECK_EQ(sched_getscheduler(0), SCHED_OTHER);
}

TEST(engine_host, a_deadline_delivers_what_there_is)
{
    static struct host h;
    char want[600];
    host_init(&h);
    fake.context = 4096;
    fake.step_us = 1000;
    fake.end_bias = -100;
    host_open(&h);
    inflight_request request = host_request("tell me a story", "{\"stop\":\"@@@@@@@@\"}");
    request.deadline_ns = soon(60);
    host_submit(&h, &request);
    host_finish(&h);
    const struct host_result *r = &h.result[0];
    fake_generate("tell me a story", (int32_t)r->done.n_tokens, want);
    CHECK_EQ(r->done.status, INFLIGHT_E_DEADLINE);
    CHECK(r->done.n_tokens > 3);
    CHECK_TEXT(r->text[0], want);
    CHECK(r->done.total_ns < 1000000000u);
    host_close(&h);
}

TEST(engine_host, a_deadline_wakes_a_paused_engine)
{
    static struct host h;
    struct err err;
    host_init(&h);
    host_open(&h);
    CHECK_EQ(engine_control(h.e, INFLIGHT_CTL_PAUSE, 0, &err), INFLIGHT_OK);
    inflight_request request = host_request("hello", "");
    request.deadline_ns = soon(30);
    host_submit(&h, &request);
    host_finish(&h);
    CHECK_EQ(h.result[0].done.status, INFLIGHT_E_DEADLINE);
    CHECK_EQ(h.result[0].done.n_tokens, 0);
    CHECK_EQ(fake.n_forward, 0);
    host_close(&h);
}

/* Lets the engine fill a stream while nobody polls; returns when it has come to rest. */
#define _GNU_SOURCE
static void let_it_fill(struct host *h)
{
    inflight_stats a = {0}, b = {0};
    do {
        a = b;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        engine_stats(h->e, &b);
    } while (b.steps == 0 || b.steps != a.steps);
}

static int32_t ask_long(struct host *h, const char *prompt, uint32_t overflow)
{
    inflight_request request = host_request(prompt, "{\"logprobs\":true,\"top_logprobs\":1}");
    request.overflow = overflow;
    request.max_tokens = 400;
    return host_submit(h, &request);
}

TEST(engine_host, a_host_that_does_not_poll_parks_its_request_and_loses_nothing)
{
    static struct host h;
    char want[600];
    for (int pages = 27; pages < 100; pages += 60) {
        host_init(&h);
        fake.context = 420;
        fake.pages = pages;
        fake.end_bias = -100;
        host_open(&h);
        for (int i = 0; i < 3; i++)
            ask_long(&h, i ? "the other" : "the one", INFLIGHT_OVERFLOW_PARK);
        let_it_fill(&h);
        inflight_stats stats = {0};
        engine_stats(h.e, &stats);
        CHECK(stats.parked > 0);
        CHECK(stats.generated_tokens < 1200);
        host_finish(&h);
        for (int i = 0; i < 3; i++) {
            fake_generate(i ? "the other" : "the one", 400, want);
            CHECK_TEXT(h.result[i].text[0], want);
            CHECK_EQ(h.result[i].n_logprobs, 400);
            CHECK_EQ(h.result[i].done.status, INFLIGHT_OK);
            CHECK_EQ(h.result[i].n_gap, 0);
        }
        host_close(&h);
    }
}

TEST(engine_host, a_deadline_of_a_parked_request_delivers_what_there_is)
{
    static struct host h;
    char want[600];
    host_init(&h);
    fake.context = 420;
    fake.end_bias = -100;
    host_open(&h);
    inflight_request request =
        host_request("the one", "{\"logprobs\":true,\"top_logprobs\":1,\"stop\":\"@@@@@@@@\"}");
    request.deadline_ns = soon(300);
    host_submit(&h, &request);
    let_it_fill(&h);
    while (clock_ns() < request.deadline_ns)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    host_finish(&h);
    const struct host_result *r = &h.result[0];
    fake_generate("the one", (int32_t)r->done.n_tokens, want);
    CHECK_EQ(r->done.status, INFLIGHT_E_DEADLINE);
    CHECK_EQ(r->n_text_tokens, r->done.n_tokens);
    CHECK_EQ(r->n_logprobs, r->done.n_tokens);
    CHECK_TEXT(r->text[0], want);
    host_close(&h);
}

TEST(engine_host, a_request_that_waits_to_deliver_its_end_does_not_hold_up_closing)
{
    static struct host h;
    host_init(&h);
    fake.context = 420;
    fake.end_bias = -100;
    host_open(&h);
    inflight_request request = host_request("the one", "{\"logprobs\":true,\"top_logprobs\":1}");
    request.deadline_ns = soon(200);
    host_submit(&h, &request);
    let_it_fill(&h);
    while (clock_ns() < request.deadline_ns + 50000000u)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    host_close(&h);
}

TEST(engine_host, a_parked_request_can_be_cancelled)
{
    static struct host h;
    host_init(&h);
    fake.context = 420;
    fake.end_bias = -100;
    host_open(&h);
    ask_long(&h, "the one", INFLIGHT_OVERFLOW_PARK);
    let_it_fill(&h);
    queue_cancel(engine_queue(h.e), h.result[0].req);
    host_finish(&h);
    CHECK_EQ(h.result[0].done.status, INFLIGHT_E_CANCELLED);
    host_close(&h);
}

TEST(engine_host, overflow_fails_or_drops_if_asked_to)
{
    static struct host h;
    host_init(&h);
    fake.context = 420;
    fake.pages = 60;
    fake.end_bias = -100;
    host_open(&h);
    ask_long(&h, "the one", INFLIGHT_OVERFLOW_FAIL);
    ask_long(&h, "the one", INFLIGHT_OVERFLOW_DROP_OLDEST);
    let_it_fill(&h);
    host_finish(&h);
    CHECK_EQ(h.result[0].done.status, INFLIGHT_E_OVERFLOW);
    CHECK(h.result[0].done.n_tokens < 400);
    CHECK_EQ(h.result[1].done.status, INFLIGHT_OK);
    CHECK_EQ(h.result[1].done.n_tokens, 400);
    host_close(&h);
}

TEST(engine_host, controls_are_checked_and_acknowledged)
{
    static struct host h;
    struct err err;
    host_init(&h);
    host_open(&h);
    CHECK_EQ(engine_control(h.e, 99, 0, &err), INFLIGHT_E_ARG);
    CHECK_EQ(engine_control(h.e, INFLIGHT_CTL_THREADS, 0, &err), INFLIGHT_E_ARG);
    CHECK_EQ(engine_control(h.e, INFLIGHT_CTL_THREADS, 3, &err), INFLIGHT_E_ARG);
    CHECK_TEXT(err.text, "control threads takes 1 .. 2, not 3");
    host_ask(&h, "first", 5);
    host_finish(&h);
    CHECK_EQ(engine_control(h.e, INFLIGHT_CTL_PAUSE, 1, &err), INFLIGHT_OK);
    while (h.n_budget < 1)
        host_poll(&h, 100000000);
    CHECK_EQ(h.budget.done, 1);
    int32_t steps = fake.n_forward;
    host_ask(&h, "second", 5);
    for (int i = 0; i < 3; i++)
        host_poll(&h, 10000000);
    CHECK_EQ(fake.n_forward, steps);
    CHECK_EQ(h.n_done, 1);
    CHECK_EQ(engine_control(h.e, INFLIGHT_CTL_THREADS, 1, &err), INFLIGHT_OK);
    CHECK_EQ(engine_control(h.e, INFLIGHT_CTL_RESUME, 0, &err), INFLIGHT_OK);
    host_finish(&h);
    host_check_text(&h, 1, "second", 5);
    CHECK_EQ(h.n_budget, 3);
    inflight_stats stats = {0};
    engine_stats(h.e, &stats);
    CHECK_EQ(stats.threads, 1);
    host_close(&h);
}

static uint64_t steps_of(struct host *h)
{
    inflight_stats stats = {0};
    engine_stats(h->e, &stats);
    return stats.steps;
}

TEST(engine_host, between_two_slices_nothing_is_computed)
{
    static struct host h;
    host_init(&h);
    fake.step_us = 200;
    fake.end_bias = -100;
    host_open(&h);
    host_ask(&h, "first", 30);
    engine_run_until(h.e, 0);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); /* for the step under way */
    host_ask(&h, "second", 30);
    while (host_poll(&h, 0) > 0)
        continue;
    for (int i = 0; i < 5; i++) {
        uint64_t steps = steps_of(&h);
        CHECK_EQ(host_poll(&h, 10000000), 0);
        CHECK_EQ(steps_of(&h), steps);
        while (steps_of(&h) == steps) { /* however late the engine wakes */
            engine_run_until(h.e, soon(1));
            host_poll(&h, 2000000);
        }
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        while (host_poll(&h, 0) > 0)
            continue;
    }
    engine_run_until(h.e, UINT64_MAX);
    host_finish(&h);
    host_check_text(&h, 0, "first", 30);
    host_check_text(&h, 1, "second", 30);
    host_close(&h);
}

TEST(engine_host, an_engine_that_is_stopped_can_be_closed)
{
    static struct host h;
    for (int wait_ms = 0; wait_ms < 20; wait_ms += 4) {
        host_init(&h);
        fake.step_us = 1000;
        fake.end_bias = -100;
        host_open(&h);
        host_ask(&h, "hello", 30);
        engine_run_until(h.e, soon((uint64_t)wait_ms / 2));
        nanosleep(&(struct timespec){.tv_nsec = wait_ms * 1000000}, NULL);
        host_close(&h);
    }
}

TEST(engine_host, static_batches_wait_for_their_last_member)
{
    static struct host h;
    char prompt[40];
    int32_t steps[2];
    for (int is_static = 0; is_static < 2; is_static++) {
        host_init(&h);
        fake.end_bias = -100;
        fake.pages = 100;
        h.config.max_sequences = 4;
        h.config.batching = is_static ? BATCHING_STATIC : BATCHING_IN_FLIGHT;
        host_open(&h);
        struct err err;
        engine_control(h.e, INFLIGHT_CTL_PAUSE, 0, &err);
        for (int i = 0; i < 16; i++)
            host_ask(&h, host_prompt(i, 10, prompt), i % 4 ? 5 : 50);
        engine_control(h.e, INFLIGHT_CTL_RESUME, 0, &err);
        host_finish(&h);
        steps[is_static] = fake.n_forward;
        for (int i = 0; i < 16; i++)
            host_check_text(&h, i, host_prompt(i, 10, prompt), i % 4 ? 5 : 50);
        host_close(&h);
    }
    CHECK(steps[1] >= 4 * 50);
    CHECK(steps[0] < 100);
}

TEST(engine_host, batching_can_change_while_sequences_run)
{
    static struct host h;
    char prompt[100];
    struct err err;
    host_init(&h);
    fake.pages = 17;
    fake.step_us = 50;
    h.config.max_sequences = 3;
    host_open(&h);
    for (int i = 0; i < 60; i++) {
        inflight_request request = host_request(host_prompt(i, 40, prompt), "");
        request.max_tokens = 40;
        request.priority = i % 5 ? 0 : 200;
        host_submit(&h, &request);
        engine_control(h.e, INFLIGHT_CTL_BATCHING, (uint32_t)i % 2, &err);
        host_poll(&h, 3000000);
    }
    host_finish(&h);
    for (int i = 0; i < 60; i++)
        host_check_text(&h, i, host_prompt(i, 40, prompt), 40);
    host_close(&h);
}

TEST(engine_host, closing_in_the_middle_leaks_nothing)
{
    static struct host h;
    char prompt[100];
    for (uint32_t round = 0; round < 8; round++) {
        host_init(&h);
        fake.step_us = 100;
        fake.pages = 20;
        host_open(&h);
        for (int i = 0; i < 40; i++)
            host_ask(&h, host_prompt(i, 40, prompt), 100);
        for (uint32_t i = 0; i < round; i++)
            host_poll(&h, 1000000);
        host_close(&h);
    }
}

TEST(engine_host, an_engine_cannot_be_closed_from_its_own_hook)
{
    static struct host h;
    host_init(&h);
    host_open(&h);
    atomic_store(&h.close_in_hook, true);
    host_ask(&h, "hello", 5);
    host_finish(&h);
    CHECK_EQ(atomic_load(&h.hook_status), INFLIGHT_E_BUSY);
    host_check_text(&h, 0, "hello", 5);
    host_close(&h);
}

TEST(engine_host, an_engine_that_only_plans_answers_queries_and_refuses_requests)
{
    static struct host h;
    struct buf out;
    host_init(&h);
    h.plan_only = true;
    host_open(&h);
    CHECK_EQ(h.ready.status, INFLIGHT_OK);
    buf_init(&out, &mem_system);
    CHECK_EQ(engine_text(h.e, INFLIGHT_Q_PLAN, &out), INFLIGHT_OK);
    buf_release(&out);
    host_ask(&h, "hello", 5);
    host_finish(&h);
    CHECK_EQ(h.result[0].done.status, INFLIGHT_E_STATE);
    CHECK(engine_model(h.e) == NULL);
    host_close(&h);
}

TEST(engine_host, requests_without_a_seed_draw_differently)
{
    static struct host h;
    host_init(&h);
    host_open(&h);
    for (int i = 0; i < 2; i++) {
        inflight_request request =
            host_request("hello", "{\"temperature\":1.0,\"max_tokens\":40,\"ignore_eos\":true}");
        host_submit(&h, &request);
    }
    host_finish(&h);
    CHECK(strcmp(h.result[0].text[0], h.result[1].text[0]) != 0);
    host_close(&h);
}
