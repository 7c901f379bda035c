/* Requests and events: order, exactly one DONE, waiting, cancelling, deadlines. */
#include "validator.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void init_fast(void)
{
    struct object o = object_open(target.object);
    inflight_init_params p = default_params();
    const int most = SANITIZED ? 100 : 5;
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        double begin = now_ms();
        inflight_engine *e = engine_start(o.api, &p);
        double took = now_ms() - begin;
        best = took < best ? took : best;
        WANT_EQ(o.api->free(e), INFLIGHT_OK);
    }
    note("init returns after %lld us (best of 5)", (long long)(best * 1000));
    if (best > most)
        fail("; more than %d ms", most);
}

static void submit_before_ready(void)
{
    struct object o = object_open(target.object);
    static struct watch w;
    inflight_init_params p = default_params();
    watch_init(&w, o.api, engine_start(o.api, &p));
    for (int i = 0; i < 3; i++)
        watch_submit(&w, long_request(5));
    watch_drain(&w, 60000);
    WANT_EQ(w.readies, 1);
    for (uint32_t i = 0; i < 3; i++) {
        WANT_EQ(w.item[i].status, INFLIGHT_OK);
        WANT_EQ(w.item[i].n_tokens, 5);
        WANT(w.item[i].bytes > 0);
    }
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
}

/* ---- Eight threads */

enum { WORKERS = 8, EACH = 40 };

static struct {
    const inflight_api *api;
    inflight_engine *engine;
    pthread_mutex_t lock; /* of the books */
    inflight_req req[WORKERS * EACH];
    uint64_t seen[WORKERS * EACH]; /* a bit per seq; polls of two threads end in any order */
    uint64_t done_bit[WORKERS * EACH];
    atomic_int submitted, finished, refused;
    atomic_bool stop;
} crowd = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void crowd_event(const inflight_event *e)
{
    if (!e->req)
        return;
    pthread_mutex_lock(&crowd.lock);
    uint64_t u = e->user;
    if (u >= WORKERS * EACH || e->seq > 62)
        fail("an event of type %u, seq %llu, for %llu", e->type, (unsigned long long)e->seq,
             (unsigned long long)u);
    uint64_t bit = 1ull << e->seq;
    if (crowd.seen[u] & bit || (e->type == INFLIGHT_EV_DONE && crowd.done_bit[u]))
        fail("seq %llu of %llu came twice", (unsigned long long)e->seq, (unsigned long long)u);
    crowd.seen[u] |= bit;
    if (e->type == INFLIGHT_EV_DONE)
        crowd.done_bit[u] = bit;
    /* The data is not looked at: another thread's poll may have ended its life by now. */
    pthread_mutex_unlock(&crowd.lock);
    if (e->type == INFLIGHT_EV_DONE)
        atomic_fetch_add(&crowd.finished, 1);
}

static void crowd_poll(uint32_t *random)
{
    inflight_event ev[16];
    uint32_t cap = 1 + (*random >> 8) % 16;
    int32_t n = crowd.api->poll(crowd.engine, ev, sizeof *ev, cap, 0);
    if (n == INFLIGHT_E_BUSY) {
        atomic_fetch_add(&crowd.refused, 1);
        return;
    }
    if (n < 0)
        fail("poll: %d", n);
    for (int32_t i = 0; i < n; i++)
        crowd_event(&ev[i]);
}

static void crowd_submit(int me, int *mine)
{
    inflight_request r = long_request(1 + (uint32_t)(*mine % 7));
    uint32_t user = (uint32_t)(me * EACH + *mine);
    r.user = user;
    r.flags = *mine % 4 == 0 ? INFLIGHT_REQ_NO_COALESCE : 0;
    r.overflow = user % 3;
    r.priority = user % 256;
    inflight_req id;
    int32_t rc = crowd.api->submit(crowd.engine, &r, &id);
    if (rc == INFLIGHT_E_BUSY)
        return;
    if (rc)
        fail("submit: %d", rc);
    pthread_mutex_lock(&crowd.lock);
    crowd.req[user] = id;
    pthread_mutex_unlock(&crowd.lock);
    ++*mine;
    atomic_fetch_add(&crowd.submitted, 1);
}

static void *crowd_worker(void *arg)
{
    int me = (int)(intptr_t)arg, mine = 0;
    uint32_t random = 12345u * (uint32_t)(me + 1);
    while (!atomic_load(&crowd.stop)) {
        random = random * 1664525u + 1013904223u;
        uint32_t what = random >> 28;
        if (what < 5 && mine < EACH)
            crowd_submit(me, &mine);
        else if (what < 7 && mine) {
            pthread_mutex_lock(&crowd.lock);
            inflight_req id = crowd.req[me * EACH + (int)((random >> 10) % (uint32_t)mine)];
            pthread_mutex_unlock(&crowd.lock);
            int32_t rc = crowd.api->cancel(crowd.engine, id);
            if (rc && rc != INFLIGHT_E_STALE)
                fail("cancel: %d", rc);
        } else if (what < 8) {
            inflight_stats s = {.h = {sizeof s, INFLIGHT_ABI}};
            if (crowd.api->query(crowd.engine, INFLIGHT_Q_STATS, &s, sizeof s))
                fail("stats");
        } else {
            crowd_poll(&random);
        }
        if (what == 15)
            sleep_ms(1);
    }
    return NULL;
}

static void one_done(void)
{
    struct object o = object_open(target.object);
    unsigned long thread[WORKERS];
    crowd.api = o.api;
    crowd.engine = engine_start_ready(o.api);
    for (int i = 0; i < WORKERS; i++)
        start_thread(&thread[i], crowd_worker, (void *)(intptr_t)i, 0);
    double end = now_ms() + 110000;
    while (atomic_load(&crowd.finished) < WORKERS * EACH && now_ms() < end)
        sleep_ms(2);
    atomic_store(&crowd.stop, true);
    for (int i = 0; i < WORKERS; i++)
        join_thread(thread[i]);
    WANT_EQ(atomic_load(&crowd.submitted), WORKERS * EACH);
    WANT_EQ(atomic_load(&crowd.finished), WORKERS * EACH);
    for (int u = 0; u < WORKERS * EACH; u++) /* DONE is the last of 0, 1, 2, ... */
        if (crowd.seen[u] != crowd.done_bit[u] * 2 - 1)
            fail("events of %d: %#llx, DONE %#llx", u, (unsigned long long)crowd.seen[u],
                 (unsigned long long)crowd.done_bit[u]);
    inflight_event ev;
    int32_t n = o.api->poll(crowd.engine, &ev, sizeof ev, 1, 20000000);
    WANT(n == 0 || ev.req == 0);
    note("%d requests, %d concurrent polls refused", WORKERS * EACH, atomic_load(&crowd.refused));
    WANT_EQ(o.api->free(crowd.engine), INFLIGHT_OK);
}

/* ---- Waiting */

static void *long_poll(void *arg)
{
    (void)arg;
    inflight_event ev;
    return (void *)(intptr_t)crowd.api->poll(crowd.engine, &ev, sizeof ev, 1, 300000000);
}

static void poll_busy(void)
{
    struct object o = object_open(target.object);
    crowd.api = o.api;
    crowd.engine = engine_start_ready(o.api);
    for (int try = 0; try < 10; try++) {
        unsigned long thread;
        inflight_event ev;
        start_thread(&thread, long_poll, NULL, 0);
        sleep_ms(100);
        int32_t n = o.api->poll(crowd.engine, &ev, sizeof ev, 1, 0);
        join_thread(thread);
        if (n == INFLIGHT_E_BUSY) {
            WANT_EQ(o.api->free(crowd.engine), INFLIGHT_OK);
            return;
        }
    }
    fail("a second poll beside a waiting one was never refused");
}

static void poll_timeout(void)
{
    struct object o = object_open(target.object);
    inflight_engine *e = engine_start_ready(o.api);
    inflight_event ev;
    while (o.api->poll(e, &ev, sizeof ev, 1, 100000000) > 0)
        ;
    double begin = now_ms();
    WANT_EQ(o.api->poll(e, &ev, sizeof ev, 1, 30000000), 0);
    double took = now_ms() - begin;
    WANT(took >= 29.9 && took < 1000);
    begin = now_ms();
    WANT_EQ(o.api->poll(e, &ev, sizeof ev, 1, 0), 0);
    WANT(now_ms() - begin < 20);
    WANT_EQ(o.api->free(e), INFLIGHT_OK);
}

static void deadlines(void)
{
    struct object o = object_open(target.object);
    static struct watch w;
    watch_init(&w, o.api, engine_start_ready(o.api));
    w.readies = 1;
    inflight_request r = long_request(0);
    r.deadline_ns = now_ns() + 300000000;
    uint32_t soon = watch_submit(&w, r);
    r.deadline_ns = 1;
    uint32_t past = watch_submit(&w, r);
    double begin = now_ms();
    r = long_request(0);
    r.max_tokens = 1000000;
    r.deadline_ns = now_ns() + 300000000;
    uint32_t third = watch_submit(&w, r);
    watch_drain(&w, 20000);
    double took = now_ms() - begin;
    WANT_EQ(w.item[past].status, INFLIGHT_E_DEADLINE);
    WANT_EQ(w.item[past].bytes, 0);
    WANT_EQ(w.item[third].status, INFLIGHT_E_DEADLINE);
    WANT_EQ(w.item[third].finish, INFLIGHT_FINISH_DEADLINE);
    WANT(w.item[soon].status == INFLIGHT_E_DEADLINE || w.item[soon].status == INFLIGHT_OK);
    note("300 ms ended after %lld ms with %u tokens", (long long)took, w.item[third].n_tokens);
    if (took > 2000)
        fail("; too late");
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
}

/* ---- The descriptor and the hook */

static void descriptor(void)
{
    struct object o = object_open(target.object);
    static struct watch w;
    inflight_init_params p = default_params();
    watch_init(&w, o.api, engine_start(o.api, &p));
    int fd = o.api->event_fd(w.engine);
    WANT(fd >= 0);
    int for_nothing = 0, rounds = 0;
    for (int i = 0; i < 20; i++)
        watch_submit(&w, long_request(1 + (uint32_t)i % 9));
    w.cap = 2;
    while (w.open) {
        if (!fd_readable(fd, 30000))
            fail("the descriptor was silent for 30 s with %u requests open", w.open);
        for_nothing += watch_poll(&w, 0) == 0;
        rounds++;
    }
    while (fd_readable(fd, 100) && for_nothing < 100)
        for_nothing += watch_poll(&w, 0) == 0;
    if (for_nothing)
        fail("%d times in %d polls the descriptor was readable for nothing", for_nothing, rounds);
    WANT_EQ(watch_poll(&w, 0), 0);
    WANT(!fd_readable(fd, 0));
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
}

static int hook_fd;
static atomic_int hook_calls;

static void on_wakeup(void *user)
{
    uint64_t one = 1;
    if (user == &hook_fd && write(hook_fd, &one, sizeof one) == sizeof one)
        atomic_fetch_add(&hook_calls, 1);
}

static void wakeup_hook(void)
{
    struct object o = object_open(target.object);
    static struct watch w;
    hook_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    inflight_init_params p = default_params();
    p.wakeup = on_wakeup;
    p.user = &hook_fd;
    watch_init(&w, o.api, engine_start(o.api, &p));
    for (int i = 0; i < 50; i++)
        watch_submit(&w, long_request(1 + (uint32_t)i % 3));
    while (w.open) {
        if (!fd_readable(hook_fd, 30000))
            fail("no wake-up for 30 s with %u requests open", w.open);
        uint64_t count;
        WANT(read(hook_fd, &count, sizeof count) == sizeof count);
        while (watch_poll(&w, 0) > 0)
            ;
    }
    note("%d wake-ups", atomic_load(&hook_calls));
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
}

const struct test tests_flow[] = {
    {"init-fast", "init returns within 5 ms", init_fast, 60},
    {"submit-before-ready", "requests submitted while loading are served", submit_before_ready, 90},
    {"one-done", "8 threads submit, cancel and poll: one DONE each, last", one_done, 120},
    {"poll-busy", "a second poll at the same time is refused", poll_busy, 60},
    {"poll-timeout", "poll waits for its timeout and not longer", poll_timeout, 60},
    {"deadlines", "a deadline ends a request, with what there is", deadlines, 60},
    {"descriptor", "readable exactly while there are events", descriptor, 120},
    {"wakeup-hook", "a host that only listens to the hook misses nothing", wakeup_hook, 120},
    {0},
};
