/* The whole loop over the fake model: what a request gets does not depend on how the
 * work was cut, batched, cached or preempted. */
#include "fake_host.h"

TEST(engine, a_request_gets_its_text_and_one_done)
{
    static struct host h;
    host_init(&h);
    CHECK_EQ(host_open(&h), INFLIGHT_OK);
    CHECK_EQ(h.ready.status, INFLIGHT_OK);
    CHECK(strstr(h.ready_text, "\"device\":\"fake device\"") != NULL);
    CHECK(strstr(h.ready_text, "\"kv_tokens\":256") != NULL);
    CHECK_EQ(host_ask(&h, "once upon a time", 40), 0);
    host_finish(&h);
    host_check_text(&h, 0, "once upon a time", 40);
    inflight_stats stats = {0};
    engine_stats(h.e, &stats);
    CHECK_EQ(stats.prompt_tokens, 16);
    CHECK_EQ(stats.generated_tokens, h.result[0].done.n_tokens);
    CHECK_EQ(stats.threads, 2);
    host_close(&h);
}

TEST(engine, the_size_of_chunks_changes_nothing)
{
    static struct host h;
    static const int32_t sizes[] = {1, 7, 16, 64, 512};
    char prompt[300];
    for (size_t k = 0; k < COUNT_OF(sizes); k++) {
        host_init(&h);
        h.config.max_step_tokens = sizes[k];
        fake.pages = 64;
        host_open(&h);
        for (int32_t i = 0; i < 12; i++)
            host_ask(&h, host_prompt(i, 1 + i * 17, prompt), 30);
        host_finish(&h);
        for (int32_t i = 0; i < 12; i++)
            host_check_text(&h, i, host_prompt(i, 1 + i * 17, prompt), 30);
        CHECK(fake.most_tokens <= sizes[k]);
        host_close(&h);
    }
}

TEST(engine, a_prompt_met_before_is_not_computed_again)
{
    static struct host h;
    host_init(&h);
    fake.pages = 64;
    host_open(&h);
    char prompt[200], longer[220];
    host_prompt(7, 100, prompt);
    snprintf(longer, sizeof longer, "%s%s", prompt, "and more");
    host_ask(&h, prompt, 10);
    host_finish(&h);
    int64_t before = fake.n_computed;
    host_ask(&h, prompt, 10);
    host_finish(&h);
    CHECK_EQ(fake.n_computed - before, 4 + h.result[1].done.n_tokens - 1);
    host_ask(&h, longer, 10);
    host_finish(&h);
    host_check_text(&h, 0, prompt, 10);
    host_check_text(&h, 1, prompt, 10);
    host_check_text(&h, 2, longer, 10);
    CHECK_EQ(h.result[0].done.n_cached, 0);
    CHECK_EQ(h.result[1].done.n_cached, 96);
    CHECK_EQ(h.result[2].done.n_cached, 96);
    host_close(&h);
}

TEST(engine, of_a_prompt_wholly_cached_only_the_last_token_is_computed)
{
    static struct host h;
    host_init(&h);
    fake.pages = 64;
    host_open(&h);
    char prompt[100];
    host_prompt(3, 64, prompt);
    host_ask(&h, prompt, 20);
    host_finish(&h);
    int64_t before = fake.n_computed;
    host_ask(&h, prompt, 20);
    host_finish(&h);
    host_check_text(&h, 1, prompt, 20);
    CHECK_EQ(h.result[1].done.n_cached, 63);
    CHECK_EQ(fake.n_computed - before, h.result[1].done.n_tokens);
    CHECK_EQ(fake.n_copied, 1);
    host_close(&h);
}

TEST(engine, without_a_prefix_cache_nothing_is_reused)
{
    static struct host h;
    host_init(&h);
    h.config.prefix_cache = false;
    host_open(&h);
    char prompt[100];
    for (int i = 0; i < 2; i++) {
        host_ask(&h, host_prompt(3, 64, prompt), 5);
        host_finish(&h);
        host_check_text(&h, i, prompt, 5);
        CHECK_EQ(h.result[i].done.n_cached, 0);
    }
    host_close(&h);
}

TEST(engine, a_text_is_the_same_alone_and_among_others)
{
    static struct host alone, among;
    char prompt[200];
    inflight_request request =
        host_request("the one we look at", "{\"temperature\":1.0,\"seed\":42,\"max_tokens\":50}");
    host_init(&alone);
    host_open(&alone);
    host_submit(&alone, &request);
    host_finish(&alone);
    host_close(&alone);
    host_init(&among);
    fake.pages = 100;
    host_open(&among);
    for (int32_t i = 0; i < 15; i++) {
        host_ask(&among, host_prompt(i, 10 + 9 * i, prompt), 60);
        if (i == 7)
            host_submit(&among, &request);
    }
    host_finish(&among);
    CHECK(alone.result[0].done.n_tokens > 1);
    CHECK_TEXT(among.result[8].text[0], alone.result[0].text[0]);
    CHECK(fake.most_sequences > 4);
    host_close(&among);
}

TEST(engine, choices_share_the_prompt_and_differ_by_their_draws)
{
    static struct host h;
    host_init(&h);
    fake.pages = 64;
    h.config.prefix_cache = false;
    host_open(&h);
    char prompt[100];
    inflight_request request = host_request(
        host_prompt(1, 70, prompt),
        "{\"n\":3,\"temperature\":1.0,\"seed\":5,\"max_tokens\":20,\"ignore_eos\":true}");
    host_submit(&h, &request);
    host_finish(&h);
    const struct host_result *r = &h.result[0];
    CHECK_EQ(r->n_last, 3);
    CHECK_EQ(r->done.n_tokens, 60);
    CHECK_EQ(r->done.status, INFLIGHT_OK);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(strlen(r->text[i]), 20);
        CHECK_EQ(r->finish[i], INFLIGHT_FINISH_LENGTH);
    }
    CHECK(strcmp(r->text[0], r->text[1]) != 0);
    CHECK(strcmp(r->text[1], r->text[2]) != 0);
    /* 70 of the prompt, twice its last token, and 19 of each choice. */
    CHECK_EQ(fake.n_computed, 70 + 2 + 3 * 19);
    CHECK_EQ(fake.n_copied, 2);
    host_close(&h);
}

TEST(engine, choices_are_the_same_whether_or_not_they_run_together)
{
    static struct host wide, narrow;
    char prompt[100];
    inflight_request request = host_request(
        host_prompt(9, 48, prompt), "{\"n\":4,\"temperature\":1.0,\"seed\":8,\"max_tokens\":40}");
    host_init(&wide);
    fake.pages = 64;
    host_open(&wide);
    host_submit(&wide, &request);
    host_finish(&wide);
    host_close(&wide);
    host_init(&narrow);
    fake.pages = 17;
    narrow.config.max_sequences = 2;
    host_open(&narrow);
    for (int i = 0; i < 5; i++)
        host_submit(&narrow, &request);
    host_finish(&narrow);
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 4; k++)
            CHECK_TEXT(narrow.result[i].text[k], wide.result[0].text[k]);
    host_close(&narrow);
}

TEST(engine, stop_strings_and_stop_tokens_end_a_text_before_them)
{
    static struct host h;
    char want[100], options[100], stop[3];
    fake_reset();
    fake.end_bias = -100;
    fake_generate("tell me", 40, want);
    memcpy(stop, want + 20, 2);
    stop[2] = '\0';
    size_t first = (size_t)(strstr(want, stop) - want);
    host_init(&h);
    fake.end_bias = -100;
    host_open(&h);
    snprintf(options, sizeof options, "{\"stop\":\"%s\",\"max_tokens\":40}", stop);
    inflight_request request = host_request("tell me", options);
    host_submit(&h, &request);
    snprintf(options, sizeof options, "{\"stop_token_ids\":[%d],\"max_tokens\":40}", want[20]);
    request = host_request("tell me", options);
    host_submit(&h, &request);
    host_finish(&h);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(h.result[i].done.finish, INFLIGHT_FINISH_STOP);
    CHECK_EQ(strlen(h.result[0].text[0]), first);
    CHECK_EQ(strncmp(h.result[0].text[0], want, first), 0);
    CHECK_EQ(h.result[1].text[0][0], want[0]);
    CHECK(strchr(h.result[1].text[0], want[20]) == NULL);
    CHECK_EQ(h.result[1].done.n_tokens, strlen(h.result[1].text[0]) + 1);
    host_close(&h);
}

TEST(engine, a_full_context_ends_a_text)
{
    static struct host h;
    host_init(&h);
    fake.end_bias = -100;
    host_open(&h);
    char prompt[300];
    host_ask(&h, host_prompt(1, 200, prompt), 0);
    host_ask(&h, host_prompt(2, 255, prompt), 0);
    host_ask(&h, host_prompt(3, 256, prompt), 0);
    host_finish(&h);
    CHECK_EQ(h.result[0].done.n_tokens, 56);
    CHECK_EQ(h.result[0].done.finish, INFLIGHT_FINISH_LENGTH);
    CHECK_EQ(h.result[1].done.n_tokens, 1);
    CHECK_EQ(h.result[2].done.status, INFLIGHT_E_TOO_LONG);
    CHECK(strstr(h.result[2].error, "256 tokens") != NULL);
    host_close(&h);
}

TEST(engine, logprobs_come_as_json_with_the_text)
{
    static struct host h;
    host_init(&h);
    fake.end_bias = -100;
    host_open(&h);
    inflight_request request =
        host_request("hello", "{\"logprobs\":true,\"top_logprobs\":2,\"max_tokens\":5}");
    host_submit(&h, &request);
    host_finish(&h);
    CHECK_EQ(h.result[0].n_logprobs, 5);
    const char *json = h.result[0].logprobs;
    char begin[64];
    snprintf(begin, sizeof begin, "{\"token\":\"%c\",\"logprob\":-", h.result[0].text[0][0]);
    CHECK_EQ(strncmp(json, begin, strlen(begin)), 0);
    snprintf(begin, sizeof begin,
             "\"bytes\":[%d],\"top_logprobs\":[{\"token\":", h.result[0].text[0][0]);
    CHECK(strstr(json, begin) != NULL);
    host_close(&h);
}

TEST(engine, what_is_wrong_with_one_request_touches_no_other)
{
    static struct host h;
    host_init(&h);
    host_open(&h);
    inflight_request bad = host_request("x", "{\"tempratur\":1}");
    inflight_request chat = host_request("hello", "{\"max_tokens\":9}");
    inflight_request raises = host_request("!", "");
    chat.kind = raises.kind = INFLIGHT_CHAT;
    host_ask(&h, "good one", 20);
    host_submit(&h, &bad);
    host_ask(&h, "", 20);
    host_submit(&h, &chat);
    host_submit(&h, &raises);
    host_ask(&h, "good two", 20);
    host_finish(&h);
    host_check_text(&h, 0, "good one", 20);
    CHECK_EQ(h.result[1].done.status, INFLIGHT_E_ARG);
    CHECK(h.result[1].error[0] != '\0');
    CHECK_EQ(h.result[2].done.status, INFLIGHT_E_ARG);
    host_check_text(&h, 3, "user:hello", 9);
    CHECK_EQ(h.result[4].done.status, INFLIGHT_E_ARG);
    CHECK_TEXT(h.result[4].error, "the template raised an exception");
    host_check_text(&h, 5, "good two", 20);
    host_close(&h);
}

/* Counts steps that found other allocations than the first one did. */
static void watch_allocations(struct host *h)
{
    static int64_t first;
    if (h->on_step_arg++ == 0)
        first = atomic_load(&h->n_taken);
    h->n_broken_steps += atomic_load(&h->n_taken) != first;
}

TEST(engine, a_step_allocates_nothing)
{
    static struct host h;
    struct err err;
    char prompt[100];
    host_init(&h);
    fake.pages = 17;
    h.on_step = watch_allocations;
    host_open(&h);
    engine_control(h.e, INFLIGHT_CTL_PAUSE, 0, &err);
    for (int i = 0; i < 12; i++) {
        inflight_request request =
            host_request(host_prompt(i, 50, prompt),
                         "{\"max_tokens\":60,\"logprobs\":true,\"top_logprobs\":20,\"n\":2}");
        host_submit(&h, &request);
    }
    engine_control(h.e, INFLIGHT_CTL_RESUME, 0, &err);
    host_finish(&h);
    CHECK(h.on_step_arg > 50);
    host_close(&h);
}

TEST(engine, a_token_that_the_model_has_no_row_for_ends_its_request_alone)
{
    static struct host h;
    host_init(&h);
    host_open(&h);
    host_ask(&h, "ab\xff", 10);
    host_ask(&h, "abc", 10);
    host_finish(&h);
    CHECK_EQ(h.result[0].done.status, INFLIGHT_E_MODEL);
    CHECK_TEXT(h.result[0].error, "token 3 of the prompt has id 128, the model has rows for 128");
    CHECK_EQ(h.result[1].done.status, INFLIGHT_OK);
    host_close(&h);
}
