/* A host that does not poll, or hardly: bounded buffers, the three overflow policies. */
#include "validator.h"

#include <string.h>

static uint64_t generated(const struct watch *w)
{
    inflight_stats s = {.h = {sizeof s, INFLIGHT_ABI}};
    int32_t rc = w->api->query(w->engine, INFLIGHT_Q_STATS, &s, sizeof s);
    if (rc)
        fail("stats: %d", rc);
    return s.generated_tokens;
}

/* Until the engine has stood still for a second, which a full buffer makes it do. */
static bool wait_still(const struct watch *w, double timeout_ms)
{
    double end = now_ms() + timeout_ms, since = now_ms();
    uint64_t last = generated(w);
    while (now_ms() < end && now_ms() - since < 1000) {
        sleep_ms(20);
        uint64_t next = generated(w);
        if (next != last)
            since = now_ms();
        last = next;
    }
    return now_ms() - since >= 1000;
}

static void park(void)
{
    struct object o = object_open(target.object);
    static struct watch w;
    watch_init(&w, o.api, engine_start_ready(o.api));
    w.readies = 1;
    uint32_t i = watch_submit(&w, long_request(5000));
    bool still = wait_still(&w, 100000);
    uint64_t before = generated(&w);
    long rss = resident_kib();
    sleep_ms(300);
    WANT(!still || resident_kib() - rss < 4096);
    /* One that waits must not stop another. */
    uint32_t other = watch_submit(&w, long_request(10));
    double end = now_ms() + 30000;
    while (still && generated(&w) < before + 10) {
        if (now_ms() > end)
            fail("a parked request stops another one");
        sleep_ms(10);
    }
    w.cap = 1;
    for (int polls = 0; polls < 3; polls++)
        watch_poll(&w, 0);
    WANT_EQ(o.api->cancel(w.engine, w.item[i].req), INFLIGHT_OK);
    watch_drain(&w, 60000);
    WANT_EQ(w.item[other].status, INFLIGHT_OK);
    WANT(!w.item[i].gap);
    note(still ? "parked after %llu tokens, %llu bytes" : "never filled: %llu tokens, %llu bytes",
         (unsigned long long)before, (unsigned long long)w.item[i].bytes);
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
}

static void park_resumes(void)
{
    struct object o = object_open(target.object);
    static struct watch w;
    watch_init(&w, o.api, engine_start_ready(o.api));
    w.readies = 1;
    uint32_t i = watch_submit(&w, long_request(1500));
    (void)wait_still(&w, 100000);
    watch_drain(&w, 170000);
    WANT(w.item[i].status == INFLIGHT_OK && w.item[i].finish == INFLIGHT_FINISH_LENGTH);
    WANT(!w.item[i].gap);
    note("%u tokens, %llu bytes", w.item[i].n_tokens, (unsigned long long)w.item[i].bytes);
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
}

static void drop_and_fail(void)
{
    struct object o = object_open(target.object);
    static struct watch w;
    watch_init(&w, o.api, engine_start_ready(o.api));
    w.readies = 1;
    inflight_request r = long_request(1200);
    r.overflow = INFLIGHT_OVERFLOW_DROP_OLDEST;
    uint32_t drop = watch_submit(&w, r);
    r.overflow = INFLIGHT_OVERFLOW_FAIL;
    uint32_t failing = watch_submit(&w, r);
    (void)wait_still(&w, 200000);
    w.cap = 1;
    watch_drain(&w, 60000);
    WANT(w.item[drop].status == INFLIGHT_OK);
    WANT(w.item[drop].bytes > 0);
    bool overflowed = w.item[failing].status == INFLIGHT_E_OVERFLOW;
    WANT(overflowed || w.item[failing].status == INFLIGHT_OK);
    WANT(w.item[drop].gap == (w.item[drop].lost > 0));
    if (!overflowed || !w.item[drop].gap)
        skip("1200 tokens do not fill the buffers: set a smaller requests.stream_buffer");
    note("dropped %llu bytes and kept %llu", (unsigned long long)w.item[drop].lost,
         (unsigned long long)w.item[drop].bytes);
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
}

static void queue_full(void)
{
    struct object o = object_open(target.object);
    inflight_engine *e = engine_start_ready(o.api);
    inflight_request r = long_request(2);
    inflight_req id;
    int accepted = 0;
    int32_t rc = INFLIGHT_OK;
    while (accepted < 100000 && (rc = o.api->submit(e, &r, &id)) == INFLIGHT_OK)
        accepted++;
    if (rc != INFLIGHT_E_BUSY)
        fail("submit without end gave %d after %d", rc, accepted);
    int dones = 0;
    for (double end = now_ms() + 100000; dones < accepted;) {
        inflight_event ev[32];
        int32_t n = o.api->poll(e, ev, sizeof *ev, 32, 100000000);
        WANT(n >= 0);
        for (int32_t i = 0; i < n; i++)
            dones += ev[i].type == INFLIGHT_EV_DONE;
        if (now_ms() > end)
            fail("%d of %d DONE", dones, accepted);
    }
    WANT_EQ(o.api->submit(e, &r, &id), INFLIGHT_OK);
    note("%d accepted, then busy", accepted);
    WANT_EQ(o.api->free(e), INFLIGHT_OK);
}

const struct test tests_pressure[] = {
    {"overflow-park", "a request nobody polls is parked, others go on", park, 180},
    {"overflow-park-resumes", "and goes on without a gap", park_resumes, 300},
    {"overflow-drop-and-fail", "drop_oldest marks its gap, fail says so", drop_and_fail, 300},
    {"queue-full", "submit is bounded and everything accepted ends", queue_full, 180},
    {0},
};
