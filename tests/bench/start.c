/* From nothing to the first token: dlopen, init, READY, the first TEXT of a prompt of 16
 * tokens. One process, one start: run it as often as wanted.
 *
 *   start LIB MODEL [threads] [more YAML, one line of flow style: "memory: {budget: 1GiB}"]
 *
 * Prints one JSON object with milliseconds: dlopen; init, from its call to its return; ready,
 * from the call of init; prefill, from submit to the first text; first, from before dlopen to
 * the first text. */
#include "inflight.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const inflight_api *api;

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void die(const char *what, inflight_engine *engine)
{
    char text[512] = "";
    if (api)
        api->query(engine, INFLIGHT_Q_ERROR, text, sizeof text);
    fprintf(stderr, "%s %s\n", what, text);
    exit(1);
}

/* Returns when the event has come. */
static void wait_for(inflight_engine *engine, uint16_t type)
{
    for (;;) {
        inflight_event e;
        int32_t n = api->poll(engine, &e, sizeof e, 1, 10000000000u);
        if (n < 0 || (n && e.status && e.type != INFLIGHT_EV_LOG))
            die("poll:", engine);
        if (n && e.type == type)
            return;
    }
}

static void load_library(const char *path)
{
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object)
        die(dlerror(), NULL);
    const inflight_api *(*get_api)(uint32_t);
    *(void **)&get_api = dlsym(object, "inflight_get_api");
    api = get_api ? get_api(INFLIGHT_ABI) : NULL;
    if (!api)
        die("not a library of this version", NULL);
}

static inflight_engine *open_engine(const char *model, int threads, const char *more)
{
    char yaml[2048];
    inflight_engine *engine;
    int n = snprintf(yaml, sizeof yaml,
                     "version: 1\nmodel: {path: \"%s\"}\ndevice: {threads: %d}\n%s\n", model,
                     threads, more);
    if (n < 0 || n >= (int)sizeof yaml)
        die("the configuration is too long", NULL);
    inflight_init_params params = {.h = {sizeof params, INFLIGHT_ABI},
                                   .config = {yaml, INFLIGHT_NTS}};
    if (api->init(&params, &engine))
        die("init:", NULL);
    return engine;
}

static void ask(inflight_engine *engine)
{
    inflight_req req;
    inflight_request r = {
        .h = {sizeof r, INFLIGHT_ABI},
        .kind = INFLIGHT_PROMPT,
        .input = {"Story time water house people world music light story city tree time water "
                  "house people world",
                  INFLIGHT_NTS},
        .options = {"{\"temperature\": 0, \"ignore_eos\": true, \"max_tokens\": 8}", INFLIGHT_NTS}};
    if (api->submit(engine, &r, &req))
        die("submit:", engine);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: start LIB MODEL [threads] [more YAML]\n");
        return 2;
    }
    double start = now_ms();
    load_library(argv[1]);
    double loaded = now_ms();
    inflight_engine *engine =
        open_engine(argv[2], argc > 3 ? atoi(argv[3]) : 2, argc > 4 ? argv[4] : "");
    double returned = now_ms();
    wait_for(engine, INFLIGHT_EV_READY);
    double ready = now_ms();
    ask(engine);
    wait_for(engine, INFLIGHT_EV_TEXT);
    double first = now_ms();
    printf("{\"dlopen\": %.2f, \"init\": %.2f, \"ready\": %.2f, \"prefill\": %.2f, "
           "\"first\": %.2f}\n",
           loaded - start, returned - loaded, ready - loaded, first - ready, first - start);
    return api->free(engine) != INFLIGHT_OK;
}
