/* Speed of the CUDA back end's operations on a card, a line each: microseconds, bytes that must
 * move and operations in a second, and these as fractions of what copies reach in the same run.
 *
 *   card [linear|head|embed|attend] [t=1,64] [fmt=q4_1,q8_0] [shape=8b.down] [rounds=5] [csv]
 *        [peak_gbs=3350] [peak_tf=989] [small] [cublaslt]
 *
 * us        of one operation in a captured sequence of many, as decode steps are launched
 * queued    of one of many that are queued one by one: the host's launches may be the limit
 * cublaslt  products of many tokens by cuBLASLt, as device.cublaslt has them: with its own rows for
 *           the tokens where it begins
 * Weights, keys and values come from memory, not from a cache: operations take turns in more
 * than four times the last cache. Times are medians of rounds, by the host's clock around
 * milliseconds of work. On the simulated card times mean nothing; `small` shows that it runs. */
#define _GNU_SOURCE
#include "card.h"

#include "../../plugin/base/base.h"
#include "../op/matrix.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

extern const struct backend backend_cuda;

#define RUN_SECONDS 0.002 /* of one measurement, about */
#define RUN_MOST    1000  /* operations of it */
#define QUEUED_MOST 40e-6 /* beyond it a launch is no limit */

#define LAUNCHES_MOST 4 /* of one operation */

static _Noreturn void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(EXIT_FAILURE);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- Devices and their memory */

void card_open(struct card *card, const struct device_config *config)
{
    struct err err = {0};
    card->config = *config;
    if (backend_cuda.open(config, &mem_system, &card->device, &err))
        fail("%s", err.text);
}

void card_close(struct card *card)
{
    backend_cuda.close(card->device);
    card->device = NULL;
}

void *card_take(struct card *card, size_t bytes)
{
    void *memory = backend_cuda.take(card->device, bytes);
    if (!memory)
        fail("%s has no %zu bytes left", backend_cuda.describe(card->device), bytes);
    return memory;
}

void card_give(struct card *card, const void *memory, size_t bytes)
{
    if (memory)
        backend_cuda.give(card->device, (void *)(uintptr_t)memory, bytes);
}

struct copy {
    CUdeviceptr to, from;
    size_t some, bytes; /* repeat: [0, some) to [0, bytes); else `some` bytes, n times */
    int n;
};

static int repeat_body(struct lane *lane, void *arg)
{
    const struct copy *c = arg;
    CUresult result = CUDA_SUCCESS;
    lane->device->queued = true;
    for (size_t have = c->some; have < c->bytes && !result; have *= 2)
        result = lane->device->driver->cuMemcpyDtoDAsync(
            c->to + have, c->to, MIN(have, c->bytes - have), lane->device->stream);
    return result ? INFLIGHT_E_DEVICE : 0;
}

static int copy_body(struct lane *lane, void *arg)
{
    const struct copy *c = arg;
    CUresult result = CUDA_SUCCESS;
    lane->device->queued = true;
    for (int i = 0; i < c->n && !result; i++)
        result =
            lane->device->driver->cuMemcpyDtoDAsync(c->to, c->from, c->some, lane->device->stream);
    return result ? INFLIGHT_E_DEVICE : 0;
}

static void run(struct card *card, int (*body)(struct lane *lane, void *arg), void *arg)
{
    if (backend_cuda.run(card->device, body, arg))
        fail("%s", backend_cuda.describe(card->device));
}

void card_repeat(struct card *card, void *memory, size_t some, size_t bytes)
{
    struct copy c = {.to = (CUdeviceptr)(uintptr_t)memory, .some = some, .bytes = bytes};
    run(card, repeat_body, &c);
}

float *card_numbers(struct card *card, size_t bytes)
{
    size_t some = MIN(bytes, (size_t)1 << 20);
    float *memory = card_take(card, bytes);
    uint32_t *words = malloc(some);
    for (size_t i = 0; words && i < some / sizeof *words; i++) {
        uint32_t bits = random_bits();
        /* Exponents of 2^-8 to 2^-1, in both halves. */
        words[i] = (bits & 0x83ff83ff) | 0x3c003c00;
    }
    if (!words || backend_cuda.write(card->device, memory, words, some))
        fail("%s: no numbers", backend_cuda.describe(card->device));
    free(words);
    card_repeat(card, memory, some, bytes);
    return memory;
}

/* What copies within the device read and write in a second. */
static double copy_rate(struct card *card)
{
    struct copy c = {.some = card->options.is_small ? 4096 : (size_t)1 << 29, .n = 4};
    float *to = card_numbers(card, c.some), *from = card_numbers(card, c.some);
    double best = 0;
    c.to = (CUdeviceptr)(uintptr_t)to;
    c.from = (CUdeviceptr)(uintptr_t)from;
    for (int i = 0; i < 4; i++) {
        double start = now();
        run(card, copy_body, &c);
        double rate = 2.0 * (double)c.some * c.n / (now() - start);
        best = MAX(best, rate);
    }
    card_give(card, to, c.some);
    card_give(card, from, c.some);
    return best * 1e-9;
}

/* ---- Batches */

struct batch card_batch(int T, bool one_each, int position, int rows)
{
    int S = one_each ? T : 1, n_pages = (position + (one_each ? 1 : T)) / PAGE_TOKENS + 1;
    int32_t *numbers = malloc((size_t)(3 * T + S * n_pages) * sizeof *numbers);
    struct batch_seq *seq = calloc((size_t)S, sizeof *seq);
    float *scale = malloc((size_t)T * sizeof *scale);
    if (!numbers || !seq || !scale)
        fail("no memory for a batch");
    int32_t *token = numbers, *at = token + T, *row = at + T, *page = row + T;
    for (int t = 0; t < T; t++) {
        token[t] = (int32_t)((uint32_t)t * 7919u % 997u);
        at[t] = position + (one_each ? 0 : t);
        row[t] = t;
        scale[t] = 1.0f;
    }
    /* Neighbours in a sequence are not neighbours in the pool. */
    for (int s = 0; s < S; s++) {
        for (int i = 0; i < n_pages; i++)
            page[s * n_pages + i] = i * S + s;
        seq[s] = (struct batch_seq){
            .first = s, .n = one_each ? 1 : T, .position = position, .page = page + s * n_pages};
    }
    return (struct batch){.T = T,
                          .S = S,
                          .R = rows,
                          .token = token,
                          .position = at,
                          .seq = seq,
                          .row = row,
                          .scale = scale};
}

void card_batch_free(const struct batch *batch)
{
    free((void *)(uintptr_t)batch->token); /* and what comes behind it */
    free((void *)(uintptr_t)batch->seq);
    free((void *)(uintptr_t)batch->scale);
}

/* ---- Timing */

struct burst {
    const struct card_case *c;
    int n; /* operations */
};

/* A batch whose sequences have one token each makes the operations a recorded step. */
static int burst_body(struct lane *lane, void *arg)
{
    const struct burst *burst = arg;
    int rc = step_upload(lane->device, &burst->c->batch);
    for (int i = 0; i < burst->n && !rc; i++)
        rc = burst->c->body(lane, burst->c, i);
    return rc;
}

/* Seconds of n operations in one run. */
static double burst_seconds(struct card *card, const struct card_case *c, int n)
{
    struct burst burst = {c, n};
    double start = now();
    run(card, burst_body, &burst);
    return now() - start;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of one operation; captured or queued. */
static double median_seconds(struct card *card, const struct card_case *c, bool captured)
{
    const int few = card->options.is_small ? 2 : 4;
    double seconds[CARD_ROUNDS_MOST];
    card->device->graphs.is_off = !captured;
    (void)burst_seconds(card, c, few);
    int n = (int)(RUN_SECONDS / (burst_seconds(card, c, few) / few)) + 1;
    /* What a recorded step has no room for is queued. */
    if (captured)
        n = MIN(n, card->device->graphs.capacity / LAUNCHES_MOST);
    n = card->options.is_small ? few : MIN(n, RUN_MOST);
    /* A sequence is captured when it comes for the second time. */
    for (int i = 0; i < (captured ? 3 : 1); i++)
        (void)burst_seconds(card, c, n);
    for (int i = 0; i < card->options.rounds; i++)
        seconds[i] = burst_seconds(card, c, n) / n;
    qsort(seconds, (size_t)card->options.rounds, sizeof *seconds, by_value);
    return seconds[card->options.rounds / 2];
}

static void print_head(const struct card *card)
{
    if (card->options.is_csv)
        printf("operation,format,shape,T,us,queued_us,GB/s,TFLOP/s,of_copy,of_peak_bytes,"
               "of_peak_flops\n");
    else
        printf("%-7s %-5s %-14s %5s %9s %9s %8s %8s %8s\n", "op", "fmt", "shape", "T", "us",
               "queued", "GB/s", "TFLOP/s", "of copy");
}

void card_measure(struct card *card, const struct card_case *c)
{
    const struct card_options *options = &card->options;
    double captured = c->is_sequence ? median_seconds(card, c, true) : 0;
    double queued = !c->is_sequence || captured < QUEUED_MOST ? median_seconds(card, c, false) : 0;
    double best = c->is_sequence ? captured : queued;
    double gbs = c->bytes / best * 1e-9, tf = c->flops / best * 1e-12;
    char of_peak[64] = "";
    if (options->is_csv) {
        printf("%s,%s,%s,%d,%.2f,%.2f,%.1f,%.2f,%.4f,%.4f,%.4f\n", c->operation, c->fmt, c->shape,
               c->T, best * 1e6, queued * 1e6, gbs, tf, gbs / card->copy_gbs,
               options->peak_gbs > 0 ? gbs / options->peak_gbs : 0,
               options->peak_tf > 0 ? tf / options->peak_tf : 0);
        return;
    }
    if (options->peak_gbs > 0 && options->peak_tf > 0)
        (void)snprintf(of_peak, sizeof of_peak, "  of peak %4.1f %% bytes %4.1f %% flops",
                       100 * gbs / options->peak_gbs, 100 * tf / options->peak_tf);
    printf("%-7s %-5s %-14s %5d %9.2f %9.2f %8.1f %8.2f %6.1f %%%s\n", c->operation, c->fmt,
           c->shape, c->T, best * 1e6, queued * 1e6, gbs, tf, 100 * gbs / card->copy_gbs, of_peak);
}

/* ---- Options */

/* Any of the words "a,b" is a part of the name; a name that is not known yet may have it. */
static bool has_part(const char *words, const char *name)
{
    char word[64];
    int n = 0;
    for (; words && name && sscanf(words, "%63[^,]%n", word, &n) == 1;
         words += n + (words[n] == ','))
        if (strstr(name, word))
            return true;
    return !words || !name;
}

static bool has_number(const char *numbers, int T)
{
    int number, n = 0;
    for (; numbers && sscanf(numbers, "%d%n", &number, &n) == 1; numbers += n + (numbers[n] == ','))
        if (number == T)
            return true;
    return !numbers;
}

bool card_wants(const struct card *card, const char *operation, const char *fmt, const char *shape,
                int T)
{
    const struct card_options *o = &card->options;
    return has_part(o->operation, operation) && has_part(o->fmt, fmt) &&
           has_part(o->shape, shape) && (T < 0 || has_number(o->tokens, T));
}

static const char *value_of(const char *word, const char *name)
{
    size_t n = strlen(name);
    return strncmp(word, name, n) == 0 && word[n] == '=' ? word + n + 1 : NULL;
}

static struct card_options read_options(char **argv)
{
    struct card_options o = {.rounds = 5};
    const char *value;
    for (char **word = argv + 1; *word; word++) {
        if ((value = value_of(*word, "t")))
            o.tokens = value;
        else if ((value = value_of(*word, "fmt")))
            o.fmt = value;
        else if ((value = value_of(*word, "shape")))
            o.shape = value;
        else if ((value = value_of(*word, "rounds")))
            o.rounds = MAX(1, MIN(atoi(value), CARD_ROUNDS_MOST));
        else if ((value = value_of(*word, "peak_gbs")))
            o.peak_gbs = atof(value);
        else if ((value = value_of(*word, "peak_tf")))
            o.peak_tf = atof(value);
        else if (strcmp(*word, "small") == 0)
            o.is_small = true;
        else if (strcmp(*word, "cublaslt") == 0)
            o.cublaslt = true;
        else if (strcmp(*word, "csv") == 0)
            o.is_csv = true;
        else if (strchr(*word, '=') || o.operation)
            fail("%s is not understood", *word);
        else
            o.operation = *word;
    }
    return o;
}

/* The rate of copies and the size of the last cache; both hold for all cases. */
static void look_at_card(struct card *card)
{
    const struct device_config config = {.threads = 1,
                                         .max_tokens = 1,
                                         .max_rows = 1,
                                         .max_context = 16,
                                         .max_width = 64,
                                         .L = 1,
                                         .H = 1,
                                         .K = 1,
                                         .dim = 64,
                                         .kv_type = KV_BF16,
                                         .kv_pages = 1};
    int cache = 0;
    card_open(card, &config);
    const struct device *device = card->device;
    if (device->driver->cuDeviceGetAttribute(&cache, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE,
                                             device->ordinal))
        cache = 0;
    card->cold = card->options.is_small ? 0 : MAX(4 * (size_t)cache, (size_t)64 << 20);
    card->copy_gbs = copy_rate(card);
    if (!card->options.is_csv)
        printf("%s\ncopies within the device read and write %.0f GB/s, last cache %.1f MB\n",
               backend_cuda.describe(device), card->copy_gbs, (double)cache / (1 << 20));
    card_close(card);
}

int main(int argc, char **argv)
{
    (void)argc;
    struct card card = {.options = read_options(argv)};
    setvbuf(stdout, NULL, _IOLBF, 0);
    double start = now();
    look_at_card(&card);
    print_head(&card);
    card_products(&card);
    card_heads(&card);
    card_embeds(&card);
    card_attention(&card);
    (void)fprintf(stderr, "%.1f s\n", now() - start);
    return EXIT_SUCCESS;
}
