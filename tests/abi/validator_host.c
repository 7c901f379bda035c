/* A small host for the validator's tests, and the contract that every event is held to. */
#include "validator.h"

#include <dirent.h>
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct object object_open(const char *path)
{
    struct object o = {dlopen(path, RTLD_NOW | RTLD_LOCAL), NULL};
    if (!o.handle)
        fail("dlopen: %s", dlerror());
    const inflight_api *(*get)(uint32_t);
    *(void **)&get = dlsym(o.handle, "inflight_get_api");
    if (!get)
        fail("no inflight_get_api: %s", dlerror());
    o.api = get(INFLIGHT_ABI);
    if (!o.api)
        fail("inflight_get_api(%#x) is NULL", INFLIGHT_ABI);
    return o;
}

void object_close(struct object *object)
{
    if (dlclose(object->handle))
        fail("dlclose: %s", dlerror());
    object->handle = NULL;
}

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

double now_ms(void)
{
    return (double)now_ns() / 1e6;
}

void sleep_ms(unsigned ms)
{
    nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

/* body for each number that /proc/self/<folder> lists. */
static void each_entry(const char *folder, void (*body)(int number, void *arg), void *arg)
{
    DIR *dir = opendir(folder);
    WANT(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            body(atoi(entry->d_name), arg);
    closedir(dir);
}

bool is_of_driver(int fd)
{
    char path[64], name[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, name, sizeof name - 1);
    return n > 0 && strncmp(name, "/dev/nvidia", 11) == 0;
}

static void count_descriptor(int fd, void *arg)
{
    *(int *)arg += !is_of_driver(fd);
}

int count_descriptors(void)
{
    int n = -1; /* that of the folder itself */
    each_entry("/proc/self/fd", count_descriptor, &n);
    return n;
}

static bool is_driver_thread(int id)
{
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", id);
    FILE *file = fopen(path, "r");
    if (file && !fgets(name, sizeof name, file))
        name[0] = 0;
    if (file)
        fclose(file);
    return strncmp(name, "cuda", 4) == 0;
}

static void count_thread(int id, void *arg)
{
    *(int *)arg += !is_driver_thread(id);
}

int count_threads(void)
{
    int n = 0;
    each_entry("/proc/self/task", count_thread, &n);
    return n;
}

/* Each wake-up of a thread ends in a sleep. */
static long sleeps_of(int id)
{
    char path[64], line[256];
    long sleeps = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", id);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0)
            sleeps = atol(line + 24);
    if (file)
        fclose(file);
    return sleeps;
}

static void add_effort(int id, void *arg)
{
    struct effort *effort = arg;
    struct timespec t = {0};
    if (is_driver_thread(id)) {
        effort->left_out++;
        return;
    }
    /* The clock of a thread's processor time, as the kernel numbers it. */
    clock_gettime((clockid_t)(~(unsigned)id << 3 | 6), &t);
    effort->cpu_ms += (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
    effort->sleeps += id == getpid() ? 0 : sleeps_of(id);
}

struct effort effort_now(void)
{
    struct effort effort = {0};
    each_entry("/proc/self/task", add_effort, &effort);
    return effort;
}

int count_mappings(const char *path)
{
    FILE *file = fopen("/proc/self/maps", "r");
    char line[8192];
    int n = 0;
    while (file && fgets(line, sizeof line, file))
        n += strstr(line, path) != NULL;
    if (file)
        fclose(file);
    return n;
}

long resident_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long all = 0, resident = 0;
    if (file && fscanf(file, "%ld %ld", &all, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

long executable_kib(void)
{
    FILE *file = fopen("/proc/self/maps", "r");
    char line[8192];
    unsigned long from, to, kib = 0;
    while (file && fgets(line, sizeof line, file)) {
        char mode[8], name[8] = "";
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %7s", &from, &to, mode, name) >= 3 &&
            mode[2] == 'x' && !name[0])
            kib += (to - from) / 1024;
    }
    if (file)
        fclose(file);
    return (long)kib;
}

bool fd_readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

bool valid_utf8(const char *text, uint64_t n)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    while (p < end) {
        uint32_t c = *p++;
        int more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : 3;
        if (c >= 0x80 && (c < 0xc2 || c > 0xf4))
            return false;
        if (end - p < more)
            return false;
        uint32_t value = more ? c & (0x3fu >> more) : c;
        for (int i = 0; i < more; i++) {
            if ((*p & 0xc0) != 0x80)
                return false;
            value = value << 6 | (*p++ & 0x3f);
        }
        if ((more == 2 && (value < 0x800 || (value >= 0xd800 && value < 0xe000))) ||
            (more == 3 && (value < 0x10000 || value > 0x10ffff)))
            return false;
    }
    return true;
}

const char *error_text(const inflight_api *api, inflight_engine *engine)
{
    static char text[1024];
    text[0] = '\0';
    (void)api->query(engine, INFLIGHT_Q_ERROR, text, sizeof text);
    return text;
}

inflight_init_params default_params(void)
{
    inflight_init_params p = {.h = {sizeof p, INFLIGHT_ABI}};
    if (target.config_path[0])
        p.config_path = (inflight_str){target.config_path, INFLIGHT_NTS};
    else
        p.config = (inflight_str){target.config, INFLIGHT_NTS};
    return p;
}

inflight_engine *engine_start(const inflight_api *api, const inflight_init_params *params)
{
    inflight_engine *engine = NULL;
    int32_t rc = api->init(params, &engine);
    if (rc)
        fail("init: %d %s: %s", rc, api->strerror(rc), error_text(api, NULL));
    if (!engine)
        fail("init succeeded without an engine");
    return engine;
}

inflight_engine *engine_start_ready(const inflight_api *api)
{
    static struct watch w;
    inflight_init_params p = default_params();
    watch_init(&w, api, engine_start(api, &p));
    watch_ready(&w);
    return w.engine;
}

/* ---- Watching */

void watch_init(struct watch *w, const inflight_api *api, inflight_engine *engine)
{
    memset(w, 0, sizeof *w);
    w->api = api;
    w->engine = engine;
}

inflight_request long_request(uint32_t max_tokens)
{
    static const char input[] = "Once upon a time, in a town by the sea,";
    static const char options[] = "{\"temperature\": 0, \"ignore_eos\": true}";
    inflight_request r = {.h = {sizeof r, INFLIGHT_ABI}, .kind = INFLIGHT_PROMPT};
    r.input = (inflight_str){input, sizeof input - 1};
    r.options = (inflight_str){options, sizeof options - 1};
    r.max_tokens = max_tokens;
    return r;
}

uint32_t watch_submit(struct watch *w, inflight_request request)
{
    if (w->n == WATCH_MOST)
        fail("more requests than can be watched");
    uint32_t i = w->n;
    request.user = i;
    int32_t rc = w->api->submit(w->engine, &request, &w->item[i].req);
    if (rc)
        fail("submit: %d %s", rc, error_text(w->api, w->engine));
    if (!w->item[i].req)
        fail("submit gave the id 0");
    w->n++;
    w->open++;
    return i;
}

static void watch_engine_event(struct watch *w, const inflight_event *e)
{
    if (e->type == INFLIGHT_EV_READY) {
        w->readies++;
        w->ready_status = e->status;
        if (w->readies > 1)
            fail("READY came %d times", w->readies);
    } else if (e->type == INFLIGHT_EV_LOAD) {
        w->loads++;
        if (w->readies)
            fail("LOAD after READY");
    } else if (e->type == INFLIGHT_EV_LOG) {
        w->logs++;
    } else if (e->type != INFLIGHT_EV_BUDGET) {
        fail("an event of type %u without a request", e->type);
    }
}

void watch_event(struct watch *w, const inflight_event *e)
{
    if (e->struct_size != sizeof *e)
        fail("struct_size of an event is %u", e->struct_size);
    if (!e->req) {
        watch_engine_event(w, e);
        return;
    }
    if (e->user >= w->n || w->item[e->user].req != e->req)
        fail("an event of request %#llx with user %llu, which nobody submitted",
             (unsigned long long)e->req, (unsigned long long)e->user);
    struct watched *i = &w->item[e->user];
    if (i->dones)
        fail("an event of type %u after DONE", e->type);
    if (e->seq != i->seq++)
        fail("seq is %llu, want %llu", (unsigned long long)e->seq, (unsigned long long)i->seq - 1);
    if (!valid_utf8(e->data, e->data_len))
        fail("an event of type %u is not valid UTF-8", e->type);
    if (e->type == INFLIGHT_EV_TEXT) {
        i->bytes += e->data_len;
        if (e->flags & INFLIGHT_EVF_GAP) {
            i->gap = true;
            i->lost = e->done;
        }
    } else if (e->type == INFLIGHT_EV_DONE) {
        i->dones++;
        i->status = e->status;
        i->finish = e->finish;
        i->n_tokens = e->n_tokens;
        w->open--;
    } else if (e->type != INFLIGHT_EV_LOGPROBS) {
        fail("an event of type %u with a request", e->type);
    }
}

int32_t watch_poll(struct watch *w, uint64_t timeout_ns)
{
    inflight_event ev[64];
    int32_t n = w->api->poll(w->engine, ev, sizeof *ev, w->cap ? w->cap : 64, timeout_ns);
    if (n < 0)
        fail("poll: %d %s", n, w->api->strerror(n));
    for (int32_t i = 0; i < n; i++)
        watch_event(w, &ev[i]);
    return n;
}

void watch_ready(struct watch *w)
{
    double end = now_ms() + 60000;
    while (!w->readies) {
        watch_poll(w, 50000000);
        if (now_ms() > end)
            fail("no READY within 60 s");
    }
    if (w->ready_status)
        fail("READY says %d: is the model all right?", w->ready_status);
}

void watch_drain(struct watch *w, double timeout_ms)
{
    double end = now_ms() + timeout_ms;
    while (w->open) {
        watch_poll(w, 50000000);
        if (now_ms() > end)
            fail("%u requests without DONE after %lld ms", w->open, (long long)timeout_ms);
    }
}

void clean_round(const inflight_api *api)
{
    static struct watch w;
    inflight_init_params p = default_params();
    watch_init(&w, api, engine_start(api, &p));
    uint32_t i = watch_submit(&w, long_request(4));
    watch_drain(&w, 60000);
    if (w.item[i].status)
        fail("a plain request ended with %d", w.item[i].status);
    WANT_EQ(api->free(w.engine), INFLIGHT_OK);
}

/* ---- Threads */

void start_thread(unsigned long *id, void *(*body)(void *), void *arg, unsigned long stack)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    if (stack)
        pthread_attr_setstacksize(&attributes, stack);
    int rc = pthread_create(&thread, &attributes, body, arg);
    pthread_attr_destroy(&attributes);
    if (rc)
        fail("pthread_create: %s", strerror(rc));
    *id = (unsigned long)thread;
}

void *join_thread(unsigned long id)
{
    void *result = NULL;
    pthread_join((pthread_t)id, &result);
    return result;
}
