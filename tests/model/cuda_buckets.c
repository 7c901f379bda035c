/* Steps of decoding with dead rows: few graphs for all numbers of sequences, the bits of steps
 * without, nothing written but what the batch says, and what it costs. */
#define _GNU_SOURCE /* putenv */
#include "t.h"

#ifdef INFLIGHT_CUDA
#include "decoding.h"

#include "kernels/cuda/product.h"

enum { SEQUENCES = 34, MOST = 34 }; /* more than a bucket of 32, less than the next */

static float got[TOKENS_MOST * VOCABULARY], want[TOKENS_MOST * VOCABULARY];

static void fetch(struct model *m, int32_t R, float *out)
{
    const size_t V = (size_t)model_hparams(m)->V;
    for (int32_t r = 0; r < R; r++)
        memcpy(out + (size_t)r * V, model_logits(m, r), V * sizeof *out);
}

/* The next token of sequences first .. first + S - 1. plain: beside a prompt of two tokens, which
 * is never recorded and has no dead rows. */
static void step(struct model *m, int32_t first, int32_t S, int32_t *position, bool plain,
                 float *out)
{
    struct maker b = {0};
    for (int32_t s = first; s < first + S; s++)
        put(&b, s, position[s]++, 1);
    if (plain)
        put(&b, SEQUENCES, 0, 2);
    CHECK_EQ(run(m, &b, S), 0);
    fetch(m, S, out);
}

TEST(cuda_buckets, sizes_are_those_of_products)
{
    static const int32_t row[][2] = {{1, 1},   {2, 8},   {8, 8},   {9, 16},   {16, 16},  {17, 32},
                                     {32, 32}, {33, 64}, {64, 64}, {65, 128}, {129, 192}};
    for (size_t i = 0; i < COUNT_OF(row); i++)
        CHECK_EQ(product_bucket(row[i][0]), row[i][1]);
}

/* Sequences come one by one, and go from the front; one crosses a split. The largest step is as
 * large as a step may be, which is no bucket. */
TEST(cuda_buckets, few_graphs_serve_all_steps_with_the_same_bits)
{
    struct model *m = decoding_open(SEQUENCES + 1, MOST);
    struct model *plain = m ? decoding_open(SEQUENCES + 1, MOST + 2) : NULL;
    static int32_t at[SEQUENCES], plain_at[SEQUENCES];
    struct gpu_counts before = {0}, after = {0};
    int differ = 0;
    at[7] = plain_at[7] = 250;
    if (plain) {
        prompt(m, 7, 250);
        prompt(plain, 7, 250);
    }
    if (plain && gpu.counts)
        gpu.counts(&before);
    for (int i = 1; plain && i < 2 * MOST; i++) {
        const int32_t S = i <= MOST ? i : 2 * MOST - i, first = i <= MOST ? 0 : i - MOST;
        step(m, first, S, at, false, got);
        step(plain, first, S, plain_at, true, want);
        differ += memcmp(got, want, (size_t)S * (size_t)model_hparams(m)->V * sizeof *got) != 0;
    }
    CHECK_EQ(differ, 0);
    if (plain) {
        /* 1, 8, 16, 32 and 34 tokens, up to 256 positions and up to 512. */
        printf("  %d steps, %d graphs\n", 2 * MOST - 1, graphs_made(m));
        CHECK(graphs_made(m) >= 5 && graphs_made(m) <= 2 * 5);
        CHECK_EQ(graphs_made(plain), 0);
    }
    if (plain && gpu.counts) {
        gpu.counts(&after);
        CHECK(after.graph_launches - before.graph_launches >= 2 * MOST - 1 - 2 * 5);
        CHECK(after.captures - before.captures <= 2 * 5);
    }
    model_close(plain);
    model_close(m);
}

/* ---- Pages */

/* Whether the step left all pages as they are but for those its sequences' tokens are in. */
static void check_pages(struct model *m, const struct maker *b, const uint8_t *pages, uint8_t *now)
{
    const struct backend *backend = model_backend(m);
    struct device *device = model_device(m);
    const size_t bytes = (size_t)kv_page_bytes(&device->config), n = device->kv_bytes / bytes;
    int changed = 0, kept = 0;
    CHECK_EQ(backend->read(device, now, (void *)(uintptr_t)device->kv, device->kv_bytes), 0);
    for (size_t p = 0; p < n; p++) {
        bool is_own = false;
        for (int32_t s = 0; s < b->batch.S; s++)
            is_own |= (size_t)b->page[s][b->position[s] / PAGE_TOKENS] == p;
        changed += is_own && memcmp(now + p * bytes, pages + p * bytes, bytes) != 0;
        kept += !is_own && memcmp(now + p * bytes, pages + p * bytes, bytes) == 0;
    }
    CHECK_EQ(changed, b->batch.S);
    CHECK_EQ(kept, (int)n - b->batch.S);
}

/* Every page that is not the sequences' holds numbers that are none, which would spread. */
TEST(cuda_buckets, dead_rows_touch_no_page)
{
    struct model *m = decoding_open(SEQUENCES, MOST);
    if (!m)
        return;
    struct device *device = model_device(m);
    const size_t bytes = device->kv_bytes;
    uint8_t *pages = malloc(bytes), *now = malloc(bytes);
    CHECK(pages && now);
    memset(pages, 0xff, bytes);
    CHECK_EQ(model_backend(m)->write(device, (void *)(uintptr_t)device->kv, pages, bytes), 0);
    for (int32_t s = 1; s < 12; s++)
        prompt(m, s, 20);
    for (int time = 0; time < 3; time++) {
        struct maker b = {0};
        CHECK_EQ(model_backend(m)->read(device, pages, (void *)(uintptr_t)device->kv, bytes), 0);
        for (int32_t s = 1; s < 12; s++) /* page 0, which dead rows could mean, is poison too */
            put(&b, s, 20 + time, 1);
        memmove(b.page, b.page + 1, 11 * sizeof *b.page);
        for (int32_t s = 0; s < 11; s++)
            b.seq[s].page = b.page[s];
        CHECK_EQ(run(m, &b, 11), 0);
        check_pages(m, &b, pages, now);
        for (int32_t r = 0; r < 11; r++)
            for (int32_t v = 0; v < model_hparams(m)->V; v++)
                CHECK(model_logits(m, r)[v] == model_logits(m, r)[v]);
    }
    free(pages);
    free(now);
    model_close(m);
}

/* ---- Steps that are launched ahead */

static int32_t largest(const float *logits, int32_t V)
{
    int32_t best = 0;
    for (int32_t v = 1; v < V; v++)
        best = logits[v] > logits[best] ? v : best;
    return best;
}

/* A step of the first token of sequences [0, S): what was chosen in the step before, from its last
 * row on. Every third row wants log probabilities. */
static const struct batch *ahead_batch(struct maker *b, struct row_choice *choice, int32_t S,
                                       int32_t before)
{
    for (int32_t s = 0; s < S; s++) {
        put(b, s, 0, 1);
        choice[s] = (struct row_choice){.top_p = 1,
                                        .repetition = 1,
                                        .pending = -1,
                                        .report = s % 3 ? 0 : 1 + s / 3,
                                        .n_top = s % 3 ? 0 : 2};
        if (before)
            b->token[s] = -1 - (before - 1 - s % before);
    }
    b->batch.choice = choice;
    b->batch.n_report = (S + 2) / 3;
    return finish(b, S);
}

/* Rows that differ from what the host has chosen, in their token or in the best of what was
 * reported of them. */
static int count_others(const struct sample_output *output, const int32_t *chosen, int32_t S)
{
    int n = 0;
    for (int32_t s = 0; s < S; s++) {
        const struct sample_output *o = &output[s];
        const int32_t n_top = s % 3 ? 0 : 2;
        n += o->token != chosen[s] || o->n_top != n_top;
        n += n_top && (o->top[0].token != chosen[s] || o->top[0].logprob != o->logprob);
    }
    return n;
}

/* The step before has another bucket each time, and its tokens are found nevertheless. */
TEST(cuda_buckets, a_step_ahead_finds_tokens_of_a_step_of_another_size)
{
    static const int32_t sizes[] = {9, 8, 17, 1, 34, 33, 9, 8, 1, 17, 9};
    struct model *m = decoding_open(SEQUENCES, MOST);
    struct model *host = m ? decoding_open(SEQUENCES, MOST) : NULL;
    static struct maker maker[2], plain;
    static struct row_choice choice[2][TOKENS_MOST];
    static struct sample_output output[TOKENS_MOST];
    int32_t chosen[TOKENS_MOST] = {0};
    int differ = 0;
    for (size_t i = 0; host && i < COUNT_OF(sizes); i++) {
        const int32_t S = sizes[i], before = i ? sizes[i - 1] : 0, V = model_hparams(host)->V;
        maker[i % 2] = plain = (struct maker){0};
        const struct batch *batch = ahead_batch(&maker[i % 2], choice[i % 2], S, before);
        CHECK_EQ(model_launch(m, batch), 0);
        if (i) {
            CHECK_EQ(model_settle(m, output), 0);
            differ += count_others(output, chosen, before);
        }
        for (int32_t s = 0; s < S; s++) {
            put(&plain, s, 0, 1);
            if (before)
                plain.token[s] = chosen[before - 1 - s % before];
        }
        CHECK_EQ(run(host, &plain, S), 0);
        for (int32_t s = 0; s < S; s++)
            chosen[s] = largest(model_logits(host, s), V);
    }
    if (host) {
        CHECK_EQ(model_settle(m, output), 0);
        differ += count_others(output, chosen, 9);
    }
    CHECK_EQ(differ, 0);
    model_close(host);
    model_close(m);
}

/* ---- Costs */

/* A serving run: a step each time a sequence may have come or gone. */
TEST(cuda_buckets, a_serving_run_is_served_by_few_graphs)
{
    enum { STEPS = 200 };
    struct model *m = decoding_counted(decoding_open(SEQUENCES, MOST));
    static int32_t at[SEQUENCES];
    struct gpu_counts counts;
    uint32_t random = 1;
    int32_t S = 12, changes = 0;
    if (!m)
        return;
    for (int i = 0; i < STEPS; i++) {
        random = random * 1664525u + 1013904223u;
        const int32_t change = (int32_t)(random >> 24) % 5 - 2;
        changes += change != 0;
        S = MIN(MAX(S + change, 1), 24);
        step(m, 0, S, at, false, got);
    }
    gpu.counts(&counts);
    printf("  %d steps, %d changes: %llu launches, %llu of graphs, %llu captures, %llu kernels\n",
           STEPS, changes, (unsigned long long)counts.launches,
           (unsigned long long)counts.graph_launches, (unsigned long long)counts.captures,
           (unsigned long long)counts.kernels);
    CHECK(counts.captures <= 4 && counts.graph_launches >= STEPS - 4);
    model_close(m);
}

/* The simulated GPU reads it with its first call. */
__attribute__((constructor)) static void ask_for_counters(void)
{
    static char setting[] = "GPU_COUNTERS=1";
    if (!getenv("GPU_COUNTERS"))
        CHECK_EQ(putenv(setting), 0);
}

/* Instructions of all kernels so far. */
static uint64_t instructions(void)
{
    static const char *const names[] = {
#define KERNEL(name) #name,
#include "kernels/cuda/kernels.def"
#undef KERNEL
    };
    uint64_t sum = 0;
    struct gpu_kernel_counts counts;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        sum += gpu.kernel(names[i], &counts) ? counts.warp_instructions : 0;
    return sum;
}

static uint64_t cost_of(struct model *m, int32_t S, bool is_exact)
{
    model_device(m)->graphs.is_off = is_exact;
    const uint64_t before = instructions();
    CHECK_EQ(decode(m, S, 0, S), 0);
    return instructions() - before;
}

/* What dead rows add is the work on rows alone, not that of products. */
TEST(cuda_buckets, dead_rows_cost_little)
{
    static const int32_t sizes[] = {3, 9, 17};
    struct model *m = decoding_counted(decoding_open(SEQUENCES, MOST));
    if (!m)
        return;
    (void)cost_of(m, 1, true);
    for (size_t i = 0; i < COUNT_OF(sizes) && instructions(); i++) {
        const uint64_t exact = cost_of(m, sizes[i], true), padded = cost_of(m, sizes[i], false);
        printf("  %d tokens as %d: %llu instructions for %llu, %.3f\n", sizes[i],
               MIN(product_bucket(sizes[i]), MOST), (unsigned long long)padded,
               (unsigned long long)exact, (double)padded / (double)exact);
        CHECK(padded > exact && padded * 100 < exact * 110);
    }
    model_close(m);
}

#else
TEST(cuda_buckets, is_not_in_this_build)
{
    t_skip("there is no nvcc");
}
#endif
