/* A conversation in the terminal. The whole of it goes in with every question; the
 * prefix cache keeps all but the new part from being computed again. */
#define _POSIX_C_SOURCE 200809L
#include "host.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* OpenAI's messages, a JSON array that is still open at its end. */
struct text {
    char *ptr;
    size_t len, cap;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static void put(struct text *text, const char *bytes, size_t n)
{
    if (n == 0)
        return;
    if (text->cap - text->len < n) {
        text->cap = 2 * (text->len + n);
        text->ptr = realloc(text->ptr, text->cap);
        if (!text->ptr) {
            fprintf(stderr, "no memory for the conversation\n");
            exit(1);
        }
    }
    memcpy(text->ptr + text->len, bytes, n);
    text->len += n;
}

static void put_json(struct text *text, const char *bytes, size_t n)
{
    put(text, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        char escape[8];
        if (c == '"' || c == '\\')
            (void)snprintf(escape, sizeof escape, "\\%c", c);
        else if (c < 0x20)
            (void)snprintf(escape, sizeof escape, "\\u%04x", c);
        else
            (void)snprintf(escape, sizeof escape, "%c", c);
        put(text, escape, strlen(escape));
    }
    put(text, "\"", 1);
}

static void put_message(struct text *text, const char *role, const char *bytes, size_t n)
{
    put(text, text->len ? "," : "[", 1);
    put(text, "{\"role\":", 8);
    put_json(text, role, strlen(role));
    put(text, ",\"content\":", 11);
    put_json(text, bytes, n);
    put(text, "}", 1);
}

static void print_counts(const inflight_event *done)
{
    double seconds = (double)(done->total_ns - done->ttft_ns) / 1e9;
    printf(
        "\033[2m%u of %u prompt tokens cached, first token after %.0f ms, %.1f tokens/s\033[0m\n",
        done->n_cached, done->n_prompt, (double)done->ttft_ns / 1e6,
        done->n_tokens > 1 && seconds > 0 ? (done->n_tokens - 1) / seconds : 0);
}

/* Control characters of the model must not steer the terminal. */
static void print_text(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        putchar(c < 0x20 && c != '\n' && c != '\t' ? ' ' : c);
    }
    fflush(stdout);
}

/* Streams one answer to the terminal and into answer. False: it failed. */
static bool stream(struct host *host, inflight_req req, struct text *answer, bool verbose)
{
    inflight_event event = {0};
    while (event.type != INFLIGHT_EV_DONE) {
        if (interrupted)
            host->api->cancel(host->engine, req);
        interrupted = 0;
        int32_t n = host->api->poll(host->engine, &event, sizeof event, 1, 100000000);
        if (n < 0) {
            host_complain(host, "poll");
            return false;
        }
        if (n == 1 && event.type == INFLIGHT_EV_TEXT) {
            put(answer, event.data, event.data_len);
            print_text(event.data, event.data_len);
        }
    }
    printf("\n");
    if (event.status < 0 && event.status != INFLIGHT_E_CANCELLED)
        fprintf(stderr, "%.*s\n", (int)event.data_len, event.data);
    else if (verbose)
        print_counts(&event);
    return event.status == INFLIGHT_OK || event.status == INFLIGHT_E_CANCELLED;
}

/* Asks with the conversation so far and adds the answer to it; a failed question is
 * taken out again. */
static void ask(struct host *host, struct text *messages, const char *line, size_t n, bool verbose)
{
    size_t before = messages->len;
    put_message(messages, "user", line, n);
    size_t with_question = messages->len;
    put(messages, "]", 1);
    inflight_request request = {{sizeof request, INFLIGHT_ABI}, .kind = INFLIGHT_CHAT};
    request.input = (inflight_str){messages->ptr, messages->len};
    inflight_req req;
    struct text answer = {0};
    if (host->api->submit(host->engine, &request, &req) != INFLIGHT_OK) {
        host_complain(host, "submit");
        messages->len = before;
        return;
    }
    bool ok = stream(host, req, &answer, verbose);
    messages->len = ok ? with_question : before;
    if (ok)
        put_message(messages, "assistant", answer.ptr ? answer.ptr : "", answer.len);
    free(answer.ptr);
}

static void talk(struct host *host, const char *system, bool verbose)
{
    struct text messages = {0};
    bool terminal = isatty(STDIN_FILENO);
    char *line = NULL;
    size_t cap = 0;
    if (system)
        put_message(&messages, "system", system, strlen(system));
    for (;;) {
        if (terminal)
            printf("\033[1m> \033[0m");
        fflush(stdout);
        ssize_t n = getline(&line, &cap, stdin);
        if (n < 0)
            break;
        while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        if (n)
            ask(host, &messages, line, (size_t)n, verbose);
    }
    printf("\n");
    free(line);
    free(messages.ptr);
}

int main(int argc, char **argv)
{
    struct host_paths paths = {0};
    const char *system = NULL;
    bool verbose = false;
    for (int option; (option = getopt(argc, argv, HOST_OPTIONS "s:v")) != -1;) {
        if (option == 's')
            system = optarg;
        else if (option == 'v')
            verbose = true;
        if (option == 's' || option == 'v' || host_option(&paths, option, optarg))
            continue;
        printf("usage: chat [-s TEXT] [-v] [-m MODEL | -c CONFIG] [-l LIBRARY]\n"
               "A conversation: one line is one message, Ctrl-C stops an answer, Ctrl-D ends.\n\n"
               "  -s TEXT  the system message\n"
               "  -v       show the counts of each answer\n" HOST_HELP);
        return option == 'h' ? 0 : 2;
    }
    struct host host;
    if (!host_open(&host, &paths))
        return 1;
    /* While waiting for a line, Ctrl-C ends the program: getline returns, interrupted. */
    struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);
    talk(&host, system, verbose);
    host_close(&host);
    return 0;
}
