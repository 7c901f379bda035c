/* The stand-in driver: what kernels do wrong, failures on demand, hostile arguments. */
#include "test_driver.h"

/* A fault shows at the next call that waits, and then at every call. */
static void check_fault(const char *kernel, void **args, CUresult want, int kind)
{
    CUdeviceptr p;
    CUstream stream;
    char text[512];
    gpu.gpu_counts_reset();
    CUfunction function = gpu_kernel(gpu_module(), kernel);
    OK(gpu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(gpu_run(function, 1, stream, args));
    OK(gpu.cuMemAlloc(&p, 16)); /* not yet executed */
    CHECK_EQ(gpu.gpu_last_fault(NULL, 0), 0);
    CHECK_EQ(gpu.cuStreamSynchronize(stream), want);
    CHECK_EQ(gpu.gpu_last_fault(text, sizeof text), kind);
    CHECK(text[0] != '\0');
    CHECK_EQ(gpu.cuMemAlloc(&p, 16), want);
    CHECK_EQ(gpu.cuStreamSynchronize(stream), want);
    CHECK_EQ(gpu_run(function, 1, stream, args), want);
    CHECK_EQ(gpu.cuCtxSynchronize(), want);
    OK(gpu.cuDevicePrimaryCtxReset(0));
    OK(gpu.cuDevicePrimaryCtxRetain(&gpu_context, 0));
    OK(gpu.cuCtxSetCurrent(gpu_context));
    OK(gpu.cuMemAlloc(&p, 16)); /* a new context is sound */
    OK(gpu.cuMemFree(p));
}

enum { OUT_OF_BOUNDS = 1, MISALIGNED = 2, FREED = 3, UNINITIALISED = 4, TRAP = 9 };

TEST(fault, stays_until_the_context_ends)
{
    CUdeviceptr p;
    uint64_t offset;
    void *args[] = {&p, &offset};
    gpu_start("");
    OK(gpu.cuMemAlloc(&p, 16));
    offset = 16;
    check_fault("far", args, CUDA_ERROR_ILLEGAL_ADDRESS, OUT_OF_BOUNDS);
    OK(gpu.cuMemAlloc(&p, 16));
    offset = 2;
    check_fault("far", args, CUDA_ERROR_MISALIGNED_ADDRESS, MISALIGNED);
    check_fault("stop", NULL, CUDA_ERROR_LAUNCH_FAILED, TRAP);
}

TEST(fault, memory_that_was_freed_or_never_written)
{
    CUdeviceptr p;
    float factor = 2;
    uint32_t n = 1;
    void *args[] = {&p, &factor, &n};
    gpu_start("");
    OK(gpu.cuMemAlloc(&p, 16));
    check_fault("scale", args, CUDA_ERROR_LAUNCH_FAILED, UNINITIALISED);
    OK(gpu.cuMemAlloc(&p, 16));
    OK(gpu.cuMemsetD8(p, 0, 16));
    OK(gpu.cuMemFree(p));
    check_fault("scale", args, CUDA_ERROR_ILLEGAL_ADDRESS, FREED);
}

/* The copy to the host happens, but is counted. */
TEST(fault, copy_of_bytes_that_nobody_wrote)
{
    CUdeviceptr p;
    uint32_t out[2];
    struct gpu_counts counts;
    gpu_start("");
    OK(gpu.cuMemAlloc(&p, 8));
    OK(gpu.cuMemsetD8(p, 1, 4));
    OK(gpu.cuMemcpyDtoH(out, p, 4));
    gpu.gpu_counts(&counts);
    CHECK_EQ(counts.uninitialised, 0);
    OK(gpu.cuMemcpyDtoH(out, p, 8));
    gpu.gpu_counts(&counts);
    CHECK_EQ(counts.uninitialised, 1);
    OK(gpu.cuMemFree(p));
    gpu_stop();
}

TEST(fault, a_free_in_a_stream_comes_in_its_order)
{
    CUdeviceptr p;
    CUstream stream;
    gpu_start("");
    CUfunction put = gpu_kernel(gpu_module(), "put");
    OK(gpu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(gpu.cuMemAllocAsync(&p, 16, stream));
    OK(gpu_put(put, p, 1, stream));
    OK(gpu.cuMemFreeAsync(p, stream));
    OK(gpu.cuStreamSynchronize(stream));
    CHECK_EQ(gpu.cuMemFree(p), CUDA_ERROR_INVALID_VALUE);
    OK(gpu.cuMemAllocAsync(&p, 16, stream));
    OK(gpu.cuMemFreeAsync(p, stream));
    OK(gpu_put(put, p, 1, stream));
    CHECK_EQ(gpu.cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    OK(gpu.cuDevicePrimaryCtxReset(0));
}

TEST(fail, each_kind_on_demand)
{
    CUdeviceptr p, q;
    CUmodule module;
    CUgraph graph;
    void *host;
    CUstream stream;
    gpu_start("GPU_FAIL=alloc:2");
    OK(gpu.cuMemAlloc(&p, 16));
    CHECK_EQ(gpu.cuMemAlloc(&q, 16), CUDA_ERROR_OUT_OF_MEMORY);
    OK(gpu.cuMemAlloc(&q, 16));
    CHECK(!gpu.gpu_fail("nothing:3"));
    CHECK(!gpu.gpu_fail("alloc"));
    CHECK(!gpu.gpu_fail("alloc:x"));
    CHECK(gpu.gpu_fail("host:1,module:1,capture:1"));
    CHECK_EQ(gpu.cuMemAllocHost(&host, 16), CUDA_ERROR_OUT_OF_MEMORY);
    CHECK_EQ(gpu.cuModuleLoadData(&module, gpu_ptx), CUDA_ERROR_NO_BINARY_FOR_GPU);
    OK(gpu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(gpu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    CHECK_EQ(gpu.cuStreamEndCapture(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CHECK(!graph);
    OK(gpu.cuMemFree(p));
    OK(gpu.cuMemFree(q));
    gpu_stop();
}

/* What breaks a context on hardware breaks it here. */
static void check_breaks(const char *what, CUresult want)
{
    CUdeviceptr p;
    CUgraph graph;
    CUgraphExec exec;
    CUstream stream;
    CUresult first = CUDA_SUCCESS;
    gpu_start("");
    CUfunction put = gpu_kernel(gpu_module(), "put");
    OK(gpu.cuMemAlloc(&p, 4));
    OK(gpu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(gpu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(gpu_put(put, p, 3, stream));
    OK(gpu.cuStreamEndCapture(stream, &graph));
    OK(gpu.cuGraphInstantiate(&exec, graph, 0));
    CHECK(gpu.gpu_fail(what));
    CUresult results[] = {gpu_put(put, p, 1, stream), gpu.cuMemsetD8Async(p, 0, 4, stream),
                          gpu.cuGraphLaunch(exec, stream), gpu.cuStreamSynchronize(stream)};
    for (int i = 0; i < 4 && !first; i++)
        first = results[i];
    CHECK_EQ(first, want);
    CHECK_EQ(gpu.cuMemFree(p), want);
    OK(gpu.cuDevicePrimaryCtxReset(0));
}

TEST(fail, launch_copy_graph_and_sync_break_the_context)
{
    check_breaks("launch:1", CUDA_ERROR_LAUNCH_FAILED);
    check_breaks("copy:1", CUDA_ERROR_ILLEGAL_ADDRESS);
    check_breaks("graph:1", CUDA_ERROR_LAUNCH_FAILED);
    check_breaks("sync:1", CUDA_ERROR_LAUNCH_FAILED);
}

TEST(fail, a_lost_device_answers_nothing)
{
    CUdeviceptr p;
    size_t left, total;
    gpu_start("");
    OK(gpu.cuMemAlloc(&p, 16));
    CHECK(gpu.gpu_fail("lost:2"));
    OK(gpu.cuMemGetInfo(&left, &total));
    CHECK_EQ(gpu.cuMemGetInfo(&left, &total), CUDA_ERROR_UNKNOWN);
    CHECK_EQ(gpu.cuMemFree(p), CUDA_ERROR_UNKNOWN);
    CHECK_EQ(gpu.cuCtxSynchronize(), CUDA_ERROR_UNKNOWN);
    CHECK_EQ(gpu.cuDevicePrimaryCtxRelease(0), CUDA_ERROR_UNKNOWN);
    CHECK(gpu.gpu_fail(""));
    OK(gpu.cuMemFree(p));
    gpu_stop();
}

TEST(hostile, handles_that_are_none)
{
    gpu_start("");
    CUfunction put = gpu_kernel(gpu_module(), "put");
    CUdeviceptr p;
    OK(gpu.cuMemAlloc(&p, 4));
    uintptr_t wild[] = {3, 0x1234, (uintptr_t)&p, (uintptr_t)p, (uintptr_t)put, UINTPTR_MAX};
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
        CUstream stream = (CUstream)wild[i];
        CUevent event = (CUevent)wild[i];
        CUgraph graph;
        CUgraphExec exec;
        CHECK_EQ(gpu_put(put, p, 1, stream), CUDA_ERROR_INVALID_HANDLE);
        CHECK_EQ(gpu.cuStreamSynchronize(stream), CUDA_ERROR_INVALID_HANDLE);
        CHECK_EQ(gpu.cuStreamDestroy(stream), CUDA_ERROR_INVALID_HANDLE);
        CHECK_EQ(gpu.cuStreamEndCapture(stream, &graph), CUDA_ERROR_INVALID_HANDLE);
        CHECK_EQ(gpu.cuEventRecord(event, NULL), CUDA_ERROR_INVALID_HANDLE);
        CHECK_EQ(gpu.cuEventDestroy(event), CUDA_ERROR_INVALID_HANDLE);
        CHECK_EQ(gpu.cuStreamWaitEvent(NULL, event, 0), CUDA_ERROR_INVALID_HANDLE);
        CHECK_EQ(gpu.cuModuleUnload((CUmodule)wild[i]), CUDA_ERROR_INVALID_HANDLE);
        CHECK_EQ(gpu.cuGraphInstantiate(&exec, (CUgraph)wild[i], 0), CUDA_ERROR_INVALID_VALUE);
        CHECK_EQ(gpu.cuGraphLaunch((CUgraphExec)wild[i], NULL), CUDA_ERROR_INVALID_VALUE);
        CHECK_EQ(gpu.cuCtxSetCurrent((CUcontext)wild[i]), CUDA_ERROR_INVALID_CONTEXT);
    }
    OK(gpu.cuMemFree(p));
    gpu_stop();
}

TEST(hostile, places_that_are_none)
{
    gpu_start("");
    CUmodule module = gpu_module();
    CHECK_EQ(gpu.cuStreamCreate(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuEventCreate(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuModuleGetFunction(NULL, module, "put"), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuModuleGetFunction(&(CUfunction){0}, module, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuModuleGetGlobal(NULL, NULL, module, "counter"), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuMemGetInfo(NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuMemAllocHost(NULL, 16), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuMemFreeHost(NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuLaunchKernelEx(NULL, NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuLaunchHostFunc(NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuCtxGetCurrent(NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuCtxCreate(NULL, NULL, 0, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuStreamBeginCapture(NULL, CU_STREAM_CAPTURE_MODE_GLOBAL),
             CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CHECK_EQ(gpu.cuStreamIsCapturing(NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuPointerGetAttribute(NULL, CU_POINTER_ATTRIBUTE_CONTEXT, 0),
             CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuStreamCreate(&(CUstream){0}, 0xff), CUDA_ERROR_INVALID_VALUE);
    gpu_stop();
}

TEST(hostile, host_memory_that_is_none)
{
    CUdeviceptr p, given;
    void *pinned;
    CUstream stream;
    gpu_start("");
    OK(gpu.cuMemAlloc(&p, 64));
    OK(gpu.cuMemsetD8(p, 0, 64));
    OK(gpu.cuMemAlloc(&given, 64));
    OK(gpu.cuMemFree(given));
    OK(gpu.cuMemAllocHost(&pinned, 64));
    OK(gpu.cuMemFreeHost(pinned));
    OK(gpu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    void *wild[] = {NULL,
                    (void *)64,
                    pinned,
                    (void *)(uintptr_t)given,
                    (void *)(UINTPTR_MAX - 16),
                    (void *)(uintptr_t)p};
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
        CHECK_EQ(gpu.cuMemcpyHtoD(p, wild[i], 64), CUDA_ERROR_INVALID_VALUE);
        CHECK_EQ(gpu.cuMemcpyDtoH(wild[i], p, 64), CUDA_ERROR_INVALID_VALUE);
        CHECK_EQ(gpu.cuMemcpyHtoDAsync(p, wild[i], 64, stream), CUDA_ERROR_INVALID_VALUE);
        CHECK_EQ(gpu.cuMemcpyDtoHAsync(wild[i], p, 64, stream), CUDA_ERROR_INVALID_VALUE);
    }
    OK(gpu.cuMemFree(p));
    gpu_stop();
}

TEST(hostile, objects_of_another_context)
{
    CUcontext other;
    CUstream stream;
    CUdeviceptr p;
    uint32_t value = 0;
    gpu_start("");
    CUfunction put = gpu_kernel(gpu_module(), "put");
    OK(gpu.cuMemAlloc(&p, 4));
    OK(gpu.cuStreamCreate(&stream, 0));
    OK(gpu.cuCtxCreate(&other, NULL, 0, 0));
    CHECK_EQ(gpu_put(put, p, 1, NULL), CUDA_ERROR_INVALID_HANDLE);
    CHECK_EQ(gpu.cuStreamSynchronize(stream), CUDA_ERROR_INVALID_HANDLE);
    CHECK_EQ(gpu.cuMemcpyHtoD(p, &value, 4), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu_put(gpu_kernel(gpu_module(), "put"), p, 1, NULL), CUDA_SUCCESS);
    CHECK_EQ(gpu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    OK(gpu.cuCtxDestroy(other));
    OK(gpu.cuCtxSetCurrent(gpu_context));
    OK(gpu.cuMemFree(p)); /* the other context's fault is not this one's */
    gpu_stop();
}
