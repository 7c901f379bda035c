#define _POSIX_C_SOURCE 200809L
#include "host.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool host_option(struct host_paths *paths, int option, const char *argument)
{
    if (option == 'l')
        paths->library = argument;
    else if (option == 'm')
        paths->model = argument;
    else if (option == 'c')
        paths->config = argument;
    else
        return false;
    return true;
}

void host_complain(const struct host *host, const char *what)
{
    char text[512] = "";
    host->api->query(host->engine, INFLIGHT_Q_ERROR, text, sizeof text);
    fprintf(stderr, "%s: %s\n", what, text);
}

/* Small models want a cooler head than OpenAI's defaults give them; this is what SmolLM2's makers
 * recommend. The path in quotes as JSON has them. */
static void write_config(const char *model, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "{version: 1, model: {path: \"");
    for (; *model && n + 64 < cap; model++) {
        if (*model == '"' || *model == '\\')
            out[n++] = '\\';
        out[n++] = *model;
    }
    (void)snprintf(out + n, cap - n, "\"}, sampling: {temperature: 0.2, top_p: 0.9}}");
}

static void show_progress(const inflight_event *event)
{
    double percent = event->total ? 100.0 * (double)event->done / (double)event->total : 0;
    fprintf(stderr, "\r%.*s: %.0f%% of %.0f MiB\033[K", (int)event->data_len, event->data, percent,
            (double)event->total / (1 << 20));
}

/* LOAD events until READY. */
static bool wait_ready(struct host *host)
{
    bool terminal = isatty(STDERR_FILENO);
    for (;;) {
        inflight_event event = {0};
        int32_t n = host->api->poll(host->engine, &event, sizeof event, 1, 1000000000);
        if (n < 0) {
            host_complain(host, "poll");
            return false;
        }
        if (n == 1 && event.type == INFLIGHT_EV_LOAD && terminal)
            show_progress(&event);
        if (n != 1 || event.type != INFLIGHT_EV_READY)
            continue;
        fprintf(stderr, "%s%.*s\n", terminal ? "\r\033[K" : "", (int)event.data_len, event.data);
        return event.status == INFLIGHT_OK;
    }
}

bool host_open(struct host *host, const struct host_paths *paths)
{
    memset(host, 0, sizeof *host);
    char error[512], config[8192];
    const char *library = paths->library ? paths->library : "build/libinflight.so.1";
    if (inflight_load(&host->library, library, error, sizeof error)) {
        fprintf(stderr, "%s\n", error);
        return false;
    }
    host->api = host->library.api;
    inflight_init_params init = {{sizeof init, INFLIGHT_ABI}, .user = NULL};
    if (paths->config) {
        init.config_path = (inflight_str){paths->config, INFLIGHT_NTS};
    } else {
        const char *model = paths->model;
        write_config(model ? model : "build/models/SmolLM2-135M-Instruct.Q4_1.gguf", config,
                     sizeof config);
        init.config = (inflight_str){config, INFLIGHT_NTS};
    }
    if (host->api->init(&init, &host->engine) != INFLIGHT_OK)
        host_complain(host, "init");
    else if (wait_ready(host))
        return true;
    host_close(host);
    return false;
}

void host_close(struct host *host)
{
    if (host->engine)
        host->api->free(host->engine);
    inflight_unload(&host->library);
    memset(host, 0, sizeof *host);
}

int host_number(const char *text, int most)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (end != text && !*end && value >= 1 && value <= most)
        return (int)value;
    fprintf(stderr, "%s: must be a number from 1 to %d\n", text, most);
    return 0;
}

uint64_t host_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
