#include "client.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Prints what and the engine's last error, and ends the program. */
static void die(struct client *client, const char *what)
{
    char text[512] = "";
    if (client->api)
        client->api->query(client->engine, INFLIGHT_Q_ERROR, text, sizeof text);
    fprintf(stderr, "%s %s\n", what, text);
    exit(EXIT_FAILURE);
}

double client_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void client_load(struct client *client, const char *library)
{
    const inflight_api *(*get)(uint32_t);
    *client = (struct client){.object = dlopen(library, RTLD_NOW | RTLD_LOCAL)};
    if (!client->object)
        die(client, dlerror());
    *(void **)&get = dlsym(client->object, "inflight_get_api");
    client->api = get ? get(INFLIGHT_ABI) : NULL;
    if (!client->api)
        die(client, "the library has another ABI");
}

void client_open(struct client *client, const struct client_setup *s)
{
    char yaml[4096], step[64] = "", pace[64] = "", packed[1200] = "";
    int tokens = s->kv_tokens ? s->kv_tokens : s->context * s->sequences;
    if (s->step_tokens)
        snprintf(step, sizeof step, ", max_tokens: %d", s->step_tokens);
    if (s->step_ms >= 0)
        snprintf(pace, sizeof pace, ", step_ms: %d", s->step_ms);
    if (s->packed_cache)
        snprintf(packed, sizeof packed, ", packed_cache: \"%s\"", s->packed_cache);
    snprintf(yaml, sizeof yaml,
             "version: 1\n"
             "model: {path: \"%s\", context: %d, quantization: %s, quantize_head: %s%s}\n"
             "device: {kind: %s, threads: %d, instruction_set: %s, priority: %s}\n"
             "kv_cache: {type: %s, prefix_cache: false, tokens: %d}\n"
             "memory: {prefault: %s}\n"
             "batch: {max_sequences: %d%s%s}\n",
             s->model, s->context, s->quantization, s->quantize_head, packed, s->device, s->threads,
             s->instruction_set, s->priority, s->kv, tokens, s->prefault, s->sequences, pace, step);
    inflight_init_params params = {.h = {sizeof params, INFLIGHT_ABI},
                                   .config = {yaml, INFLIGHT_NTS}};
    if (client->api->init(&params, &client->engine))
        die(client, "init:");
    for (;;) {
        inflight_event e;
        int32_t n = client->api->poll(client->engine, &e, sizeof e, 1, 1000000000);
        if (n < 0)
            die(client, "poll:");
        if (n && e.type == INFLIGHT_EV_READY) {
            if (!e.status)
                return;
            fprintf(stderr, "load: %.*s\n", (int)e.data_len, e.data);
            exit(EXIT_FAILURE);
        }
    }
}

void client_close(struct client *client)
{
    client->api->free(client->engine);
    client->engine = NULL;
}

/* n tokens: common words with a space before them are one token each. */
static void make_prompt(char *out, size_t cap, int tokens, int id)
{
    static const char *const word[] = {" time",  " water", " house", " people", " world",
                                       " music", " light", " story", " city",   " tree"};
    size_t len = (size_t)snprintf(out, cap, "Story");
    for (int i = 1; i < tokens && len + 10 < cap; i++)
        len += (size_t)snprintf(out + len, cap - len, "%s", word[(i * 7 + i * i * 3 + id) % 10]);
}

inflight_req client_submit(struct client *client, const struct job *job, int id, bool every_token)
{
    static char prompt[65536];
    char options[128];
    inflight_req req;
    make_prompt(prompt, sizeof prompt, job->prompt_tokens, id);
    snprintf(options, sizeof options,
             "{\"temperature\": 0, \"ignore_eos\": true, \"max_tokens\": %d}", job->max_tokens);
    inflight_request r = {.h = {sizeof r, INFLIGHT_ABI},
                          .user = (uint64_t)id,
                          .kind = INFLIGHT_PROMPT,
                          .input = {prompt, INFLIGHT_NTS},
                          .options = {options, INFLIGHT_NTS},
                          .flags = every_token ? INFLIGHT_REQ_NO_COALESCE : 0};
    if (client->api->submit(client->engine, &r, &req))
        die(client, "submit:");
    return req;
}

int client_poll(struct client *client, inflight_event *event, int cap)
{
    int32_t n = client->api->poll(client->engine, event, sizeof *event, (uint32_t)cap, 1000000000);
    if (n < 0)
        die(client, "poll:");
    return n;
}

static void take_done(struct job *job, const inflight_event *e)
{
    if (e->status) {
        fprintf(stderr, "request failed: %.*s\n", (int)e->data_len, e->data);
        exit(EXIT_FAILURE);
    }
    job->ttft_s = 1e-9 * (double)e->ttft_ns;
    job->total_s = 1e-9 * (double)e->total_ns;
    job->generated = (int)e->n_tokens;
    job->prompt = (int)e->n_prompt;
}

double client_run(struct client *client, struct job *job, int n)
{
    double start = client_now();
    for (int i = 0; i < n; i++)
        client_submit(client, &job[i], i, false);
    for (int done = 0; done < n;) {
        inflight_event e[32];
        int k = client_poll(client, e, 32);
        for (int i = 0; i < k; i++) {
            if (e[i].type != INFLIGHT_EV_DONE)
                continue;
            take_done(&job[e[i].user], &e[i]);
            done++;
        }
    }
    return client_now() - start;
}

void client_control(struct client *client, uint32_t op, uint32_t value)
{
    if (client->api->control(client->engine, op, &value, sizeof value))
        die(client, "control:");
}
