#include "batching.h"

#include "stats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static uint64_t state;

static double uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(state >> 11) + 0.5) * 0x1p-53;
}

static double normal(void)
{
    return sqrt(-2 * log(uniform())) * cos(2 * 3.14159265358979 * uniform());
}

#define LIST   128
#define PLACES BATCHING_PLACES

/* 128 requests for 16 places: prompts of 16 to 79 tokens; output lengths log-normal with
 * mean 64 and sigma 1 (mu = ln 64 - 1/2), cut to 1 .. 512; the same list every time. */
static void make_list(struct job *job)
{
    state = 42;
    for (int i = 0; i < LIST; i++) {
        double length = exp(log(64) - 0.5 + normal());
        int tokens = length < 1 ? 1 : length > 512 ? 512 : (int)(length + 0.5);
        job[i] = (struct job){.prompt_tokens = 16 + (int)(uniform() * 64), .max_tokens = tokens};
    }
}

enum { IN_FLIGHT, STATIC }; /* of INFLIGHT_CTL_BATCHING */

/* All at once. The engine's static batching begins a batch when the last one has ended and
 * does not compute the places that have become empty. */
static double run_list(struct client *client, struct job *job, uint32_t batching)
{
    client_control(client, INFLIGHT_CTL_BATCHING, batching);
    return client_run(client, job, LIST);
}

/* Static batching as the word is used elsewhere, with padded batches: every place is computed
 * until the batch's longest answer has ended, and the batch is answered then. What a place
 * generates after its own end is not counted. */
static double run_padded(struct client *client, struct job *job)
{
    double seconds = 0;
    client_control(client, INFLIGHT_CTL_BATCHING, STATIC);
    for (int first = 0; first < LIST; first += PLACES) {
        struct job batch[PLACES];
        int longest = 0;
        memcpy(batch, job + first, sizeof batch);
        for (int i = 0; i < PLACES; i++)
            longest = batch[i].max_tokens > longest ? batch[i].max_tokens : longest;
        for (int i = 0; i < PLACES; i++)
            batch[i].max_tokens = longest;
        double took = client_run(client, batch, PLACES);
        for (int i = 0; i < PLACES; i++) {
            job[first + i].ttft_s = seconds + batch[i].ttft_s;
            job[first + i].total_s = seconds + took;
        }
        seconds += took;
    }
    return seconds;
}

static void print_quantiles(const char *name, const double *seconds)
{
    printf("\"%s\": {\"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f}", name,
           stats_quantile(seconds, LIST, 0.5), stats_quantile(seconds, LIST, 0.9),
           stats_quantile(seconds, LIST, 0.99));
}

static void print_latency(const char *mode, const struct job *job)
{
    double ttft[LIST], total[LIST];
    for (int i = 0; i < LIST; i++) {
        ttft[i] = job[i].ttft_s;
        total[i] = job[i].total_s;
    }
    printf("{\"mode\": \"%s\", ", mode);
    print_quantiles("ttft_s", ttft);
    printf(", ");
    print_quantiles("total_s", total);
    printf("}\n");
}

void batching_bench(struct client *client, int rounds)
{
    enum { PADDED = STATIC + 1, MODES };
    static const char *const name[] = {"in_flight", "static_skipping_ended", "static_padded"};
    double rate[MODES][STATS_ROUNDS], over_static[STATS_ROUNDS], over_padded[STATS_ROUNDS];
    static struct job job[LIST];
    for (int i = 0; i < rounds; i++) {
        for (uint32_t mode = 0; mode < MODES; mode++) {
            int tokens = 0;
            make_list(job);
            for (int k = 0; k < LIST; k++)
                tokens += job[k].max_tokens;
            double seconds = mode == PADDED ? run_padded(client, job) : run_list(client, job, mode);
            rate[mode][i] = tokens / seconds;
            if (i == rounds - 1)
                print_latency(name[mode], job);
        }
        over_static[i] = rate[IN_FLIGHT][i] / rate[STATIC][i];
        over_padded[i] = rate[IN_FLIGHT][i] / rate[PADDED][i];
    }
    stats_print("in_flight_tokens_per_s", rate[IN_FLIGHT], rounds);
    stats_print("static_skipping_ended_tokens_per_s", rate[STATIC], rounds);
    stats_print("static_padded_tokens_per_s", rate[PADDED], rounds);
    stats_print("in_flight_over_static_skipping_ended", over_static, rounds);
    stats_print("in_flight_over_static_padded", over_padded, rounds);
}
