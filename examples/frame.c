/* A game's loop: 60 frames a second on this thread, and the engine in the time they leave.
 * Measures what matters to a game: how late frames begin, how long the frame's own work
 * takes, what the library's calls take of it, and when the frame is done. The engine is
 * idle and saturated by turns, so that whatever else the machine does falls on both. */
#define _POSIX_C_SOURCE 200809L
#include "host.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define FRAME_NS    16666667u
#define MOST_FRAMES (60 * 3600)
#define MOST_FLIGHT 64
#define POLL_EVENTS 64
#define PARTICLES   4096

enum measure { LATE, WORK, CALLS, DONE, MEASURES };
enum phase { IDLE, BUSY, PHASES };

static const char *const measure_name[MEASURES] = {"begins late by", "own work", "library's calls",
                                                   "done after"};

/* All are kept, so that the percentiles are exact. */
struct samples {
    uint64_t ns[MOST_FRAMES];
    size_t n;
};

/* The work of a frame: a fixed number of steps of particles in a box. */
struct world {
    float at[PARTICLES][3], speed[PARTICLES][3];
    int steps;
};

struct game {
    struct host host;
    struct world world;
    inflight_req flying[MOST_FLIGHT]; /* 0: free; its index is the request's user */
    int flight;                       /* requests to keep in flight */
    const inflight_frame_api *slices; /* NULL: the engine is never stopped */
    uint64_t before_ns;               /* a frame, the engine stops */
    uint64_t tokens, frames, missed;
    struct samples samples[PHASES][MEASURES];
};

static void world_step(struct world *world)
{
    for (int i = 0; i < PARTICLES; i++)
        for (int k = 0; k < 3; k++) {
            float *at = &world->at[i][k], *speed = &world->speed[i][k];
            *speed -= k == 1 ? 0.0001f : 0;
            *at += *speed;
            if (*at < 0 || *at > 1) {
                *speed = -*speed;
                *at = *at < 0 ? 0 : 1;
            }
        }
}

static void world_frame(struct world *world)
{
    for (int i = 0; i < world->steps; i++)
        world_step(world);
}

/* As many steps as take about this long while nothing disturbs. */
static void world_open(struct world *world, int work_us)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < PARTICLES; i++)
        for (int k = 0; k < 3; k++) {
            world->at[i][k] = (float)(i * (k + 7) % 1000) / 1000;
            world->speed[i][k] = (float)(i * (k + 3) % 100) / 10000;
        }
    for (int i = 0; i < 200; i++) {
        uint64_t begin = host_clock_ns();
        world_step(world);
        uint64_t took = host_clock_ns() - begin;
        best = took < best ? took : best;
    }
    world->steps = (int)((uint64_t)work_us * 1000 / best) + 1;
}

/* What a game does in each frame: take what is there, ask for more. */
static bool serve(struct game *game)
{
    inflight_event event[POLL_EVENTS];
    const inflight_api *api = game->host.api;
    int32_t n = api->poll(game->host.engine, event, sizeof event[0], POLL_EVENTS, 0);
    for (int32_t i = 0; i < n; i++) {
        if (event[i].type == INFLIGHT_EV_TEXT)
            game->tokens += event[i].n_tokens;
        if (event[i].type == INFLIGHT_EV_DONE)
            game->flying[event[i].user] = 0;
    }
    for (int i = 0; n >= 0 && i < game->flight; i++) {
        inflight_request request = {{sizeof request, INFLIGHT_ABI}, .max_tokens = 200};
        request.user = (uint64_t)i;
        request.input = (inflight_str){"Tell me about the village we are in.", INFLIGHT_NTS};
        if (game->flying[i])
            continue;
        int32_t status = api->submit(game->host.engine, &request, &game->flying[i]);
        if (status != INFLIGHT_OK)
            return status == INFLIGHT_E_BUSY; /* the queue is full: in the next frame */
    }
    return n >= 0;
}

/* The engine has the machine until shortly before the next frame. */
static void share(struct game *game, uint64_t next_ns)
{
    if (game->slices)
        (void)game->slices->run_until(game->host.engine, next_ns - game->before_ns);
}

/* Cancels what is in flight and waits for its end. */
static bool land(struct game *game)
{
    game->flight = 0;
    share(game, UINT64_MAX);
    for (int left = 1; left > 0;) {
        left = 0;
        for (int i = 0; i < MOST_FLIGHT; i++) {
            left += game->flying[i] != 0;
            if (game->flying[i])
                (void)game->host.api->cancel(game->host.engine, game->flying[i]);
        }
        if (!serve(game))
            return false;
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    return true;
}

static void sleep_until(uint64_t ns)
{
    struct timespec at = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        continue;
}

static void add(struct samples *samples, uint64_t ns)
{
    if (samples->n < MOST_FRAMES)
        samples->ns[samples->n++] = ns;
}

static bool play(struct game *game, enum phase phase, int frames)
{
    struct samples *samples = game->samples[phase];
    uint64_t due = host_clock_ns();
    for (int i = 0; i < frames; i++) {
        due += FRAME_NS;
        sleep_until(due);
        uint64_t begin = host_clock_ns();
        world_frame(&game->world);
        uint64_t call = host_clock_ns();
        bool ok = serve(game);
        share(game, due + FRAME_NS);
        uint64_t end = host_clock_ns();
        if (!ok) {
            host_complain(&game->host, "frame");
            return false;
        }
        add(&samples[LATE], begin - due);
        add(&samples[WORK], call - begin);
        add(&samples[CALLS], end - call);
        add(&samples[DONE], end - due);
        /* A frame that was missed is gone, as on a display. */
        for (; due + FRAME_NS < end; due += FRAME_NS)
            game->missed++;
    }
    return true;
}

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

static void print_table(struct game *game)
{
    static const size_t permille[] = {500, 990, 999, 1000};
    static const char *const title[] = {"engine idle", "in flight", "difference"};
    for (int phase = 0; phase < PHASES; phase++)
        for (int m = 0; m < MEASURES; m++)
            qsort(game->samples[phase][m].ns, game->samples[phase][m].n, sizeof(uint64_t), by_size);
    for (int row = 0; row <= PHASES; row++) {
        printf("%-24s %9s %9s %9s %9s  (us)\n", title[row], "p50", "p99", "p99.9", "max");
        for (int m = 0; m < MEASURES; m++) {
            printf("  %-22s", measure_name[m]);
            for (int q = 0; q < 4; q++) {
                double idle = quantile_us(&game->samples[IDLE][m], permille[q]);
                double busy = quantile_us(&game->samples[BUSY][m], permille[q]);
                printf(" %9.1f", row == IDLE ? idle : row == BUSY ? busy : busy - idle);
            }
            printf("\n");
        }
    }
}

/* Both phases by turns. */
static bool measure(struct game *game, int rounds, int seconds, int flight)
{
    double busy = 0;
    for (int round = 0; round < rounds; round++) {
        if (!play(game, IDLE, 60 * seconds))
            return false;
        uint64_t begin = host_clock_ns();
        game->flight = flight;
        if (!play(game, BUSY, 60 * seconds))
            return false;
        busy += (double)(host_clock_ns() - begin) / 1e9;
        if (!land(game))
            return false;
    }
    printf("%d x %d s of each; work of %d steps; %d requests in flight: %.1f tokens/s; "
           "%llu frames missed\n",
           rounds, seconds, game->world.steps, flight, (double)game->tokens / busy,
           (unsigned long long)game->missed);
    print_table(game);
    return true;
}

int main(int argc, char **argv)
{
    struct host_paths paths = {0};
    static struct game game;
    int rounds = 3, seconds = 5, flight = 16, work_us = 3000, before_us = 300;
    bool always = false;
    for (int option; (option = getopt(argc, argv, HOST_OPTIONS "an:b:r:s:w:")) != -1;) {
        int *number = option == 'n'   ? &flight
                      : option == 'b' ? &before_us
                      : option == 'r' ? &rounds
                      : option == 's' ? &seconds
                      : option == 'w' ? &work_us
                                      : NULL;
        int most = option == 'n' ? MOST_FLIGHT : option == 'w' || option == 'b' ? 15000 : 60;
        if (option == 'a') {
            always = true;
            continue;
        }
        if (number ? (*number = host_number(optarg, most)) : host_option(&paths, option, optarg))
            continue;
        printf("usage: frame [-n REQUESTS] [-r ROUNDS] [-s SECONDS] [-w MICROSECONDS]\n"
               "             [-a | -b MICROSECONDS] [-m MODEL | -c CONFIG] [-l LIBRARY]\n"
               "A loop of 60 frames a second beside the engine, and how it is disturbed.\n\n"
               "  -n N     requests in flight (16), at most %d\n"
               "  -r N     rounds: first with the engine idle, then with requests (3)\n"
               "  -s N     seconds of each half of a round (5)\n"
               "  -w N     microseconds of work in a frame (3000)\n"
               "  -b N     microseconds before a frame at which the engine stops (300)\n"
               "  -a       it never stops, and shares the machine by its priority\n" HOST_HELP,
               MOST_FLIGHT);
        return option == 'h' ? 0 : 2;
    }
    if (!host_open(&game.host, &paths))
        return 1;
    game.slices = always ? NULL : game.host.api->extension(INFLIGHT_EXT_FRAME);
    game.before_ns = (uint64_t)before_us * 1000;
    world_open(&game.world, work_us);
    bool ok = measure(&game, rounds, seconds, flight);
    host_close(&game.host);
    return ok ? 0 : 1;
}
