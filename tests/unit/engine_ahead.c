/* Steps that are launched while the one before is under way give what steps at once give. */
#include "fake_host.h"

static const char *const options[] = {
    "{\"temperature\":0}",
    "{\"temperature\":1.5,\"seed\":7}",
    "{\"temperature\":1.2,\"seed\":8,\"top_k\":9,\"min_p\":0.02}",
    "{\"temperature\":1.3,\"seed\":9,\"top_p\":0.8,\"n\":3}",
    "{\"temperature\":0,\"repetition_penalty\":1.4,\"frequency_penalty\":0.7}",
    "{\"temperature\":1,\"seed\":10,\"presence_penalty\":1.5,\"min_tokens\":12}",
    "{\"temperature\":0,\"logit_bias\":{\"65\":3.5,\"66\":3.5,\"67\":-100},\"min_tokens\":5}",
    "{\"temperature\":1,\"seed\":11,\"stop\":[\"a\",\"Qb\"]}",
};

#define ASKED (COUNT_OF(options) * 3)

static void ask_all(struct host *h, bool ahead, const char *more)
{
    char prompt[200], text[200];
    host_init(h);
    fake.ahead = ahead;
    fake.pages = 40;
    h->config.max_sequences = 9;
    host_open(h);
    for (int32_t i = 0; i < (int32_t)ASKED; i++) {
        const char *own = options[(size_t)i % COUNT_OF(options)];
        snprintf(text, sizeof text, "%.*s%s}", (int)strlen(own) - 1, own, i % 3 ? "" : more);
        inflight_request request = host_request(host_prompt(i, 3 + i * 4, prompt), text);
        request.max_tokens = (uint32_t)(20 + i);
        host_submit(h, &request);
    }
    host_finish(h);
}

static void compare(const char *more)
{
    static struct host at_once, ahead;
    ask_all(&at_once, false, more);
    host_close(&at_once);
    ask_all(&ahead, true, more);
    CHECK(fake.n_overlapped > 30);
    for (size_t i = 0; i < ASKED; i++) {
        const struct host_result *a = &at_once.result[i], *b = &ahead.result[i];
        for (int c = 0; c < HOST_CHOICES; c++) {
            CHECK_TEXT(b->text[c], a->text[c]);
            CHECK_EQ(b->finish[c], a->finish[c]);
            CHECK_EQ(b->logprobs_hash[c], a->logprobs_hash[c]);
        }
        CHECK_EQ(b->done.status, INFLIGHT_OK);
        CHECK_EQ(b->done.n_tokens, a->done.n_tokens);
        CHECK_EQ(b->n_logprobs, a->n_logprobs);
    }
    host_close(&ahead);
}

TEST(engine_ahead, every_kind_of_sampling_gives_the_text_of_steps_at_once)
{
    compare("");
}

TEST(engine_ahead, steps_with_log_probabilities_are_launched_between_others)
{
    compare(",\"logprobs\":true,\"top_logprobs\":2");
}

TEST(engine_ahead, log_probabilities_keep_no_step_from_being_launched)
{
    static struct host h;
    host_init(&h);
    fake.ahead = true;
    fake.end_bias = -100;
    host_open(&h);
    inflight_request request =
        host_request("a prompt", "{\"logprobs\":true,\"top_logprobs\":2,\"max_tokens\":50}");
    host_submit(&h, &request);
    host_finish(&h);
    host_check_text(&h, 0, "a prompt", 50);
    CHECK_EQ(h.result[0].n_logprobs, 50);
    CHECK_EQ(fake.n_overlapped, 49);
    host_close(&h);
}

TEST(engine_ahead, the_device_has_the_next_step_before_one_is_emitted)
{
    static struct host h;
    host_init(&h);
    fake.ahead = true;
    fake.end_bias = -100;
    host_open(&h);
    host_ask(&h, "a prompt", 50);
    host_finish(&h);
    host_check_text(&h, 0, "a prompt", 50);
    /* Of 50 steps all but the first are behind another, and none computes for nothing: the last
     * token's place is known beforehand. */
    CHECK_EQ(fake.n_forward, 50);
    CHECK_EQ(fake.n_overlapped, 49);
    host_close(&h);
}

TEST(engine_ahead, what_was_launched_for_a_sequence_that_ended_is_dropped)
{
    static struct host h;
    char text[100];
    host_init(&h);
    fake.ahead = true;
    fake.end_bias = 0;
    host_open(&h);
    int32_t n = fake_generate("hello", 90, text);
    CHECK(n > 1 && n < 90);
    host_ask(&h, "hello", 90);
    host_finish(&h);
    host_check_text(&h, 0, "hello", 90);
    CHECK_EQ(h.result[0].done.n_tokens, n);
    CHECK_EQ(fake.n_forward, n + 1);
    inflight_stats stats = {0};
    engine_stats(h.e, &stats);
    CHECK_EQ(stats.generated_tokens, n);
    CHECK_EQ(stats.kv_pages_used, 0);
    host_close(&h);
}

TEST(engine_ahead, a_request_cancelled_under_way_ends_and_frees_its_pages)
{
    static struct host h;
    host_init(&h);
    fake.ahead = true;
    fake.end_bias = -100;
    fake.step_us = 500;
    host_open(&h);
    for (int i = 0; i < 6; i++)
        host_ask(&h, "a prompt", 200);
    while (fake.n_overlapped < 5)
        host_poll(&h, 1000000);
    for (int i = 0; i < 6; i += 2)
        queue_cancel(engine_queue(h.e), h.result[i].req);
    host_finish(&h);
    for (int i = 0; i < 6; i++)
        if (i % 2)
            host_check_text(&h, i, "a prompt", 200);
        else
            CHECK_EQ(h.result[i].done.status, INFLIGHT_E_CANCELLED);
    host_close(&h);
}

TEST(engine_ahead, closing_waits_for_the_steps_under_way)
{
    static struct host h;
    host_init(&h);
    fake.ahead = true;
    fake.end_bias = -100;
    fake.step_us = 2000;
    host_open(&h);
    for (int i = 0; i < 3; i++)
        host_ask(&h, "a prompt", 200);
    while (fake.n_overlapped < 3)
        host_poll(&h, 1000000);
    host_close(&h);
}
