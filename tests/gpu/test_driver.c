/* The stand-in driver: device, contexts, memory, modules, launches, errors that stay. */
#include "test_driver.h"

static int attribute(CUdevice_attribute which)
{
    int value = -1;
    OK(gpu.cuDeviceGetAttribute(&value, which, 0));
    return value;
}

TEST(driver, nothing_works_before_init)
{
    int n, version = 0;
    CUdeviceptr p;
    gpu_open("");
    CHECK_EQ(gpu.cuDeviceGetCount(&n), CUDA_ERROR_NOT_INITIALIZED);
    CHECK_EQ(gpu.cuMemAlloc(&p, 16), CUDA_ERROR_NOT_INITIALIZED);
    CHECK_EQ(gpu.cuInit(1), CUDA_ERROR_INVALID_VALUE);
    OK(gpu.cuDriverGetVersion(&version));
    CHECK_EQ(version, 13000);
    OK(gpu.cuInit(0));
    OK(gpu.cuDeviceGetCount(&n));
    CHECK_EQ(n, 1);
    CHECK_EQ(gpu.cuMemAlloc(&p, 16), CUDA_ERROR_INVALID_CONTEXT);
}

TEST(driver, device_looks_like_its_capability)
{
    static const struct {
        const char *settings, *name;
        int major, minor, shared_kib, per_sm_kib, threads, blocks;
    } cases[] = {
        {"", "Simulated GPU (sm_80)", 8, 0, 163, 164, 2048, 32},
        {"GPU_CC=8.9", "Simulated GPU (sm_89)", 8, 9, 99, 100, 1536, 24},
        {"GPU_CC=9.0", "Simulated GPU (sm_90)", 9, 0, 227, 228, 2048, 32},
        {"GPU_CC=12.0", "Simulated GPU (sm_120)", 12, 0, 99, 100, 1536, 24},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[64];
        gpu_open(cases[i].settings);
        OK(gpu.cuInit(0));
        OK(gpu.cuDeviceGetName(name, sizeof name, 0));
        CHECK_TEXT(name, cases[i].name);
        CHECK_EQ(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR), cases[i].major);
        CHECK_EQ(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR), cases[i].minor);
        CHECK_EQ(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
                 cases[i].shared_kib * 1024);
        CHECK_EQ(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR),
                 cases[i].per_sm_kib * 1024);
        CHECK_EQ(attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR), cases[i].threads);
        CHECK_EQ(attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR), cases[i].blocks);
        CHECK_EQ(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK), 49152);
        CHECK_EQ(attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE), 32);
    }
}

TEST(driver, device_queries_refuse_what_is_wrong)
{
    int value;
    char text[32];
    CUuuid uuid;
    gpu_start("");
    CHECK_EQ(gpu.cuDeviceGet(&value, 1), CUDA_ERROR_INVALID_DEVICE);
    CHECK_EQ(gpu.cuDeviceGet(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuDeviceGetAttribute(&value, (CUdevice_attribute)0, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MAX, 0),
             CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuDeviceGetPCIBusId(text, 4, 0), CUDA_ERROR_INVALID_VALUE);
    OK(gpu.cuDeviceGetPCIBusId(text, sizeof text, 0));
    CHECK_TEXT(text, "0000:01:00.0");
    OK(gpu.cuDeviceGetUuid(&uuid, 0));
    OK(gpu.cuDeviceCanAccessPeer(&value, 0, 0));
    CHECK_EQ(value, 0);
    gpu_stop();
}

TEST(driver, functions_and_errors_have_names)
{
    void *function;
    const char *text;
    CUdriverProcAddressQueryResult status;
    gpu_open("");
    OK(gpu.cuGetProcAddress("cuMemAlloc", &function, 13000, 0, &status));
    CHECK_EQ(status, CU_GET_PROC_ADDRESS_SUCCESS);
    CHECK(function == dlsym(gpu_library, "cuMemAlloc_v2"));
    OK(gpu.cuGetProcAddress("cuMemAlloc", &function, 2000, 0, &status));
    CHECK_EQ(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
    CHECK(!function);
    OK(gpu.cuGetProcAddress("cuNothing", &function, 13000, 0, &status));
    CHECK_EQ(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    OK(gpu.cuGetProcAddress("cuCtxSynchronize", &function, 12000, 0, NULL));
    CHECK(function == dlsym(gpu_library, "cuCtxSynchronize"));
    OK(gpu.cuGetProcAddress("cuCtxSynchronize", &function, 13000, 0, NULL));
    CHECK(function == dlsym(gpu_library, "cuCtxSynchronize_v2"));
    CHECK_EQ(gpu.cuGetProcAddress("cuInit", &function, 99000, 0, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuGetProcAddress(NULL, &function, 13000, 0, NULL), CUDA_ERROR_INVALID_VALUE);
    OK(gpu.cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    CHECK_TEXT(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
    OK(gpu.cuGetErrorString(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    CHECK_TEXT(text, "an illegal memory access was encountered");
    CHECK_EQ(gpu.cuGetErrorName((CUresult)12345, &text), CUDA_ERROR_INVALID_VALUE);
    CHECK(!text);
}

TEST(driver, contexts_are_current_by_thread_and_dead_ones_known)
{
    CUcontext own, current, popped;
    CUdeviceptr p;
    gpu_start("");
    OK(gpu.cuCtxCreate(&own, NULL, 0, 0));
    OK(gpu.cuCtxGetCurrent(&current));
    CHECK(current == own);
    OK(gpu.cuMemAlloc(&p, 64));
    OK(gpu.cuCtxPushCurrent(gpu_context));
    CHECK_EQ(gpu.cuMemFree(p), CUDA_ERROR_INVALID_VALUE); /* the other context's */
    OK(gpu.cuCtxPopCurrent(&popped));
    CHECK(popped == gpu_context);
    OK(gpu.cuMemFree(p));
    OK(gpu.cuCtxPushCurrent(own));
    OK(gpu.cuCtxDestroy(own)); /* pops one of the two */
    CHECK_EQ(gpu.cuMemAlloc(&p, 64), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    CHECK_EQ(gpu.cuCtxDestroy(own), CUDA_ERROR_INVALID_CONTEXT);
    CHECK_EQ(gpu.cuCtxPushCurrent(own), CUDA_ERROR_INVALID_CONTEXT);
    CHECK_EQ(gpu.cuCtxSetCurrent((CUcontext)(uintptr_t)0x1234), CUDA_ERROR_INVALID_CONTEXT);
    CHECK_EQ(gpu.cuCtxDestroy(gpu_context), CUDA_ERROR_INVALID_CONTEXT);
    gpu_stop();
}

TEST(driver, memory_has_bounds)
{
    CUdeviceptr p, inside;
    uint8_t in[256], out[256] = {0};
    for (int i = 0; i < 256; i++)
        in[i] = (uint8_t)i;
    gpu_start("GPU_MEMORY=1048576");
    CHECK_EQ(gpu.cuMemAlloc(&p, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuMemAlloc(NULL, 16), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuMemAlloc(&p, 1 << 21), CUDA_ERROR_OUT_OF_MEMORY);
    OK(gpu.cuMemAlloc(&p, 256));
    CHECK_EQ(p % 512, 0);
    OK(gpu.cuMemcpyHtoD(p, in, 256));
    OK(gpu.cuMemcpyDtoH(out, p, 256));
    CHECK(memcmp(in, out, 256) == 0);
    CHECK_EQ(gpu.cuMemcpyHtoD(p, in, 257), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuMemcpyHtoD(p + 1, in, 256), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuMemcpyDtoH(out, p - 1, 4), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuMemcpyHtoD(p, NULL, 4), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuMemsetD32(p + 2, 0, 1), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuMemsetD8(p, 0, SIZE_MAX), CUDA_ERROR_INVALID_VALUE);
    OK(gpu.cuMemsetD32(p + 4, 0x01020304, 2));
    OK(gpu.cuMemcpyDtoH(out, p, 16));
    CHECK(memcmp(out, "\0\1\2\3\4\3\2\1\4\3\2\1\14\15\16\17", 16) == 0);
    inside = p + 16;
    CHECK_EQ(gpu.cuMemFree(inside), CUDA_ERROR_INVALID_VALUE);
    OK(gpu.cuMemFree(p));
    CHECK_EQ(gpu.cuMemFree(p), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuMemcpyDtoH(out, p, 4), CUDA_ERROR_INVALID_VALUE);
    OK(gpu.cuMemFree(0));
    gpu_stop();
}

TEST(driver, memory_left_is_told_and_pinned_memory_is_not_the_devices)
{
    size_t left, total, before;
    CUdeviceptr p, mapped;
    void *host;
    CUmemorytype type;
    char mine[64];
    gpu_start("GPU_MEMORY=1048576");
    OK(gpu.cuMemGetInfo(&before, &total));
    CHECK_EQ(total, 1048576);
    OK(gpu.cuMemAllocHost(&host, 4096));
    OK(gpu.cuMemGetInfo(&left, &total));
    CHECK_EQ(left, before);
    OK(gpu.cuMemAlloc(&p, 4096));
    OK(gpu.cuMemGetInfo(&left, &total));
    CHECK(left <= before - 4096);
    OK(gpu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p));
    CHECK_EQ(type, CU_MEMORYTYPE_DEVICE);
    OK(gpu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                 (CUdeviceptr)(uintptr_t)host));
    CHECK_EQ(type, CU_MEMORYTYPE_HOST);
    CHECK_EQ(gpu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, 0x1000),
             CUDA_ERROR_INVALID_VALUE);
    OK(gpu.cuMemHostGetDevicePointer(&mapped, host, 0));
    CHECK_EQ(gpu.cuMemFree(mapped), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuMemFreeHost(mine), CUDA_ERROR_INVALID_VALUE);
    OK(gpu.cuMemHostRegister(mine, sizeof mine, 0));
    CHECK_EQ(gpu.cuMemHostRegister(mine + 8, 8, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    OK(gpu.cuMemHostUnregister(mine));
    CHECK_EQ(gpu.cuMemHostUnregister(mine), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    OK(gpu.cuMemFreeHost(host));
    OK(gpu.cuMemFree(p));
    gpu_stop();
}

TEST(driver, copies_rectangles)
{
    CUdeviceptr p;
    uint8_t in[4][8], out[4][4];
    for (int i = 0; i < 32; i++)
        in[i / 8][i % 8] = (uint8_t)i;
    gpu_start("");
    OK(gpu.cuMemAlloc(&p, 4 * 16));
    CUDA_MEMCPY2D copy = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                          .srcHost = in,
                          .srcPitch = 8,
                          .srcXInBytes = 2,
                          .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                          .dstDevice = p,
                          .dstPitch = 16,
                          .WidthInBytes = 4,
                          .Height = 4};
    OK(gpu.cuMemcpy2D(&copy));
    for (int row = 0; row < 4; row++)
        OK(gpu.cuMemcpyDtoH(out[row], p + 16 * (CUdeviceptr)row, 4));
    for (int i = 0; i < 16; i++)
        CHECK_EQ(out[i / 4][i % 4], in[i / 4][2 + i % 4]);
    copy.Height = 5;
    CHECK_EQ(gpu.cuMemcpy2D(&copy), CUDA_ERROR_INVALID_VALUE);
    copy.Height = 4;
    copy.dstPitch = 2;
    CHECK_EQ(gpu.cuMemcpy2D(&copy), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuMemcpy2D(NULL), CUDA_ERROR_INVALID_VALUE);
    OK(gpu.cuMemFree(p));
    gpu_stop();
}

static void leak(size_t bytes, bool pinned)
{
    CUdeviceptr p;
    void *host;
    if (pinned)
        OK(gpu.cuMemAllocHost(&host, bytes));
    else
        OK(gpu.cuMemAlloc(&p, bytes));
}

TEST(driver, leaks_are_reported)
{
    struct gpu_counts counts;
    gpu_start("");
    leak(16, false);
    leak(32, false);
    leak(64, true);
    gpu_module(); /* its variables are no leak */
    gpu.gpu_counts(&counts);
    CHECK_EQ(counts.living, 3);
    OK(gpu.cuDevicePrimaryCtxRelease(0));
    gpu.gpu_counts(&counts);
    CHECK_EQ(counts.leaks, 3);
    CHECK_EQ(counts.living, 0);
    CHECK_EQ(counts.contexts, 0);
}

TEST(driver, vectors_are_added)
{
    enum { N = 1000 };
    static float a[N], b[N], out[N];
    CUdeviceptr p[3];
    uint32_t n = N;
    gpu_start("");
    for (int i = 0; i < N; i++) {
        a[i] = (float)i;
        b[i] = (float)(2 * i) + 0.5f;
    }
    for (int i = 0; i < 3; i++)
        OK(gpu.cuMemAlloc(&p[i], sizeof a));
    OK(gpu.cuMemcpyHtoD(p[0], a, sizeof a));
    OK(gpu.cuMemcpyHtoD(p[1], b, sizeof b));
    CUfunction add = gpu_kernel(gpu_module(), "add");
    void *args[] = {&p[0], &p[1], &p[2], &n};
    OK(gpu.cuLaunchKernel(add, 4, 1, 1, 256, 1, 1, 0, NULL, args, NULL));
    OK(gpu.cuMemcpyDtoH(out, p[2], sizeof out));
    int n_wrong = 0;
    for (int i = 0; i < N; i++)
        n_wrong += out[i] != a[i] + b[i];
    CHECK_EQ(n_wrong, 0);
    for (int i = 0; i < 3; i++)
        OK(gpu.cuMemFree(p[i]));
    gpu_stop();
}

TEST(driver, parameters_may_come_in_one_buffer)
{
    struct {
        CUdeviceptr to;
        uint32_t value;
    } packed = {0, 77};
    uint32_t out = 0;
    size_t bytes = 12, wrong = 8;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                     CU_LAUNCH_PARAM_END};
    void *args[] = {&packed.to, NULL};
    gpu_start("");
    OK(gpu.cuMemAlloc(&packed.to, 4));
    CUfunction put = gpu_kernel(gpu_module(), "put");
    OK(gpu.cuLaunchKernel(put, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
    OK(gpu.cuMemcpyDtoH(&out, packed.to, 4));
    CHECK_EQ(out, 77);
    extra[3] = &wrong;
    CHECK_EQ(gpu.cuLaunchKernel(put, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra),
             CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu_run(put, 1, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu_run(put, 1, NULL, args), CUDA_ERROR_INVALID_VALUE);
    OK(gpu.cuMemFree(packed.to));
    gpu_stop();
}

/* What a text means is kept when its module ends, what the module held is not. */
TEST(driver, modules_of_one_text_have_their_own_variables)
{
    gpu_start("");
    for (int round = 0; round < 2; round++) {
        CUmodule module[2];
        CUdeviceptr counter[2] = {0};
        for (int i = 0; i < 2; i++) {
            uint32_t value = 0;
            module[i] = gpu_module();
            OK(gpu.cuModuleGetGlobal(&counter[i], NULL, module[i], "counter"));
            OK(gpu_run(gpu_kernel(module[i], "bump"), 1, NULL, NULL));
            OK(gpu.cuMemcpyDtoH(&value, counter[i], 4));
            CHECK_EQ(value, 8);
        }
        CHECK(counter[0] != counter[1]);
        for (int i = 0; i < 2; i++)
            OK(gpu.cuModuleUnload(module[i]));
    }
    gpu_stop();
}

TEST(driver, module_has_variables)
{
    CUdeviceptr counter, table;
    size_t bytes;
    uint32_t value = 0, zeros[4];
    gpu_start("");
    CUmodule module = gpu_module();
    OK(gpu.cuModuleGetGlobal(&counter, &bytes, module, "counter"));
    CHECK_EQ(bytes, 4);
    OK(gpu_run(gpu_kernel(module, "bump"), 1, NULL, NULL));
    OK(gpu.cuMemcpyDtoH(&value, counter, 4));
    CHECK_EQ(value, 8);
    OK(gpu.cuModuleGetGlobal(&table, &bytes, module, "table"));
    CHECK_EQ(bytes, 16);
    OK(gpu.cuMemcpyDtoH(zeros, table, sizeof zeros));
    CHECK_EQ(zeros[0] | zeros[1] | zeros[2] | zeros[3], 0);
    CHECK_EQ(gpu.cuModuleGetGlobal(&table, NULL, module, "nothing"), CUDA_ERROR_NOT_FOUND);
    CHECK_EQ(gpu.cuMemFree(counter), CUDA_ERROR_INVALID_VALUE);
    CUfunction bump = gpu_kernel(module, "bump"), none;
    CHECK_EQ(gpu.cuModuleGetFunction(&none, module, "nothing"), CUDA_ERROR_NOT_FOUND);
    OK(gpu.cuModuleUnload(module));
    CHECK_EQ(gpu.cuMemcpyDtoH(&value, counter, 4), CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(gpu.cuModuleUnload(module), CUDA_ERROR_INVALID_HANDLE);
    CHECK_EQ(gpu_run(bump, 1, NULL, NULL), CUDA_ERROR_INVALID_HANDLE);
    CHECK_EQ(gpu.cuModuleGetFunction(&none, module, "bump"), CUDA_ERROR_INVALID_HANDLE);
    gpu_stop();
}

TEST(driver, module_is_refused_with_a_reason)
{
    CUmodule module;
    char log[256] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    gpu_start("");
    CHECK_EQ(gpu.cuModuleLoadData(&module, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK(gpu.cuModuleLoadDataEx(&module, "this is no PTX", 2, options, values) != CUDA_SUCCESS);
    CHECK(log[0] != '\0');
    CHECK_EQ(gpu.cuModuleLoadData(&module, "\x7f"
                                           "ELF and more that is no PTX"),
             CUDA_ERROR_NO_BINARY_FOR_GPU);
    CHECK_EQ(gpu.cuModuleLoadData(&module, ".version 8.0\n.target sm_90\n.address_size 64\n"
                                           ".visible .entry none()\n{\nret;\n}\n"),
             CUDA_ERROR_INVALID_PTX);
    gpu_stop();
}

TEST(driver, library_gives_kernels)
{
    CUlibrary library;
    CUkernel kernel;
    CUfunction function;
    CUdeviceptr p;
    uint32_t out;
    gpu_start("");
    OK(gpu.cuLibraryLoadData(&library, gpu_ptx, NULL, NULL, 0, NULL, NULL, 0));
    OK(gpu.cuLibraryGetKernel(&kernel, library, "put"));
    OK(gpu.cuKernelGetFunction(&function, kernel));
    OK(gpu.cuMemAlloc(&p, 4));
    OK(gpu_put(function, p, 5, NULL));
    OK(gpu.cuMemcpyDtoH(&out, p, 4));
    CHECK_EQ(out, 5);
    OK(gpu.cuMemFree(p));
    OK(gpu.cuLibraryUnload(library));
    CHECK_EQ(gpu.cuKernelGetFunction(&function, kernel), CUDA_ERROR_INVALID_HANDLE);
    gpu_stop();
}

TEST(driver, launches_have_limits)
{
    gpu_start("GPU_CC=8.9");
    CUmodule module = gpu_module();
    CUfunction few = gpu_kernel(module, "few"), exact = gpu_kernel(module, "exact");
    CUfunction bump = gpu_kernel(module, "bump");
    const struct {
        CUfunction function;
        unsigned grid[3], block[3], shared;
        CUresult want;
    } cases[] = {
        {bump, {1, 1, 1}, {1024, 1, 1}, 0, CUDA_SUCCESS},
        {bump, {1, 1, 1}, {1025, 1, 1}, 0, CUDA_ERROR_INVALID_VALUE},
        {bump, {1, 1, 1}, {32, 32, 2}, 0, CUDA_ERROR_INVALID_VALUE},
        {bump, {1, 1, 1}, {1, 1, 65}, 0, CUDA_ERROR_INVALID_VALUE},
        {bump, {0, 1, 1}, {1, 1, 1}, 0, CUDA_ERROR_INVALID_VALUE},
        {bump, {1, 1, 1}, {0, 1, 1}, 0, CUDA_ERROR_INVALID_VALUE},
        {bump, {1, 65536, 1}, {1, 1, 1}, 0, CUDA_ERROR_INVALID_VALUE},
        {bump, {1, 1, 65536}, {1, 1, 1}, 0, CUDA_ERROR_INVALID_VALUE},
        {bump, {1, 1, 1}, {1, 1, 1}, 49152, CUDA_SUCCESS},
        {bump, {1, 1, 1}, {1, 1, 1}, 49153, CUDA_ERROR_INVALID_VALUE},
        {few, {1, 1, 1}, {64, 1, 1}, 0, CUDA_SUCCESS},
        {few, {1, 1, 1}, {65, 1, 1}, 0, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES},
        {exact, {1, 1, 1}, {32, 2, 1}, 0, CUDA_SUCCESS},
        {exact, {1, 1, 1}, {64, 1, 1}, 0, CUDA_ERROR_INVALID_VALUE},
        {NULL, {1, 1, 1}, {1, 1, 1}, 0, CUDA_ERROR_INVALID_HANDLE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const unsigned *g = cases[i].grid, *b = cases[i].block;
        CUresult got = gpu.cuLaunchKernel(cases[i].function, g[0], g[1], g[2], b[0], b[1], b[2],
                                          cases[i].shared, NULL, NULL, NULL);
        if (got != cases[i].want)
            t_fail(__FILE__, __LINE__, "case %zu gives %d, want %d", i, got, cases[i].want);
    }
    CHECK_EQ(gpu.cuLaunchCooperativeKernel(bump, 1, 1, 1, 1, 1, 1, 0, NULL, NULL),
             CUDA_ERROR_NOT_SUPPORTED);
    OK(gpu.cuCtxSynchronize());
    gpu_stop();
}

TEST(driver, more_shared_memory_is_asked_for)
{
    enum { MOST = 99 * 1024 };
    int value;
    gpu_start("GPU_CC=8.9");
    CUfunction tile = gpu_kernel(gpu_module(), "tile");
    CUdeviceptr p;
    uint32_t out[64];
    OK(gpu.cuMemAlloc(&p, sizeof out));
    void *args[] = {&p};
    CHECK_EQ(gpu.cuLaunchKernel(tile, 1, 1, 1, 64, 1, 1, MOST, NULL, args, NULL),
             CUDA_ERROR_INVALID_VALUE);
    CHECK_EQ(
        gpu.cuFuncSetAttribute(tile, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, MOST + 1),
        CUDA_ERROR_INVALID_VALUE);
    OK(gpu.cuFuncSetAttribute(tile, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, MOST));
    OK(gpu.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, tile));
    CHECK_EQ(value, MOST);
    OK(gpu.cuLaunchKernel(tile, 1, 1, 1, 64, 1, 1, MOST, NULL, args, NULL));
    OK(gpu.cuMemcpyDtoH(out, p, sizeof out));
    for (int i = 0; i < 64; i++)
        CHECK_EQ(out[i], i);
    OK(gpu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&value, tile, 64, MOST));
    CHECK_EQ(value, 1);
    OK(gpu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&value, tile, 64, 0));
    CHECK_EQ(value, 16); /* 65536 registers, 64 for each of 1024 threads that may be */
    OK(gpu.cuMemFree(p));
    gpu_stop();
}
