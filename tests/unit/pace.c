/* How many prompt tokens a step may have beside answers, learnt from the clock. */
#include "t.h"

#include "plugin/pace.h"

#define MS 1000000.0

/* A machine: a step takes base_ms, and each_ms for every token of a prompt. */
struct machine {
    double base_ms, each_ms;
};

static uint64_t step_ns(const struct machine *m, int32_t n_prefill)
{
    return (uint64_t)((m->base_ms + m->each_ms * n_prefill) * MS);
}

/* A long prompt joins answers that have gone on for a while: the last of n steps, in ms. */
static double run(struct pace *pace, const struct machine *m, int n)
{
    uint64_t ns = 0;
    for (int i = 0; i < 10; i++)
        pace_learn(pace, step_ns(m, 0), 4, 0);
    for (int i = 0; i < n; i++) {
        /* Whole pages, as the scheduler cuts, or less than one. */
        int32_t n_prefill = pace->tokens < 16 ? pace->tokens : pace->tokens / 16 * 16;
        ns = step_ns(m, n_prefill);
        pace_learn(pace, ns, 4, n_prefill);
    }
    return (double)ns / MS;
}

TEST(pace, no_aim_is_no_limit)
{
    struct pace pace;
    pace_init(&pace, 0, 512);
    pace_learn(&pace, 900000000, 4, 512);
    CHECK_EQ(pace.tokens, 512);
}

TEST(pace, steps_come_near_the_aim_and_not_over_it)
{
    static const struct machine machines[] = {{8, 0.5}, {2, 0.1}, {10, 1}, {1, 0.2}, {12, 0.05}};
    for (size_t i = 0; i < COUNT_OF(machines); i++) {
        struct pace pace;
        pace_init(&pace, 25, 512);
        double ms = run(&pace, &machines[i], 12);
        CHECK(ms <= MAX(25.5, machines[i].base_ms + 8 * machines[i].each_ms)); /* the least */
        CHECK(ms >= 25 - 16 * machines[i].each_ms - 1);
    }
}

TEST(pace, the_limit_of_the_step_holds_on_a_fast_machine)
{
    struct pace pace;
    pace_init(&pace, 25, 200);
    run(&pace, &(struct machine){0.1, 0.001}, 12);
    CHECK_EQ(pace.tokens, 200);
    pace_init(&pace, 25, 10);
    CHECK_EQ(pace.tokens, 10);
    pace_learn(&pace, 900000000, 4, 10);
    CHECK_EQ(pace.tokens, 8);
}

/* Answers that alone take longer than the aim: prompts get as much time again, not none. */
TEST(pace, a_slow_model_still_computes_prompts)
{
    struct pace pace;
    pace_init(&pace, 25, 512);
    double ms = run(&pace, &(struct machine){120, 2}, 12);
    CHECK(ms > 180 && ms < 245);
    pace_init(&pace, 25, 512);
    run(&pace, &(struct machine){20, 40}, 12);
    CHECK_EQ(pace.tokens, 8);
}

TEST(pace, one_slow_step_is_forgotten_in_a_few)
{
    struct pace pace;
    const struct machine machine = {5, 0.2};
    pace_init(&pace, 25, 512);
    run(&pace, &machine, 12);
    int32_t before = pace.tokens;
    pace_learn(&pace, 300000000, 4, before);
    CHECK_EQ(pace.tokens, before / 2);
    run(&pace, &machine, 3);
    CHECK(pace.tokens >= before - 16);
}

TEST(pace, the_end_of_a_prompt_does_not_lower_the_limit)
{
    struct pace pace;
    pace_init(&pace, 25, 512);
    run(&pace, &(struct machine){5, 0.2}, 12);
    int32_t before = pace.tokens;
    pace_learn(&pace, 6000000, 4, 3);
    CHECK(pace.tokens >= before);
    pace_learn(&pace, 900000000, 0, 512);
    CHECK(pace.tokens >= before);
}
