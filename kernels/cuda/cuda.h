/* The CUDA back end from the inside: what its files share.
 *
 * One lane: run() calls its body once, on the caller's thread, and every operation queues
 * launches on one stream; run() returns when the stream is done. What a kernel takes is one
 * struct by value, declared in <file>.h beside <file>.cu and <file>.c, which both read.
 *
 *   file            what
 *   driver.def,.c   the driver's functions, found at run time
 *   device.c        context, stream, modules, opening and closing
 *   memory.c        memory of the device and pinned memory of the host
 *   upload.c        matrices: packed piece by piece, copied meanwhile
 *   workers.c       threads of the host that do it together
 *   step.c          a batch to the device: struct step_view
 *   graph.c         launches of decode steps as CUDA graphs
 *   ahead.c         steps that are launched while one is under way
 *   backend.c       struct backend: configuration, dispatch
 *   layout.h,pack.c weights as they stand in device memory
 *   embed           embed.cu, embed.c
 *   prepare         float rows -> (normalized) bf16 rows and sums of their groups, E4M3 rows
 *   add_norm        normalizes rows and adds them to others
 *   skinny, tile    products for few and for many tokens; linear.c chooses
 *   experts         choice of experts, products for the tokens of each
 *   gate            rows times what a token takes of them
 *   dense           products for many tokens by cuBLASLt, which cublaslt.c finds
 *   rotate          rotary embedding, norms of heads, k and v to their pages
 *   decode, prefill attention over pages; attend.c chooses
 *   head            logits of the rows, notes of their blocks (notes.cuh)
 *   choose          tokens of the rows
 */
#pragma once

#include "ahead.h"
#include "driver.h"
#include "graph.h"
#include "step.h"

#include "../backend.h"

#include <stddef.h>
#include <string.h>

#define WARP 32

#define MODULES_MAX 32 /* .cu files */

/* Packed rows on their way to the device, while weights are loaded (upload.c). */
struct upload {
    struct workers *workers;  /* NULL until the first matrix */
    struct upload_lane *lane; /* (n), of each worker */
    void *memory;             /* pinned, two buffers for each */
    size_t bytes;             /* of a buffer */
    int n;
};

/* Kernels by their name in the .cu files. */
enum kernel {
#define KERNEL(name) KERNEL_##name,
#include "kernels.def"
#undef KERNEL
    KERNEL_COUNT
};

struct device {
    const struct mem *mem;
    struct device_config config;
    const struct driver *driver;
    CUdevice ordinal;
    CUcontext context;
    CUstream stream;
    CUmodule module[MODULES_MAX]; /* (n_module), one per .cu file */
    int n_module;
    CUfunction kernel[KERNEL_COUNT];
    uint32_t args_bytes[KERNEL_COUNT]; /* of what each takes */
    int capability;                    /* 80, 89, 90, 120 ... */
    int n_sm;
    int shared_most;   /* bytes of shared memory a block may opt in to */
    int skinny_groups; /* that a block of a product of one token may have, skinny.c */
    bool has_fp8;      /* kernels of products multiply E4M3 by E4M3, layout.h */
    bool makes_fp8;    /* the kernel prepare can make E4M3, which cuBLASLt multiplies too */
    char description[320];

    /* Device memory. */
    CUdeviceptr kv; /* pages, kv.h */
    size_t kv_bytes;
    CUdeviceptr linear_scratch; /* linear_scratch_bytes(config), linear.c */
    size_t linear_scratch_bytes;
    struct dense *dense;        /* products by cuBLASLt, dense.h; NULL: there are none */
    CUdeviceptr attend_scratch; /* attend_scratch_bytes(config), attend.c */
    size_t attend_scratch_bytes;
    struct step step;   /* the current batch on the device, step.h */
    CUdeviceptr chosen; /* (STEPS_AHEAD, ahead_stride) tokens and reports, ahead.h */
    CUdeviceptr raw;    /* (STEP_EDITS) logits before their edits, choose.h */
    struct ahead ahead;
    struct graphs graphs;
    CUresult failed;   /* first error of what was queued since the last run; the step fails */
    CUresult lost;     /* the context's own error: every later step fails */
    bool queued;       /* the stream has work that nobody has waited for */
    bool can_overlap;  /* kernels wait for those before them within themselves, depend.cuh */
    bool after_kernel; /* what this step queued last was a kernel, not a copy or a graph */
    bool has_failed;   /* the description says with what */

    struct upload upload;
};

struct lane {
    struct device *device;
};

struct grid {
    uint32_t x, y, z; /* blocks */
    uint32_t threads; /* of a block, in x */
    uint32_t shared;  /* dynamic bytes */
};

/* Clears padding of arguments, the bytes from the end of `member` up to `end`. What a compiler
 * leaves there may be anything, and steps are told apart by all bytes (graph.h). */
#define CLEAR_PADDING(args, type, member, end)                                         \
    memset((char *)(args) + offsetof(struct type, member) + sizeof((args)->member), 0, \
           (end) - (offsetof(struct type, member) + sizeof((args)->member)))

/* Queues a kernel on the device's stream, at once or with the rest of a step (graph.h). args is
 * copied: the kernel's one parameter, without undefined padding (CLEAR_PADDING).
 * Returns 0 or INFLIGHT_E_DEVICE; the first failure is kept in device->failed. */
int cuda_launch(struct device *device, enum kernel kernel, struct grid grid, void *args);

/* Sets what a kernel may take of dynamic shared memory beyond 48 KiB; at open. */
int32_t cuda_allow_shared(struct device *device, enum kernel kernel, uint32_t bytes,
                          struct err *err);

/* Provided by the operations' files. */
size_t cuda_packed_bytes(enum fmt fmt, int32_t N, int32_t K); /* pack.c */
/* Packs rows [first, last) of a matrix, first a multiple of 16, to host memory at out, which
 * holds the packed matrix from row `first` on. Fills weight's layout. */
size_t cuda_pack_rows(const struct weight_source *source, int32_t first, int32_t last, void *out);
int32_t cuda_layout(enum fmt fmt);
uint64_t linear_scratch_bytes(const struct device_config *config); /* linear.c */
uint64_t attend_scratch_bytes(const struct device_config *config); /* attend.c */
uint64_t kv_page_bytes(const struct device_config *config);        /* attend.c */
/* What a configuration must be for attention: widths, KV types. */
int32_t attend_check(const struct device_config *config, struct err *err);
/* Shared memory limits of kernels, and what must be zero before the first; once, at open. */
int32_t linear_open(struct device *device, struct err *err);
int32_t attend_open(struct device *device, struct err *err);

#define OP(name, doc) \
    int cuda_##name(struct lane *lane, const struct op_##name *op, const struct batch *batch);
#include "../ops.def"
#undef OP
