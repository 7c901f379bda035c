/* The memory plan is known before the weights are read, and it is what the engine then has. */
#include "session.h"
#include "t.h"

#include "kernels/backend.h"
#include "plugin/base/buf.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* Of the plan's own text and of the arenas' last chunks. */
#define ROUNDING 4096

static unsigned long long number_after(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* Opens, compares, closes. */
static void check_plan(struct session *s, const char *what)
{
    struct buf plan;
    buf_init(&plan, &mem_system);
    if (session_open(s)) {
        CHECK_EQ(engine_text(s->engine, INFLIGHT_Q_PLAN, &plan), INFLIGHT_OK);
        buf_put_char(&plan, '\0');
        unsigned long long total = number_after(plan.ptr, "\"total\":"), parts = 0;
        static const char *const part[] = {"\"weights\":",   "\"kv\":",     "\"activations\":",
                                           "\"workspace\":", "\"logits\":", "\"engine\":"};
        for (size_t i = 0; i < COUNT_OF(part); i++)
            parts += number_after(plan.ptr, part[i]);
        CHECK_EQ(parts, total);
        unsigned long long taken = atomic_load(&s->taken);
        if (taken < total || taken > total + ROUNDING)
            t_fail(__FILE__, __LINE__, "%s: the plan says %llu bytes, taken are %llu", what, total,
                   taken);
    }
    session_close(s);
    buf_release(&plan);
    CHECK_EQ(atomic_load(&s->taken), 0);
}

TEST(memory, the_plan_is_what_is_taken)
{
    struct session s;
    if (!session_prepare(&s))
        return;
    check_plan(&s, "defaults");
}

TEST(memory, the_plan_follows_the_configuration)
{
    struct session s;
    if (!session_prepare(&s))
        return;
    s.config.threads = 3;
    s.config.kv_type = KV_INT8;
    s.config.kv_tokens = 5000;
    s.config.max_sequences = 7;
    s.config.max_step_tokens = 100;
    s.config.max_requests = 20;
    s.config.stream_bytes = 20000;
    s.config.isa = 1;
    s.config.activations = ACT_FLOAT;
    check_plan(&s, "a small engine");
}

TEST(memory, a_budget_holds_with_an_automatic_pool)
{
    struct session s;
    if (!session_prepare(&s))
        return;
    s.config.context = 2048;
    s.config.memory_budget = 300u << 20;
    if (session_open(&s)) {
        CHECK(atomic_load(&s.taken) <= s.config.memory_budget + ROUNDING);
        CHECK(atomic_load(&s.taken) > s.config.memory_budget - (4u << 20));
    }
    session_close(&s);
}

/* Bytes of this process that are in memory. */
static long long resident(void)
{
    long long all = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%lld %lld", &all, &pages) != 2)
        pages = 0;
    if (f)
        fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

TEST(memory, the_pool_is_there_before_it_is_used_if_that_is_asked_for)
{
    struct session s;
    for (int prefault = 0; prefault < 2; prefault++) {
        if (!session_prepare(&s))
            return;
        if (strcmp(s.config.device, "cpu") != 0) {
            session_close(&s);
            t_skip("a card's memory is there when it is taken");
            return;
        }
        s.config.prefault = prefault;
        s.config.kv_tokens = 20000;
        const long long before = resident();
        if (session_open(&s)) {
            const long long most = (long long)atomic_load(&s.taken), got = resident() - before;
            if (prefault ? got < most * 9 / 10 : got > most * 6 / 10)
                t_fail(__FILE__, __LINE__, "prefault %d: %lld of %lld bytes are there", prefault,
                       got, most);
        }
        session_close(&s);
    }
}
