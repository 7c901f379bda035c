/* Figures that are the same on every run and machine, for figures.py to compare:
 *
 *   figures counts MODEL   barriers and bytes, one "name value" a line
 *   figures steps MODEL    for callgrind: a profile each of decoding, prefilling and, with
 *   figures engine MODEL   the whole engine around a small model, of one request
 *
 * One thread and AVX2, which valgrind knows. Only what stands between the two requests to
 * callgrind is counted; without valgrind they do nothing. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/pool.h"
#include "plugin/engine.h"
#include "plugin/model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/callgrind.h>

#define CONTEXT 512
#define PROMPT  16 /* tokens before the decoded ones, one page */
#define DECODED 4
#define FILLED  64
#define FAR     300 /* behind the first split of attention */
#define ANSWER  100 /* tokens of the engine's request */
#define POLL_NS 60000000000u
#define EVENTS  64

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "figures: %s\n", what);
    exit(EXIT_FAILURE);
}

static struct model *open_model(const char *path, int32_t threads)
{
    struct model_params params = {
        .path = path,
        .device = "cpu",
        .mem = &mem_system,
        .context = CONTEXT,
        .threads = threads,
        .isa = ISA_ID_AVX2,
        .activations = ACT_INT8,
        .kv_type = KV_BF16,
        .kv_tokens = CONTEXT,
        .max_tokens = FILLED,
        .max_rows = 1,
    };
    struct err err = {0};
    struct model *m;
    if (model_open(&m, &params, &err) || model_load(m, NULL, NULL, &err))
        die(err.text);
    return m;
}

/* One pass over n tokens from a position on, with the logits of the last. */
static void forward(struct model *m, int32_t position, int32_t n)
{
    int32_t token[FILLED], at[FILLED], page[CONTEXT / PAGE_TOKENS], row = n - 1;
    for (int32_t i = 0; i < CONTEXT / PAGE_TOKENS; i++)
        page[i] = i;
    for (int32_t i = 0; i < n; i++) {
        token[i] = 100 + (position + i) * 7 % 50;
        at[i] = position + i;
    }
    struct batch_seq seq = {.first = 0, .n = n, .position = position, .page = page};
    struct batch batch = {
        .T = n, .S = 1, .R = 1, .token = token, .position = at, .seq = &seq, .row = &row};
    if (model_forward(m, &batch))
        die("the forward pass failed");
}

static void profile_steps(const char *path)
{
    struct model *m = open_model(path, 1);
    forward(m, 0, PROMPT);
    CALLGRIND_START_INSTRUMENTATION;
    for (int32_t i = 0; i < DECODED; i++)
        forward(m, PROMPT + i, 1);
    CALLGRIND_DUMP_STATS_AT("decode");
    forward(m, 0, FILLED);
    CALLGRIND_DUMP_STATS_AT("prefill");
    CALLGRIND_STOP_INSTRUMENTATION;
    model_close(m);
}

static uint64_t barriers_at(struct model *m, int32_t position)
{
    const struct pool *pool = model_device(m)->pool;
    uint64_t before = pool_barriers(pool);
    forward(m, position, 1);
    return pool_barriers(pool) - before;
}

/* ---- The whole engine */

struct counted {
    struct mem mem;
    _Atomic uint64_t taken; /* bytes now */
    _Atomic uint64_t calls; /* allocations so far */
};

static void *counted_alloc(void *user, uint64_t bytes, uint64_t align)
{
    struct counted *c = user;
    atomic_fetch_add(&c->calls, 1);
    return mem_system.alloc(NULL, bytes, align);
}

static void counted_release(void *user, void *ptr, uint64_t bytes)
{
    (void)user;
    mem_system.release(NULL, ptr, bytes);
}

static struct engine *open_engine(const char *path, struct counted *c)
{
    char yaml[1024];
    struct config config;
    struct arena arena;
    struct engine *e;
    struct err err = {0};
    *c = (struct counted){{c, &c->taken, counted_alloc, counted_release}, 0, 0};
    struct engine_host host = {.mem = c->mem};
    arena_init(&arena, &c->mem);
    int n = snprintf(yaml, sizeof yaml,
                     "{version: 1, model: {path: \"%s\"}, log: {level: error},\n"
                     "device: {threads: 1, instruction_set: avx2, priority: normal}}",
                     path);
    if (config_parse(&config, (struct str){yaml, (size_t)n}, NULL, &arena, &err) ||
        engine_open(&e, &host, &config, &arena, &err))
        die(err.text);
    return e;
}

/* Takes events until one of this type. */
static void wait_for(struct engine *e, uint16_t type)
{
    inflight_event event[EVENTS];
    for (;;) {
        int32_t n = ring_poll(engine_ring(e), event, sizeof event[0], EVENTS, POLL_NS);
        if (n <= 0)
            die("nothing came");
        for (int32_t i = 0; i < n; i++) {
            if (event[i].type == type && event[i].status)
                die("it failed");
            if (event[i].type == type)
                return;
        }
    }
}

static void submit(struct engine *e)
{
    static const char input[] = "Once upon a time", options[] = "{\"ignore_eos\": true, "
                                                                "\"temperature\": 0}";
    inflight_req req;
    struct err err = {0};
    inflight_request r = {.h = {sizeof r, INFLIGHT_ABI}, .kind = INFLIGHT_PROMPT};
    r.input = (inflight_str){input, sizeof input - 1};
    r.options = (inflight_str){options, sizeof options - 1};
    r.max_tokens = ANSWER;
    if (queue_submit(engine_queue(e), &r, &req, &err))
        die(err.text);
}

static void profile_engine(const char *path)
{
    struct counted c;
    struct engine *e = open_engine(path, &c);
    wait_for(e, INFLIGHT_EV_READY);
    CALLGRIND_START_INSTRUMENTATION;
    submit(e);
    wait_for(e, INFLIGHT_EV_DONE);
    CALLGRIND_DUMP_STATS_AT("engine");
    CALLGRIND_STOP_INSTRUMENTATION;
    engine_close(e);
}

static void print(const char *name, uint64_t value)
{
    printf("%s %llu\n", name, (unsigned long long)value);
}

static void count(const char *path)
{
    struct model *m = open_model(path, 2);
    print("barriers of a decoded token", barriers_at(m, PROMPT));
    print("barriers of a decoded token, long context", barriers_at(m, FAR));
    model_close(m);
    struct counted c;
    struct engine *e = open_engine(path, &c);
    wait_for(e, INFLIGHT_EV_READY);
    print("bytes of an engine", c.taken);
    uint64_t calls = c.calls;
    submit(e);
    wait_for(e, INFLIGHT_EV_DONE);
    print("allocations of a request", c.calls - calls);
    engine_close(e);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "counts") == 0)
        count(argv[2]);
    else if (argc == 3 && strcmp(argv[1], "steps") == 0)
        profile_steps(argv[2]);
    else if (argc == 3 && strcmp(argv[1], "engine") == 0)
        profile_engine(argv[2]);
    else
        die("usage: figures counts|steps|engine MODEL");
    return EXIT_SUCCESS;
}
