/* Speed of the operation linear on cold weights, as fractions of what the same threads
 * reach in the same round: reading memory (few tokens), the dot product instruction
 * (many). Medians over rounds; probes and token counts take turns within a round.
 *
 * Arguments: threads (2), instruction set by its word of the configuration (auto), rounds (5), then
 * words; only lines "NxK format" that contain one of them are measured. */
#define _GNU_SOURCE
#include "../op/matrix.h"
#include "probe.h"

#include "../../kernels/cpu/cpu.h"

#include <stdio.h>
#include <time.h>

extern const struct backend backend_cpu;

#define ROUNDS_MAX  31
#define M_MAX       512
#define PROBE_CALLS 4

static const struct {
    int32_t N, K;
    bool gated;
} shapes[] = {{960, 576, false},   {576, 576, false},   {1536, 576, true},   {576, 1536, false},
              {49152, 576, false}, {4096, 4096, false}, {14336, 4096, false}};
static const enum fmt fmts[] = {
    FMT_q4_1,  FMT_q4_0, FMT_q8_0, FMT_q4_k, FMT_q5_0,    FMT_q5_k,    FMT_q6_k,    FMT_mxfp4,
    FMT_nvfp4, FMT_bf16, FMT_fp8,  FMT_int8, FMT_fp8_128, FMT_int4_32, FMT_int4_64, FMT_int4_128};
static const int tokens[] = {1, 2, 4, 8, 16, 64, 512};

#define MS ((int)(sizeof tokens / sizeof *tokens))

struct bench {
    struct device_config config;
    struct device *device;
    uint8_t *cold; /* copies of the packed matrix, as many as fit */
    size_t copies;
    size_t next; /* copy */
    float *x, *y, *norm;
    int rounds;
};

/* ---- Probes */

static int read_body(struct lane *lane, void *arg)
{
    const struct bench *b = arg;
    size_t share = PROBE_COLD_BYTES / (size_t)lane->count / 256 * 256;
    probe_read(b->cold + (size_t)lane->id * share, share);
    return 0;
}

static int dot_body(struct lane *lane, void *arg)
{
    double *operations = arg; /* the same of every lane */
    double sum = 0;
    for (int i = 0; i < PROBE_CALLS; i++)
        sum += probe_dot(probe_has(PROBE_VNNI) ? PROBE_VNNI : PROBE_AVX2);
    if (lane->id == 0)
        *operations = sum * lane->count;
    return 0;
}

/* One thread alone is timed by its processor time: others on the machine disturb less. */
static double now(const struct bench *b)
{
    struct timespec t;
    clock_gettime(b->config.threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double seconds_of(struct bench *b, int (*body)(struct lane *lane, void *arg), void *arg)
{
    double start = now(b);
    backend_cpu.run(b->device, body, arg);
    return now(b) - start;
}

static double read_rate(struct bench *b)
{
    return (double)PROBE_COLD_BYTES / seconds_of(b, read_body, b) * 1e-9;
}

static double dot_rate(struct bench *b)
{
    double operations = 0;
    double seconds = seconds_of(b, dot_body, &operations);
    return operations / seconds * 1e-9;
}

/* ---- The operation */

struct call {
    struct bench *b;
    struct batch batch;
    struct op_linear op;
    const struct weight *weight;
    size_t first;
    int n; /* operations */
};

static int linear_body(struct lane *lane, void *arg)
{
    const struct call *call = arg;
    struct op_linear op = call->op;
    struct weight weight[2] = {*call->weight, *call->weight};
    for (int i = 0; i < call->n; i++) {
        for (int p = 0; p < op.n_part; p++) {
            size_t copy = (call->first + (size_t)(i * op.n_part + p)) % call->b->copies;
            weight[p].data = call->b->cold + copy * call->weight->bytes;
            op.part[p].weight = &weight[p];
        }
        backend_cpu.linear(lane, &op, &call->batch);
    }
    return 0;
}

/* Seconds of one operation over M tokens. */
static double linear_seconds(struct bench *b, const struct weight *weight, bool gated, int M)
{
    int parts = gated ? 2 : 1;
    double work =
        (double)weight->bytes * parts / 10e9 + 2.0 * weight->N * parts * weight->K * M / 300e9;
    int n = (int)(0.02 / work) + 1;
    struct call call = {.b = b, .batch.T = M, .weight = weight, .first = b->next, .n = n};
    call.op = (struct op_linear){.x = b->x,
                                 .y = b->y,
                                 .norm = b->norm,
                                 .eps = 1e-5f,
                                 .D = weight->K,
                                 .ldy = weight->N,
                                 .n_part = parts,
                                 .epilogue = gated ? EPILOGUE_GLU_SILU : EPILOGUE_STORE};
    b->next = (b->next + (size_t)(n * parts)) % b->copies;
    return seconds_of(b, linear_body, &call) / n;
}

/* ---- Rounds and the table */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[n / 2];
}

/* Values of one token count in every round. */
struct series {
    double gbs[ROUNDS_MAX], gops[ROUNDS_MAX], of_read[ROUNDS_MAX], of_dot[ROUNDS_MAX];
};

static void measure(struct bench *b, const struct weight *weight, bool gated, const char *name)
{
    static struct series series[MS];
    double read[ROUNDS_MAX], dot[ROUNDS_MAX];
    for (int r = 0; r < b->rounds; r++) {
        read[r] = read_rate(b);
        dot[r] = dot_rate(b);
        for (int m = 0; m < MS; m++) {
            int parts = gated ? 2 : 1;
            double s = linear_seconds(b, weight, gated, tokens[m]);
            struct series *to = &series[m];
            to->gbs[r] = (double)weight->bytes * parts / s * 1e-9;
            to->gops[r] = 2.0 * weight->N * parts * weight->K * tokens[m] / s * 1e-9;
            to->of_read[r] = to->gbs[r] / read[r];
            to->of_dot[r] = dot[r] > 0 ? to->gops[r] / dot[r] : 0;
        }
    }
    printf("%s: memory %.1f GB/s, dot product %.0f GOPS\n", name, median(read, b->rounds),
           median(dot, b->rounds));
    for (int m = 0; m < MS; m++)
        printf("  M %4d  %7.2f GB/s %4.0f %%   %7.1f GOPS %4.0f %%\n", tokens[m],
               median(series[m].gbs, b->rounds), 100 * median(series[m].of_read, b->rounds),
               median(series[m].gops, b->rounds), 100 * median(series[m].of_dot, b->rounds));
}

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 4; i < argc; i++)
        if (strstr(name, argv[i]))
            return true;
    return argc <= 4;
}

static void bench_matrix(struct bench *b, size_t shape, enum fmt fmt, int argc, char **argv)
{
    char name[64];
    int32_t N = shapes[shape].N, K = shapes[shape].K;
    snprintf(name, sizeof name, "%dx%d%s %s", N, K, shapes[shape].gated ? " gated" : "",
             fmt_info[fmt].name);
    if (!wanted(name, argc, argv) || K % fmt_info[fmt].n)
        return;
    struct matrix m;
    matrix_init_values(&m, fmt, N, K, false);
    double start = now(b);
    if (!matrix_pack(&m, &backend_cpu, b->device, &b->config)) {
        printf("%s: not served\n", name);
    } else {
        double pack = now(b) - start;
        b->copies = PROBE_COLD_BYTES / m.weight.bytes;
        b->next = 0;
        for (size_t i = 0; i < b->copies; i++)
            memcpy(b->cold + i * m.weight.bytes, m.packed, m.weight.bytes);
        measure(b, &m.weight, shapes[shape].gated, name);
        printf("  pack %.0f M values/s\n", (double)N * K / pack * 1e-6);
    }
    matrix_release(&m);
}

/* The instruction set that the configuration calls by this word. */
static int32_t isa_of(const char *word)
{
    static const char *const words[ISA_COUNT] = {[ISA_AUTO] = "auto",
                                                 [ISA_ID_PLAIN] = "plain",
                                                 [ISA_ID_AVX2] = "avx2",
                                                 [ISA_ID_AVX512] = "avx512",
                                                 [ISA_ID_AVX512BF16] = "avx512_bf16"};
    for (int32_t isa = 0; isa < ISA_COUNT; isa++)
        if (strcmp(word, words[isa]) == 0)
            return isa;
    fprintf(stderr, "%s is no instruction set: auto, plain, avx2, avx512, avx512_bf16\n", word);
    exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct bench b = {.rounds = argc > 3 ? atoi(argv[3]) : 5};
    b.rounds = b.rounds < 1 ? 1 : b.rounds > ROUNDS_MAX ? ROUNDS_MAX : b.rounds;
    b.config = (struct device_config){.threads = argc > 1 ? atoi(argv[1]) : 2,
                                      .isa = argc > 2 ? isa_of(argv[2]) : ISA_AUTO,
                                      .max_tokens = M_MAX,
                                      .max_rows = 1,
                                      .max_context = 16,
                                      .max_width = 4096,
                                      .L = 1,
                                      .H = 1,
                                      .K = 1,
                                      .dim = 64,
                                      .kv_pages = 1};
    struct err err = {0};
    if (backend_cpu.open(&b.config, &mem_system, &b.device, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return EXIT_FAILURE;
    }
    printf("%s\n", backend_cpu.describe(b.device));
    b.cold = mem_take_zeroed(&mem_system, PROBE_COLD_BYTES, 64);
    b.x = mem_take(&mem_system, sizeof(float) * M_MAX * 4096, 64);
    b.norm = mem_take(&mem_system, sizeof(float) * 4096, 64);
    b.y = mem_take_zeroed(&mem_system, sizeof(float) * M_MAX * 49152, 64);
    random_inputs(b.x, (size_t)M_MAX * 4096);
    random_inputs(b.norm, 4096);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t f = 0; f < sizeof fmts / sizeof *fmts; f++)
            bench_matrix(&b, s, fmts[f], argc, argv);
    backend_cpu.close(b.device);
    return EXIT_SUCCESS;
}
