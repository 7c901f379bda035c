/* For the tests of the stand-in driver: the library as a program finds it, opened anew for each
 * test so that its settings can differ, and a module of small kernels. */
#pragma once

#include "gpu.h"
#include "t.h"

#include <cuda.h>
#include <dlfcn.h>
#include <stdlib.h>

#ifndef GPU_LIBRARY
#define GPU_LIBRARY "libcuda.so.1"
#endif

struct gpu_functions {
#define FUNCTION(name) __typeof__(name) *name;
#include "test_driver.def"
#undef FUNCTION
};

static struct gpu_functions gpu;
static void *gpu_library;
static CUcontext gpu_context; /* the primary one, current */

#define OK(call) CHECK_EQ(call, CUDA_SUCCESS)

static inline void gpu_find(const char *name, void *function)
{
    void *symbol = dlsym(gpu_library, name);
    if (!symbol)
        t_fail(__FILE__, __LINE__, "the library has no %s", name);
    memcpy(function, &symbol, sizeof symbol);
}

/* Closes what was open, and opens the library with the settings "GPU_SEED=1 GPU_CC=9.0". */
static inline void gpu_open(const char *settings)
{
    static const char *const names[] = {"GPU_CC",    "GPU_SEED",     "GPU_FAIL",   "GPU_MEMORY",
                                        "GPU_SPLIT", "GPU_COUNTERS", "GPU_THREADS"};
    if (gpu_library)
        dlclose(gpu_library);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    char copy[256], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", settings);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        char *equals = strchr(word, '=');
        *equals = '\0';
        setenv(word, equals + 1, 1);
    }
    gpu_library = dlopen(GPU_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!gpu_library) {
        printf("%s\n", dlerror());
        exit(EXIT_FAILURE);
    }
#define TEXT_OF(name)  #name
#define FUNCTION(name) gpu_find(TEXT_OF(name), &gpu.name);
#include "test_driver.def"
#undef FUNCTION
#undef TEXT_OF
}

/* And makes its primary context the thread's. */
static inline void gpu_start(const char *settings)
{
    gpu_open(settings);
    OK(gpu.cuInit(0));
    OK(gpu.cuDevicePrimaryCtxRetain(&gpu_context, 0));
    OK(gpu.cuCtxSetCurrent(gpu_context));
}

/* To the end of the test, where nothing may be left. */
static inline void gpu_stop(void)
{
    struct gpu_counts counts;
    OK(gpu.cuDevicePrimaryCtxRelease(0));
    gpu.gpu_counts(&counts);
    CHECK_EQ(counts.leaks, 0);
    CHECK_EQ(counts.contexts, 0);
}

#define KERNEL_HEAD ".version 8.0\n.target sm_80\n.address_size 64\n"

/* i = blockIdx.x * blockDim.x + threadIdx.x */
#define INDEX                                        \
    "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x;\n" \
    "mov.u32 %r3, %tid.x; mad.lo.s32 %r4, %r1, %r2, %r3;\n"
#define REGISTERS ".reg .pred %p<2>; .reg .f32 %f<4>; .reg .b32 %r<10>; .reg .b64 %rd<10>;\n"

/* add(a, b, out, n): out[i] = a[i] + b[i]. scale(x, k, n): x[i] *= k. put(x, value): one word.
 * far(x, offset): writes a word there. tile(x): through dynamic shared memory. */
static const char gpu_ptx[] = KERNEL_HEAD
    ".global .align 4 .u32 counter = 7;\n"
    ".const .align 4 .b8 table[16];\n"
    ".extern .shared .align 16 .b8 heap[];\n"
    ".visible .entry add(.param .u64 a0, .param .u64 a1, .param .u64 a2, .param .u32 "
    "a3)\n{\n" REGISTERS
    "ld.param.u64 %rd1, [a0]; ld.param.u64 %rd2, [a1]; ld.param.u64 %rd3, [a2];\n"
    "ld.param.u32 %r5, [a3];\n" INDEX "setp.ge.s32 %p1, %r4, %r5;\n"
    "@%p1 bra $done;\n"
    "cvta.to.global.u64 %rd1, %rd1; cvta.to.global.u64 %rd2, %rd2;\n"
    "cvta.to.global.u64 %rd3, %rd3;\n"
    "mul.wide.s32 %rd4, %r4, 4; add.s64 %rd5, %rd1, %rd4; add.s64 %rd6, %rd2, %rd4;\n"
    "add.s64 %rd7, %rd3, %rd4;\n"
    "ld.global.f32 %f1, [%rd5]; ld.global.f32 %f2, [%rd6]; add.f32 %f3, %f1, %f2;\n"
    "st.global.f32 [%rd7], %f3;\n"
    "$done:\nret;\n}\n"
    ".visible .entry scale(.param .u64 s0, .param .f32 s1, .param .u32 s2)\n{\n" REGISTERS
    "ld.param.u64 %rd1, [s0]; ld.param.f32 %f1, [s1]; ld.param.u32 %r5, [s2];\n" INDEX
    "setp.ge.s32 %p1, %r4, %r5;\n"
    "@%p1 bra $out;\n"
    "cvta.to.global.u64 %rd1, %rd1; mul.wide.s32 %rd2, %r4, 4; add.s64 %rd3, %rd1, %rd2;\n"
    "ld.global.f32 %f2, [%rd3]; mul.f32 %f3, %f2, %f1; st.global.f32 [%rd3], %f3;\n"
    "$out:\nret;\n}\n"
    ".visible .entry put(.param .u64 p0, .param .u32 p1)\n{\n" REGISTERS
    "ld.param.u64 %rd1, [p0]; ld.param.u32 %r1, [p1]; cvta.to.global.u64 %rd1, %rd1;\n"
    "st.global.u32 [%rd1], %r1;\nret;\n}\n"
    ".visible .entry far(.param .u64 f0, .param .u64 f1)\n{\n" REGISTERS
    "ld.param.u64 %rd1, [f0]; ld.param.u64 %rd2, [f1]; cvta.to.global.u64 %rd1, %rd1;\n"
    "add.s64 %rd3, %rd1, %rd2; mov.u32 %r1, 1; st.global.u32 [%rd3], %r1;\nret;\n}\n"
    ".visible .entry stop()\n{\ntrap;\nret;\n}\n"
    ".visible .entry bump()\n{\n" REGISTERS
    "ld.global.u32 %r1, [counter]; add.s32 %r2, %r1, 1; st.global.u32 [counter], %r2;\nret;\n}\n"
    ".visible .entry few()\n.maxntid 64, 1, 1\n{\nret;\n}\n"
    ".visible .entry exact()\n.reqntid 32, 2, 1\n{\nret;\n}\n"
    ".visible .entry tile(.param .u64 t0)\n{\n" REGISTERS
    "ld.param.u64 %rd1, [t0]; cvta.to.global.u64 %rd1, %rd1; mov.u32 %r1, %tid.x;\n"
    "shl.b32 %r2, %r1, 2; mov.u32 %r3, heap; add.s32 %r4, %r3, %r2;\n"
    "st.shared.u32 [%r4], %r1; bar.sync 0; ld.shared.u32 %r5, [%r4];\n"
    "mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r5;\nret;\n}\n";

static inline CUfunction gpu_kernel(CUmodule module, const char *name)
{
    CUfunction function = NULL;
    OK(gpu.cuModuleGetFunction(&function, module, name));
    return function;
}

static inline CUmodule gpu_module(void)
{
    CUmodule module = NULL;
    OK(gpu.cuModuleLoadData(&module, gpu_ptx));
    return module;
}

/* One block of so many threads. */
static inline CUresult gpu_run(CUfunction function, unsigned threads, CUstream stream, void **args)
{
    return gpu.cuLaunchKernel(function, 1, 1, 1, threads, 1, 1, 0, stream, args, NULL);
}

static inline CUresult gpu_put(CUfunction put, CUdeviceptr to, uint32_t value, CUstream stream)
{
    void *args[] = {&to, &value};
    return gpu_run(put, 1, stream, args);
}
