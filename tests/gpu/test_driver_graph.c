/* The stand-in driver: capture and graphs. */
#include "test_driver.h"

#include <pthread.h>

static CUfunction put, scale;
static CUstream stream, side;
static CUevent fork_event, join_event;
static CUdeviceptr words;

static void start(int seed)
{
    char settings[32];
    snprintf(settings, sizeof settings, "GPU_SEED=%d", seed);
    gpu_start(settings);
    CUmodule module = gpu_module();
    put = gpu_kernel(module, "put");
    scale = gpu_kernel(module, "scale");
    OK(gpu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(gpu.cuStreamCreate(&side, CU_STREAM_NON_BLOCKING));
    OK(gpu.cuEventCreate(&fork_event, CU_EVENT_DISABLE_TIMING));
    OK(gpu.cuEventCreate(&join_event, CU_EVENT_DISABLE_TIMING));
    OK(gpu.cuMemAlloc(&words, 16));
    OK(gpu.cuMemsetD8(words, 0, 16));
    OK(gpu.cuCtxSynchronize());
}

static void stop(void)
{
    OK(gpu.cuMemFree(words));
    gpu_stop();
}

static uint32_t word(int i)
{
    uint32_t out = 0;
    OK(gpu.cuMemcpyDtoH(&out, words + 4 * (CUdeviceptr)i, 4));
    return out;
}

static CUresult put_word(int i, uint32_t value, CUstream to)
{
    return gpu_put(put, words + 4 * (CUdeviceptr)i, value, to);
}

static void begin(void)
{
    OK(gpu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
}

static CUgraphExec end(void)
{
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    OK(gpu.cuStreamEndCapture(stream, &graph));
    OK(gpu.cuGraphInstantiate(&exec, graph, 0));
    OK(gpu.cuGraphDestroy(graph));
    return exec;
}

TEST(graph, what_is_captured_runs_when_it_is_launched)
{
    struct gpu_counts counts;
    CUstreamCaptureStatus status;
    for (int seed = 0; seed < 4; seed++) {
        start(seed);
        begin();
        OK(gpu.cuStreamIsCapturing(stream, &status));
        CHECK_EQ(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
        OK(put_word(0, 5, stream));
        OK(gpu.cuMemcpyDtoDAsync(words + 4, words, 4, stream));
        OK(gpu.cuMemsetD32Async(words + 8, 3, 1, stream));
        CUgraphExec exec = end();
        OK(gpu.cuStreamIsCapturing(stream, &status));
        CHECK_EQ(status, CU_STREAM_CAPTURE_STATUS_NONE);
        OK(gpu.cuCtxSynchronize());
        CHECK_EQ(word(0), 0);
        gpu.gpu_counts_reset();
        OK(gpu.cuGraphUpload(exec, stream));
        OK(gpu.cuGraphLaunch(exec, stream));
        OK(gpu.cuStreamSynchronize(stream));
        CHECK_EQ(word(0), 5);
        CHECK_EQ(word(1), 5);
        CHECK_EQ(word(2), 3);
        gpu.gpu_counts(&counts);
        CHECK_EQ(counts.graph_launches, 1);
        CHECK_EQ(counts.launches, 0);
        CHECK_EQ(counts.kernels, 1);
        OK(put_word(0, 6, stream));
        OK(gpu.cuGraphLaunch(exec, stream));
        OK(gpu.cuGraphExecDestroy(exec)); /* the launch still happens */
        OK(gpu.cuStreamSynchronize(stream));
        CHECK_EQ(word(1), 5);
        CHECK_EQ(gpu.cuGraphLaunch(exec, stream), CUDA_ERROR_INVALID_VALUE);
        stop();
    }
}

/* Host memory is read by each launch anew. */
TEST(graph, inputs_change_through_pinned_memory)
{
    uint32_t *host;
    start(0);
    OK(gpu.cuMemAllocHost((void **)&host, 4));
    *host = 1;
    begin();
    OK(gpu.cuMemcpyHtoDAsync(words, host, 4, stream));
    CUgraphExec exec = end();
    for (uint32_t i = 10; i < 13; i++) {
        *host = i;
        OK(gpu.cuGraphLaunch(exec, stream));
        OK(gpu.cuStreamSynchronize(stream));
        CHECK_EQ(word(0), i);
    }
    OK(gpu.cuMemFreeHost(host));
    stop();
}

/* stream: put 1 -> fork; side: copies it; joined or not before stream's put 2. */
static uint32_t fork_and_join(int seed, bool ordered)
{
    start(seed);
    begin();
    OK(put_word(0, 1, stream));
    OK(gpu.cuEventRecord(fork_event, stream));
    OK(gpu.cuStreamWaitEvent(side, fork_event, 0));
    OK(gpu.cuMemcpyDtoDAsync(words + 4, words, 4, side));
    OK(gpu.cuEventRecord(join_event, side));
    if (ordered)
        OK(gpu.cuStreamWaitEvent(stream, join_event, 0));
    OK(put_word(0, 2, stream));
    if (!ordered)
        OK(gpu.cuStreamWaitEvent(stream, join_event, 0));
    CUgraphExec exec = end();
    OK(gpu.cuGraphLaunch(exec, stream));
    OK(gpu.cuStreamSynchronize(stream));
    uint32_t out = word(1);
    stop();
    return out;
}

TEST(graph, other_streams_join_through_events)
{
    bool differs = false;
    for (int seed = 0; seed < 12; seed++) {
        CHECK_EQ(fork_and_join(seed, true), 1);
        differs = differs || fork_and_join(seed, false) != 1;
    }
    CHECK(differs);
}

TEST(graph, launches_of_one_graph_run_one_after_the_other)
{
    for (int seed = 0; seed < 8; seed++) {
        float value = 1, factor = 2;
        uint32_t n = 1;
        void *args[] = {&words, &factor, &n};
        start(seed);
        OK(gpu.cuMemcpyHtoD(words, &value, 4));
        begin();
        OK(gpu_run(scale, 1, stream, args));
        CUgraphExec exec = end();
        OK(gpu.cuGraphLaunch(exec, stream));
        OK(gpu.cuGraphLaunch(exec, side));
        OK(gpu.cuGraphLaunch(exec, stream));
        OK(gpu.cuStreamSynchronize(stream));
        OK(gpu.cuMemcpyDtoH(&value, words, 4));
        CHECK(value == 8.0f);
        stop();
    }
}

TEST(graph, update_changes_parameters_and_nothing_else)
{
    CUgraph graph;
    CUgraphExecUpdateResultInfo info;
    size_t n = 0;
    start(0);
    begin();
    OK(put_word(0, 1, stream));
    CUgraphExec exec = end();
    begin();
    OK(put_word(0, 2, stream));
    OK(gpu.cuStreamEndCapture(stream, &graph));
    OK(gpu.cuGraphGetNodes(graph, NULL, &n));
    CHECK_EQ(n, 1);
    OK(gpu.cuGraphExecUpdate(exec, graph, &info));
    CHECK_EQ(info.result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
    OK(gpu.cuGraphLaunch(exec, stream));
    OK(gpu.cuStreamSynchronize(stream));
    CHECK_EQ(word(0), 2);
    begin();
    OK(put_word(0, 3, stream));
    OK(put_word(1, 3, stream));
    OK(gpu.cuStreamEndCapture(stream, &graph));
    CHECK_EQ(gpu.cuGraphExecUpdate(exec, graph, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    CHECK_EQ(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
    stop();
}

/* After a call that may not be made: the capture is lost and says so. */
static void check_lost(CUresult got, CUresult want)
{
    CUgraph graph = NULL;
    CUstreamCaptureStatus status;
    CHECK_EQ(got, want);
    OK(gpu.cuStreamIsCapturing(stream, &status));
    CHECK_EQ(status, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    CHECK_EQ(put_word(0, 1, stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CHECK_EQ(gpu.cuStreamEndCapture(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CHECK(!graph);
    OK(gpu.cuStreamIsCapturing(stream, &status));
    CHECK_EQ(status, CU_STREAM_CAPTURE_STATUS_NONE);
    OK(put_word(0, 1, stream));
    OK(gpu.cuStreamSynchronize(stream));
}

TEST(capture, is_lost_by_calls_that_wait_or_allocate)
{
    CUdeviceptr p;
    void *host;
    uint32_t value = 0;
    start(0);
    begin();
    check_lost(gpu.cuMemAlloc(&p, 16), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    begin();
    check_lost(gpu.cuMemFree(words), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    begin();
    check_lost(gpu.cuMemAllocHost(&host, 16), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    begin();
    check_lost(gpu.cuMemAllocAsync(&p, 16, stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    begin();
    check_lost(gpu.cuCtxSynchronize(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    begin();
    check_lost(gpu.cuStreamSynchronize(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    begin();
    check_lost(gpu.cuStreamSynchronize(side), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    begin();
    check_lost(gpu.cuStreamQuery(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    begin();
    check_lost(gpu.cuMemcpyHtoD(words, &value, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    stop();
}

TEST(capture, of_a_blocking_stream_is_lost_by_the_default_stream)
{
    CUstream before;
    start(0);
    before = stream;
    OK(gpu.cuStreamCreate(&stream, CU_STREAM_DEFAULT));
    begin();
    check_lost(put_word(0, 1, NULL), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    begin();
    check_lost(gpu.cuMemsetD8Async(words, 0, 4, NULL), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    stream = before;
    begin(); /* of one that is not blocking it is not */
    OK(put_word(0, 1, NULL));
    OK(gpu.cuGraphExecDestroy(end()));
    stop();
}

TEST(capture, is_lost_by_events_from_outside)
{
    start(0);
    OK(put_word(0, 1, side));
    OK(gpu.cuEventRecord(fork_event, side));
    begin();
    check_lost(gpu.cuStreamWaitEvent(stream, fork_event, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    begin();
    OK(put_word(0, 1, stream));
    OK(gpu.cuEventRecord(fork_event, stream));
    CHECK_EQ(gpu.cuEventQuery(fork_event), CUDA_ERROR_CAPTURED_EVENT);
    CHECK_EQ(gpu.cuEventSynchronize(fork_event), CUDA_ERROR_CAPTURED_EVENT);
    check_lost(gpu.cuStreamWaitEvent(NULL, fork_event, 0), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    stop();
}

TEST(capture, must_be_joined_and_ended_where_it_began)
{
    CUgraph graph;
    start(0);
    begin();
    CHECK_EQ(gpu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL),
             CUDA_ERROR_ILLEGAL_STATE);
    OK(put_word(0, 1, stream));
    OK(gpu.cuEventRecord(fork_event, stream));
    OK(gpu.cuStreamWaitEvent(side, fork_event, 0));
    OK(put_word(1, 1, side));
    CHECK_EQ(gpu.cuStreamEndCapture(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    CHECK_EQ(gpu.cuStreamEndCapture(stream, &graph), CUDA_ERROR_ILLEGAL_STATE);
    begin();
    OK(gpu.cuEventRecord(fork_event, stream));
    OK(gpu.cuStreamWaitEvent(side, fork_event, 0));
    CHECK_EQ(gpu.cuStreamEndCapture(side, &graph), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    CHECK_EQ(gpu.cuStreamEndCapture(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    stop();
}

struct guest {
    CUresult alloc, end;
};

static void *be_guest(void *data)
{
    struct guest *guest = data;
    CUdeviceptr p = 0;
    CUgraph graph;
    OK(gpu.cuCtxSetCurrent(gpu_context));
    guest->alloc = gpu.cuMemAlloc(&p, 16);
    if (!guest->alloc)
        OK(gpu.cuMemFree(p));
    guest->end = gpu.cuStreamEndCapture(stream, &graph);
    return NULL;
}

static struct guest from_another_thread(CUstreamCaptureMode mode)
{
    struct guest guest = {CUDA_SUCCESS, CUDA_SUCCESS};
    pthread_t thread;
    CUgraph graph;
    start(0);
    OK(gpu.cuStreamBeginCapture(stream, mode));
    pthread_create(&thread, NULL, be_guest, &guest);
    pthread_join(thread, NULL);
    gpu.cuStreamEndCapture(stream, &graph);
    stop();
    return guest;
}

TEST(capture, modes_say_what_other_threads_may)
{
    struct guest guest = from_another_thread(CU_STREAM_CAPTURE_MODE_GLOBAL);
    CHECK_EQ(guest.alloc, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CHECK_EQ(guest.end, CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    guest = from_another_thread(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    CHECK_EQ(guest.alloc, CUDA_SUCCESS);
    CHECK_EQ(guest.end, CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    guest = from_another_thread(CU_STREAM_CAPTURE_MODE_RELAXED);
    CHECK_EQ(guest.alloc, CUDA_SUCCESS);
    CHECK_EQ(guest.end, CUDA_SUCCESS);
}

TEST(capture, a_thread_may_relax_what_it_is_forbidden)
{
    CUdeviceptr p;
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    start(0);
    begin();
    OK(gpu.cuThreadExchangeStreamCaptureMode(&mode));
    CHECK_EQ(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
    OK(gpu.cuMemAlloc(&p, 16));
    OK(gpu.cuMemFree(p));
    OK(gpu.cuThreadExchangeStreamCaptureMode(&mode));
    OK(gpu.cuGraphExecDestroy(end()));
    stop();
}

TEST(capture, ends_with_its_stream_and_its_context)
{
    start(0);
    begin();
    OK(put_word(0, 1, stream));
    OK(gpu.cuStreamDestroy(stream));
    OK(gpu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(gpu.cuMemFree(words));
    begin();
    OK(gpu.cuEventRecord(fork_event, stream));
    gpu_stop();
}
