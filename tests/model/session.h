/* A real engine under test, driven from inside: any configuration, every row of logits
 * hashed as it is made, requests run to their end. */
#pragma once

#include "plugin/config/config.h"
#include "plugin/engine.h"

#include <pthread.h>

#define TEST_MODEL "build/models/SmolLM2-135M-Instruct.Q4_1.gguf"

#define ANSWER_BYTES  8192
#define ANSWER_TOKENS 512

#define LOGPROBS_BYTES 65536

/* What became of one request. */
struct answer {
    inflight_req req;
    bool done;
    int32_t status;
    uint32_t finish, n_tokens, n_prompt, n_cached;
    char text[ANSWER_BYTES]; /* of choice 0, NUL-terminated */
    size_t len;
    char logprobs[LOGPROBS_BYTES]; /* of choice 0, a line of JSON for each token */
    size_t logprobs_len;
    int32_t n_hash;
    uint64_t hash[ANSWER_TOKENS]; /* of the logits each token of choice 0 was drawn from */
};

struct session {
    struct engine *engine;
    struct config config;
    struct mem mem;         /* the system's, counted */
    _Atomic uint64_t taken; /* bytes the engine has */
    struct arena arena;     /* until open takes it over */
    bool is_untapped;       /* set before open: no logits are hashed, which lets a device choose */
    bool ready;
    int32_t status;
    char why[512];
    struct answer *answer; /* (n_answer) borrowed, those submitted and not yet collected */
    int32_t n_answer;
    pthread_mutex_t lock; /* guards answers' hashes: the tap runs on the engine thread */
};

/* The defaults of a YAML that names the test model; change s->config, then open. False
 * (and the test is skipped) when the model is not there. */
bool session_prepare(struct session *s);

/* Opens and waits for READY. */
bool session_open(struct session *s);
void session_close(struct session *s);

/* Submits n requests in order and polls until all are done. answers: (n), zeroed here. */
struct ask {
    uint32_t kind; /* INFLIGHT_CHAT, INFLIGHT_PROMPT */
    const char *input;
    const char *options; /* JSON */
    uint32_t priority;
};
bool session_run(struct session *s, const struct ask *asks, struct answer *answers, int32_t n);
