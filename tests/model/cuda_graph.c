/* Steps of decoding as CUDA graphs: the same bits as without, one launch a step, each kind of
 * step captured once, and what is left when something fails. A step beside a prompt is never a
 * graph, which gives the bits to compare with. */
#include "t.h"

#ifdef INFLIGHT_CUDA
#include "decoding.h"

enum { SEQUENCES = 11 };

static struct model *open_model(void)
{
    return decoding_open(SEQUENCES, TOKENS_MOST);
}

/* As open_model, and the test is skipped on a card too. */
static struct model *open_counted(void)
{
    return decoding_counted(open_model());
}

/* What a step of decoding asked of the driver. */
static struct gpu_counts count(struct model *m, int32_t S, int32_t position, int32_t R)
{
    struct gpu_counts before, after;
    gpu.counts(&before);
    CHECK_EQ(decode(m, S, position, R), 0);
    gpu.counts(&after);
    return (struct gpu_counts){
        .launches = after.launches - before.launches,
        .captures = after.captures - before.captures,
        .graph_launches = after.graph_launches - before.graph_launches,
        .copies_to_device = after.copies_to_device - before.copies_to_device,
        .syncs = after.syncs - before.syncs,
        .allocations = after.allocations - before.allocations,
        .host_allocations = after.host_allocations - before.host_allocations,
        .kernels = after.kernels - before.kernels,
        .early_launches = after.early_launches - before.early_launches,
    };
}

/* ---- Bits */

/* The next token of each chosen sequence, beside a prompt or not. Logits go to out. */
static void step(struct model *m, uint32_t chosen, const int32_t *position, bool beside, float *out)
{
    struct maker b = {0};
    const int32_t V = model_hparams(m)->V;
    int32_t R = 0;
    for (int32_t s = 0; s < SEQUENCES - 1; s++)
        if (chosen >> s & 1) {
            put(&b, s, position[s], 1);
            R++;
        }
    if (beside)
        put(&b, SEQUENCES - 1, 0, 2);
    CHECK_EQ(run(m, &b, R), 0);
    for (int32_t r = 0; r < R; r++)
        memcpy(out + r * V, model_logits(m, r), (size_t)V * sizeof *out);
}

/* Page borders at each 16, splits at 256 and 512: all are passed while sequences come and go. */
TEST(cuda_graph, every_bit_is_that_of_steps_without)
{
    static const struct {
        uint32_t chosen;
        int n;
    } phase[] = {{1, 8}, {3, 5}, {31, 10}, {22, 6}, {8, 3}, {31, 4}, {1, 3}};
    static float got[5 * VOCABULARY], want[5 * VOCABULARY];
    int32_t position[5] = {250, 13, 0, 504, 30};
    struct model *m = open_model(), *plain = m ? open_model() : NULL;
    struct gpu_counts before = {0}, after = {0};
    int differ = 0, steps = 0;
    for (int32_t s = 0; plain && s < 5; s++) {
        prompt(m, s, position[s]);
        prompt(plain, s, position[s]);
    }
    if (plain && gpu.counts)
        gpu.counts(&before);
    for (size_t i = 0; plain && i < COUNT_OF(phase); i++)
        for (int n = 0; n < phase[i].n; n++, steps++) {
            step(m, phase[i].chosen, position, false, got);
            step(plain, phase[i].chosen, position, true, want);
            size_t rows = (size_t)__builtin_popcount(phase[i].chosen);
            size_t bytes = rows * (size_t)model_hparams(m)->V * sizeof *got;
            differ += memcmp(got, want, bytes) != 0;
            for (int32_t s = 0; s < 5; s++)
                position[s] += (int32_t)(phase[i].chosen >> s & 1);
        }
    CHECK_EQ(differ, 0);
    if (plain && gpu.counts) {
        gpu.counts(&after);
        printf("  %d steps, %llu of them graphs, %llu captures\n", steps,
               (unsigned long long)(after.graph_launches - before.graph_launches),
               (unsigned long long)(after.captures - before.captures));
        CHECK(after.graph_launches - before.graph_launches > 20);
    }
    model_close(plain);
    model_close(m);
}

/* Without counts, so on a card too: steps of S sequences with logits of some or none, each kind
 * queued, then captured, then twice a graph. They compute the same, so the bits are those of the
 * queued one. */
TEST(cuda_graph, many_kinds_of_steps_become_graphs_and_keep_their_bits)
{
    static const int32_t sizes[] = {1, 3, 8, 9, 11};
    static float want[11 * VOCABULARY];
    struct model *m = open_model();
    int differ = 0;
    if (!m)
        return;
    const size_t V = (size_t)model_hparams(m)->V;
    for (int32_t s = 0; s < SEQUENCES; s++)
        prompt(m, s, 100);
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (int32_t R = 0; R <= sizes[i]; R += MAX(1, sizes[i] / 2))
            for (int time = 0; time < 4; time++) {
                CHECK_EQ(decode(m, sizes[i], 20 * (int32_t)i, R), 0);
                for (int32_t r = 0; r < R; r++) {
                    float *row = want + (size_t)r * V;
                    if (time == 0)
                        memcpy(row, model_logits(m, r), V * sizeof *row);
                    differ += memcmp(model_logits(m, r), row, V * sizeof *row) != 0;
                }
            }
    CHECK_EQ(differ, 0);
    CHECK(!model_device(m)->graphs.is_off);
    CHECK_EQ(graphs_made(m), 2 * 3); /* 1, 8 or 16 tokens, with logits or without */
    model_close(m);
}

/* ---- Counts */

/* From sm_90 on every kernel of a step but the first begins early, in a graph too. */
static void check_overlap(const struct gpu_counts *c)
{
    const char *capability = getenv("GPU_CC");
    bool overlaps = capability && atoi(capability) >= 9;
    CHECK_EQ(c->early_launches, overlaps ? c->kernels - 1 : 0);
}

static void check_graph(const struct gpu_counts *c, uint64_t captures, uint64_t launches)
{
    CHECK_EQ(c->captures, captures);
    CHECK_EQ(c->launches, captures ? launches : 0);
    CHECK_EQ(c->kernels, launches);
    CHECK_EQ(c->graph_launches, 1);
    CHECK_EQ(c->copies_to_device, 1);
    CHECK_EQ(c->syncs, 1); /* for the step and what is copied back */
    CHECK_EQ(c->allocations + c->host_allocations, 0);
    check_overlap(c);
}

/* Steps from a position on: the first as it is, the second captured, the others launched. */
static void check_kind(struct model *m, int32_t S, int32_t first, int32_t end)
{
    const struct gpu_counts plain = count(m, S, first, S);
    CHECK(plain.launches > 10);
    CHECK_EQ(plain.kernels, plain.launches);
    check_overlap(&plain);
    CHECK_EQ(plain.captures + plain.graph_launches, 0);
    for (int32_t position = first + 1; position < end; position++) {
        const struct gpu_counts c = count(m, S, position, S);
        check_graph(&c, position == first + 1, plain.launches);
    }
}

TEST(cuda_graph, a_kind_of_step_is_captured_once_and_then_one_launch)
{
    struct model *m = open_counted();
    if (!m)
        return;
    check_kind(m, 1, 0, 36);
    check_kind(m, 3, 0, 20);
    prompt(m, 0, 254);
    struct gpu_counts c = count(m, 1, 254, 1);
    CHECK_EQ(c.captures, 0);
    CHECK_EQ(c.graph_launches, 1);
    CHECK_EQ(decode(m, 1, 255, 1), 0);
    check_kind(m, 1, 256, 275); /* a second split */
    prompt(m, 0, 768);
    check_kind(m, 1, 768, 772); /* the third and the fourth, as the room of four */
    model_close(m);
}

TEST(cuda_graph, steps_with_prompts_are_queued_as_they_are)
{
    struct model *m = open_counted();
    struct gpu_counts before, after;
    if (!m)
        return;
    gpu.counts(&before);
    for (int i = 0; i < 3; i++) {
        struct maker b = {0};
        put(&b, 0, 0, 1);
        put(&b, 1, 0, 2);
        CHECK_EQ(run(m, &b, 1), 0);
    }
    gpu.counts(&after);
    CHECK_EQ(after.captures - before.captures, 0);
    CHECK_EQ(after.graph_launches - before.graph_launches, 0);
    model_close(m);
}

/* Kinds of steps by number: of nine tokens and logits of one or none, with as many dead rows as the
 * device is told to have room for. */
static struct gpu_counts count_kind(struct model *m, int32_t kind)
{
    struct device_config *config = &model_device(m)->config;
    const struct device_config own = *config;
    int32_t T = 9;
    for (; kind > T; T++)
        kind -= T + 1;
    config->max_tokens = T;
    config->max_rows = kind;
    const struct gpu_counts counts = count(m, 9, 0, kind > 0);
    *config = own;
    return counts;
}

TEST(cuda_graph, what_was_not_seen_for_longest_is_forgotten)
{
    struct model *m = open_counted();
    uint64_t captures = 0;
    if (!m)
        return;
    for (int32_t kind = 0; kind <= GRAPHS_MOST; kind++) {
        CHECK_EQ(count_kind(m, kind).graph_launches, 0);
        captures += count_kind(m, kind).captures;
        if (kind == GRAPHS_MOST - 1)
            CHECK_EQ(count_kind(m, 0).launches, 0); /* seen, so the next to go is kind 1 */
    }
    CHECK_EQ(captures, GRAPHS_MOST + 1);
    CHECK_EQ(model_device(m)->graphs.n_entry, GRAPHS_MOST);
    CHECK_EQ(count_kind(m, 0).graph_launches, 1);
    CHECK_EQ(count_kind(m, 2).graph_launches, 1);
    CHECK_EQ(count_kind(m, GRAPHS_MOST).graph_launches, 1);
    CHECK_EQ(count_kind(m, 1).graph_launches, 0);
    CHECK_EQ(count_kind(m, 1).captures, 1);
    model_close(m);
}

/* ---- Failures */

static CUresult no_begin(CUstream stream, CUstreamCaptureMode mode)
{
    (void)stream;
    (void)mode;
    return CUDA_ERROR_NOT_SUPPORTED;
}

static CUresult no_instantiate(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
    (void)exec;
    (void)graph;
    (void)flags;
    return CUDA_ERROR_OUT_OF_MEMORY;
}

enum { FAIL_BEGIN, FAIL_END, FAIL_INSTANTIATE, FAIL_COUNT };

static void break_graphs(struct model *m, int how)
{
    struct driver *driver = (struct driver *)(uintptr_t)model_device(m)->driver;
    if (how == FAIL_BEGIN)
        driver->cuStreamBeginCapture = no_begin;
    if (how == FAIL_END)
        CHECK(gpu.fail("capture:1"));
    if (how == FAIL_INSTANTIATE)
        driver->cuGraphInstantiate = no_instantiate;
}

static void check_nothing_is_left(void)
{
    struct gpu_counts now;
    gpu.counts(&now);
    CHECK_EQ(now.living, 0);
    CHECK_EQ(now.leaks, 0);
    CHECK_EQ(now.contexts, 0);
    CHECK_EQ(taken, 0);
}

TEST(cuda_graph, what_cannot_be_captured_goes_on_without)
{
    static float want[VOCABULARY];
    for (int how = 0; how < FAIL_COUNT; how++) {
        struct model *m = open_counted();
        if (!m)
            return;
        const size_t bytes = (size_t)model_hparams(m)->V * sizeof *want;
        const struct gpu_counts plain = count(m, 1, 0, 1);
        memcpy(want, model_logits(m, 0), bytes);
        break_graphs(m, how);
        for (int i = 0; i < 3; i++) {
            const struct gpu_counts c = count(m, 1, 0, 1);
            CHECK_EQ(c.kernels, plain.kernels);
            CHECK_EQ(c.graph_launches, 0);
            CHECK(i == 0 || c.launches == plain.launches);
            CHECK(memcmp(model_logits(m, 0), want, bytes) == 0);
        }
        CHECK(model_device(m)->graphs.is_off);
        model_close(m);
        CHECK(gpu.fail(NULL));
        check_nothing_is_left();
    }
}

/* Whatever fails in a step, before, in or after its graph: that step and all later ones fail,
 * and closing gives everything back. True: the step with number n failed; is_said: so says the
 * device. */
static bool fail_step(const char *what, int n, bool *is_said)
{
    struct model *m = open_counted();
    if (!m)
        return false;
    for (int i = 0; i < n; i++)
        CHECK_EQ(decode(m, 1, i, 1), 0);
    CHECK(gpu.fail(what));
    const int rc = decode(m, 1, n, 1);
    if (rc) {
        CHECK_EQ(rc, INFLIGHT_E_DEVICE);
        CHECK_EQ(decode(m, 1, n, 1), INFLIGHT_E_DEVICE);
        *is_said = strstr(backend_find("cuda")->describe(model_device(m)), "a step failed: ");
    }
    model_close(m);
    CHECK_EQ(taken, 0);
    CHECK(gpu.fail(NULL));
    /* A lost device could not let its context go, with what was captured in it. */
    CHECK_EQ(gpu.reset(0), CUDA_SUCCESS);
    return rc;
}

TEST(cuda_graph, a_failed_graph_fails_its_step_and_closes)
{
    static const struct {
        const char *what;
        int step; /* 0 as it is, 1 captured, 2 a graph */
    } row[] = {{"launch:9", 0}, {"sync:1", 0},  {"launch:9", 1}, {"graph:1", 1}, {"sync:1", 1},
               {"copy:1", 1},   {"graph:1", 2}, {"sync:1", 2},   {"copy:1", 2}};
    struct model *m = open_counted();
    if (!m)
        return;
    model_close(m);
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        bool is_said = false;
        if (!fail_step(row[i].what, row[i].step, &is_said) || !is_said)
            t_fail(__FILE__, __LINE__, "step %d with %s", row[i].step, row[i].what);
    }
}

/* The device is lost with each call of the step in turn, the capture's among them. */
TEST(cuda_graph, a_device_lost_at_any_call_of_a_step_fails_it_and_closes)
{
    struct model *m = open_counted();
    if (!m)
        return;
    model_close(m);
    for (int step = 1; step <= 2; step++) {
        int n = 1;
        char what[16];
        bool is_said;
        do
            (void)snprintf(what, sizeof what, "lost:%d", n);
        while (n < 100 && fail_step(what, step, &is_said) && ++n);
        printf("  %d calls in %s\n", n - 1, step == 1 ? "a captured step" : "a graph's step");
        CHECK(n > (step == 1 ? 20 : 4) && n < 100);
    }
}

/* ---- Room for launches */

static void *alloc_few(void *user, uint64_t bytes, uint64_t align)
{
    int *left = user;
    return (*left)-- > 0 ? mem_system.alloc(mem_system.user, bytes, align) : NULL;
}

static void release_few(void *user, void *ptr, uint64_t bytes)
{
    (void)user;
    mem_system.release(mem_system.user, ptr, bytes);
}

TEST(cuda_graph, without_host_memory_a_device_does_not_open)
{
    const struct device_config config = {.threads = 1,
                                         .max_tokens = 8,
                                         .max_rows = 8,
                                         .max_context = 128,
                                         .max_width = 256,
                                         .L = 1,
                                         .H = 1,
                                         .K = 1,
                                         .dim = 64,
                                         .kv_type = KV_BF16,
                                         .kv_pages = 8};
    struct model *m = open_counted();
    if (!m)
        return;
    model_close(m);
    for (int n = 0; n < 3; n++) {
        int left = n;
        struct err err = {0};
        struct device *device;
        const struct mem few = {&left, &taken, alloc_few, release_few};
        int32_t rc = backend_find("cuda")->open(&config, &few, &device, &err);
        CHECK_EQ(rc, n < 2 ? INFLIGHT_E_NOMEM : INFLIGHT_OK);
        backend_find("cuda")->close(device);
        check_nothing_is_left();
    }
}

/* More launches than there is room for: what was recorded is queued, and so is the rest. */
TEST(cuda_graph, a_step_of_too_many_launches_is_queued)
{
    struct model *m = open_counted();
    if (!m)
        return;
    const struct gpu_counts plain = count(m, 1, 0, 1);
    const int32_t capacity = model_device(m)->graphs.capacity;
    for (int32_t room = 0; room < 3; room++) {
        model_device(m)->graphs.capacity = room * 4;
        const struct gpu_counts c = count(m, 1, room + 1, 1);
        CHECK_EQ(c.launches, plain.launches);
        CHECK_EQ(c.kernels, plain.kernels);
        CHECK_EQ(c.graph_launches, 0);
    }
    model_device(m)->graphs.capacity = capacity;
    model_close(m);
}

#else
TEST(cuda_graph, is_not_in_this_build)
{
    t_skip("there is no nvcc");
}
#endif
