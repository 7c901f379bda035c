/* The validator's insides: a test is a function that runs in a process of its own and
 * ends it through fail or skip, or returns if all is well. */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "include/inflight.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdnoreturn.h>

/* What is tested; the same for every test. */
struct target {
    char object[4096];      /* absolute path of the shared object */
    char config_path[4096]; /* absolute, or empty: config */
    char config[8192];
    int cycles; /* of the test that loads and unloads the object again and again */
};

extern struct target target;

#define CYCLES_WARM  20 /* until the process has grown to its size */
#define CYCLES_LEAST 50
#define CYCLES_MOST  1000000

struct test {
    const char *name, *what;
    void (*run)(void);
    unsigned timeout_s;
};

/* Lists of tests, each ended by a NULL name. */
extern const struct test tests_abi[], tests_flow[], tests_pressure[], tests_hooks[],
    tests_process[], tests_unload[], tests_context[];

noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
noreturn void skip(const char *reason);
void note(const char *format, ...) __attribute__((format(printf, 1, 2))); /* for a pass */

#define WANT(condition)                                                   \
    do {                                                                  \
        if (!(condition))                                                 \
            fail("%s:%d: not true: %s", FILE_NAME, __LINE__, #condition); \
    } while (0)

#define WANT_EQ(got, want)                                                                  \
    do {                                                                                    \
        long long w_got = (long long)(got), w_want = (long long)(want);                     \
        if (w_got != w_want)                                                                \
            fail("%s:%d: %s is %lld, want %lld", FILE_NAME, __LINE__, #got, w_got, w_want); \
    } while (0)

#define FILE_NAME \
    (__builtin_strrchr(__FILE__, '/') ? __builtin_strrchr(__FILE__, '/') + 1 : __FILE__)

/* Sanitizers keep objects mapped and memory aside, and their builds do not pin themselves. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* ---- A host, in small pieces (validator_host.c) */

struct object {
    void *handle;
    const inflight_api *api;
};

struct object object_open(const char *path); /* fails the test if it cannot */
void object_close(struct object *object);

double now_ms(void);
uint64_t now_ns(void);
void sleep_ms(unsigned ms);
/* What a graphics driver keeps in the process for the rest of its life is not counted: threads
 * whose name begins with "cuda", and descriptors of /dev/nvidia*. */
int count_threads(void);
int count_descriptors(void);
bool is_of_driver(int fd);
/* Of the threads that are counted: processor time, and how often those but the first slept. */
struct effort {
    double cpu_ms;
    long sleeps;
    int left_out; /* threads of a driver */
};
struct effort effort_now(void);
int count_mappings(const char *path);
long resident_kib(void);
long executable_kib(void); /* of no file: made at run time */
bool fd_readable(int fd, int timeout_ms);
bool valid_utf8(const char *text, uint64_t n);
const char *error_text(const inflight_api *api, inflight_engine *engine);

/* Parameters with the target's configuration, to be changed before init. */
inflight_init_params default_params(void);
inflight_engine *engine_start(const inflight_api *api, const inflight_init_params *params);
inflight_engine *engine_start_ready(const inflight_api *api); /* and waits for READY */

/* Book-keeping over events: every request is watched from submit to DONE, and each event
 * is checked against the contract as it comes. */
#define WATCH_MOST 4096

struct watched {
    inflight_req req;
    uint64_t seq, bytes, lost;
    uint32_t dones, finish, n_tokens;
    int32_t status;
    bool gap;
};

struct watch {
    const inflight_api *api;
    inflight_engine *engine;
    struct watched item[WATCH_MOST]; /* user = index */
    uint32_t n, open;
    int readies, loads, logs;
    int32_t ready_status;
    uint32_t cap; /* of each poll, 0: 64 */
};

void watch_init(struct watch *w, const inflight_api *api, inflight_engine *engine);
inflight_request long_request(uint32_t max_tokens);
uint32_t watch_submit(struct watch *w, inflight_request request); /* returns the index */
int32_t watch_poll(struct watch *w, uint64_t timeout_ns);         /* events, checked */
void watch_event(struct watch *w, const inflight_event *event);
void watch_ready(struct watch *w);                    /* until READY */
void watch_drain(struct watch *w, double timeout_ms); /* until every request is DONE */

/* init, one short request to its DONE, free: proof that the object still works. */
void clean_round(const inflight_api *api);

/* Threads that only run a function. */
void start_thread(unsigned long *id, void *(*body)(void *), void *arg, unsigned long stack);
void *join_thread(unsigned long id);
