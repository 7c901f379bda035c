/* How long the calls of the boundary take: bench/abi LIBRARY CONFIG [seconds]. Times of
 * single calls in nanoseconds, the two clock readings around each included (printed as
 * "clock" for comparison). */
#define _GNU_SOURCE
#include "include/inflight.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STREAMS = 16, MOST = 4000000, LONG = 1000000 /* tokens: until cancelled */ };

static const inflight_api *api;
static inflight_init_params params;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what, int32_t rc, inflight_engine *e)
{
    char text[512] = "";
    (void)api->query(e, INFLIGHT_Q_ERROR, text, sizeof text);
    fprintf(stderr, "%s: %d %s\n", what, rc, text);
    exit(1);
}

/* ---- Samples: all are kept, so that the percentiles are exact. */

static uint64_t *sample;
static size_t n_samples;

static void add(uint64_t ns)
{
    if (n_samples < MOST)
        sample[n_samples++] = ns;
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void report(const char *name)
{
    static const double part[] = {0.5, 0.9, 0.99, 0.999, 1.0};
    if (!n_samples)
        return;
    qsort(sample, n_samples, sizeof *sample, ascending);
    printf("%-22s %9zu", name, n_samples);
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        size_t at = (size_t)(part[i] * (double)(n_samples - 1));
        printf(" %11llu", (unsigned long long)sample[at]);
    }
    printf("\n");
    fflush(stdout);
    n_samples = 0;
}

/* ---- */

static inflight_engine *start(void)
{
    inflight_engine *e = NULL;
    int32_t rc = api->init(&params, &e);
    if (rc)
        die("init", rc, NULL);
    return e;
}

static int32_t poll_once(inflight_engine *e, inflight_event *ev, uint32_t cap, uint64_t timeout)
{
    int32_t n = api->poll(e, ev, sizeof *ev, cap, timeout);
    if (n < 0)
        die("poll", n, e);
    return n;
}

static void wait_ready(inflight_engine *e)
{
    inflight_event ev = {0};
    while (ev.type != INFLIGHT_EV_READY)
        poll_once(e, &ev, 1, 100000000);
    if (ev.status)
        die("READY", ev.status, e);
}

/* Returns how long the call took. */
static uint64_t submit(inflight_engine *e, uint32_t max_tokens, inflight_req *id)
{
    static const char input[] = "Once upon a time, in a town by the sea, there lived a girl who";
    static const char options[] = "{\"temperature\": 0, \"ignore_eos\": true}";
    inflight_request r = {.h = {sizeof r, INFLIGHT_ABI}, .kind = INFLIGHT_PROMPT};
    r.input = (inflight_str){input, sizeof input - 1};
    r.options = (inflight_str){options, sizeof options - 1};
    r.max_tokens = max_tokens;
    uint64_t begin = now_ns();
    int32_t rc = api->submit(e, &r, id);
    uint64_t took = now_ns() - begin;
    if (rc)
        die("submit", rc, e);
    return took;
}

/* Cancels n requests and takes events until each is DONE. */
static void end_all(inflight_engine *e, const inflight_req *id, int n)
{
    inflight_event ev[64];
    for (int i = 0; i < n; i++)
        (void)api->cancel(e, id[i]);
    while (n > 0) {
        int32_t got = poll_once(e, ev, 64, 100000000);
        for (int32_t i = 0; i < got; i++)
            n -= ev[i].type == INFLIGHT_EV_DONE;
    }
}

/* ---- The measurements */

static void bench_init(void)
{
    for (int i = 0; i < 50; i++) {
        uint64_t begin = now_ns();
        inflight_engine *e = start();
        add(now_ns() - begin);
        api->free(e);
    }
    report("init");
}

static void bench_free(void)
{
    for (int i = 0; i < 20; i++) {
        inflight_engine *e = start();
        inflight_req id;
        wait_ready(e);
        for (int k = 0; k < 4; k++)
            (void)submit(e, LONG, &id);
        nanosleep(&(struct timespec){0, 30000000}, NULL);
        uint64_t begin = now_ns();
        api->free(e);
        add(now_ns() - begin);
    }
    report("free, 4 running");
}

static void bench_idle(inflight_engine *e)
{
    inflight_event ev[64];
    while (poll_once(e, ev, 64, 50000000))
        ;
    for (int i = 0; i < 1000000; i++) {
        uint64_t begin = now_ns();
        add(now_ns() - begin);
    }
    report("clock");
    for (int i = 0; i < 1000000; i++) {
        uint64_t begin = now_ns();
        poll_once(e, ev, 64, 0);
        add(now_ns() - begin);
    }
    report("poll, idle");
}

static void bench_submit(inflight_engine *e)
{
    inflight_req id[STREAMS];
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < STREAMS; i++)
            add(submit(e, LONG, &id[i]));
        end_all(e, id, STREAMS);
    }
    report("submit");
}

/* A host that polls and then sleeps for interval_ns while STREAMS requests run. */
static void bench_busy(inflight_engine *e, double seconds, uint64_t interval_ns, const char *name)
{
    inflight_event ev[64];
    inflight_req id[STREAMS];
    for (int i = 0; i < STREAMS; i++)
        (void)submit(e, LONG, &id[i]);
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9), tokens = 0, events = 0;
    bool one_ended = false;
    while (now_ns() < end && !one_ended) {
        uint64_t begin = now_ns();
        int32_t n = poll_once(e, ev, 64, 0);
        if (n)
            add(now_ns() - begin);
        events += (uint64_t)n;
        for (int32_t i = 0; i < n; i++) {
            tokens += ev[i].type == INFLIGHT_EV_TEXT ? ev[i].n_tokens : 0;
            one_ended |= ev[i].type == INFLIGHT_EV_DONE;
        }
        if (interval_ns)
            nanosleep(&(struct timespec){0, (long)interval_ns}, NULL);
    }
    report(name);
    printf("  %llu tokens in %llu events%s\n", (unsigned long long)tokens,
           (unsigned long long)events, one_ended ? ", until the first ended" : "");
    if (!one_ended)
        end_all(e, id, STREAMS);
}

static void bench_cancel(inflight_engine *e)
{
    for (int i = 0; i < 100; i++) {
        inflight_event ev;
        inflight_req id;
        (void)submit(e, LONG, &id);
        do
            poll_once(e, &ev, 1, 1000000000);
        while (ev.req != id);
        uint64_t begin = now_ns();
        (void)api->cancel(e, id);
        do
            poll_once(e, &ev, 1, 1000000000);
        while (ev.type != INFLIGHT_EV_DONE);
        add(now_ns() - begin);
    }
    report("cancel to DONE");
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "Usage: abi LIBRARY CONFIG [seconds]\n");
        return 2;
    }
    double seconds = argc > 3 ? strtod(argv[3], NULL) : 5;
    void *object = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    const inflight_api *(*get)(uint32_t) = NULL;
    if (object)
        *(void **)&get = dlsym(object, "inflight_get_api");
    sample = malloc(MOST * sizeof *sample);
    if (!get || !(api = get(INFLIGHT_ABI)) || !sample) {
        fprintf(stderr, "%s: not a libinflight.so\n", argv[1]);
        return 2;
    }
    params = (inflight_init_params){.h = {sizeof params, INFLIGHT_ABI}};
    params.config_path = (inflight_str){argv[2], INFLIGHT_NTS};
    printf("%-22s %9s %11s %11s %11s %11s %11s  (ns)\n", "call", "samples", "p50", "p90", "p99",
           "p99.9", "max");
    bench_init();
    inflight_engine *e = start();
    wait_ready(e);
    bench_idle(e);
    bench_submit(e);
    bench_cancel(e);
    bench_busy(e, seconds, 0, "poll, 16 streams, spin");
    api->free(e);
    e = start(); /* requests that were left when one ended */
    wait_ready(e);
    bench_busy(e, seconds, 16666667, "poll, 16 streams, 60Hz");
    api->free(e);
    bench_free();
    dlclose(object);
    free(sample);
    return 0;
}
