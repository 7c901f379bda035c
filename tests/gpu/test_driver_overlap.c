/* The stand-in driver: kernels that begin before those before them have ended. */
#include "test_driver.h"

#include "fault.h"

#define SEEDS 8

/* put(to, value) waits and writes, late lets the next kernel go only behind its wait, mute never.
 * copy(to, from) waits, reads and writes; hasty reads before it waits, writer writes before, one
 * waits in lane 0 alone. idle does not wait. */
static const char overlap_ptx[] = ".version 8.0\n.target sm_90\n.address_size 64\n"
#define TWO(name)                                                             \
    ".visible .entry " name "(.param .u64 a0, .param .u64 a1)\n{\n" REGISTERS \
    "ld.param.u64 %rd1, [a0]; ld.param.u64 %rd2, [a1];\n"                     \
    "cvta.to.global.u64 %rd1, %rd1; cvta.to.global.u64 %rd2, %rd2;\n"
#define WORD(name)                                                            \
    ".visible .entry " name "(.param .u64 a0, .param .u32 a1)\n{\n" REGISTERS \
    "ld.param.u64 %rd1, [a0]; ld.param.u32 %r5, [a1]; cvta.to.global.u64 %rd1, %rd1;\n"
#define WAIT  "griddepcontrol.wait;\n"
#define LET   "griddepcontrol.launch_dependents;\n"
#define LOAD  "ld.global.u32 %r6, [%rd2];\n"
#define STORE "st.global.u32 [%rd1], %r6;\nret;\n}\n"
#define PUT   "st.global.u32 [%rd1], %r5;\nret;\n}\n"
    WORD("put") LET WAIT PUT WORD("late") WAIT LET PUT WORD("mute") WAIT PUT WORD("writer")
        LET PUT TWO("copy") LET WAIT LOAD STORE TWO("hasty") LET LOAD WAIT STORE TWO("one") LET
    "mov.u32 %r1, %tid.x; setp.eq.s32 %p1, %r1, 0;\n@%p1 griddepcontrol.wait;\n" LOAD STORE
    ".visible .entry idle()\n{\n" LET "ret;\n}\n";

static CUmodule module;
static CUstream stream;
static CUdeviceptr words;

static void start(int seed, const char *more)
{
    char settings[64];
    snprintf(settings, sizeof settings, "GPU_CC=9.0 GPU_SEED=%d%s", seed, more);
    gpu_start(settings);
    OK(gpu.cuModuleLoadData(&module, overlap_ptx));
    OK(gpu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(gpu.cuMemAlloc(&words, 64));
    OK(gpu.cuMemsetD32(words, 7, 16));
    OK(gpu.cuCtxSynchronize());
}

static CUdeviceptr at(int i)
{
    return words + 4 * (CUdeviceptr)i;
}

static uint32_t word(int i)
{
    uint32_t out = 0;
    OK(gpu.cuMemcpyDtoH(&out, at(i), 4));
    return out;
}

static void run(const char *name, unsigned blocks, unsigned threads, bool begins_early, void **args)
{
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                   .value.programmaticStreamSerializationAllowed = begins_early};
    CUlaunchConfig config = {.gridDimX = blocks,
                             .gridDimY = 1,
                             .gridDimZ = 1,
                             .blockDimX = threads,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .hStream = stream,
                             .attrs = &attribute,
                             .numAttrs = 1};
    OK(gpu.cuLaunchKernelEx(&config, gpu_kernel(module, name), args, NULL));
}

static void put(const char *name, int to, uint32_t value)
{
    CUdeviceptr address = at(to);
    run(name, 1, 1, true, (void *[]){&address, &value});
}

static void copy(const char *name, int to, int from, bool begins_early)
{
    CUdeviceptr a = at(to), b = at(from);
    run(name, 1, 1, begins_early, (void *[]){&a, &b});
}

/* Ends the work. Whether it was as it should be; else the fault is that of an access too early. */
static bool is_right(void)
{
    char text[512];
    CUresult rc = gpu.cuStreamSynchronize(stream);
    int kind = gpu.gpu_last_fault(text, sizeof text);
    CHECK_EQ(rc, kind ? CUDA_ERROR_LAUNCH_FAILED : CUDA_SUCCESS);
    CHECK(!kind || kind == FAULT_EARLY);
    return !kind;
}

static void stop(void)
{
    (void)gpu.cuMemFree(words); /* fails behind a fault */
    OK(gpu.cuDevicePrimaryCtxRelease(0));
}

TEST(overlap, who_waits_sees_what_was_written)
{
    for (int seed = 0; seed < SEEDS; seed++) {
        start(seed, "");
        for (uint32_t i = 0; i < 10; i++) {
            put("put", 0, 100 + i);
            copy("copy", 1, 0, true);
            copy("copy", 2, 1, true);
        }
        CHECK(is_right());
        CHECK_EQ(word(2), 109);
        stop();
    }
}

/* What comes between the kernel that writes word 0 and one that reads it before it waits. */
static bool hasty_after(int seed, void (*between)(void), bool begins_early)
{
    start(seed, "");
    put("put", 3, 1);
    put("put", 0, 5);
    if (between)
        between();
    copy("hasty", 1, 0, begins_early);
    bool right = is_right();
    if (right)
        CHECK_EQ(word(1), 5);
    stop();
    return right;
}

static void another(void)
{
    put("put", 2, 1);
}

static void fifty(void)
{
    for (int i = 0; i < 50; i++)
        another();
}

static void late(void)
{
    put("late", 2, 1);
}

static void mute(void)
{
    put("mute", 2, 1);
}

static void plain(void)
{
    copy("copy", 2, 3, false);
}

static void set(void)
{
    OK(gpu.cuMemsetD32Async(at(2), 1, 1, stream));
}

static void wait(void)
{
    OK(gpu.cuStreamSynchronize(stream));
    set();
}

/* More launches than have marks: what the first wrote is known as written, and no more. */
static void many(void)
{
    plain();
    for (int i = 0; i < 700; i++)
        put("late", 2, 1);
    plain();
}

static const struct {
    void (*between)(void);
    bool right;
} between[] = {{NULL, false}, {another, false}, {fifty, false}, {late, true}, {mute, true},
               {plain, true}, {set, true},      {wait, true},   {many, true}};

TEST(overlap, who_reads_before_it_waits_is_found)
{
    for (size_t i = 0; i < sizeof between / sizeof *between; i++)
        for (int seed = 0; seed < SEEDS; seed++)
            CHECK_EQ(hasty_after(seed, between[i].between, true), between[i].right);
}

TEST(overlap, without_the_attribute_nothing_begins_early)
{
    for (int seed = 0; seed < SEEDS; seed++)
        CHECK(hasty_after(seed, NULL, false));
}

TEST(overlap, what_no_kernel_writes_may_be_read_early)
{
    for (int seed = 0; seed < SEEDS; seed++) {
        start(seed, "");
        put("put", 0, 5);
        copy("hasty", 1, 4, true);
        CHECK(is_right());
        CHECK_EQ(word(1), 7);
        stop();
    }
}

TEST(overlap, no_write_may_come_early)
{
    for (int seed = 0; seed < SEEDS; seed++) {
        start(seed, "");
        put("put", 0, 5);
        put("writer", 1, 5);
        CHECK(!is_right());
        stop();
    }
}

TEST(overlap, every_thread_must_wait_for_itself)
{
    for (unsigned threads = 1; threads <= 2; threads++)
        for (int seed = 0; seed < SEEDS; seed++) {
            start(seed, "");
            CUdeviceptr a = at(1), b = at(0);
            put("put", 0, 5);
            run("one", 1, threads, true, (void *[]){&a, &b});
            CHECK_EQ(is_right(), threads == 1);
            stop();
        }
}

/* Behind it a kernel that waits would see it end, and not those before. */
TEST(overlap, a_kernel_of_which_no_thread_waits_is_found)
{
    char text[512];
    for (int seed = 0; seed < SEEDS; seed++) {
        start(seed, "");
        run("idle", 3, 32, true, NULL); /* nothing is before it */
        CHECK(is_right());
        put("put", 0, 5);
        run("idle", 3, 32, true, NULL);
        CHECK(!is_right());
        CHECK_EQ(gpu.gpu_last_fault(text, sizeof text), FAULT_EARLY);
        CHECK(strstr(text, "no thread of idle waits"));
        stop();
    }
}

/* The nodes are launched with the attribute, whatever the first one follows. */
static bool graph_is_right(int seed, const char *last, void (*first)(void))
{
    CUgraph graph;
    CUgraphExec exec;
    start(seed, "");
    OK(gpu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    first();
    copy(last, 1, 2, true);
    OK(gpu.cuStreamEndCapture(stream, &graph));
    OK(gpu.cuGraphInstantiate(&exec, graph, 0));
    OK(gpu.cuGraphDestroy(graph));
    put("put", 2, 9);
    for (int i = 0; i < 6; i++)
        (void)gpu.cuGraphLaunch(exec, stream); /* fails behind a fault */
    bool right = is_right();
    if (right)
        CHECK_EQ(word(1), first == set || first == another ? 1 : 9);
    OK(right ? gpu.cuGraphExecDestroy(exec) : CUDA_SUCCESS);
    stop();
    return right;
}

static void nothing(void)
{
}

TEST(overlap, edges_of_graphs_are_programmatic_between_kernels)
{
    for (int seed = 0; seed < SEEDS; seed++) {
        CHECK(graph_is_right(seed, "copy", another));
        CHECK(!graph_is_right(seed, "hasty", another));
        CHECK(graph_is_right(seed, "hasty", set));
        CHECK(graph_is_right(seed, "hasty", nothing)); /* a graph begins when all has ended */
    }
}

TEST(overlap, blocks_run_ahead_and_all_run_once)
{
    struct gpu_counts counts;
    for (int seed = 0; seed < SEEDS; seed++) {
        start(seed, seed % 2 ? " GPU_THREADS=3" : "");
        struct gpu_kernel_counts sums = {0};
        for (int i = 0; i < 12; i++) {
            CUdeviceptr a = at(1), b = at(4);
            put("put", 0, 5);
            run("hasty", 5, 1, true, (void *[]){&a, &b});
        }
        CHECK(is_right());
        gpu.gpu_counts(&counts);
        CHECK(counts.early_blocks > 0);
        CHECK(counts.early_blocks < 60);
        CHECK_EQ(counts.early_launches, 24);
        CHECK(!gpu.gpu_kernel_counts("hasty", &sums));
        stop();
    }
    start(1, " GPU_COUNTERS=1");
    struct gpu_kernel_counts sums = {0};
    for (int i = 0; i < 12; i++) {
        CUdeviceptr a = at(1), b = at(4);
        put("put", 0, 5);
        run("hasty", 5, 1, true, (void *[]){&a, &b});
    }
    CHECK(is_right());
    CHECK(gpu.gpu_kernel_counts("hasty", &sums));
    CHECK_EQ(sums.launches, 12);
    CHECK_EQ(sums.global_bytes_written, 12 * 5 * 4);
    CHECK_EQ(sums.global_bytes_read, 12 * 5 * 4);
    CHECK_EQ(sums.warp_instructions % (12 * 5), 0); /* the wait of a held block counts once */
    stop();
}

/* What runs ahead is forgotten with the kernel before it, if that one fails. */
TEST(overlap, a_fault_ends_what_ran_ahead)
{
    for (int seed = 0; seed < SEEDS; seed++) {
        start(seed, "");
        CUdeviceptr a = at(100), b = at(4);
        put("put", 0, 5);
        run("copy", 1, 1, true, (void *[]){&a, &b});
        copy("hasty", 1, 4, true);
        CHECK_EQ(gpu.cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
        stop();
    }
}

TEST(overlap, older_cards_know_neither_attribute_nor_instructions)
{
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                   .value.programmaticStreamSerializationAllowed = 1};
    CUlaunchConfig config = {.gridDimX = 1,
                             .gridDimY = 1,
                             .gridDimZ = 1,
                             .blockDimX = 1,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .attrs = &attribute,
                             .numAttrs = 1};
    gpu_start("GPU_CC=8.9");
    CHECK(gpu.cuModuleLoadData(&module, overlap_ptx) != CUDA_SUCCESS);
    module = gpu_module();
    CHECK_EQ(gpu.cuLaunchKernelEx(&config, gpu_kernel(module, "few"), NULL, NULL),
             CUDA_ERROR_NOT_SUPPORTED);
    static const char old[] = KERNEL_HEAD ".visible .entry k()\n{\ngriddepcontrol.wait;\nret;\n}\n";
    CHECK_EQ(gpu.cuModuleLoadData(&module, old), CUDA_ERROR_INVALID_PTX);
    gpu_stop();
}
