/* What the stand-in libcuda.so.1 has beside CUDA's own functions, for tests: counts of what
 * was asked of it, faults, and failures on demand. Tests that open the library find these by
 * name (dlsym). All are thread safe and none needs cuInit.
 *
 * Environment: GPU_CC, GPU_SEED, GPU_SPLIT, GPU_THREADS, GPU_MEMORY, GPU_COUNTERS, GPU_RACES,
 * GPU_FAIL. Read once, by the first call that needs them.
 *
 * GPU_SEED=0 (or unset): queued work is done as late as it can be, when a call waits for it.
 * Otherwise the seed chooses, at each point, among all streams that could go on. Either way
 * nothing is done between calls: a program that waits for a host function of a stream, or for a
 * word in pinned memory, must call the driver in its loop (cuStreamQuery). Host functions run on
 * the thread that waits, and no other thread can call the driver meanwhile. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define GPU_EXPORT __attribute__((visibility("default")))
#else
#define GPU_EXPORT
#endif

/* Since the last reset, but for what is said to be now. */
struct gpu_counts {
    uint64_t launches; /* by cuLaunchKernel, in a capture too */
    uint64_t syncs;    /* calls that made the host wait for the device: cu*Synchronize, cuMemcpyX */
    uint64_t allocations, frees; /* of device memory */
    uint64_t host_allocations;   /* of pinned memory, registered too */
    uint64_t copies_to_device, copies_to_host, copies_on_device;
    uint64_t bytes_to_device, bytes_to_host, bytes_on_device;
    uint64_t sets;
    uint64_t captures, graph_launches;
    uint64_t kernels;        /* executed, by a launch or by a graph */
    uint64_t library_works;  /* executed, of stand-ins of libraries */
    uint64_t early_launches; /* of them, with the attribute of programmatic serialization */
    uint64_t early_blocks;   /* of them, run up to griddepcontrol.wait before the kernel before */
    uint64_t uninitialised;  /* copies to the host of bytes that nobody wrote */
    uint64_t faults;
    uint64_t leaks;    /* living allocations of contexts that were destroyed */
    uint64_t contexts; /* living, now */
    uint64_t objects;  /* streams, events, modules, graphs and the like in them, now */
    uint64_t living;   /* allocations of device and pinned memory in them, now */
};

GPU_EXPORT void gpu_counts(struct gpu_counts *out);
GPU_EXPORT void gpu_counts_reset(void); /* forgets the last fault too */

/* Makes calls fail: "launch:10,alloc:3", the tenth launch and the third allocation from now.
 *   alloc   device memory   2 (out of memory)
 *   host    pinned memory   2
 *   launch  a kernel        719, and every call of the context from then on
 *   copy    a copy or set   700, likewise
 *   sync    cu*Synchronize  719, likewise: a kernel that failed on its way
 *   graph   cuGraphLaunch   719, likewise
 *   capture cuStreamEndCapture 901
 *   module  loading one     209
 *   library work of a stand-in of a library, which is not queued: 719, of that call alone
 *   lost    any call        999, and all that follow
 * NULL or "": nothing fails any more, and a lost device is back. False: not understood. */
GPU_EXPORT bool gpu_fail(const char *what);

/* For stand-ins of NVIDIA's libraries (cublaslt.c): work that a stream does in its turn, on the
 * host. arg is copied. Returns what a launch would. The work reads and writes device memory of the
 * stream's context through these two alone. False: not within one allocation, or read and not
 * written by anybody; it is printed, with `what` is accessed, and the work's own false makes it a
 * fault of the context. */
typedef bool gpu_library_work(const void *arg);
GPU_EXPORT int gpu_library_submit(void *stream, gpu_library_work *work, const void *arg,
                                  size_t bytes);
GPU_EXPORT bool gpu_library_read(void *to, uint64_t from, size_t bytes, const char *what);
GPU_EXPORT bool gpu_library_write(uint64_t to, const void *from, size_t bytes, const char *what);

/* The last fault of a kernel: its enum fault_kind, and its text in text (may be NULL). 0: none. */
GPU_EXPORT int gpu_last_fault(char *text, size_t bytes);

/* What a kernel cost so far, with GPU_COUNTERS. Units: counters.h. */
struct gpu_kernel_counts {
    uint64_t launches, warp_instructions, lane_instructions;
    uint64_t global_bytes_read, global_bytes_written;
    uint64_t sectors_read, sectors_written;
    uint64_t fresh_read, fresh_written; /* of them, those that a launch had not touched before */
    uint64_t shared_requests, wavefronts;
    uint64_t mma, divergent;
};

/* And what one of its lines did, of the source if the PTX tells it (nvcc -lineinfo), else of the
 * PTX: with GPU_COUNTERS=2. */
struct gpu_line_counts {
    char file[48]; /* "PTX", or the source's name */
    uint32_t line;
    uint64_t warp_instructions, lane_instructions;
    uint64_t bytes; /* asked for by the lanes, global and shared */
    uint64_t sectors, wavefronts;
    char text[80]; /* of the PTX; of a source's line its first instruction */
};

/* The n-th most expensive line of a kernel: by sectors of global memory, then wavefronts, then
 * instructions. False: there are no more. */
GPU_EXPORT bool gpu_line_counts(const char *name, size_t n, struct gpu_line_counts *out);
/* False: no such kernel was launched, or nothing is counted. */
GPU_EXPORT bool gpu_kernel_counts(const char *name, struct gpu_kernel_counts *out);
