/* Throughput, latency and memory through the ABI alone: dlopen, submit, poll.
 *
 *   serve LIB MODEL decode|prefill|parallel|start|batching|joining|commands [key=value ...]
 *
 *   decode    one request; tokens/s after the first one
 *   prefill   one request; prompt tokens/s until the first token
 *   parallel  n requests at once; generated tokens/s
 *   start     seconds from before dlopen to the first token at the host; then a decode, and
 *             the most memory that the process had, less what it had before dlopen
 *   batching  in-flight against static batching, see batching.c
 *   joining   a long prompt joins answers, see joining.c
 *   commands  the first three, in one process: a line "decode|prefill|parallel N PROMPT
 *             GENERATE" from the standard input each, answered by one with its tokens/s; before
 *             the first one the seconds from before dlopen until the model is loaded
 *
 * Keys: threads (0: the engine's choice), rounds, isa, n, prompt and generate (tokens of each
 * request), context, step_ms, kv, device (cpu), kv_tokens, step_tokens, priority (normal, since
 * other programs are measured beside it), quantization, head (true, false) and packed:
 * model.quantization, quantize_head and packed_cache of the configuration, prefault (true, false):
 * memory.prefault. One request with a short answer comes before what is measured, except in start
 * and commands. What is printed is JSON, one object a line. */
#include "batching.h"
#include "joining.h"
#include "stats.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS_MAX 256

struct options {
    const char *library, *workload;
    struct client_setup setup;
    int rounds, prompt, generate;
};

static const struct workload {
    const char *name;
    int sequences, prompt, generate, context; /* unless told otherwise */
} workloads[] = {{"decode", 1, 16, 128, 640},
                 {"prefill", 1, 512, 1, 640},
                 {"parallel", 16, 128, 64, 640},
                 {"start", 1, 16, 128, 640},
                 {"batching", BATCHING_PLACES, 0, 0, 640},
                 {"joining", JOINING_SEQUENCES, 1024, 0, 2048},
                 {"commands", 32, 0, 0, 2304}};

static void usage(const char *program)
{
    fprintf(stderr,
            "usage: %s LIB MODEL decode|prefill|parallel|start|batching|joining|commands\n"
            "       [threads=N] [device=KIND] [kv_tokens=N] [step_tokens=N] [rounds=N] [step_ms=N] "
            "[priority=NAME] [isa=NAME] [kv=TYPE] [n=N] [prompt=TOKENS]\n"
            "       [generate=TOKENS] [context=TOKENS] [quantization=NAME] [head=true|false]\n"
            "       [packed=FILE] [prefault=true|false]\n",
            program);
    exit(2);
}

/* The value if the argument is key=value, else NULL. */
static const char *value_of(const char *argument, const char *key)
{
    size_t n = strlen(key);
    return strncmp(argument, key, n) == 0 && argument[n] == '=' ? argument + n + 1 : NULL;
}

static bool take_option(struct options *o, const char *argument)
{
    struct {
        const char *key;
        int *to, least, most;
    } const number[] = {{"threads", &o->setup.threads, 0, 1024},
                        {"rounds", &o->rounds, 1, STATS_ROUNDS},
                        {"n", &o->setup.sequences, 1, REQUESTS_MAX},
                        {"prompt", &o->prompt, 1, 8192},
                        {"generate", &o->generate, 1, 8192},
                        {"context", &o->setup.context, 32, 65536},
                        {"step_ms", &o->setup.step_ms, 0, 10000},
                        {"kv_tokens", &o->setup.kv_tokens, 0, 1 << 30},
                        {"step_tokens", &o->setup.step_tokens, 16, 8192}};
    for (size_t i = 0; i < sizeof number / sizeof *number; i++) {
        const char *value = value_of(argument, number[i].key);
        if (!value)
            continue;
        *number[i].to = atoi(value);
        return *number[i].to >= number[i].least && *number[i].to <= number[i].most;
    }
    struct {
        const char *key, **to;
    } const text[] = {{"isa", &o->setup.instruction_set},
                      {"priority", &o->setup.priority},
                      {"kv", &o->setup.kv},
                      {"quantization", &o->setup.quantization},
                      {"head", &o->setup.quantize_head},
                      {"packed", &o->setup.packed_cache},
                      {"prefault", &o->setup.prefault},
                      {"device", &o->setup.device}};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        if (value_of(argument, text[i].key)) {
            *text[i].to = value_of(argument, text[i].key);
            return true;
        }
    return false;
}

static struct options parse(int argc, char **argv)
{
    const struct workload *found = NULL;
    for (size_t i = 0; argc > 3 && i < sizeof workloads / sizeof *workloads; i++)
        if (strcmp(argv[3], workloads[i].name) == 0)
            found = &workloads[i];
    if (!found)
        usage(argv[0]);
    struct options o = {.library = argv[1],
                        .workload = argv[3],
                        .setup = {.model = argv[2],
                                  .instruction_set = "auto",
                                  .sequences = found->sequences,
                                  .context = found->context,
                                  .step_ms = -1,
                                  .priority = "normal",
                                  .kv = "bf16",
                                  .quantization = "none",
                                  .quantize_head = "false",
                                  .prefault = "false",
                                  .device = "cpu"},
                        .rounds = 5,
                        .prompt = found->prompt,
                        .generate = found->generate};
    for (int i = 4; i < argc; i++)
        if (!take_option(&o, argv[i]))
            usage(argv[0]);
    return o;
}

/* n requests of these many tokens; returns what the workload counts, tokens/s. */
static double rate_of(struct client *client, const struct options *o)
{
    static struct job job[REQUESTS_MAX];
    int n = o->setup.sequences;
    for (int i = 0; i < n; i++)
        job[i] = (struct job){.prompt_tokens = o->prompt, .max_tokens = o->generate};
    double seconds = client_run(client, job, n);
    if (strcmp(o->workload, "prefill") == 0)
        return job[0].prompt / job[0].ttft_s;
    if (strcmp(o->workload, "parallel") == 0)
        return (double)o->generate * n / seconds;
    return (job[0].generated - 1) / (job[0].total_s - job[0].ttft_s);
}

static void bench_rates(struct client *client, const struct options *o)
{
    double rate[STATS_ROUNDS];
    struct job warm = {.prompt_tokens = o->prompt, .max_tokens = 8};
    client_run(client, &warm, 1);
    for (int i = 0; i < o->rounds; i++)
        rate[i] = rate_of(client, o);
    stats_print(o->workload, rate, o->rounds);
}

/* A line of this process's status, in KiB. */
static long status_kib(const char *key)
{
    char line[256];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0)
            kib = atol(line + strlen(key) + 1);
    if (f)
        fclose(f);
    return kib;
}

static void bench_start(struct client *client, const struct options *o)
{
    long before = status_kib("VmRSS");
    double start = client_now();
    struct job first = {.prompt_tokens = o->prompt, .max_tokens = 1};
    client_load(client, o->library);
    client_open(client, &o->setup);
    double ready = client_now();
    client_run(client, &first, 1);
    double seconds = client_now() - start;
    (void)rate_of(client, o);
    printf("{\"workload\": \"start\", \"load_s\": %.4f, \"first_token_s\": %.4f, "
           "\"peak_mib\": %.1f}\n",
           ready - start, seconds, (double)(status_kib("VmHWM") - before) / 1024);
}

/* A wrong line is answered with a rate of 0. */
static void bench_commands(struct client *client, const struct options *o)
{
    char line[128], workload[32];
    double start = client_now();
    client_load(client, o->library);
    client_open(client, &o->setup);
    printf("{\"workload\": \"load\", \"load_s\": %.4f}\n", client_now() - start);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        struct options one = *o;
        double rate = 0;
        if (sscanf(line, "%31s %d %d %d", workload, &one.setup.sequences, &one.prompt,
                   &one.generate) == 4 &&
            one.setup.sequences >= 1 && one.setup.sequences <= REQUESTS_MAX) {
            one.workload = workload;
            rate = rate_of(client, &one);
        }
        stats_print(workload, &rate, 1);
    }
}

int main(int argc, char **argv)
{
    struct options o = parse(argc, argv);
    struct client client;
    if (strcmp(o.workload, "start") == 0) {
        bench_start(&client, &o);
    } else if (strcmp(o.workload, "commands") == 0) {
        bench_commands(&client, &o);
    } else {
        client_load(&client, o.library);
        client_open(&client, &o.setup);
        if (strcmp(o.workload, "batching") == 0)
            batching_bench(&client, o.rounds);
        else if (strcmp(o.workload, "joining") == 0)
            joining_bench(&client, o.prompt, o.rounds);
        else
            bench_rates(&client, &o);
    }
    client_close(&client);
    return EXIT_SUCCESS;
}
