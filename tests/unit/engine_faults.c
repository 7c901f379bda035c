/* The loop when something below it fails: the right requests are told, the others and
 * the host are not touched. */
#include "fake_host.h"

TEST(engine_faults, a_failed_step_ends_those_in_it_and_no_other)
{
    static struct host h;
    host_init(&h);
    h.config.max_sequences = 2;
    fake.fail_at = 3;
    fake.end_bias = -100;
    host_open(&h);
    struct err err;
    engine_control(h.e, INFLIGHT_CTL_PAUSE, 0, &err);
    for (int i = 0; i < 4; i++)
        host_ask(&h, "a prompt", 10);
    engine_control(h.e, INFLIGHT_CTL_RESUME, 0, &err);
    host_finish(&h);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(h.result[i].done.status, INFLIGHT_E_DEVICE);
        CHECK_EQ(h.result[i].done.n_tokens, 2);
        CHECK_EQ(strlen(h.result[i].text[0]), 2);
    }
    for (int i = 2; i < 4; i++)
        host_check_text(&h, i, "a prompt", 10);
    host_close(&h);
}

TEST(engine_faults, a_row_without_a_finite_logit_ends_its_request)
{
    static struct host h;
    host_init(&h);
    fake.nan_at = 2;
    fake.end_bias = -100;
    host_open(&h);
    struct err err;
    engine_control(h.e, INFLIGHT_CTL_PAUSE, 0, &err);
    for (int i = 0; i < 3; i++)
        host_ask(&h, "a prompt", 10);
    engine_control(h.e, INFLIGHT_CTL_RESUME, 0, &err);
    host_finish(&h);
    CHECK_EQ(h.result[0].done.status, INFLIGHT_E_INTERNAL);
    CHECK_TEXT(h.result[0].error, "the model gave no finite logit at position 8");
    for (int i = 1; i < 3; i++)
        host_check_text(&h, i, "a prompt", 10);
    host_close(&h);
}

TEST(engine_faults, a_model_that_does_not_load_answers_every_request)
{
    static struct host h;
    for (int late = 0; late < 2; late++) {
        host_init(&h);
        *(late ? &fake.load_status : &fake.open_status) = INFLIGHT_E_MODEL;
        host_open(&h);
        CHECK_EQ(h.ready.status, INFLIGHT_E_MODEL);
        CHECK(strncmp(h.ready_text, "the fake model cannot be ", 25) == 0);
        for (int i = 0; i < 5; i++)
            host_ask(&h, "hello", 5);
        host_finish(&h);
        for (int i = 0; i < 5; i++) {
            CHECK_EQ(h.result[i].done.status, INFLIGHT_E_MODEL);
            CHECK_TEXT(h.result[i].error, h.ready_text);
        }
        CHECK(engine_model(h.e) == NULL);
        struct err err;
        CHECK_EQ(engine_control(h.e, INFLIGHT_CTL_THREADS, 1, &err), INFLIGHT_OK);
        while (h.n_budget == 0)
            host_poll(&h, 100000000);
        CHECK_EQ(h.budget.status, INFLIGHT_E_STATE);
        host_close(&h);
    }
}

/* Twenty requests of all kinds while allocation number fail_at fails. */
static void run_with_failure(struct host *h, int64_t fail_at)
{
    char prompt[100];
    host_init(h);
    fake.pages = 17;
    h->config.sampling.logprobs = 0;
    atomic_store(&h->fail_at, fail_at);
    if (host_open(h)) {
        CHECK_EQ(atomic_load(&h->n_out), 0);
        return;
    }
    for (int i = 0; i < 20; i++) {
        inflight_request request = host_request(
            host_prompt(i, 30, prompt),
            i % 4 ? "{\"max_tokens\":8}" : "{\"max_tokens\":8,\"n\":2,\"stop\":\"zq\"}");
        request.kind = i % 2 ? INFLIGHT_PROMPT : INFLIGHT_CHAT;
        host_submit(h, &request);
    }
    host_finish(h);
    int32_t n_bad = 0;
    for (int i = 0; i < h->n; i++) {
        CHECK_EQ(h->result[i].n_done, 1);
        n_bad += h->result[i].done.status != INFLIGHT_OK;
    }
    CHECK(n_bad <= 1 || h->ready.status != INFLIGHT_OK);
    host_close(h);
}

TEST(engine_faults, no_failed_allocation_crashes_leaks_or_loses_a_done)
{
    static struct host h;
    run_with_failure(&h, 0);
    int64_t n = atomic_load(&h.n_taken);
    CHECK(n > 50);
    for (int64_t i = 1; i <= n; i++)
        run_with_failure(&h, i);
}

TEST(engine_faults, texts_for_queries_appear_when_they_are_known)
{
    static struct host h;
    host_init(&h);
    host_open(&h);
    struct buf out;
    buf_init(&out, &mem_system);
    CHECK_EQ(engine_text(h.e, INFLIGHT_Q_CONFIG, &out), INFLIGHT_OK);
    CHECK(out.len > 0);
    out.len = 0;
    CHECK_EQ(engine_text(h.e, INFLIGHT_Q_PLAN, &out), INFLIGHT_OK);
    buf_put_char(&out, '\0');
    CHECK(strncmp(out.ptr, "{\"weights\":1000,\"kv\":2000,", 26) == 0);
    out.len = 0;
    CHECK_EQ(engine_text(h.e, INFLIGHT_Q_MODEL, &out), INFLIGHT_OK);
    CHECK_EQ(engine_text(h.e, 77, &out), INFLIGHT_E_ARG);
    CHECK(engine_model(h.e) != NULL);
    buf_release(&out);
    host_close(&h);
}

TEST(engine_faults, a_budget_too_small_for_the_tables_is_refused_with_both_numbers)
{
    static struct host h;
    host_init(&h);
    h.config.memory_budget = 4000;
    host_open(&h);
    CHECK_EQ(h.ready.status, INFLIGHT_E_NOMEM);
    CHECK(strstr(h.ready_text, "the memory budget is 3.9 KiB") != NULL);
    host_close(&h);
}

/* Four requests, whose device is lost at the third step, and four later ones. */
static void lose_device(struct host *h, int32_t n_left)
{
    host_init(h);
    fake.end_bias = -100;
    fake.lost_at = 3;
    fake.n_left = n_left;
    host_open(h);
    for (int i = 0; i < 4; i++)
        host_ask(h, "a prompt", 10);
    host_finish(h);
    for (int i = 0; i < 4; i++)
        host_ask(h, "another one", 10);
    host_finish(h);
    for (int i = 0; i < 4; i++) {
        if (h->result[i].done.status == INFLIGHT_OK) /* came when all was over */
            host_check_text(h, i, "a prompt", 10);
        else
            CHECK_EQ(h->result[i].done.status, INFLIGHT_E_DEVICE);
    }
    CHECK_EQ(h->result[0].done.status, INFLIGHT_E_DEVICE);
    CHECK_EQ(h->device.type, INFLIGHT_EV_DEVICE);
}

TEST(engine_faults, when_the_device_is_lost_the_next_one_serves)
{
    static struct host h;
    lose_device(&h, 1);
    CHECK_EQ(h.device.status, INFLIGHT_OK);
    CHECK(strstr(h.device_text, "\"fallback\":\"fake: the device was lost: fake device\""));
    for (int i = 4; i < 8; i++)
        host_check_text(&h, i, "another one", 10);
    CHECK(engine_model(h.e) != NULL);
    host_close(&h);
}

TEST(engine_faults, when_the_last_device_is_lost_every_request_is_told)
{
    static struct host h;
    lose_device(&h, 0);
    CHECK_EQ(h.device.status, INFLIGHT_E_DEVICE);
    CHECK_TEXT(h.device_text, "the device was lost: fake device");
    for (int i = 4; i < 8; i++) {
        CHECK_EQ(h.result[i].done.status, INFLIGHT_E_DEVICE);
        CHECK_TEXT(h.result[i].error, "the device was lost: fake device");
    }
    host_close(&h);
}

TEST(engine_faults, a_model_that_does_not_load_again_answers_every_request)
{
    static struct host h;
    host_init(&h);
    fake.end_bias = -100;
    fake.lost_at = 2;
    fake.n_left = 1;
    host_open(&h);
    fake.load_status = INFLIGHT_E_NOMEM;
    for (int i = 0; i < 2; i++) {
        host_ask(&h, "a prompt", 10);
        host_finish(&h);
    }
    CHECK_EQ(h.result[0].done.status, INFLIGHT_E_DEVICE);
    CHECK_EQ(h.result[1].done.status, INFLIGHT_E_NOMEM);
    CHECK_EQ(h.device.status, INFLIGHT_E_NOMEM);
    host_close(&h);
}
