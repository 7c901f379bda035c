/* Lives: several engines, several copies, freeing at awkward moments, unloading. */
#include "validator.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void two_engines(void)
{
    struct object o = object_open(target.object);
    static struct watch a, b;
    inflight_init_params p = default_params();
    watch_init(&a, o.api, engine_start(o.api, &p));
    watch_init(&b, o.api, engine_start(o.api, &p));
    WANT(a.engine != b.engine);
    for (int i = 0; i < 4; i++) {
        watch_submit(&a, long_request(10));
        watch_submit(&b, long_request(10));
    }
    watch_drain(&a, 60000);
    WANT_EQ(o.api->free(a.engine), INFLIGHT_OK);
    watch_drain(&b, 60000);
    WANT_EQ(o.api->free(b.engine), INFLIGHT_OK);
    object_close(&o);
    WANT(SANITIZED || count_mappings(target.object) == 0);
}

static void copy_file(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    char bytes[65536];
    ssize_t n = 0;
    while (in >= 0 && out >= 0 && (n = read(in, bytes, sizeof bytes)) > 0)
        if (write(out, bytes, (size_t)n) != n)
            fail("cannot write %s", to);
    if (in < 0 || out < 0 || n < 0)
        skip("cannot copy the object to a temporary folder");
    close(in);
    close(out);
}

static void two_copies(void)
{
    char path[128];
    snprintf(path, sizeof path, "/tmp/inflight-validator-%ld.so", (long)getpid());
    copy_file(target.object, path);
    struct object a = object_open(target.object), b = object_open(path);
    unlink(path);
    WANT(a.api != b.api);
    static struct watch v, w;
    inflight_init_params p = default_params();
    watch_init(&v, a.api, engine_start(a.api, &p));
    watch_init(&w, b.api, engine_start(b.api, &p));
    inflight_event ev;
    WANT_EQ(b.api->poll(v.engine, &ev, sizeof ev, 1, 0), INFLIGHT_E_STALE);
    watch_submit(&v, long_request(5));
    watch_submit(&w, long_request(5));
    watch_drain(&v, 60000);
    watch_drain(&w, 60000);
    WANT_EQ(a.api->free(v.engine), INFLIGHT_OK);
    object_close(&a);
    clean_round(b.api);
    WANT_EQ(b.api->free(w.engine), INFLIGHT_OK);
    object_close(&b);
}

/* ---- Free while others are inside */

static struct watch shared;
static atomic_int inside;

static void *wait_in_poll(void *arg)
{
    (void)arg;
    inflight_event ev;
    int32_t n;
    do {
        atomic_store(&inside, 1);
        n = shared.api->poll(shared.engine, &ev, sizeof ev, 1, 20000000000u);
    } while (n >= 0);
    return (void *)(intptr_t)n;
}

static void *call_until_over(void *arg)
{
    (void)arg;
    inflight_request r = long_request(3);
    inflight_req id = 1;
    inflight_stats s = {.h = {sizeof s, INFLIGHT_ABI}};
    int32_t rc = 0, seen = 0;
    while (rc != INFLIGHT_E_STALE && rc != INFLIGHT_E_SHUTDOWN) {
        rc = shared.api->submit(shared.engine, &r, &id);
        seen = rc == INFLIGHT_OK || rc == INFLIGHT_E_BUSY ? seen : rc;
        (void)shared.api->cancel(shared.engine, id);
        (void)shared.api->query(shared.engine, INFLIGHT_Q_STATS, &s, sizeof s);
        (void)shared.api->event_fd(shared.engine);
    }
    return (void *)(intptr_t)seen;
}

static void free_among_calls(const inflight_api *api, unsigned round)
{
    enum { CALLERS = 3 };
    unsigned long poller, caller[CALLERS];
    inflight_init_params p = default_params();
    watch_init(&shared, api, round % 4 ? engine_start(api, &p) : engine_start_ready(api));
    atomic_store(&inside, 0);
    start_thread(&poller, wait_in_poll, NULL, 0);
    for (int i = 0; i < CALLERS; i++)
        start_thread(&caller[i], call_until_over, NULL, 0);
    while (!atomic_load(&inside))
        sleep_ms(1);
    sleep_ms(round % 7);
    double begin = now_ms();
    WANT_EQ(api->free(shared.engine), INFLIGHT_OK);
    WANT(now_ms() - begin < 10000);
    int32_t n = (int32_t)(intptr_t)join_thread(poller);
    WANT(n == INFLIGHT_E_SHUTDOWN || n == INFLIGHT_E_STALE);
    for (int i = 0; i < CALLERS; i++) {
        int32_t rc = (int32_t)(intptr_t)join_thread(caller[i]);
        WANT(rc == INFLIGHT_E_SHUTDOWN || rc == INFLIGHT_E_STALE);
    }
}

static void free_during_poll(void)
{
    struct object o = object_open(target.object);
    for (unsigned round = 0; round < 40; round++)
        free_among_calls(o.api, round);
}

static void free_phases(void)
{
    struct object o = object_open(target.object);
    inflight_init_params p = default_params();
    static struct watch w;
    double most = 0;
    for (unsigned ms = 0; ms < 12; ms++) {
        watch_init(&w, o.api, engine_start(o.api, &p));
        if (ms % 3 == 2)
            watch_ready(&w);
        for (int i = 0; i < 4; i++)
            watch_submit(&w, long_request(100000));
        sleep_ms(ms * ms);
        double begin = now_ms();
        WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
        double took = now_ms() - begin;
        most = took > most ? took : most;
    }
    note("free took at most %lld ms", (long long)most);
    if (most > 2000)
        fail("; more than 2 s");
}

/* ---- Unloading */

static void unload_early(void)
{
    if (SANITIZED)
        skip("a build with a sanitizer does not hold itself");
    struct object o = object_open(target.object);
    static struct watch w;
    watch_init(&w, o.api, engine_start_ready(o.api));
    w.readies = 1;
    watch_submit(&w, long_request(20));
    object_close(&o);
    if (!count_mappings(target.object))
        fail("dlclose unmapped the object under its engine");
    watch_drain(&w, 60000);
    watch_submit(&w, long_request(100000));
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
    WANT_EQ(count_mappings(target.object), 0);
}

static void *free_and_unload(void *arg)
{
    struct object *o = arg;
    if (shared.api->free(shared.engine))
        fail("free failed");
    object_close(o);
    return NULL;
}

static void unload_thread(void)
{
    for (int i = 0; i < 20; i++) {
        struct object o = object_open(target.object);
        inflight_init_params p = default_params();
        unsigned long thread;
        watch_init(&shared, o.api, engine_start(o.api, &p));
        watch_submit(&shared, long_request(100000));
        sleep_ms((unsigned)i % 5);
        start_thread(&thread, free_and_unload, &o, 0);
        join_thread(thread);
    }
}

static void cycle(int i)
{
    struct object o = object_open(target.object);
    inflight_init_params p = default_params();
    static struct watch w;
    watch_init(&w, o.api, engine_start(o.api, &p));
    watch_submit(&w, long_request(2));
    if (i % 50 == 0)
        watch_drain(&w, 60000);
    else if (i % 2)
        watch_poll(&w, 0);
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
    object_close(&o);
}

static int settled_tasks(int want)
{
    int n = count_threads();
    for (int i = 0; i < 200 && n > want; i++) {
        sleep_ms(1); /* a joined thread leaves /proc a moment later */
        n = count_threads();
    }
    return n;
}

static void reload(void)
{
    int fds = 0, tasks = 0;
    long rss = 0, code = 0;
    double begin = now_ms();
    for (int i = 0; i < target.cycles; i++) {
        cycle(i);
        if (i == CYCLES_WARM) {
            fds = count_descriptors();
            tasks = settled_tasks(1);
            rss = resident_kib();
            code = executable_kib();
        }
    }
    double took = now_ms() - begin;
    int mapped = count_mappings(target.object);
    int more_fds = count_descriptors() - fds;
    int more_tasks = settled_tasks(tasks) - tasks;
    long more_kib = resident_kib() - rss, more_code = executable_kib() - code;
    note("%d cycles in %lld ms: %+d descriptors, %+d threads, %+ld KiB, %d mappings left",
         target.cycles, (long long)took, more_fds, more_tasks, more_kib, mapped);
    if (more_fds || more_tasks)
        fail("; something is left behind");
    if (more_code)
        fail("; %ld KiB of generated code are still mapped", more_code);
    if (mapped && !SANITIZED)
        fail("; it is still mapped");
    if (more_kib > 4096 && !SANITIZED)
        fail("; memory grows");
}

const struct test tests_unload[] = {
    {"two-engines", "two engines at once, then none", two_engines, 120},
    {"two-copies", "two copies of the object side by side", two_copies, 120},
    {"free-during-poll", "free while other threads are inside calls", free_during_poll, 120},
    {"free-phases", "free before, while and after loading", free_phases, 180},
    {"unload-early", "dlclose before free", unload_early, 120},
    {"unload-thread", "free and dlclose on another thread", unload_thread, 120},
    {"reload", "many lives leave nothing behind", reload, 900},
    {0},
};
