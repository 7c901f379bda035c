/* Versions, sizes, arguments: what a host compiled against another header, or a careless
 * one, may do to the library. */
#include "validator.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static void handshake(void)
{
    struct object o = object_open(target.object);
    const inflight_api *(*get)(uint32_t);
    *(void **)&get = dlsym(o.handle, "inflight_get_api");
    WANT(get((INFLIGHT_ABI_MAJOR + 1) << 16) == NULL);
    WANT(get(0) == NULL);
    WANT(get(INFLIGHT_ABI + 5) != NULL); /* another minor */
    WANT(o.api->h.struct_size >= sizeof(inflight_api) || o.api->h.struct_size % 8 == 0);
    WANT_EQ(o.api->h.abi >> 16, INFLIGHT_ABI_MAJOR);
    static const char *const names[] = {"init",     "submit", "poll",    "cancel",    "free",
                                        "event_fd", "query",  "control", "extension", "strerror"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char symbol[64];
        snprintf(symbol, sizeof symbol, "inflight_%s", names[i]);
        void *entry, *exported = dlsym(o.handle, symbol);
        memcpy(&entry, (const char *)&o.api->init + i * sizeof entry, sizeof entry);
        if (!exported || exported != entry)
            fail("%s is not the table's", symbol);
    }
    inflight_init_params p = default_params();
    inflight_engine *e = NULL;
    p.h.abi = (INFLIGHT_ABI_MAJOR + 1) << 16;
    WANT_EQ(o.api->init(&p, &e), INFLIGHT_E_ABI);
    WANT(e == NULL);
    p.h.abi = 0;
    WANT_EQ(o.api->init(&p, &e), INFLIGHT_E_ABI);
}

static void request_sizes(const inflight_api *x, inflight_engine *e)
{
    struct {
        inflight_request r;
        uint64_t future;
    } request = {.r = long_request(2)};
    inflight_req id;
    request.r.h.struct_size = sizeof request;
    request.future = 9;
    WANT_EQ(x->submit(e, &request.r, &id), INFLIGHT_E_NEWER);
    request.future = 0;
    WANT_EQ(x->submit(e, &request.r, &id), INFLIGHT_OK);
    request.r.h.struct_size = 40; /* header, user, kind, priority, input */
    request.r.flags = UINT32_MAX;
    WANT_EQ(x->submit(e, &request.r, &id), INFLIGHT_OK);
    WANT_EQ(x->cancel(e, id), INFLIGHT_OK);
}

static void stats_sizes(const inflight_api *x, inflight_engine *e)
{
    struct {
        inflight_stats s;
        uint64_t future[2];
    } stats;
    memset(&stats, 0x5a, sizeof stats);
    stats.s.h = (inflight_hdr){sizeof stats, INFLIGHT_ABI};
    WANT_EQ(x->query(e, INFLIGHT_Q_STATS, &stats, sizeof stats), INFLIGHT_OK);
    WANT_EQ(stats.future[0] | stats.future[1], 0);
    WANT_EQ(stats.s.h.struct_size, sizeof stats);
    memset(&stats, 0x5a, sizeof stats);
    stats.s.h = (inflight_hdr){24, INFLIGHT_ABI};
    WANT_EQ(x->query(e, INFLIGHT_Q_STATS, &stats, sizeof stats), INFLIGHT_OK);
    WANT_EQ(stats.s.cached_tokens, 0x5a5a5a5a5a5a5a5all);
    WANT(stats.s.steps != 0x5a5a5a5a5a5a5a5all);
    stats.s.h.struct_size = sizeof stats;
    WANT_EQ(x->query(e, INFLIGHT_Q_STATS, &stats, 16), INFLIGHT_E_ARG);
}

static void struct_sizes(void)
{
    struct object o = object_open(target.object);
    struct {
        inflight_init_params p;
        uint64_t future[4];
    } longer = {.p = default_params()};
    longer.p.h.struct_size = sizeof longer;
    inflight_engine *e = NULL;
    longer.future[3] = 1;
    WANT_EQ(o.api->init(&longer.p, &e), INFLIGHT_E_NEWER);
    longer.future[3] = 0;
    e = engine_start(o.api, &longer.p);
    WANT_EQ(o.api->free(e), INFLIGHT_OK);

    inflight_init_params p = default_params();
    p.h.struct_size = 40; /* header, config, config_path: the first fields of all */
    memset((char *)&p + 40, 0x5a, sizeof p - 40);
    e = engine_start(o.api, &p);
    static const uint32_t bad[] = {0, 4, 7, 12, 41, 4104, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        inflight_engine *none = NULL;
        p.h.struct_size = bad[i];
        WANT_EQ(o.api->init(&p, &none), INFLIGHT_E_ARG);
        WANT(none == NULL);
    }
    request_sizes(o.api, e);
    stats_sizes(o.api, e);
    WANT_EQ(o.api->free(e), INFLIGHT_OK);
}

static void event_stride(void)
{
    struct object o = object_open(target.object);
    inflight_engine *e = engine_start_ready(o.api);
    inflight_request r = long_request(20);
    static const uint32_t strides[] = {40, 48, 112, 176};
    _Alignas(8) unsigned char bytes[4 * 176 + 8];
    for (size_t k = 0; k < sizeof strides / sizeof *strides; k++) {
        uint32_t stride = strides[k];
        bool done = false;
        inflight_req id;
        r.user = 1000 + k;
        WANT_EQ(o.api->submit(e, &r, &id), INFLIGHT_OK);
        for (double end = now_ms() + 30000; !done;) {
            memset(bytes, 0x5a, sizeof bytes);
            int32_t n = o.api->poll(e, (inflight_event *)(void *)bytes, stride, 4, 50000000);
            WANT(n >= 0 && n <= 4);
            WANT_EQ(bytes[4 * stride], 0x5a);
            for (int32_t i = 0; i < n; i++) {
                inflight_event event = {0};
                memcpy(&event, bytes + (uint32_t)i * stride, stride < 112 ? stride : 112);
                WANT_EQ(event.struct_size, stride);
                WANT(!event.req || event.user == 1000 + k);
                for (uint32_t b = 112; b < stride; b++)
                    WANT_EQ(bytes[(uint32_t)i * stride + b], 0);
                done |= event.type == INFLIGHT_EV_DONE;
            }
            WANT(now_ms() < end);
        }
    }
    inflight_event ev;
    WANT_EQ(o.api->poll(e, &ev, 32, 1, 0), INFLIGHT_E_ARG);
    WANT_EQ(o.api->poll(e, &ev, 44, 1, 0), INFLIGHT_E_ARG);
    WANT_EQ(o.api->poll(e, &ev, UINT32_MAX, 1, 0), INFLIGHT_E_ARG);
    WANT_EQ(o.api->poll(e, &ev, sizeof ev, 0, 0), 0);
    WANT_EQ(o.api->free(e), INFLIGHT_OK);
}

static void refuse_calls_without_engine(const inflight_api *x)
{
    inflight_init_params p = default_params();
    inflight_engine *e = NULL;
    inflight_request r = long_request(1);
    inflight_req id;
    inflight_event ev;
    WANT_EQ(x->init(NULL, &e), INFLIGHT_E_ARG);
    WANT_EQ(x->init(&p, NULL), INFLIGHT_E_ARG);
    WANT_EQ(x->free(NULL), INFLIGHT_OK);
    WANT_EQ(x->submit(NULL, &r, &id), INFLIGHT_E_ARG);
    WANT_EQ(x->poll(NULL, &ev, sizeof ev, 1, 0), INFLIGHT_E_ARG);
    WANT_EQ(x->cancel(NULL, 1), INFLIGHT_E_ARG);
    WANT_EQ(x->event_fd(NULL), INFLIGHT_E_ARG);
    WANT_EQ(x->query(NULL, INFLIGHT_Q_STATS, NULL, 0), INFLIGHT_E_ARG);
    WANT_EQ(x->control(NULL, INFLIGHT_CTL_RESUME, NULL, 0), INFLIGHT_E_ARG);
    WANT(x->extension(NULL) == NULL);
    WANT(x->extension("inflight.text/1x") == NULL);
    WANT(x->strerror(12345) != NULL);
}

static void refuse_params(const inflight_api *x)
{
    inflight_engine *e = NULL;
    inflight_init_params p = {.h = {sizeof p, INFLIGHT_ABI}};
    WANT_EQ(x->init(&p, &e), INFLIGHT_E_ARG);
    p.config = (inflight_str){NULL, 5};
    WANT_EQ(x->init(&p, &e), INFLIGHT_E_ARG);
    p.config = (inflight_str){"version: 1\n", INFLIGHT_NTS};
    p.config_path = (inflight_str){"/x", INFLIGHT_NTS};
    WANT_EQ(x->init(&p, &e), INFLIGHT_E_ARG);
    inflight_io io = {.h = {sizeof io, INFLIGHT_ABI}};
    p = default_params();
    p.io = &io;
    WANT_EQ(x->init(&p, &e), INFLIGHT_E_ARG);
    WANT(error_text(x, NULL)[0] != 0);
    p.io = NULL;
    p.flags = 1u << 31;
    WANT_EQ(x->init(&p, &e), INFLIGHT_E_NEWER);
}

static void refuse_requests(const inflight_api *x, inflight_engine *e)
{
    inflight_req id;
    inflight_request good = long_request(1), bad = good;
    WANT_EQ(x->submit(e, NULL, &id), INFLIGHT_E_ARG);
    WANT_EQ(x->submit(e, &good, NULL), INFLIGHT_E_ARG);
    bad.input.ptr = NULL;
    WANT_EQ(x->submit(e, &bad, &id), INFLIGHT_E_ARG);
    bad.input.len = 0;
    WANT_EQ(x->submit(e, &bad, &id), INFLIGHT_E_ARG);
    bad = good;
    bad.priority = 256;
    WANT_EQ(x->submit(e, &bad, &id), INFLIGHT_E_ARG);
    bad = good;
    bad.overflow = 3;
    WANT_EQ(x->submit(e, &bad, &id), INFLIGHT_E_ARG);
    bad = good;
    bad.flags = 0x80;
    WANT_EQ(x->submit(e, &bad, &id), INFLIGHT_E_NEWER);
    WANT(error_text(x, e)[0] != 0);
}

static void nulls(void)
{
    struct object o = object_open(target.object);
    const inflight_api *x = o.api;
    inflight_init_params p = default_params();
    inflight_event ev;
    refuse_calls_without_engine(x);
    refuse_params(x);
    inflight_engine *e = engine_start(x, &p);
    refuse_requests(x, e);
    WANT_EQ(x->poll(e, NULL, sizeof ev, 1, 0), INFLIGHT_E_ARG);
    WANT_EQ(x->control(e, INFLIGHT_CTL_PAUSE, NULL, 4), INFLIGHT_E_ARG);
    WANT_EQ(x->control(e, 9999, NULL, 0), INFLIGHT_E_UNSUPPORTED);
    WANT_EQ(x->query(e, 9999, NULL, 0), INFLIGHT_E_UNSUPPORTED);
    WANT_EQ(x->query(e, INFLIGHT_Q_BUILD, NULL, 4), INFLIGHT_E_ARG);
    WANT_EQ(x->query(e, INFLIGHT_Q_STATS, NULL, 200), INFLIGHT_E_ARG);
    WANT_EQ(x->free(e), INFLIGHT_OK);
}

static void stale_handles(void)
{
    struct object o = object_open(target.object);
    static struct watch w;
    watch_init(&w, o.api, engine_start_ready(o.api));
    w.readies = 1;
    uint32_t i = watch_submit(&w, long_request(100000));
    inflight_req id = w.item[i].req;
    WANT_EQ(o.api->cancel(w.engine, id), INFLIGHT_OK);
    WANT_EQ(o.api->cancel(w.engine, id), INFLIGHT_OK);
    watch_drain(&w, 20000);
    WANT_EQ(w.item[i].status, INFLIGHT_E_CANCELLED);
    WANT_EQ(w.item[i].finish, INFLIGHT_FINISH_CANCEL);
    WANT_EQ(o.api->cancel(w.engine, id), INFLIGHT_E_STALE);
    WANT_EQ(o.api->cancel(w.engine, 0), INFLIGHT_E_STALE);
    WANT_EQ(o.api->cancel(w.engine, UINT64_MAX), INFLIGHT_E_STALE);
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
    inflight_event ev;
    inflight_request r = long_request(1);
    WANT_EQ(o.api->free(w.engine), INFLIGHT_E_STALE);
    WANT_EQ(o.api->poll(w.engine, &ev, sizeof ev, 1, 0), INFLIGHT_E_STALE);
    WANT_EQ(o.api->submit(w.engine, &r, &id), INFLIGHT_E_STALE);
    WANT_EQ(o.api->cancel(w.engine, id), INFLIGHT_E_STALE);
    WANT_EQ(o.api->event_fd(w.engine), INFLIGHT_E_STALE);
    clean_round(o.api);
}

static void bad_config(void)
{
    struct object o = object_open(target.object);
    inflight_init_params p = {.h = {sizeof p, INFLIGHT_ABI}};
    inflight_engine *e = NULL;
    p.config = (inflight_str){"version: 1\nmodle: 5\n", INFLIGHT_NTS};
    WANT_EQ(o.api->init(&p, &e), INFLIGHT_E_CONFIG);
    WANT(e == NULL);
    const char *text = error_text(o.api, NULL);
    if (!strstr(text, ":2:"))
        fail("the error does not name line 2 and a column: %s", text);
    note("%s", text);
    p.config = (inflight_str){NULL, 0};
    p.config_path = (inflight_str){"/nowhere/at/all.yaml", INFLIGHT_NTS};
    WANT_EQ(o.api->init(&p, &e), INFLIGHT_E_IO);
    WANT(strstr(error_text(o.api, NULL), "/nowhere/at/all.yaml") != NULL);
    clean_round(o.api);
}

static void queries(void)
{
    struct object o = object_open(target.object);
    inflight_engine *e = engine_start_ready(o.api);
    static const uint32_t texts[] = {INFLIGHT_Q_CONFIG, INFLIGHT_Q_PLAN, INFLIGHT_Q_MODEL,
                                     INFLIGHT_Q_CAPS, INFLIGHT_Q_BUILD};
    static char whole[1 << 16];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char small[8];
        int32_t n = o.api->query(e, texts[i], NULL, 0);
        WANT(n > 8 && n < (int32_t)sizeof whole);
        WANT_EQ(o.api->query(e, texts[i], whole, sizeof whole), n);
        WANT_EQ(strlen(whole), n);
        memset(small, 'x', sizeof small);
        WANT_EQ(o.api->query(e, texts[i], small, sizeof small), n);
        WANT(memcmp(small, whole, 7) == 0 && small[7] == 0);
    }
    WANT(o.api->query(NULL, INFLIGHT_Q_BUILD, whole, sizeof whole) > 0);
    WANT(strstr(whole, "\"version\"") != NULL);
    WANT(o.api->query(NULL, INFLIGHT_Q_CAPS, whole, sizeof whole) > 0);
    WANT(whole[0] == '[');
    WANT_EQ(o.api->free(e), INFLIGHT_OK);
}

static void text_extension(void)
{
    struct object o = object_open(target.object);
    const inflight_text_api *text = o.api->extension(INFLIGHT_EXT_TEXT);
    WANT(text && text->h.abi >> 16 == INFLIGHT_ABI_MAJOR);
    inflight_engine *e = engine_start_ready(o.api);
    static const char input[] = "The sea, the sea \xe2\x82\xac";
    int32_t ids[64];
    char back[128] = {0};
    int64_t n = text->encode(e, (inflight_str){input, INFLIGHT_NTS}, NULL, 0);
    WANT(n > 0 && n <= 64);
    WANT_EQ(text->encode(e, (inflight_str){input, sizeof input - 1}, ids, 64), n);
    WANT_EQ(text->decode(e, ids, (uint64_t)n, back, sizeof back), sizeof input - 1);
    WANT(memcmp(back, input, sizeof input - 1) == 0);
    WANT_EQ(text->encode(e, (inflight_str){input, INFLIGHT_NTS}, NULL, 9), INFLIGHT_E_ARG);
    WANT_EQ(text->encode(NULL, (inflight_str){input, INFLIGHT_NTS}, ids, 9), INFLIGHT_E_ARG);
    WANT_EQ(text->decode(e, NULL, 3, back, sizeof back), INFLIGHT_E_ARG);
    int64_t prompt = text->render(e, (inflight_str){"hello", 5}, back, 4);
    WANT(prompt > 5 || prompt == INFLIGHT_E_UNSUPPORTED);
    WANT_EQ(o.api->free(e), INFLIGHT_OK);
}

/* Events that come within this time. */
static int32_t watch_for(struct watch *w, double ms)
{
    int32_t n = 0;
    for (double end = now_ms() + ms; now_ms() < end;)
        n += watch_poll(w, 5000000);
    return n;
}

static void frame_extension(void)
{
    struct object o = object_open(target.object);
    const inflight_frame_api *frame = o.api->extension(INFLIGHT_EXT_FRAME);
    WANT(frame && frame->h.abi >> 16 == INFLIGHT_ABI_MAJOR);
    WANT(frame->h.struct_size >= sizeof *frame);
    WANT_EQ(frame->run_until(NULL, 0), INFLIGHT_E_ARG);
    static struct watch w;
    watch_init(&w, o.api, engine_start_ready(o.api));
    w.readies = 1;
    WANT_EQ(frame->run_until(w.engine, 0), INFLIGHT_OK);
    watch_for(&w, 100); /* what was in hand */
    const struct watched *item = &w.item[watch_submit(&w, long_request(40))];
    WANT_EQ(watch_for(&w, 200), 0);
    for (double end = now_ms() + 30000; !item->dones && now_ms() < end;) {
        WANT_EQ(frame->run_until(w.engine, now_ns() + 5000000), INFLIGHT_OK);
        watch_for(&w, 10);
    }
    WANT_EQ(item->dones, 1);
    WANT_EQ(item->status, INFLIGHT_OK);
    watch_submit(&w, long_request(40));
    watch_for(&w, 50);
    WANT_EQ(frame->run_until(w.engine, UINT64_MAX), INFLIGHT_OK);
    watch_drain(&w, 20000);
    watch_submit(&w, long_request(100000));
    WANT_EQ(frame->run_until(w.engine, 0), INFLIGHT_OK);
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK); /* without another call */
    WANT_EQ(frame->run_until(w.engine, 0), INFLIGHT_E_STALE);
}

const struct test tests_abi[] = {
    {"handshake", "a wrong major version is refused, table and exports agree", handshake, 30},
    {"struct-sizes", "shorter and longer structs, zero and used tails", struct_sizes, 60},
    {"event-stride", "events of 40, 48, 112 and 176 bytes", event_stride, 120},
    {"nulls", "NULL and out-of-range arguments give codes", nulls, 60},
    {"stale-handles", "stale requests, double cancel, freed engines", stale_handles, 60},
    {"bad-config", "a bad configuration is refused with line and column", bad_config, 60},
    {"queries", "text answers: whole length, cut copies", queries, 60},
    {"text-extension", "tokenizer and template through inflight.text/1", text_extension, 60},
    {"frame-extension", "slices of time through inflight.frame/1", frame_extension, 60},
    {0},
};
