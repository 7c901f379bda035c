/* The host's own log, memory and files. */
#include "validator.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Log */

static atomic_int log_lines, log_bad;
static int log_user;

static void on_log(void *user, int32_t level, const char *line, uint64_t len)
{
    bool good = user == &log_user && level >= 0 && level <= 3 && valid_utf8(line, len) &&
                !memchr(line, '\n', len);
    atomic_fetch_add(good ? &log_lines : &log_bad, 1);
}

static void log_hook(void)
{
    struct object o = object_open(target.object);
    static struct watch w;
    inflight_init_params p = default_params();
    p.log = on_log;
    p.user = &log_user;
    watch_init(&w, o.api, engine_start(o.api, &p));
    watch_submit(&w, long_request(5));
    watch_drain(&w, 60000);
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
    WANT_EQ(w.logs, 0); /* no events besides */
    WANT_EQ(atomic_load(&log_bad), 0);
    note("%d lines", atomic_load(&log_lines));
}

/* ---- Memory: a header before each block holds its size, so that a release with another
 * one is noticed. */

#define STAMP 0x1f1f57a4b10c0000ull

static struct {
    atomic_llong bytes, blocks, calls;
    atomic_llong fail_at; /* this call fails, 0: none */
    atomic_int failed, wrong;
} heap;

static void *on_alloc(void *user, uint64_t size, uint64_t align)
{
    (void)user;
    if (atomic_fetch_add(&heap.calls, 1) + 1 == atomic_load(&heap.fail_at)) {
        atomic_fetch_add(&heap.failed, 1);
        return NULL;
    }
    uint64_t room = align < 64 ? 64 : align;
    if (!size || align & (align - 1)) {
        atomic_fetch_add(&heap.wrong, 1);
        return NULL;
    }
    char *base;
    if (posix_memalign((void **)&base, room, room + size))
        return NULL;
    memset(base + room, 0xa5, size < 1 << 20 ? size : 1 << 20); /* nobody may rely on zeros */
    memcpy(base + room - 8, &(uint64_t){size ^ STAMP}, 8);
    memcpy(base + room - 16, &room, 8);
    atomic_fetch_add(&heap.bytes, (long long)size);
    atomic_fetch_add(&heap.blocks, 1);
    return base + room;
}

static void on_release(void *user, void *ptr, uint64_t size)
{
    (void)user;
    uint64_t stamp = 0, room = 0;
    if (ptr) {
        memcpy(&stamp, (char *)ptr - 8, 8);
        memcpy(&room, (char *)ptr - 16, 8);
    }
    if (!ptr || stamp != (size ^ STAMP)) {
        atomic_fetch_add(&heap.wrong, 1);
        return;
    }
    memset((char *)ptr - 16, 0, 16);
    free((char *)ptr - room);
    atomic_fetch_sub(&heap.bytes, (long long)size);
    atomic_fetch_sub(&heap.blocks, 1);
}

static inflight_alloc heap_hook(void)
{
    inflight_alloc a = {.h = {sizeof a, INFLIGHT_ABI}};
    a.alloc = on_alloc;
    a.release = on_release;
    return a;
}

static void check_heap(const char *when)
{
    if (atomic_load(&heap.wrong))
        fail("%s: %d releases or sizes were wrong", when, atomic_load(&heap.wrong));
    if (atomic_load(&heap.bytes) || atomic_load(&heap.blocks))
        fail("%s: %lld bytes in %lld blocks were not given back", when,
             (long long)atomic_load(&heap.bytes), (long long)atomic_load(&heap.blocks));
}

static void alloc_balance(void)
{
    struct object o = object_open(target.object);
    inflight_alloc a = heap_hook();
    inflight_init_params p = default_params();
    p.alloc = &a;
    static struct watch w;
    watch_init(&w, o.api, engine_start(o.api, &p));
    for (uint32_t i = 0; i < 8; i++)
        watch_submit(&w, long_request(5 + i));
    watch_drain(&w, 60000);
    long long most = atomic_load(&heap.bytes);
    watch_submit(&w, long_request(100000)); /* freed in the middle of it */
    sleep_ms(30);
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
    WANT(most > 0);
    check_heap("after free");
    p.config = (inflight_str){"version: 1\nnonsense: 1\n", INFLIGHT_NTS};
    p.config_path = (inflight_str){NULL, 0};
    inflight_engine *e;
    WANT_EQ(o.api->init(&p, &e), INFLIGHT_E_CONFIG);
    check_heap("after a refused init");
    note("%lld calls, %lld KiB while running", (long long)atomic_load(&heap.calls), most >> 10);
}

/* One life with the n-th allocation failing: every step must end, well or with a code. */
static void life_without(const inflight_api *api, long long n)
{
    inflight_alloc a = heap_hook();
    inflight_init_params p = default_params();
    inflight_engine *e = NULL;
    p.alloc = &a;
    atomic_store(&heap.calls, 0);
    atomic_store(&heap.fail_at, n);
    int32_t rc = api->init(&p, &e);
    if (rc) {
        if (rc > 0 || e)
            fail("allocation %lld: init gave %d and an engine", n, rc);
        return;
    }
    inflight_request r = long_request(3);
    inflight_req id = 0;
    bool accepted = api->submit(e, &r, &id) == INFLIGHT_OK, ready = false, done = false;
    double end = now_ms() + 30000;
    while (!ready || (accepted && !done)) {
        inflight_event ev[8];
        int32_t got = api->poll(e, ev, sizeof *ev, 8, 50000000);
        if (got < 0)
            fail("allocation %lld: poll gave %d", n, got);
        for (int32_t i = 0; i < got; i++) {
            ready |= ev[i].type == INFLIGHT_EV_READY;
            done |= ev[i].type == INFLIGHT_EV_DONE;
        }
        if (now_ms() > end)
            fail("allocation %lld: no %s within 30 s", n, ready ? "DONE" : "READY");
    }
    if (api->free(e))
        fail("allocation %lld: free failed", n);
}

static void alloc_failing(void)
{
    struct object o = object_open(target.object);
    double end = now_ms() + 240000;
    long long n = 1, tried = 0, calls = 0;
    do {
        atomic_store(&heap.failed, 0);
        life_without(o.api, n);
        check_heap("a life with a failed allocation");
        tried++;
        calls = atomic_load(&heap.calls);
        n += n < 64 ? 1 : n / 16; /* all of the first, then samples */
    } while (atomic_load(&heap.failed) && now_ms() < end);
    atomic_store(&heap.fail_at, 0);
    clean_round(o.api);
    note("%lld failures tried of a life of %lld allocations", tried - 1, calls);
}

/* ---- Files */

enum { IO_SHORT, IO_ERROR, IO_SLOW, IO_LIES };

static struct {
    int mode;
    atomic_llong reads, opens, closes;
} io;

static void *on_open(void *user, const char *path, uint64_t *size)
{
    (void)user;
    int *fd = malloc(sizeof *fd);
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0 || fstat(*fd, &st)) {
        free(fd);
        return NULL;
    }
    *size = (uint64_t)st.st_size;
    if (io.mode == IO_LIES && st.st_size > 4096)
        *size += 1 << 20;
    atomic_fetch_add(&io.opens, 1);
    return fd;
}

static int64_t on_pread(void *user, void *file, void *dst, uint64_t n, uint64_t offset)
{
    (void)user;
    long long read_no = atomic_fetch_add(&io.reads, 1);
    if (io.mode == IO_ERROR && offset > 100000)
        return -1;
    if (io.mode == IO_SHORT && n > 65536 + 999)
        n = 65536 + (uint64_t)read_no % 999;
    if (io.mode == IO_SLOW)
        sleep_ms(10);
    return pread(*(int *)file, dst, n, (off_t)offset);
}

static void on_close(void *user, void *file)
{
    (void)user;
    close(*(int *)file);
    free(file);
    atomic_fetch_add(&io.closes, 1);
}

/* READY's status, with a host whose files behave as the mode says. */
static int32_t load_through(const inflight_api *api, int mode, double *free_ms)
{
    static struct watch w;
    static inflight_io hook;
    memset(&io, 0, sizeof io);
    io.mode = mode;
    hook = (inflight_io){{sizeof hook, INFLIGHT_ABI}, NULL, on_open, on_pread, on_close};
    inflight_init_params p = default_params();
    p.io = &hook;
    watch_init(&w, api, engine_start(api, &p));
    uint32_t i = watch_submit(&w, long_request(3));
    double end = now_ms() + (mode == IO_SLOW ? 200 : 60000);
    while (w.open && now_ms() < end)
        watch_poll(&w, 20000000);
    if (w.open && mode != IO_SLOW)
        fail("mode %d: no DONE within 60 s", mode);
    double begin = now_ms();
    WANT_EQ(api->free(w.engine), INFLIGHT_OK);
    *free_ms = now_ms() - begin;
    WANT_EQ(atomic_load(&io.opens), atomic_load(&io.closes));
    WANT(mode == IO_SLOW || w.item[i].status == w.ready_status);
    return w.ready_status;
}

static void io_hook(void)
{
    struct object o = object_open(target.object);
    double free_ms;
    WANT_EQ(load_through(o.api, IO_SHORT, &free_ms), INFLIGHT_OK);
    if (!atomic_load(&io.reads))
        skip("the engine read nothing through the hook");
    long long reads = atomic_load(&io.reads);
    int32_t broken = load_through(o.api, IO_ERROR, &free_ms);
    if (reads > 4 && broken != INFLIGHT_E_IO)
        fail("a read error gave READY %d", broken);
    int32_t lied = load_through(o.api, IO_LIES, &free_ms);
    WANT(lied <= 0);
    (void)load_through(o.api, IO_SLOW, &free_ms);
    note("%lld reads; with 10 ms per read free takes %lld ms", reads, (long long)free_ms);
    if (free_ms > 5000)
        fail("; free waits for slow files");
    clean_round(o.api);
}

/* ---- The library from within a hook */

static struct {
    const inflight_api *api;
    _Atomic(inflight_engine *) engine;
    atomic_int answer;
} inner;

static void free_inside(void *user)
{
    (void)user;
    inflight_engine *e = atomic_load(&inner.engine);
    if (e)
        atomic_store(&inner.answer, inner.api->free(e));
}

static void free_in_hook(void)
{
    struct object o = object_open(target.object);
    static struct watch w;
    inflight_init_params p = default_params();
    p.wakeup = free_inside;
    inner.api = o.api;
    atomic_store(&inner.answer, 1);
    watch_init(&w, o.api, engine_start(o.api, &p));
    watch_ready(&w);
    while (watch_poll(&w, 0))
        ;
    atomic_store(&inner.engine, w.engine);
    watch_submit(&w, long_request(3));
    watch_drain(&w, 60000);
    WANT_EQ(atomic_load(&inner.answer), INFLIGHT_E_BUSY);
    atomic_store(&inner.engine, NULL);
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
}

const struct test tests_hooks[] = {
    {"log-hook", "log lines go to the hook and nowhere else", log_hook, 90},
    {"alloc-balance", "all memory of the hook comes back, with its size", alloc_balance, 90},
    {"alloc-failing", "any allocation may fail", alloc_failing, 300},
    {"io-hook", "short, failing, lying and slow files", io_hook, 200},
    {"free-in-hook", "freeing from a hook is refused", free_in_hook, 90},
    {0},
};
