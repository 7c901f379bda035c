/* Throughput and latency through the ABI alone: dlopen, submit, poll.
 *
 *   serve LIB MODEL decode|prefill|parallel|batching|joining [threads] [rounds] [step_ms]
 *         [priority]
 *
 *   decode    one request: 16 tokens of prompt, 128 generated; tokens/s after the first
 *   prefill   one request of 512 tokens of prompt; prompt tokens/s until the first token
 *   parallel  16 requests of 128 + 64 tokens at once; generated tokens/s
 *   batching  in-flight against static batching on one list of requests, see make_list
 *   joining   a prompt of 1024 tokens joins 8 answers: how long steps take and how long the
 *             answers wait for their next token until it is computed
 *
 * Each prints one JSON object a line with every round and the median. */
#include "inflight.h"

#include <dlfcn.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_REQUESTS 256
#define MAX_ROUNDS   32

static const inflight_api *api;

struct job {
    int prompt_tokens, max_tokens;
    double ttft_s, total_s; /* from the submit of the whole list */
    int generated, prompt;
    double decode_s; /* first token to the end */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *what, inflight_engine *engine)
{
    char text[512] = "";
    if (api)
        api->query(engine, INFLIGHT_Q_ERROR, text, sizeof text);
    fprintf(stderr, "%s %s\n", what, text);
    exit(1);
}

struct options {
    int threads, rounds, step_ms;
    const char *priority; /* normal unless given: other programs are measured beside it */
};

static inflight_engine *open_engine(const char *model, const struct options *o, int sequences)
{
    char yaml[1024];
    inflight_engine *engine;
    snprintf(yaml, sizeof yaml,
             "version: 1\nmodel: {path: \"%s\", context: 2048}\n"
             "device: {threads: %d, priority: %s}\nkv_cache: {prefix_cache: false}\n"
             "batch: {max_sequences: %d, step_ms: %d}\n",
             model, o->threads, o->priority, sequences, o->step_ms);
    inflight_init_params params = {.h = {sizeof params, INFLIGHT_ABI},
                                   .config = {yaml, INFLIGHT_NTS}};
    if (api->init(&params, &engine))
        die("init:", NULL);
    for (;;) {
        inflight_event e;
        int32_t n = api->poll(engine, &e, sizeof e, 1, 1000000000);
        if (n < 0)
            die("poll:", engine);
        if (n && e.type == INFLIGHT_EV_READY) {
            if (e.status)
                die("load:", engine);
            return engine;
        }
    }
}

/* n tokens: common words with a space before them are one token each. */
static void make_prompt(char *out, size_t cap, int tokens, int id)
{
    static const char *const word[] = {" time",  " water", " house", " people", " world",
                                       " music", " light", " story", " city",   " tree"};
    size_t len = (size_t)snprintf(out, cap, "Story");
    for (int i = 1; i < tokens && len + 10 < cap; i++)
        len += (size_t)snprintf(out + len, cap - len, "%s", word[(i * 7 + i * i * 3 + id) % 10]);
}

/* Submits all jobs at once and polls to the end; returns seconds. */
static double run(inflight_engine *engine, struct job *job, int n)
{
    static char prompt[16384];
    char options[128];
    double start = now();
    for (int i = 0; i < n; i++) {
        inflight_req req;
        make_prompt(prompt, sizeof prompt, job[i].prompt_tokens, i);
        snprintf(options, sizeof options,
                 "{\"temperature\": 0, \"ignore_eos\": true, \"max_tokens\": %d}",
                 job[i].max_tokens);
        inflight_request r = {.h = {sizeof r, INFLIGHT_ABI},
                              .user = (uint64_t)i,
                              .kind = INFLIGHT_PROMPT,
                              .input = {prompt, INFLIGHT_NTS},
                              .options = {options, INFLIGHT_NTS}};
        if (api->submit(engine, &r, &req))
            die("submit:", engine);
    }
    for (int done = 0; done < n;) {
        inflight_event e[32];
        int32_t k = api->poll(engine, e, sizeof e[0], 32, 1000000000);
        if (k < 0)
            die("poll:", engine);
        for (int32_t i = 0; i < k; i++) {
            if (e[i].type != INFLIGHT_EV_DONE)
                continue;
            struct job *j = &job[e[i].user];
            if (e[i].status)
                die("request failed:", engine);
            j->ttft_s = 1e-9 * (double)e[i].ttft_ns;
            j->total_s = 1e-9 * (double)e[i].total_ns;
            j->decode_s = j->total_s - j->ttft_s;
            j->generated = (int)e[i].n_tokens;
            j->prompt = (int)e[i].n_prompt;
            done++;
        }
    }
    return now() - start;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *value, int n, double q)
{
    double sorted[MAX_REQUESTS];
    memcpy(sorted, value, (size_t)n * sizeof *value);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    return sorted[(int)(q * (n - 1) + 0.5)];
}

static void print_rounds(const char *name, const double *value, int n)
{
    printf("{\"workload\": \"%s\", \"median\": %.2f, \"min\": %.2f, \"max\": %.2f, \"rounds\": [",
           name, quantile(value, n, 0.5), quantile(value, n, 0), quantile(value, n, 1));
    for (int i = 0; i < n; i++)
        printf("%s%.2f", i ? ", " : "", value[i]);
    printf("]}\n");
    fflush(stdout);
}

static void bench_decode(inflight_engine *engine, int rounds)
{
    double rate[MAX_ROUNDS];
    for (int i = -1; i < rounds; i++) {
        struct job job = {16, 128, 0, 0, 0, 0, 0};
        run(engine, &job, 1);
        if (i >= 0)
            rate[i] = (job.generated - 1) / job.decode_s;
    }
    print_rounds("decode", rate, rounds);
}

static void bench_prefill(inflight_engine *engine, int rounds)
{
    double rate[MAX_ROUNDS];
    for (int i = -1; i < rounds; i++) {
        struct job job = {512, 1, 0, 0, 0, 0, 0};
        run(engine, &job, 1);
        if (i >= 0)
            rate[i] = job.prompt / job.ttft_s;
    }
    print_rounds("prefill512", rate, rounds);
}

static void bench_parallel(inflight_engine *engine, int rounds)
{
    static const int count[] = {16};
    for (size_t c = 0; c < sizeof count / sizeof *count; c++) {
        double rate[MAX_ROUNDS];
        char name[32];
        for (int i = 0; i < rounds; i++) {
            struct job job[32];
            for (int k = 0; k < count[c]; k++)
                job[k] = (struct job){128, 64, 0, 0, 0, 0, 0};
            double seconds = run(engine, job, count[c]);
            rate[i] = 64.0 * count[c] / seconds;
        }
        snprintf(name, sizeof name, "parallel%d", count[c]);
        print_rounds(name, rate, rounds);
    }
}

/* ---- In-flight against static ------------------------------------------------------ */

static uint64_t state;

static double uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(state >> 11) + 0.5) * 0x1p-53;
}

static double normal(void)
{
    return sqrt(-2 * log(uniform())) * cos(2 * 3.14159265358979 * uniform());
}

#define LIST   128
#define PLACES 16

/* 128 requests for 16 places: prompts of 16 to 79 tokens; output lengths log-normal with
 * mean 64 and sigma 1 (mu = ln 64 - 1/2), cut to 1 .. 512; the same list every time. */
static void make_list(struct job *job)
{
    state = 42;
    for (int i = 0; i < LIST; i++) {
        double length = exp(log(64) - 0.5 + normal());
        int tokens = length < 1 ? 1 : length > 512 ? 512 : (int)(length + 0.5);
        job[i] = (struct job){16 + (int)(uniform() * 64), tokens, 0, 0, 0, 0, 0};
    }
}

/* All at once, with the engine's own batching: 0 in-flight, 1 static, where a batch begins
 * when the last one has ended and the places that have become empty are not computed. */
static double run_list(inflight_engine *engine, struct job *job, uint32_t batching)
{
    if (api->control(engine, INFLIGHT_CTL_BATCHING, &batching, sizeof batching))
        die("control:", engine);
    return run(engine, job, LIST);
}

/* Static batching as it is with padded batches: every place is computed until the batch's
 * longest answer has ended, and the batch is answered then. What a place generates after
 * its own end is not counted. */
static double run_padded(inflight_engine *engine, struct job *job)
{
    double seconds = 0;
    for (int first = 0; first < LIST; first += PLACES) {
        struct job batch[PLACES];
        int longest = 0;
        memcpy(batch, job + first, sizeof batch);
        for (int i = 0; i < PLACES; i++)
            longest = batch[i].max_tokens > longest ? batch[i].max_tokens : longest;
        for (int i = 0; i < PLACES; i++)
            batch[i].max_tokens = longest;
        double took = run(engine, batch, PLACES);
        for (int i = 0; i < PLACES; i++) {
            job[first + i].ttft_s = seconds + batch[i].ttft_s;
            job[first + i].total_s = seconds + took;
        }
        seconds += took;
    }
    return seconds;
}

static void print_latency(const char *mode, const struct job *job)
{
    double ttft[LIST], total[LIST];
    for (int i = 0; i < LIST; i++) {
        ttft[i] = job[i].ttft_s;
        total[i] = job[i].total_s;
    }
    printf("{\"mode\": \"%s\", \"ttft_s\": {\"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f}, "
           "\"total_s\": {\"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f}}\n",
           mode, quantile(ttft, LIST, 0.5), quantile(ttft, LIST, 0.9), quantile(ttft, LIST, 0.99),
           quantile(total, LIST, 0.5), quantile(total, LIST, 0.9), quantile(total, LIST, 0.99));
}

static void bench_batching(inflight_engine *engine, int rounds)
{
    enum { IN_FLIGHT, STATIC, PADDED, MODES };
    static const char *const name[] = {"in_flight", "static_skipping_ended", "static_padded"};
    double rate[MODES][MAX_ROUNDS], over_static[MAX_ROUNDS], over_padded[MAX_ROUNDS];
    static struct job job[LIST];
    for (int i = 0; i < rounds; i++) {
        for (uint32_t mode = 0; mode < MODES; mode++) {
            int tokens = 0;
            make_list(job);
            for (int k = 0; k < LIST; k++)
                tokens += job[k].max_tokens;
            double seconds = mode == PADDED ? run_padded(engine, job) : run_list(engine, job, mode);
            rate[mode][i] = tokens / seconds;
            if (i == rounds - 1)
                print_latency(name[mode], job);
        }
        over_static[i] = rate[IN_FLIGHT][i] / rate[STATIC][i];
        over_padded[i] = rate[IN_FLIGHT][i] / rate[PADDED][i];
    }
    print_rounds("in_flight_tokens_per_s", rate[IN_FLIGHT], rounds);
    print_rounds("static_skipping_ended_tokens_per_s", rate[STATIC], rounds);
    print_rounds("static_padded_tokens_per_s", rate[PADDED], rounds);
    print_rounds("in_flight_over_static_skipping_ended", over_static, rounds);
    print_rounds("in_flight_over_static_padded", over_padded, rounds);
}

/* ---- A long prompt beside answers --------------------------------------------------- */

#define ANSWERS      8
#define JOINING      1024
#define MOST_SAMPLES 65536

struct spread {
    double ms[MOST_SAMPLES];
    int n;
};

struct joining {
    inflight_engine *engine;
    inflight_req req[ANSWERS];
    double last[ANSWERS]; /* token of each */
    int tokens[ANSWERS];
    inflight_stats stats; /* when last looked */
    bool counts;          /* the prompt is being computed */
    bool done;
    struct spread step, gap;
};

static void add(struct spread *spread, double ms)
{
    if (spread->n < MOST_SAMPLES)
        spread->ms[spread->n++] = ms;
}

static void print_spread(const char *name, struct spread *spread)
{
    qsort(spread->ms, (size_t)spread->n, sizeof spread->ms[0], by_value);
    printf("{\"%s\": %d", name, spread->n);
    static const double part[] = {0.5, 0.9, 0.99, 1};
    static const char *const label[] = {"p50", "p90", "p99", "max"};
    for (int i = 0; i < 4 && spread->n; i++)
        printf(", \"%s_ms\": %.1f", label[i], spread->ms[(int)(part[i] * (spread->n - 1) + 0.5)]);
    printf("}\n");
}

/* Steps since the last look, which are one as a rule: each gives every answer a token. */
static void look_at_steps(struct joining *j)
{
    inflight_stats now_is = {.h = {sizeof now_is, INFLIGHT_ABI}};
    api->query(j->engine, INFLIGHT_Q_STATS, &now_is, sizeof now_is);
    uint64_t steps = now_is.steps - j->stats.steps;
    double ms = 1e-6 * (double)(now_is.step_ns - j->stats.step_ns) / (double)(steps ? steps : 1);
    for (uint64_t i = 0; i < steps && j->counts; i++)
        add(&j->step, ms);
    j->stats = now_is;
}

static void poll_joining(struct joining *j)
{
    inflight_event e[32];
    int32_t n = api->poll(j->engine, e, sizeof e[0], 32, 1000000000);
    if (n < 0)
        die("poll:", j->engine);
    double at = now();
    for (int32_t i = 0; i < n; i++) {
        uint64_t k = e[i].user;
        if (e[i].type == INFLIGHT_EV_DONE && k == ANSWERS)
            j->done = true;
        if (e[i].type != INFLIGHT_EV_TEXT || k >= ANSWERS)
            continue;
        if (j->counts)
            add(&j->gap, 1e3 * (at - j->last[k]));
        j->last[k] = at;
        j->tokens[k] += (int)e[i].n_tokens;
    }
    look_at_steps(j);
}

static inflight_req submit_joining(struct joining *j, int user, int prompt_tokens, uint32_t tokens)
{
    static char prompt[16384];
    static const char options[] = "{\"temperature\": 0, \"ignore_eos\": true}";
    inflight_req req;
    make_prompt(prompt, sizeof prompt, prompt_tokens, user);
    inflight_request r = {.h = {sizeof r, INFLIGHT_ABI},
                          .user = (uint64_t)user,
                          .kind = INFLIGHT_PROMPT,
                          .input = {prompt, INFLIGHT_NTS},
                          .options = {options, INFLIGHT_NTS},
                          .max_tokens = tokens,
                          .flags = INFLIGHT_REQ_NO_COALESCE};
    if (api->submit(j->engine, &r, &req))
        die("submit:", j->engine);
    return req;
}

static void join_once(struct joining *j, double *seconds)
{
    memset(j->tokens, 0, sizeof j->tokens);
    for (int i = 0; i < ANSWERS; i++)
        j->req[i] = submit_joining(j, i, 16, 1500);
    for (int i = 0; i < ANSWERS; i++)
        while (j->tokens[i] < 20)
            poll_joining(j);
    double start = now();
    j->done = false;
    j->counts = true;
    submit_joining(j, ANSWERS, JOINING, 1);
    while (!j->done)
        poll_joining(j);
    j->counts = false;
    *seconds = now() - start;
    for (int i = 0; i < ANSWERS; i++)
        (void)api->cancel(j->engine, j->req[i]);
    do
        poll_joining(j);
    while (j->stats.running + j->stats.waiting > 0);
}

static void bench_joining(inflight_engine *engine, int rounds)
{
    static struct joining j;
    double seconds[MAX_ROUNDS];
    j.engine = engine;
    j.stats.h = (inflight_hdr){sizeof j.stats, INFLIGHT_ABI};
    for (int i = 0; i < rounds; i++)
        join_once(&j, &seconds[i]);
    print_spread("steps", &j.step);
    print_spread("waits_for_a_token", &j.gap);
    print_rounds("seconds_until_1024_joined", seconds, rounds);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr,
                "usage: %s LIB MODEL decode|prefill|parallel|batching|joining [threads] [rounds] "
                "[step_ms] [priority]\n",
                argv[0]);
        return 2;
    }
    struct options o = {.threads = argc > 4 ? atoi(argv[4]) : 0,
                        .rounds = argc > 5 ? atoi(argv[5]) : 5,
                        .step_ms = argc > 6 ? atoi(argv[6]) : 25,
                        .priority = argc > 7 ? argv[7] : "normal"};
    int rounds = o.rounds < 1 ? 1 : o.rounds > MAX_ROUNDS ? MAX_ROUNDS : o.rounds;
    void *object = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!object) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    const inflight_api *(*get)(uint32_t);
    *(void **)&get = dlsym(object, "inflight_get_api");
    api = get ? get(INFLIGHT_ABI) : NULL;
    if (!api)
        die("no such ABI", NULL);
    bool batching = strcmp(argv[3], "batching") == 0;
    inflight_engine *engine = open_engine(argv[2], &o, batching ? PLACES : 32);
    if (batching)
        bench_batching(engine, rounds);
    else if (strcmp(argv[3], "decode") == 0)
        bench_decode(engine, rounds);
    else if (strcmp(argv[3], "prefill") == 0)
        bench_prefill(engine, rounds);
    else if (strcmp(argv[3], "joining") == 0)
        bench_joining(engine, rounds);
    else
        bench_parallel(engine, rounds);
    api->free(engine);
    return 0;
}
