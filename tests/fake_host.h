/* A host for tests of the engine loop: opens an engine over the fake model, submits,
 * polls, and keeps what each request got. After every step the scheduler's invariants
 * are checked on the engine thread. */
#pragma once

#include "fake.h"
#include "t.h"

#include "plugin/state.h"

#define HOST_REQUESTS 256
#define HOST_CHOICES  4

struct host_result {
    inflight_req req;
    char text[HOST_CHOICES][600];
    uint32_t finish[HOST_CHOICES];        /* of LAST, or of DONE for choice 0 */
    char logprobs[600];                   /* the first */
    uint64_t logprobs_hash[HOST_CHOICES]; /* of all */
    int32_t n_done, n_after_done, n_last, n_logprobs;
    uint64_t n_text_tokens, n_gap;
    inflight_event done; /* without data */
    char error[260];
};

struct host {
    struct engine *e;
    struct mem mem; /* counts, and fails on demand */
    _Atomic uint64_t taken;
    struct config config;
    struct host_result result[HOST_REQUESTS];
    int32_t n, n_done;
    bool is_ready, plan_only;
    _Atomic bool close_in_hook; /* the next wakeup tries to close the engine */
    _Atomic int32_t hook_status;
    inflight_event ready;
    char ready_text[600];
    inflight_event device; /* DEVICE, if it came */
    char device_text[600];
    inflight_event budget; /* the last */
    int32_t n_budget;
    /* Called on the engine thread between forward and sampling, if set. */
    void (*on_step)(struct host *h);
    int32_t on_step_arg;
    int32_t last_forward, n_broken_steps;
    int32_t scratch[4096];
    /* The allocator. */
    _Atomic int64_t n_taken, n_out;
    _Atomic int64_t fail_at; /* the allocation that fails, 1 is the first; 0: none */
};

/* Defaults for tests: 16 sequences, 64 tokens a step, greedy. The fake is reset. */
void host_init(struct host *h);

/* Opens h->config and polls until READY. The status of engine_open. */
int32_t host_open(struct host *h);

/* A raw prompt. Returns the index of its result; -1: not accepted. */
int32_t host_ask(struct host *h, const char *prompt, uint32_t max_tokens);
int32_t host_submit(struct host *h, const inflight_request *request);
inflight_request host_request(const char *prompt, const char *options);

/* Polls once; returns the number of events. */
int32_t host_poll(struct host *h, uint64_t timeout_ns);

/* Polls until every request has its DONE; false after 30 seconds. */
bool host_finish(struct host *h);

/* Closes and checks that no memory is out and that no check failed. */
void host_close(struct host *h);

/* A request that ended by itself has the text it should. */
void host_check_text(const struct host *h, int32_t i, const char *prompt, int32_t max_tokens);

/* A prompt of n bytes that depends on seed. */
const char *host_prompt(int32_t seed, int32_t n, char *out);
