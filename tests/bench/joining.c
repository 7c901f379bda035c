#include "joining.h"

#include "stats.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWERS      (JOINING_SEQUENCES - 1)
#define MOST_SAMPLES 65536

struct spread {
    double ms[MOST_SAMPLES];
    int n;
};

struct joining {
    struct client *client;
    double last[ANSWERS]; /* token of each */
    int tokens[ANSWERS];
    inflight_stats stats; /* when last looked */
    bool counts;          /* the prompt is being computed */
    bool done;
    struct spread step, gap;
    double waited_ms;                  /* of the process so far, when last looked */
    double longest_ms, longest_waited; /* step, and what its threads waited for processors */
};

static void add(struct spread *spread, double ms)
{
    if (spread->n < MOST_SAMPLES)
        spread->ms[spread->n++] = ms;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_spread(const char *name, struct spread *spread)
{
    static const double part[] = {0.5, 0.9, 0.99, 1};
    static const char *const label[] = {"p50", "p90", "p99", "max"};
    qsort(spread->ms, (size_t)spread->n, sizeof spread->ms[0], by_value);
    printf("{\"%s\": %d", name, spread->n);
    for (int i = 0; i < 4 && spread->n; i++)
        printf(", \"%s_ms\": %.1f", label[i], spread->ms[(int)(part[i] * (spread->n - 1) + 0.5)]);
    printf("}\n");
}

/* What the threads of this process have waited for a processor that others had. */
static double waited_ms(void)
{
    double sum = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *e; tasks && (e = readdir(tasks));) {
        char path[300], text[100] = "";
        unsigned long long ran = 0, waited = 0;
        snprintf(path, sizeof path, "%s/schedstat", e->d_name);
        int fd = openat(dirfd(tasks), path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (read(fd, text, sizeof text - 1) > 0 && sscanf(text, "%llu %llu", &ran, &waited) == 2)
            sum += 1e-6 * (double)waited;
        close(fd);
    }
    if (tasks)
        closedir(tasks);
    return sum;
}

/* Steps since the last look, which are one as a rule: each gives every answer a token. */
static void look_at_steps(struct joining *j)
{
    inflight_stats now = {.h = {sizeof now, INFLIGHT_ABI}};
    j->client->api->query(j->client->engine, INFLIGHT_Q_STATS, &now, sizeof now);
    uint64_t steps = now.steps - j->stats.steps;
    double ms = 1e-6 * (double)(now.step_ns - j->stats.step_ns) / (double)(steps ? steps : 1);
    j->stats = now;
    if (!steps)
        return;
    const double waited = waited_ms();
    for (uint64_t i = 0; i < steps && j->counts; i++)
        add(&j->step, ms);
    if (j->counts && ms > j->longest_ms) {
        j->longest_ms = ms;
        j->longest_waited = waited - j->waited_ms;
    }
    j->waited_ms = waited;
}

static void take_events(struct joining *j)
{
    inflight_event e[32];
    int n = client_poll(j->client, e, 32);
    double at = client_now();
    for (int i = 0; i < n; i++) {
        uint64_t k = e[i].user;
        if (e[i].type == INFLIGHT_EV_DONE && k == ANSWERS)
            j->done = true;
        if (e[i].type != INFLIGHT_EV_TEXT || k >= ANSWERS)
            continue;
        if (j->counts)
            add(&j->gap, 1e3 * (at - j->last[k]));
        j->last[k] = at;
        j->tokens[k] += (int)e[i].n_tokens;
    }
    look_at_steps(j);
}

/* Seconds until the prompt was computed. */
static double join_once(struct joining *j, int prompt_tokens)
{
    const struct job answer = {.prompt_tokens = 16, .max_tokens = 1500};
    const struct job prompt = {.prompt_tokens = prompt_tokens, .max_tokens = 1};
    inflight_req req[ANSWERS];
    memset(j->tokens, 0, sizeof j->tokens);
    for (int i = 0; i < ANSWERS; i++)
        req[i] = client_submit(j->client, &answer, i, true);
    for (int i = 0; i < ANSWERS; i++)
        while (j->tokens[i] < 20)
            take_events(j);
    double start = client_now();
    j->done = false;
    j->counts = true;
    client_submit(j->client, &prompt, ANSWERS, true);
    while (!j->done)
        take_events(j);
    j->counts = false;
    double seconds = client_now() - start;
    for (int i = 0; i < ANSWERS; i++)
        (void)j->client->api->cancel(j->client->engine, req[i]);
    do
        take_events(j);
    while (j->stats.running + j->stats.waiting > 0);
    return seconds;
}

void joining_bench(struct client *client, int prompt_tokens, int rounds)
{
    static struct joining j;
    double seconds[STATS_ROUNDS];
    j.client = client;
    j.stats.h = (inflight_hdr){sizeof j.stats, INFLIGHT_ABI};
    for (int i = 0; i < rounds; i++)
        seconds[i] = join_once(&j, prompt_tokens);
    print_spread("steps", &j.step);
    printf("{\"longest_step_ms\": %.1f, \"its_threads_waited_for_processors_ms\": %.1f}\n",
           j.longest_ms, j.longest_waited);
    print_spread("waits_for_a_token", &j.gap);
    stats_print("seconds_until_joined", seconds, rounds);
}
