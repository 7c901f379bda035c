/* A game's loop: 60 frames a second on this thread while the engine works on its own.
 * Measures what matters to a game: the time spent in the library's calls within a frame,
 * and how late frames begin, first with the engine idle and then with requests in flight. */
#define _POSIX_C_SOURCE 200809L
#include "host.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define FRAME_NS    16666667u
#define MOST_FRAMES (60 * 600)
#define MOST_FLIGHT 64
#define POLL_EVENTS 32

struct samples {
    uint64_t ns[MOST_FRAMES];
    size_t n;
};

struct game {
    struct host host;
    int flight; /* requests to keep in flight */
    int running;
    uint64_t tokens, answers;
    struct samples call, late;
};

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* permille of the sorted samples are at most this, in microseconds. */
static double quantile_us(const struct samples *samples, size_t permille)
{
    size_t at = (samples->n * permille + 999) / 1000;
    return samples->n ? (double)samples->ns[at ? at - 1 : 0] / 1000 : 0;
}

static void print_row(const char *name, struct samples *samples)
{
    qsort(samples->ns, samples->n, sizeof samples->ns[0], by_size);
    printf("  %-24s %9.1f %9.1f %9.1f %9.1f us\n", name, quantile_us(samples, 500),
           quantile_us(samples, 990), quantile_us(samples, 999), quantile_us(samples, 1000));
}

/* What a game does in each frame: take what is there, ask for more. */
static bool frame(struct game *game)
{
    inflight_event event[POLL_EVENTS];
    const inflight_api *api = game->host.api;
    int32_t n = api->poll(game->host.engine, event, sizeof event[0], POLL_EVENTS, 0);
    if (n < 0)
        return false;
    for (int32_t i = 0; i < n; i++) {
        if (event[i].type == INFLIGHT_EV_TEXT)
            game->tokens += event[i].n_tokens;
        if (event[i].type == INFLIGHT_EV_DONE) {
            game->running--;
            game->answers++;
        }
    }
    for (; game->running < game->flight; game->running++) {
        inflight_request request = {{sizeof request, INFLIGHT_ABI}, .max_tokens = 200};
        request.input = (inflight_str){"Tell me about the village we are in.", INFLIGHT_NTS};
        inflight_req req;
        int32_t status = api->submit(game->host.engine, &request, &req);
        if (status != INFLIGHT_OK)
            return status == INFLIGHT_E_BUSY; /* the queue is full: in the next frame */
    }
    return true;
}

static void sleep_until(uint64_t ns)
{
    struct timespec at = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        continue;
}

static bool play(struct game *game, int frames, const char *title)
{
    game->call.n = game->late.n = 0;
    game->tokens = game->answers = 0;
    uint64_t start = host_clock_ns(), due = start;
    for (int i = 0; i < frames; i++) {
        due += FRAME_NS;
        sleep_until(due);
        uint64_t begin = host_clock_ns();
        bool ok = frame(game);
        uint64_t end = host_clock_ns();
        if (!ok) {
            host_complain(&game->host, "frame");
            return false;
        }
        game->late.ns[game->late.n++] = begin - due;
        game->call.ns[game->call.n++] = end - begin;
        /* A frame that was missed is gone, as on a display. */
        while (due + FRAME_NS < end)
            due += FRAME_NS;
    }
    double seconds = (double)(host_clock_ns() - start) / 1e9;
    printf("%s: %d frames, %.1f tokens/s, %llu answers\n", title, frames,
           (double)game->tokens / seconds, (unsigned long long)game->answers);
    printf("  %-24s %9s %9s %9s %9s\n", "", "p50", "p99", "p99.9", "max");
    print_row("in calls of the library", &game->call);
    print_row("frame begins late by", &game->late);
    return true;
}

int main(int argc, char **argv)
{
    struct host_paths paths = {0};
    static struct game game;
    int seconds = 10, flight = 4;
    for (int option; (option = getopt(argc, argv, HOST_OPTIONS "n:s:")) != -1;) {
        if (option == 'n')
            flight = host_number(optarg, MOST_FLIGHT);
        else if (option == 's')
            seconds = host_number(optarg, MOST_FRAMES / 60);
        if ((option == 'n' || option == 's') ? flight && seconds
                                             : host_option(&paths, option, optarg))
            continue;
        printf("usage: frame [-n REQUESTS] [-s SECONDS] [-m MODEL | -c CONFIG] [-l LIBRARY]\n"
               "A loop of 60 frames a second beside the engine, and how it is disturbed.\n\n"
               "  -n N     requests in flight (4), at most %d\n"
               "  -s N     seconds of each of the two runs (10)\n" HOST_HELP,
               MOST_FLIGHT);
        return option == 'h' ? 0 : 2;
    }
    if (!host_open(&game.host, &paths))
        return 1;
    bool ok = play(&game, 60 * seconds, "idle");
    game.flight = flight;
    ok = ok && play(&game, 60 * seconds, "in flight");
    host_close(&game.host);
    return ok ? 0 : 1;
}
