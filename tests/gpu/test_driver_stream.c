/* The stand-in driver: the order of work in streams. What waits as it must gives the same under
 * every seed; what does not shows under one of them. */
#include "test_driver.h"

#include <pthread.h>

enum { SEEDS = 12, THREADS = 4, ROUNDS = 30 };

static void start_with(int seed)
{
    char settings[32];
    snprintf(settings, sizeof settings, "GPU_SEED=%d", seed);
    gpu_start(settings);
}

static CUstream new_stream(unsigned flags)
{
    CUstream stream = NULL;
    OK(gpu.cuStreamCreate(&stream, flags));
    return stream;
}

static CUevent new_event(void)
{
    CUevent event = NULL;
    OK(gpu.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    return event;
}

static CUdeviceptr new_words(size_t n)
{
    CUdeviceptr p = 0;
    OK(gpu.cuMemAlloc(&p, 4 * n));
    OK(gpu.cuMemsetD32(p, 0, n));
    OK(gpu.cuCtxSynchronize());
    return p;
}

/* One stream writes, another copies what it wrote to a second place: what arrives there. */
static uint32_t hand_over(int seed, unsigned flags, bool waits)
{
    uint32_t out = 0;
    start_with(seed);
    CUfunction put = gpu_kernel(gpu_module(), "put");
    CUstream first = new_stream(flags), second = new_stream(flags);
    CUevent event = new_event();
    CUdeviceptr p = new_words(2);
    OK(gpu_put(put, p, 1, first));
    OK(gpu_put(put, p, 2, first));
    OK(gpu.cuEventRecord(event, first));
    if (waits)
        OK(gpu.cuStreamWaitEvent(second, event, 0));
    OK(gpu.cuMemcpyDtoDAsync(p + 4, p, 4, second));
    OK(gpu.cuStreamSynchronize(second));
    OK(gpu.cuMemcpyDtoH(&out, p + 4, 4));
    OK(gpu.cuMemFree(p));
    OK(gpu.cuEventDestroy(event));
    OK(gpu.cuStreamDestroy(first));
    OK(gpu.cuStreamDestroy(second));
    gpu_stop();
    return out;
}

TEST(stream, a_wait_for_an_event_orders_two_streams)
{
    for (int seed = 0; seed < SEEDS; seed++)
        CHECK_EQ(hand_over(seed, CU_STREAM_NON_BLOCKING, true), 2);
}

TEST(stream, a_missing_wait_shows)
{
    int n_seen[3] = {0};
    CHECK_EQ(hand_over(0, CU_STREAM_NON_BLOCKING, false), 0);
    for (int seed = 1; seed < SEEDS; seed++)
        n_seen[hand_over(seed, CU_STREAM_NON_BLOCKING, false) % 3]++;
    CHECK(n_seen[0] + n_seen[1] > 0);
    CHECK(n_seen[2] > 0 || n_seen[1] > 0); /* and not always the same */
}

TEST(stream, the_same_seed_gives_the_same_order)
{
    for (int seed = 1; seed < 6; seed++)
        CHECK_EQ(hand_over(seed, CU_STREAM_NON_BLOCKING, false),
                 hand_over(seed, CU_STREAM_NON_BLOCKING, false));
}

/* put(1) in a stream, put(2) in the default stream, put(3) in the stream. */
static uint32_t through_default(int seed, unsigned flags)
{
    uint32_t out = 0;
    start_with(seed);
    CUfunction put = gpu_kernel(gpu_module(), "put");
    CUstream stream = new_stream(flags);
    CUdeviceptr p = new_words(2);
    OK(gpu_put(put, p, 1, stream));
    OK(gpu.cuMemcpyDtoDAsync(p + 4, p, 4, NULL));
    OK(gpu_put(put, p, 3, stream));
    OK(gpu.cuStreamSynchronize(stream));
    OK(gpu.cuMemcpyDtoH(&out, p + 4, 4));
    OK(gpu.cuMemFree(p));
    gpu_stop();
    return out;
}

TEST(stream, default_stream_is_ordered_with_blocking_ones)
{
    bool differs = false;
    for (int seed = 0; seed < SEEDS; seed++) {
        CHECK_EQ(through_default(seed, CU_STREAM_DEFAULT), 1);
        differs = differs || through_default(seed, CU_STREAM_NON_BLOCKING) != 1;
    }
    CHECK(differs);
}

/* Whether a copy from memory that is overwritten right after the call shows the new content. */
static uint32_t overwrite(int seed, bool pinned)
{
    uint32_t *host, pageable = 0, out = 0;
    start_with(seed);
    OK(gpu.cuMemAllocHost((void **)&host, 4));
    uint32_t *from = pinned ? host : &pageable;
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    CUdeviceptr p = new_words(1);
    *from = 1;
    OK(gpu.cuMemcpyHtoDAsync(p, from, 4, stream));
    *from = 2;
    OK(gpu.cuStreamSynchronize(stream));
    OK(gpu.cuMemcpyDtoH(&out, p, 4));
    OK(gpu.cuMemFreeHost(host));
    OK(gpu.cuMemFree(p));
    gpu_stop();
    return out;
}

TEST(stream, pinned_memory_is_read_when_its_turn_comes)
{
    CHECK_EQ(overwrite(0, true), 2);
    for (int seed = 0; seed < SEEDS; seed++)
        CHECK_EQ(overwrite(seed, false), 1);
}

/* With pageable memory the call itself waits. */
TEST(stream, copies_to_the_host_are_late_if_they_may_be)
{
    uint32_t *host, pageable = 0;
    gpu_start("");
    CUfunction put = gpu_kernel(gpu_module(), "put");
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    CUdeviceptr p = new_words(1);
    OK(gpu.cuMemAllocHost((void **)&host, 4));
    *host = 0;
    OK(gpu_put(put, p, 9, stream));
    OK(gpu.cuMemcpyDtoHAsync(host, p, 4, stream));
    CHECK_EQ(*host, 0);
    OK(gpu.cuMemcpyDtoHAsync(&pageable, p, 4, stream));
    CHECK_EQ(pageable, 9);
    CHECK_EQ(*host, 9);
    OK(gpu.cuMemFreeHost(host));
    OK(gpu.cuMemFree(p));
    gpu_stop();
}

TEST(stream, queries_end_in_time)
{
    int n = 0;
    CUresult rc;
    for (int seed = 0; seed < 4; seed++) {
        start_with(seed);
        CUfunction put = gpu_kernel(gpu_module(), "put");
        CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
        CUevent event = new_event();
        CUdeviceptr p = new_words(1);
        OK(gpu.cuStreamQuery(stream));
        OK(gpu.cuEventQuery(event)); /* never recorded */
        for (uint32_t i = 0; i < 5; i++)
            OK(gpu_put(put, p, i, stream));
        OK(gpu.cuEventRecord(event, stream));
        for (n = 0; (rc = gpu.cuEventQuery(event)) == CUDA_ERROR_NOT_READY && n < 100; n++)
            continue;
        OK(rc);
        OK(gpu.cuStreamQuery(stream));
        OK(gpu_put(put, p, 6, stream));
        for (n = 0; (rc = gpu.cuStreamQuery(stream)) == CUDA_ERROR_NOT_READY && n < 100; n++)
            continue;
        OK(rc);
        OK(gpu.cuMemFree(p));
        gpu_stop();
    }
}

TEST(stream, events_tell_time)
{
    CUevent start, end, untimed = NULL;
    float ms = -1;
    gpu_start("");
    untimed = new_event();
    OK(gpu.cuEventCreate(&start, 0));
    OK(gpu.cuEventCreate(&end, 0));
    CHECK_EQ(gpu.cuEventElapsedTime(&ms, start, end), CUDA_ERROR_INVALID_HANDLE);
    OK(gpu.cuEventRecord(start, NULL));
    OK(gpu.cuEventRecord(end, NULL));
    OK(gpu.cuEventRecord(untimed, NULL));
    CHECK_EQ(gpu.cuEventElapsedTime(&ms, start, end), CUDA_ERROR_NOT_READY);
    OK(gpu.cuEventSynchronize(end));
    OK(gpu.cuEventElapsedTime(&ms, start, end));
    CHECK(ms >= 0);
    CHECK_EQ(gpu.cuEventElapsedTime(&ms, start, untimed), CUDA_ERROR_INVALID_HANDLE);
    OK(gpu.cuEventDestroy(start));
    CHECK_EQ(gpu.cuEventElapsedTime(&ms, start, end), CUDA_ERROR_INVALID_HANDLE);
    gpu_stop();
}

struct noted {
    int calls;
    CUresult inside;
};

static void CUDA_CB note(void *data)
{
    struct noted *noted = data;
    CUdeviceptr p;
    noted->calls++;
    noted->inside = gpu.cuMemAlloc(&p, 16);
}

TEST(stream, host_functions_run_in_turn_and_may_not_call_back)
{
    struct noted noted = {0, CUDA_SUCCESS};
    gpu_start("");
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    OK(gpu.cuLaunchHostFunc(stream, note, &noted));
    CHECK_EQ(noted.calls, 0);
    OK(gpu.cuStreamSynchronize(stream));
    CHECK_EQ(noted.calls, 1);
    CHECK_EQ(noted.inside, CUDA_ERROR_NOT_PERMITTED);
    OK(gpu.cuCtxSynchronize());
    gpu_stop();
}

TEST(stream, destroyed_streams_and_events_finish_their_work)
{
    uint32_t out = 0;
    for (int seed = 0; seed < SEEDS; seed++) {
        start_with(seed);
        CUfunction put = gpu_kernel(gpu_module(), "put");
        CUstream first = new_stream(CU_STREAM_NON_BLOCKING);
        CUstream second = new_stream(CU_STREAM_NON_BLOCKING);
        CUevent event = new_event();
        CUdeviceptr p = new_words(1);
        OK(gpu_put(put, p, 1, first));
        OK(gpu.cuEventRecord(event, first));
        OK(gpu.cuStreamWaitEvent(second, event, 0));
        OK(gpu_put(put, p, 2, second));
        OK(gpu.cuEventDestroy(event));
        OK(gpu.cuStreamDestroy(second));
        CHECK_EQ(gpu.cuStreamQuery(second), CUDA_ERROR_INVALID_HANDLE);
        OK(gpu.cuMemcpyDtoH(&out, p, 4));
        CHECK_EQ(out, 2);
        OK(gpu.cuMemFree(p));
        gpu_stop();
    }
}

TEST(stream, priorities_are_kept_in_range)
{
    CUstream stream;
    int priority = 1;
    gpu_start("");
    OK(gpu.cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, -100));
    OK(gpu.cuStreamGetPriority(stream, &priority));
    CHECK_EQ(priority, -5);
    gpu_stop();
}

TEST(stream, calls_are_counted)
{
    struct gpu_counts counts;
    uint32_t out;
    gpu_start("");
    CUfunction put = gpu_kernel(gpu_module(), "put");
    gpu.gpu_counts_reset();
    CUdeviceptr p;
    OK(gpu.cuMemAlloc(&p, 8));
    OK(gpu_put(put, p, 1, NULL));
    OK(gpu_put(put, p + 4, 1, NULL));
    OK(gpu.cuMemcpyDtoH(&out, p, 4));
    OK(gpu.cuMemcpyDtoD(p, p + 4, 4));
    OK(gpu.cuMemcpyHtoD(p, &out, 4));
    OK(gpu.cuMemsetD8Async(p, 0, 8, NULL));
    OK(gpu.cuCtxSynchronize());
    OK(gpu.cuMemFree(p));
    gpu.gpu_counts(&counts);
    CHECK_EQ(counts.launches, 2);
    CHECK_EQ(counts.kernels, 2);
    CHECK_EQ(counts.allocations, 1);
    CHECK_EQ(counts.frees, 1);
    CHECK_EQ(counts.syncs, 4);
    CHECK_EQ(counts.copies_to_host, 1);
    CHECK_EQ(counts.copies_on_device, 1);
    CHECK_EQ(counts.copies_to_device, 1);
    CHECK_EQ(counts.bytes_to_device, 4);
    CHECK_EQ(counts.sets, 1);
    gpu_stop();
}

TEST(stream, kernels_are_counted_where_asked_for)
{
    struct gpu_kernel_counts counts;
    gpu_start("GPU_COUNTERS=1");
    CUmodule module = gpu_module();
    CUfunction put = gpu_kernel(module, "put");
    CUdeviceptr p = new_words(1);
    CHECK(!gpu.gpu_kernel_counts("put", &counts));
    OK(gpu_put(put, p, 1, NULL));
    OK(gpu_put(put, p, 1, NULL));
    OK(gpu.cuModuleUnload(module));
    CHECK(gpu.gpu_kernel_counts("put", &counts));
    CHECK_EQ(counts.launches, 2);
    CHECK_EQ(counts.global_bytes_written, 8);
    CHECK_EQ(counts.sectors_written, 2);
    CHECK_EQ(counts.fresh_written, 2);
    OK(gpu.cuMemFree(p));
    gpu_stop();
}

/* Both blocks read one word twice and another once, and write the first. */
static const char again_ptx[] =
    KERNEL_HEAD ".visible .entry again(.param .u64 a0)\n{\n" REGISTERS
                "ld.param.u64 %rd1, [a0];\ncvta.to.global.u64 %rd1, %rd1;\n"
                "ld.global.u32 %r1, [%rd1];\nld.global.u32 %r2, [%rd1+4];\n"
                "ld.global.u32 %r2, [%rd1+64];\nst.global.u32 [%rd1], %r1;\nret;\n}\n";

TEST(stream, sectors_are_fresh_once_in_a_launch)
{
    struct gpu_kernel_counts counts;
    CUmodule module;
    gpu_start("GPU_COUNTERS=1");
    OK(gpu.cuModuleLoadData(&module, again_ptx));
    CUfunction again = gpu_kernel(module, "again");
    CUdeviceptr p = new_words(32);
    void *args[] = {&p};
    for (int i = 0; i < 3; i++)
        OK(gpu.cuLaunchKernel(again, 2, 1, 1, 1, 1, 1, 0, NULL, args, NULL));
    OK(gpu.cuCtxSynchronize());
    CHECK(gpu.gpu_kernel_counts("again", &counts));
    CHECK_EQ(counts.sectors_read, 3 * 2 * 3);
    CHECK_EQ(counts.sectors_written, 3 * 2);
    CHECK_EQ(counts.fresh_read, 3 * 2);
    CHECK_EQ(counts.fresh_written, 3);
    OK(gpu.cuMemFree(p));
    gpu_stop();
}

/* As nvcc -lineinfo writes it. */
static const char lines_ptx[] =
    KERNEL_HEAD ".visible .entry sum(.param .u64 a0)\n{\n" REGISTERS ".loc 1 40 5\n"
                "ld.param.u64 %rd1, [a0];\ncvta.to.global.u64 %rd1, %rd1;\n"
                ".loc 2 7 9, function_name $L1, inlined_at 1 41 3\n"
                "ld.global.u32 %r1, [%rd1];\nld.global.u32 %r2, [%rd1+64];\n"
                ".loc 1 42 5\nadd.s32 %r3, %r1, %r2;\nst.global.u32 [%rd1], %r3;\nret;\n}\n"
                ".file 1 \"/a/b/sum.cu\"\n.file 2 \"load.cuh\"\n";

static void check_line(const char *kernel, size_t n, const char *file, uint32_t number,
                       uint64_t instructions, uint64_t sectors)
{
    struct gpu_line_counts line;
    CHECK(gpu.gpu_line_counts(kernel, n, &line));
    CHECK(strcmp(line.file, file) == 0);
    CHECK_EQ(line.line, number);
    CHECK_EQ(line.warp_instructions, instructions);
    CHECK_EQ(line.sectors, sectors);
}

TEST(stream, lines_are_counted_where_asked_for)
{
    CUmodule module;
    struct gpu_line_counts line;
    gpu_start("GPU_COUNTERS=2");
    OK(gpu.cuModuleLoadData(&module, lines_ptx));
    CUfunction put = gpu_kernel(gpu_module(), "put"), sum = gpu_kernel(module, "sum");
    CUdeviceptr p = new_words(32);
    void *args[] = {&p};
    for (int i = 0; i < 3; i++)
        OK(gpu_run(sum, 1, NULL, args));
    OK(gpu.cuModuleUnload(module));
    check_line("sum", 0, "load.cuh", 7, 6, 6);
    check_line("sum", 1, "sum.cu", 42, 9, 3);
    check_line("sum", 2, "sum.cu", 40, 6, 0);
    CHECK(!gpu.gpu_line_counts("sum", 3, &line));
    OK(gpu_put(put, p, 1, NULL));
    OK(gpu.cuCtxSynchronize());
    CHECK(gpu.gpu_line_counts("put", 0, &line));
    CHECK(strcmp(line.file, "PTX") == 0);
    CHECK(strcmp(line.text, "st.global.u32 [%rd1], %r1;") == 0);
    CHECK_EQ(line.bytes, 4);
    OK(gpu.cuMemFree(p));
    gpu_stop();
}

/* One thread's work: its own stream and memory, everything through one driver. */
static void *work(void *data)
{
    CUfunction put = data;
    uint32_t out = 0;
    OK(gpu.cuCtxSetCurrent(gpu_context));
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        CUdeviceptr p = 0;
        OK(gpu.cuMemAlloc(&p, 4));
        OK(gpu_put(put, p, i, stream));
        OK(gpu.cuMemcpyDtoHAsync(&out, p, 4, stream));
        OK(gpu.cuStreamSynchronize(stream));
        CHECK_EQ(out, i);
        OK(gpu.cuMemFree(p));
    }
    OK(gpu.cuStreamDestroy(stream));
    return NULL;
}

TEST(stream, threads_share_a_context)
{
    pthread_t thread[THREADS];
    start_with(3);
    CUfunction put = gpu_kernel(gpu_module(), "put");
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, work, put);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    gpu_stop();
}
