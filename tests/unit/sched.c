/* Who takes part in a step, with how many tokens, and whose pages they cost. */
#include "fake_sched.h"

#include "plugin/base/rng.h"

TEST(sched, a_short_request_passes_a_long_prefill)
{
    static struct fake_sched f;
    fake_sched_init(&f, 64, 4, 64);
    struct seq *lengthy = fake_submit(&f, 0, 0, 400, 402);
    fake_step(&f);
    CHECK_EQ(step_of(&f, lengthy), 64);
    struct seq *brief = fake_submit(&f, 1, 0, 20, 24);
    fake_step(&f);
    CHECK_EQ(step_of(&f, brief), 20);
    CHECK_EQ(step_of(&f, lengthy), 32);
    for (int i = 0; i < 3; i++)
        fake_step(&f);
    CHECK_EQ(brief->state, SEQ_ENDED);
    CHECK(lengthy->n_computed < 400);
    fake_sched_release(&f);
}

TEST(sched, decodes_get_their_token_in_every_step_beside_a_prefill)
{
    static struct fake_sched f;
    fake_sched_init(&f, 128, 8, 32);
    struct seq *decode[3];
    for (int i = 0; i < 3; i++)
        decode[i] = fake_submit(&f, i, 0, 2, 60);
    fake_step(&f);
    struct seq *lengthy = fake_submit(&f, 9, 255, 500, 502);
    while (lengthy->n_computed < 500 && fake_step(&f) > 0) {
        for (int i = 0; i < 3; i++)
            CHECK_EQ(step_of(&f, decode[i]), 1);
        CHECK(step_of(&f, lengthy) >= 13);
    }
    fake_sched_release(&f);
}

TEST(sched, prefills_are_small_beside_decodes_and_only_there)
{
    static struct fake_sched f;
    fake_sched_init(&f, 128, 8, 256);
    f.sched.beside = 48;
    struct seq *decode = fake_submit(&f, 0, 0, 2, 8);
    fake_step(&f);
    struct seq *first = fake_submit(&f, 1, 0, 400, 402), *second = fake_submit(&f, 2, 0, 400, 402);
    CHECK_EQ(fake_step(&f), 1 + 48);
    CHECK_EQ(f.sched.n_decode, 1);
    CHECK_EQ(step_of(&f, first) + step_of(&f, second), 48);
    CHECK(step_of(&f, second) >= 16);
    fake_run(&f, decode);
    CHECK_EQ(fake_step(&f), 256);
    CHECK_EQ(f.sched.n_decode, 0);
    fake_sched_release(&f);
}

TEST(sched, prefills_halve_the_budget_in_order_and_share_the_rest)
{
    static struct fake_sched f;
    fake_sched_init(&f, 256, 8, 256);
    struct seq *q[3];
    for (int i = 0; i < 3; i++)
        q[i] = fake_submit(&f, i, 0, 300, 310);
    fake_step(&f);
    CHECK_EQ(step_of(&f, q[0]), 128);
    CHECK_EQ(step_of(&f, q[1]), 64);
    CHECK_EQ(step_of(&f, q[2]), 64);
    fake_submit(&f, 3, 0, 5, 9);
    CHECK_EQ(fake_step(&f), 16 * 15 + 5);
    fake_sched_release(&f);
}

TEST(sched, a_chunk_ends_with_a_page_unless_it_is_the_last)
{
    static struct fake_sched f;
    fake_sched_init(&f, 64, 4, 50);
    struct seq *q = fake_submit(&f, 0, 0, 115, 117);
    static const int32_t want[] = {48, 48, 19};
    for (int i = 0; i < 3; i++) {
        fake_step(&f);
        CHECK_EQ(step_of(&f, q), want[i]);
    }
    fake_sched_release(&f);
}

TEST(sched, waiting_is_worth_a_level_of_priority_every_fifty_milliseconds)
{
    static struct fake_sched f;
    fake_sched_init(&f, 64, 1, 64);
    struct seq *patient = fake_submit(&f, 0, 0, 4, 6);
    struct seq *late = fake_submit(&f, 101, 2, 4, 6);
    struct seq *urgent = fake_submit(&f, 99, 2, 4, 6);
    CHECK(f.sched.first == urgent);
    CHECK(urgent->after == patient);
    CHECK(patient->after == late);
    fake_sched_release(&f);
}

TEST(sched, the_last_in_order_loses_its_pages_first_and_comes_back)
{
    static struct fake_sched f;
    fake_sched_init(&f, 5, 4, 64);
    struct seq *a = fake_submit(&f, 0, 0, 30, 70);
    struct seq *b = fake_submit(&f, 1, 0, 10, 40);
    fake_run(&f, a);
    CHECK_EQ(b->state, SEQ_PARKED_PAGES);
    CHECK(b->n_token > 20);
    CHECK_EQ(b->n_page, 0);
    CHECK_EQ(f.sched.n_preempted, 1);
    fake_run(&f, b);
    fake_sched_release(&f);
}

TEST(sched, one_parked_by_the_host_yields_before_any_other)
{
    static struct fake_sched f;
    fake_sched_init(&f, 6, 4, 64);
    struct seq *held = fake_submit(&f, 0, 0, 30, 70);
    struct seq *a = fake_submit(&f, 1, 0, 15, 80);
    struct seq *b = fake_submit(&f, 2, 0, 15, 90);
    fake_step(&f);
    sched_hold(&f.sched, held);
    while (held->n_page && fake_step(&f) > 0)
        continue;
    CHECK(a->n_page && b->n_page);
    CHECK_EQ(held->state, SEQ_PARKED_HOST);
    CHECK_EQ(held->n_token, 31);
    sched_resume(&f.sched, held);
    CHECK_EQ(held->state, SEQ_PARKED_PAGES);
    fake_run(&f, NULL);
    fake_sched_release(&f);
}

TEST(sched, nobody_overtakes_one_that_waits_for_pages)
{
    static struct fake_sched f;
    fake_sched_init(&f, 8, 4, 64);
    fake_submit(&f, 0, 0, 60, 100);
    struct seq *large = fake_submit(&f, 1, 0, 64, 70);
    struct seq *small = fake_submit(&f, 2, 0, 4, 8);
    fake_step(&f);
    CHECK_EQ(large->n_page, 0);
    CHECK_EQ(small->n_page, 0);
    fake_run(&f, NULL);
    CHECK_EQ(f.sched.n_preempted, 0);
    fake_sched_release(&f);
}

TEST(sched, random_loads_always_end)
{
    static struct fake_sched f;
    for (uint32_t round = 0; round < 200; round++) {
        uint32_t dice[4];
        rng_philox(5, round, 0, dice);
        fake_sched_init(&f, 8 + (int32_t)(dice[0] % 8), 1 + (int32_t)(dice[1] % 6),
                        1 + (int32_t)(dice[2] % 70));
        sched_set_static(&f.sched, dice[3] % 3 == 0);
        for (int i = 0; i < FAKE_JOBS; i++) {
            rng_philox(6, round, (uint32_t)i, dice);
            int32_t n_prompt = 1 + (int32_t)(dice[0] % 100);
            fake_submit(&f, i, (int32_t)(dice[1] % 4), n_prompt,
                        MIN(n_prompt + 1 + (int32_t)(dice[2] % 60), 128));
        }
        fake_run(&f, NULL);
        fake_sched_release(&f);
    }
}

/* The trace in the essay of sched.c: tokens of A, B and C in each step, and the pages
 * that are free at its end. */
TEST(sched, the_trace_of_the_essay)
{
    static struct fake_sched f;
    static const int32_t want[6][4] = {{16, 12, 0, 4}, {24, 1, 0, 2}, {1, 1, 16, 1},
                                       {1, 0, 24, 0},  {1, 0, 1, 3},  {1, 15, 0, 5}};
    fake_sched_init(&f, 6, 4, 32);
    const struct seq *q[3] = {fake_submit(&f, 0, 0, 40, 45), fake_submit(&f, 1, 0, 12, 40)};
    for (int i = 0; i < 6; i++) {
        if (i == 2)
            q[2] = fake_submit(&f, 2, 10, 40, 42);
        CHECK(fake_step(&f) > 0);
        for (int k = 0; k < 3; k++)
            CHECK_EQ(step_of(&f, q[k]), want[i][k]);
        CHECK_EQ(f.kv.n_free, want[i][3]);
    }
    fake_sched_release(&f);
}
