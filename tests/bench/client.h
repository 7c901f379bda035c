/* A host for measuring: opens an engine through the ABI alone, gives it lists of requests
 * and polls until all have ended. A failure ends the program with a sentence. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "inflight.h"

#include <stdbool.h>

struct client {
    void *object; /* of dlopen */
    const inflight_api *api;
    inflight_engine *engine; /* NULL until client_open */
};

/* What an engine is opened for. */
struct client_setup {
    const char *model;
    const char *instruction_set; /* as in the configuration */
    int threads;                 /* 0: the engine's own choice */
    int sequences;               /* at once */
    int context;                 /* tokens of each */
    int step_ms;                 /* as in the configuration; -1: what the library takes */
    const char *priority;        /* too */
    const char *kv;              /* too: type of the KV cache */
    const char *device;          /* too: kind of the device */
    const char *quantization;    /* too, of the model */
    const char *quantize_head;   /* too */
    const char *packed_cache;    /* too; NULL: none */
    const char *prefault;        /* too */
    int kv_tokens;               /* of all sequences together; 0: `context` for each */
    int step_tokens;             /* as in the configuration; 0: unless told otherwise */
};

/* Prompt and answer of one request, and how it went. */
struct job {
    int prompt_tokens, max_tokens;
    int prompt, generated;  /* tokens that were computed */
    double ttft_s, total_s; /* from its submit */
};

/* Seconds of a clock that only runs forward. */
double client_now(void);

void client_load(struct client *client, const char *library);

/* Returns when the model is loaded. */
void client_open(struct client *client, const struct client_setup *setup);

void client_close(struct client *client);

/* Submits one job, whose events carry user = id; each token is an event of its own if
 * every_token. */
inflight_req client_submit(struct client *client, const struct job *job, int id, bool every_token);

/* Waits for events, at most a second; how many. event: (cap) */
int client_poll(struct client *client, inflight_event *event, int cap);

/* Submits all jobs at once and polls to the end; returns seconds. */
double client_run(struct client *client, struct job *job, int n);

/* One of INFLIGHT_CTL_* that takes a number. */
void client_control(struct client *client, uint32_t op, uint32_t value);

#endif
