/* Attention of one layer against what the machine can do in the same run: decode against
 * the read bandwidth, prefill against multiply-adds in registers. Arguments: lanes (2),
 * query heads (9), key/value heads (3), head width (64). Times are processor time of the
 * busiest lane, so that a core lost to others does not count; the rounds are interleaved
 * and the best run of each counts. Caches and memory are still shared with others. */
#define _GNU_SOURCE
#include "../../kernels/cpu/cpuid.h"
#include "../../plugin/base/thread.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS       5
#define ROUND_NS     20000000u /* of one measurement in a round, at least */
#define PROBE_BYTES  ((size_t)96 << 20)
#define PROBE_PIECES 16 /* one after the other, so that a run is short */
#define LAYERS       24 /* so that the keys of one layer are not in the cache */

extern const struct backend backend_cpu;

/* A step that runs over and over: n_seqs sequences, each of new tokens after old ones. */
struct bench {
    const char *name;
    int n_seqs, old, new;
};

static const struct bench benches[] = {
    {"decode 1 x 128", 1, 127, 1},         {"decode 1 x 1024", 1, 1023, 1},
    {"decode 1 x 4096", 1, 4095, 1},       {"decode 1 x 8192", 1, 8191, 1},
    {"decode 8 x 128", 8, 127, 1},         {"decode 8 x 1024", 8, 1023, 1},
    {"decode 8 x 4096", 8, 4095, 1},       {"decode 32 x 128", 32, 127, 1},
    {"decode 32 x 1024", 32, 1023, 1},     {"prefill 512 at 0", 1, 0, 512},
    {"prefill 512 at 4096", 1, 4096, 512},
};

struct work {
    struct device *device;
    struct op_attend op;
    struct batch batch;
    int layers;
    const char *probe; /* (PROBE_BYTES) */
    int piece;         /* to be read next */
    double probe_fmas; /* operations of all lanes */
    int (*body)(struct lane *lane, void *arg);
    double ns[64]; /* each lane's time of a run */
};

static int attend_layers(struct lane *lane, void *arg)
{
    struct work *w = arg;
    for (int layer = 0; layer < w->layers; layer++) {
        struct op_attend op = w->op;
        op.layer = layer;
        backend_cpu.attend(lane, &op, &w->batch);
    }
    return 0;
}

/* Reads a piece in order, each lane its part, the way weights are read. */
static int read_probe(struct lane *lane, void *arg)
{
    struct work *w = arg;
    int first, last;
    size_t bytes = PROBE_BYTES / PROBE_PIECES;
    lane_share(lane, (int)(bytes / 256), &first, &last);
    probe_read(w->probe + (size_t)w->piece * bytes + 256 * (size_t)first,
               256 * (size_t)(last - first));
    return 0;
}

static int fma_probe(struct lane *lane, void *arg)
{
    struct work *w = arg;
    double work = probe_dot(probe_has(PROBE_FMA512) ? PROBE_FMA512 : PROBE_FMA256);
    if (lane->id == 0)
        w->probe_fmas = work * lane->count;
    return 0;
}

static double thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int timed_body(struct lane *lane, void *arg)
{
    struct work *w = arg;
    double start = thread_ns();
    int rc = w->body(lane, w);
    w->ns[lane->id % 64] = thread_ns() - start;
    return rc;
}

/* Least nanoseconds of a run, and of what *least held. */
static void time_runs(struct work *w, int (*body)(struct lane *lane, void *arg), double *least)
{
    w->body = body;
    for (uint64_t start = clock_ns(); clock_ns() - start < ROUND_NS;) {
        double ns = 0;
        backend_cpu.run(w->device, timed_body, w);
        for (int i = 0; i < 64; i++)
            ns = w->ns[i] > ns ? w->ns[i] : ns;
        *least = *least == 0 || ns < *least ? ns : *least;
        w->piece = (w->piece + 1) % PROBE_PIECES;
    }
}

/* Multiply-adds of one layer, counted twice, without the masked half of the last page. */
static double flops_of(const struct work *w)
{
    double pairs = 0;
    for (int s = 0; s < w->batch.S; s++)
        for (int i = 0; i < w->batch.seq[s].n; i++)
            pairs += w->batch.seq[s].position + i + 1;
    return pairs * w->op.H * w->op.dim * 4;
}

/* Bytes of keys and values of one layer that a step must read. */
static double bytes_of(const struct work *w, double per_position)
{
    double positions = 0;
    for (int s = 0; s < w->batch.S; s++)
        positions += w->batch.seq[s].position + w->batch.seq[s].n;
    return positions * per_position;
}

static float *floats(size_t n)
{
    float *x = mem_take(&mem_system, n * sizeof *x, 64);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(i * 2654435761u % 1024) / 512.0f - 1.0f;
    return x;
}

static struct batch_seq seqs[64];

/* Pages of the sequences stand mixed in the pool, as after some time of serving. */
static void set_batch(struct work *w, const struct bench *bench, int32_t *pages)
{
    int per_seq = (bench->old + bench->new + PAGE_TOKENS - 1) / PAGE_TOKENS;
    w->batch = (struct batch){.T = bench->n_seqs * bench->new, .S = bench->n_seqs, .seq = seqs};
    for (int s = 0; s < bench->n_seqs; s++) {
        seqs[s] = (struct batch_seq){s * bench->new, bench->new, bench->old, pages + s *per_seq};
        for (int i = 0; i < per_seq; i++)
            pages[s * per_seq + i] = i * bench->n_seqs + (s + i * 7) % bench->n_seqs;
    }
}

static void measure(struct work *w, const struct bench *bench, const struct device_config *config)
{
    static const char *const type[] = {
        [KV_BF16] = "bf16", [KV_INT8] = "int8", [KV_FP8] = "fp8", [KV_F32] = "f32"};
    double layer = 0, read = 0, fma = 0;
    struct device_bytes bytes;
    backend_cpu.measure(config, &bytes, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        time_runs(w, read_probe, &read);
        time_runs(w, fma_probe, &fma);
        time_runs(w, attend_layers, &layer);
    }
    layer /= w->layers;
    double peak_read = (double)PROBE_BYTES / PROBE_PIECES / read;
    double peak_fma = w->probe_fmas / fma;
    double gbs = bytes_of(w, (double)bytes.kv_token / config->L) / layer;
    double gflops = flops_of(w) / layer;
    printf("%-20s %-5s %9.1f us/layer  %6.1f GB/s (%3.0f %% of %5.1f)  %6.1f GFLOPS (%3.0f %% of "
           "%5.1f)\n",
           bench->name, type[config->kv_type], layer / 1e3, gbs, 100 * gbs / peak_read, peak_read,
           gflops, 100 * gflops / peak_fma, peak_fma);
}

int main(int argc, char **argv)
{
    int arg[4] = {2, 9, 3, 64};
    for (int i = 1; i < argc && i <= 4; i++)
        arg[i - 1] = atoi(argv[i]);
    struct work w = {0};
    w.op = (struct op_attend){.scale = 0.125f, .H = arg[1], .K = arg[2], .dim = arg[3]};
    w.op.qkv = floats((size_t)512 * (size_t)((arg[1] + 2 * arg[2]) * arg[3]));
    w.op.y = floats((size_t)512 * (size_t)(arg[1] * arg[3]));
    w.op.rotary = floats((size_t)512 * (size_t)arg[3]);
    w.probe = (const char *)floats(PROBE_BYTES / sizeof(float));
    static int32_t pages[1 << 16];
    printf("%d lanes, heads %d/%d, width %d\n", arg[0], arg[1], arg[2], arg[3]);
    for (size_t b = 0; b < COUNT_OF(benches); b++)
        for (int type = KV_BF16; type <= KV_F32; type++) {
            const struct bench *bench = &benches[b];
            int n_pages = (bench->old + bench->new + PAGE_TOKENS - 1) / PAGE_TOKENS;
            w.layers = bench->n_seqs * bench->old > 20000 ? 2 : bench->new > 1 ? 1 : LAYERS;
            struct device_config config = {.threads = arg[0],
                                           .max_tokens = 512,
                                           .max_rows = 64,
                                           .max_context = 16384,
                                           .max_width = 64,
                                           .L = w.layers,
                                           .H = arg[1],
                                           .K = arg[2],
                                           .dim = arg[3],
                                           .kv_type = type,
                                           .kv_pages = n_pages * bench->n_seqs};
            struct err err;
            if (backend_cpu.open(&config, &mem_system, &w.device, &err)) {
                fprintf(stderr, "%s\n", err.text);
                return EXIT_FAILURE;
            }
            /* About 0.01 in every type: ordinary numbers, neither zero nor denormal. */
            memset(w.device->kv, 0x3c, w.device->kv_bytes);
            set_batch(&w, bench, pages);
            measure(&w, bench, &config);
            backend_cpu.close(w.device);
        }
    return EXIT_SUCCESS;
}
