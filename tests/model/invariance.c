/* The same request gives bit-equal logits whatever else is in flight, however its prompt
 * is cut, cached, parked and resumed, and on however many threads. */
#include "device.h"
#include "session.h"
#include "t.h"

#include "kernels/cpu/cpuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TOKENS 24

static const char subject[] =
    "The lighthouse keeper wrote in his journal every evening. On the third of March he noted "
    "that the wind had turned to the north, that two fishing boats had not come back, and that "
    "the lamp needed oil. The next day the sea was calm again, and he";
static const char options[] = "{\"temperature\": 0, \"max_tokens\": 24, \"ignore_eos\": true}";

/* Requests of many lengths around the one that is watched. */
static const char *const others[15] = {
    "Hi",
    "One two three four five six seven eight nine ten eleven twelve",
    "def sort(values):",
    "The quick brown fox jumps over the lazy dog, and then",
    "A",
    "Dear Sir or Madam, I am writing to you about the matter of the lost parcel which",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
    "The lighthouse keeper wrote in his journal every evening. On the third of March he slept.",
    "Paris is",
    "In the beginning there was nothing but water, and the water was dark and very deep, and so",
    "SELECT name FROM",
    "Roses are red",
    "The recipe needs flour, sugar, butter, eggs, milk, salt, vanilla, and patience. First",
    "Why",
    "Once there was a king who had three daughters and no sons at all, which",
};

static struct answer baseline;

/* A card's memory stays where it is, and its cache is bf16, int8 or fp8. */
static bool on_host(void)
{
    return strcmp(test_device(), "cpu") == 0;
}

/* The watched request alone: default chunks, two threads. */
static bool make_baseline(void)
{
    static bool made;
    struct session s;
    if (made)
        return true;
    if (!session_prepare(&s))
        return false;
    s.config.threads = 2;
    s.config.prefix_cache = false;
    struct ask ask = {INFLIGHT_PROMPT, subject, options, 0};
    made = session_open(&s) && session_run(&s, &ask, &baseline, 1);
    session_close(&s);
    CHECK_EQ(baseline.status, 0);
    CHECK_EQ(baseline.n_tokens, TOKENS);
    CHECK_EQ(baseline.n_hash, TOKENS);
    return made;
}

static void check_same(const struct answer *a, const char *how)
{
    if (a->status || a->n_hash < TOKENS || a->n_tokens != TOKENS)
        t_fail(__FILE__, __LINE__, "%s: status %d, %u tokens, %d rows of logits", how, a->status,
               a->n_tokens, a->n_hash);
    /* After a preemption the last row may have been computed twice: compare by tokens. */
    for (int i = 0; i < TOKENS; i++)
        if (a->hash[i] != baseline.hash[i]) {
            t_fail(__FILE__, __LINE__, "%s: logits of token %d differ", how, i);
            break;
        }
    CHECK_TEXT(a->text, baseline.text);
}

/* Runs the watched request alone under the configuration that change() makes. */
static void alone(void (*change)(struct config *config, int value), int value, const char *how)
{
    struct session s;
    struct answer a;
    if (!make_baseline() || !session_prepare(&s))
        return;
    s.config.threads = 2;
    s.config.prefix_cache = false;
    change(&s.config, value);
    struct ask ask = {INFLIGHT_PROMPT, subject, options, 0};
    if (session_open(&s) && session_run(&s, &ask, &a, 1))
        check_same(&a, how);
    session_close(&s);
}

static void set_chunk(struct config *config, int value)
{
    config->max_step_tokens = value;
}

static void set_threads(struct config *config, int value)
{
    config->threads = value;
}

TEST(invariance, prompt_cut_into_chunks_of_1_7_64_512)
{
    alone(set_chunk, 1, "chunk 1");
    alone(set_chunk, 7, "chunk 7");
    alone(set_chunk, 64, "chunk 64");
    alone(set_chunk, 512, "chunk 512");
}

TEST(invariance, one_thread_two_and_three)
{
    alone(set_threads, 1, "1 thread");
    alone(set_threads, 2, "2 threads");
    alone(set_threads, 3, "3 threads");
}

#define LONGER 90 /* tokens of: */
static const char longer[] = "{\"temperature\": 0, \"max_tokens\": 90, \"ignore_eos\": true}";

/* The watched request in the middle of 15 others. */
static void among_others(struct session *s, const char *others_options, const char *how)
{
    static struct answer answers[16];
    struct ask asks[16];
    for (int i = 0; i < 16; i++) {
        const char *text = i < 7 ? others[i] : i == 7 ? subject : others[i - 1];
        asks[i] = (struct ask){INFLIGHT_PROMPT, text, i == 7 ? options : others_options, 0};
    }
    if (!session_run(s, asks, answers, 16))
        return;
    check_same(&answers[7], how);
    for (int i = 0; i < 16; i++)
        CHECK_EQ(answers[i].status, 0);
}

TEST(invariance, among_15_others)
{
    struct session s;
    if (!make_baseline() || !session_prepare(&s))
        return;
    s.config.threads = 2;
    if (session_open(&s)) {
        among_others(&s, options, "among 15 others");
        among_others(&s, options, "among 15 others, prefixes cached");
    }
    session_close(&s);
}

TEST(invariance, among_15_others_in_small_chunks)
{
    struct session s;
    if (!make_baseline() || !session_prepare(&s))
        return;
    s.config.threads = 2;
    s.config.max_step_tokens = 23;
    if (session_open(&s))
        among_others(&s, options, "among 15 others, 23 tokens a step");
    session_close(&s);
}

TEST(invariance, served_from_the_prefix_cache)
{
    struct session s;
    struct answer a;
    if (!make_baseline() || !session_prepare(&s))
        return;
    struct ask ask = {INFLIGHT_PROMPT, subject, options, 0};
    if (session_open(&s)) {
        for (int i = 0; i < 3; i++) {
            if (!session_run(&s, &ask, &a, 1))
                break;
            check_same(&a, i ? "cached" : "first");
            CHECK(i == 0 ? a.n_cached == 0 : a.n_cached >= 48);
        }
    }
    session_close(&s);
}

TEST(invariance, parked_for_lack_of_pages_and_resumed)
{
    struct session s;
    inflight_stats stats = {0};
    if (!make_baseline() || !session_prepare(&s))
        return;
    s.config.threads = 2;
    /* Sixteen requests in two pages more than one of them may take. */
    s.config.context = ROUND_UP((int32_t)baseline.n_prompt + LONGER, 32);
    s.config.kv_tokens = s.config.context + 2 * PAGE_TOKENS;
    if (session_open(&s)) {
        among_others(&s, longer, "among 15 longer ones in few pages");
        engine_stats(s.engine, &stats);
        CHECK(stats.preemptions > 0);
    }
    session_close(&s);
}

TEST(invariance, a_seed_decides_alone)
{
    struct session s;
    static struct answer answers[3];
    if (!session_prepare(&s))
        return;
    static const char sampled[] =
        "{\"temperature\": 0.9, \"top_p\": 0.95, \"top_k\": 50, \"seed\": 7, \"max_tokens\": 32}";
    struct ask asks[3] = {{INFLIGHT_PROMPT, subject, sampled, 0},
                          {INFLIGHT_PROMPT, others[3], sampled, 0},
                          {INFLIGHT_PROMPT, subject, sampled, 0}};
    if (session_open(&s) && session_run(&s, asks, answers, 3)) {
        CHECK_TEXT(answers[2].text, answers[0].text);
        CHECK(strcmp(answers[1].text, answers[0].text) != 0);
    }
    session_close(&s);
}

TEST(invariance, every_instruction_set_and_cache_type_is_consistent)
{
    static struct answer answers[2];
    struct session s;
    int n_kv = on_host() ? KV_F32 + 1 : KV_FP8 + 1;
    for (int isa = 1; isa < ISA_COUNT; isa++)
        for (int kv = 0; kv < n_kv && cpu_can((enum isa)isa); kv++) {
            if (!session_prepare(&s))
                return;
            s.config.isa = isa;
            s.config.kv_type = kv;
            struct ask asks[2] = {{INFLIGHT_PROMPT, others[9], options, 0},
                                  {INFLIGHT_PROMPT, others[9], options, 0}};
            if (session_open(&s) && session_run(&s, asks, answers, 1) &&
                session_run(&s, asks, answers + 1, 1)) {
                CHECK_EQ(answers[0].status, 0);
                CHECK_TEXT(answers[1].text, answers[0].text);
                for (int i = 0; i < TOKENS; i++)
                    CHECK(answers[0].hash[i] == answers[1].hash[i]);
            }
            session_close(&s);
        }
}

/* Physical memory of this process, bytes. */
static long resident(void)
{
    long size = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f) {
        if (fscanf(f, "%ld %ld", &size, &pages) != 2)
            pages = 0;
        fclose(f);
    }
    return pages * 4096;
}

struct pauses {
    struct session *session;
    _Atomic bool stop;
    _Atomic int run; /* odd while one goes on, counted up at its start and its end */
    _Atomic int n;   /* pauses that began and ended within one run */
};

static void control(const struct pauses *p, uint32_t op, uint32_t level)
{
    struct err err;
    while (engine_control(p->session->engine, op, level, &err) == INFLIGHT_E_BUSY)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void *pause_and_resume(void *arg)
{
    struct pauses *p = arg;
    while (!p->stop) {
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        int run = p->run;
        control(p, INFLIGHT_CTL_PAUSE, 1);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        p->n += run % 2 && p->run == run;
        control(p, INFLIGHT_CTL_RESUME, 0);
    }
    return NULL;
}

#define RUNS_MOST 500

/* However fast the device is: runs until some of them were paused. */
static void run_paused(struct session *s, const struct ask *ask)
{
    struct pauses pauses = {.session = s};
    struct answer a;
    pthread_t thread;
    int runs = 0;
    pthread_create(&thread, NULL, pause_and_resume, &pauses);
    while (pauses.n <= 2 && runs++ < RUNS_MOST) {
        pauses.run++;
        bool ran = session_run(s, ask, &a, 1);
        pauses.run++;
        if (!ran)
            break;
        check_same(&a, "paused and resumed");
    }
    pauses.stop = true;
    pthread_join(thread, NULL);
    printf("  %d pauses in %d runs\n", pauses.n, runs);
    CHECK(pauses.n > 2);
}

/* At level 1 the scratch of steps is given to the system and made anew. */
TEST(invariance, paused_and_resumed_between_steps)
{
    struct session s;
    struct answer a;
    struct err err;
    if (!make_baseline() || !session_prepare(&s))
        return;
    s.config.threads = 2;
    s.config.prefix_cache = false;
    struct ask ask = {INFLIGHT_PROMPT, subject, options, 0};
    if (session_open(&s) && session_run(&s, &ask, &a, 1)) {
        long before = resident();
        CHECK_EQ(engine_control(s.engine, INFLIGHT_CTL_PAUSE, 1, &err), INFLIGHT_OK);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        CHECK(resident() < before - (2 << 20) || !on_host());
        CHECK_EQ(engine_control(s.engine, INFLIGHT_CTL_RESUME, 0, &err), INFLIGHT_OK);
        run_paused(&s, &ask);
    }
    session_close(&s);
}
