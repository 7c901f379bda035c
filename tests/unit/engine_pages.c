/* The loop when pages are scarce: nobody fails, nobody loses a token, everybody ends. */
#include "fake_host.h"

#include "plugin/base/rng.h"

static const char *shared_prompt(int32_t i, char *out)
{
    /* A third shares its beginning with others. */
    host_prompt(i % 3 == 0 ? 1000 : i, 5 + i * 7 % 120, out);
    return out;
}

static void run_thirty(struct host *h)
{
    char prompt[200];
    CHECK_EQ(host_open(h), INFLIGHT_OK);
    for (int32_t i = 0; i < 30; i++)
        host_ask(h, shared_prompt(i, prompt), 60);
    host_finish(h);
    for (int32_t i = 0; i < 30; i++)
        host_check_text(h, i, shared_prompt(i, prompt), 60);
}

TEST(engine_pages, thirty_requests_share_pages_for_little_more_than_one)
{
    static struct host h;
    for (int cache = 0; cache < 2; cache++) {
        host_init(&h);
        fake.context = 192;
        fake.pages = 14;
        fake.end_bias = -100;
        h.config.prefix_cache = cache;
        run_thirty(&h);
        inflight_stats stats = {0};
        engine_stats(h.e, &stats);
        CHECK(stats.preemptions > 0);
        CHECK_EQ(stats.kv_pages_used, 0);
        host_close(&h);
    }
}

TEST(engine_pages, a_pool_of_exactly_one_context_is_enough)
{
    static struct host h;
    host_init(&h);
    fake.context = 192;
    h.config.max_step_tokens = 33;
    run_thirty(&h);
    host_close(&h);
}

static void preempt_some(struct host *h)
{
    for (struct seq *q = h->e->sched.first; q; q = q->after) {
        uint32_t dice[4];
        rng_philox(1, (uint64_t)fake.n_forward, q->job->slot * 4 + q->choice, dice);
        if (q->n_page && dice[0] % (uint32_t)h->on_step_arg == 0)
            sched_preempt(&h->e->sched, q);
    }
}

TEST(engine_pages, losing_pages_at_any_step_changes_no_text)
{
    static struct host h;
    for (int cache = 0; cache < 2; cache++) {
        host_init(&h);
        fake.pages = 60;
        h.config.prefix_cache = cache;
        h.config.max_sequences = 6;
        h.on_step = preempt_some;
        h.on_step_arg = 4;
        run_thirty(&h);
        host_close(&h);
    }
}

TEST(engine_pages, losing_pages_at_every_step_still_ends_when_steps_hold_a_prompt)
{
    static struct host h;
    host_init(&h);
    h.config.max_step_tokens = 512;
    h.config.max_sequences = 1;
    h.on_step = preempt_some;
    h.on_step_arg = 1;
    run_thirty(&h);
    host_close(&h);
}

TEST(engine_pages, choices_survive_scarce_pages)
{
    static struct host h;
    static char want[4][600];
    char prompt[100];
    for (int pages = 64; pages >= 13; pages -= 51) {
        host_init(&h);
        fake.context = 192;
        fake.pages = pages;
        host_open(&h);
        for (int i = 0; i < 8; i++) {
            inflight_request request = host_request(
                host_prompt(i, 20 + 8 * i, prompt),
                "{\"n\":4,\"temperature\":1.0,\"seed\":3,\"max_tokens\":50,\"ignore_eos\":true}");
            host_submit(&h, &request);
        }
        host_finish(&h);
        for (int k = 0; k < 4; k++) {
            if (pages == 64)
                memcpy(want[k], h.result[5].text[k], sizeof want[k]);
            CHECK_TEXT(h.result[5].text[k], want[k]);
            CHECK_EQ(strlen(h.result[5].text[k]), 50);
        }
        host_close(&h);
    }
}

TEST(engine_pages, many_lanes_sample_the_same)
{
    static struct host h;
    host_init(&h);
    fake.threaded = 1;
    fake.pages = 40;
    h.config.threads = 5;
    run_thirty(&h);
    host_close(&h);
}

TEST(engine_pages, an_urgent_request_takes_pages_from_the_others)
{
    static struct host h;
    char prompt[200];
    host_init(&h);
    fake.context = 192;
    fake.pages = 13;
    fake.step_us = 500;
    fake.end_bias = -100;
    host_open(&h);
    for (int i = 0; i < 10; i++)
        host_ask(&h, host_prompt(i, 60, prompt), 100);
    while (h.result[0].n_text_tokens < 3)
        host_poll(&h, 1000000);
    inflight_request request = host_request(host_prompt(77, 100, prompt), "{\"max_tokens\":5}");
    request.priority = 255;
    int32_t urgent = host_submit(&h, &request);
    while (h.result[urgent].n_done == 0)
        host_poll(&h, 100000000);
    CHECK_EQ(h.n_done, 1);
    host_finish(&h);
    host_check_text(&h, urgent, prompt, 5);
    for (int i = 0; i < 10; i++)
        host_check_text(&h, i, host_prompt(i, 60, prompt), 100);
    host_close(&h);
}
