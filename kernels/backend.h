/* A back end: memory, parallel execution, and one function per operation.
 *
 * A device runs a step by running the same function on each of its lanes at once
 * (a CPU lane is a thread of the pool; a GPU has one lane that launches kernels).
 * Every lane calls the same operations in the same order; an operation ends, on
 * every lane, only when its output may be read by every lane. So the decoder is
 * one loop over the plan, executed by each lane. */
#pragma once

#include "batch.h"
#include "kv_type.h"
#include "ops.h"

#include "../plugin/base/err.h"
#include "../plugin/base/mem.h"

struct time_slice;
struct device; /* an open back end */
struct lane;   /* one of the device's parallel executors, valid inside run() */

enum activations {
    ACT_INT8, /* inputs of 4- and 8-bit matrices become int8 in groups of 32; queries and weights
                 beside bf16 keys and values bf16, where an instruction multiplies pairs of it */
    ACT_FLOAT /* stay float: slower, for measuring what that costs */
};

struct device_config {
    int32_t threads;          /* lanes, >= 1 */
    int32_t isa;              /* CPU: enum isa, 0 best available */
    int32_t activations;      /* enum activations */
    int32_t max_tokens;       /* largest T of a batch */
    int32_t max_rows;         /* largest R */
    int32_t max_context;      /* largest position + 1 of a sequence */
    int32_t max_width;        /* largest K (inputs) of any matrix, for scratch */
    int32_t L, H, K, dim;     /* layers, query heads, key/value heads, head width */
    const uint8_t *kv_kind;   /* (L) enum kv_kind, outlives the device; NULL: all are KV_OWN */
    int32_t near_K, near_dim; /* of KV_NEAR, which need not be there */
    int32_t experts;          /* of a layer; 0: there are none */
    int32_t experts_met;      /* by a token */
    int32_t kv_type;          /* enum kv_type */
    int32_t kv_pages;         /* pages of the pool */
    void *cuda_context;       /* the host's CUcontext, which it keeps; NULL: the device's own */
    struct time_slice *slice; /* outlives the device; lanes that are threads keep to it; or NULL */
    bool prefault;            /* pool and scratch have their memory before open returns */
    bool cublaslt;            /* CUDA: products of many tokens by cuBLASLt, if it is there */
};

/* Bytes a device will take for a configuration; known before anything is taken. */
struct device_bytes {
    uint64_t kv;        /* the whole pool */
    uint64_t kv_token;  /* of one position, all layers, rounded up */
    uint64_t workspace; /* scratch of all lanes */
    uint64_t available; /* of the device's memory at this moment; UINT64_MAX: not asked */
};

/* The rows of one matrix, N rows of K values: as they stand in a file, or made in another format
 * when a back end comes for them. */
struct weight_source {
    enum fmt fmt;
    int32_t N, K;
    const void *data; /* fmt_row_bytes(fmt, K) per row; NULL: make gives them */
    /* Rows first .. first + n - 1, n at most step; valid until the same worker asks again. NULL:
     * they cannot be had, and who gave the source knows why. worker: which of the callers that ask
     * at once, below device_config.threads. */
    const void *(*make)(void *maker, int worker, int32_t first, int32_t n);
    void *maker;
    int32_t step; /* a multiple of 16 */
};

/* Most rows that weight_source_rows gives at once. */
static inline int32_t weight_source_step(const struct weight_source *source)
{
    return source->data ? source->N : source->step;
}

/* Rows first .. first + n - 1 as a source of their own that has data; false: see make. */
static inline bool weight_source_rows(const struct weight_source *source, int worker, int32_t first,
                                      int32_t n, struct weight_source *rows)
{
    *rows = (struct weight_source){.fmt = source->fmt, .N = n, .K = source->K};
    if (source->data)
        rows->data =
            (const char *)source->data + (size_t)first * fmt_row_bytes(source->fmt, source->K);
    else
        rows->data = source->make(source->maker, worker, first, n);
    return rows->data != NULL;
}

/* Steps that may be launched and not settled. */
#define STEPS_AHEAD 2

struct backend {
    const char *name;

    /* Memory of the device is host memory: what operations write is read in place. */
    bool is_host;

    /* INFLIGHT_OK if there is a device of this kind that this build can use, otherwise why not,
     * in a sentence for people ("no CUDA driver: ..."). */
    int32_t (*probe)(struct err *err);

    /* Fills bytes and returns 0, or fails if the configuration cannot be served. */
    int32_t (*measure)(const struct device_config *config, struct device_bytes *bytes,
                       struct err *err);

    /* Takes what measure said, starts the lanes. mem is borrowed until close. */
    int32_t (*open)(const struct device_config *config, const struct mem *mem,
                    struct device **device, struct err *err);
    void (*close)(struct device *device);

    /* A sentence for people: "cpu avx512-vnni, 2 threads", and once the device has failed, with
     * what. Lives as long as the device. */
    const char *(*describe)(const struct device *device);

    /* Whether no step will ever work on it again; NULL: that cannot happen. */
    bool (*is_lost)(const struct device *device);

    /* Memory of the device for weights and activations, 64-byte aligned, content undefined;
     * NULL: there is none left. */
    void *(*take)(struct device *device, size_t bytes);
    void (*give)(struct device *device, void *memory, size_t bytes);
    /* The system gives host memory when it is first written: now, to all lanes at once. What was in
     * it is lost. Outside run. NULL: the device's memory is there when it is taken. */
    void (*touch)(struct device *device, void *memory, size_t bytes);
    /* Host memory that read fills fastest, 64-byte aligned; NULL: there is none left. */
    void *(*take_host)(struct device *device, size_t bytes);
    void (*give_host)(struct device *device, void *memory, size_t bytes);
    /* Copies between host and device memory and waits for it. Outside run. */
    int32_t (*write)(struct device *device, void *to, const void *from, size_t bytes);
    int32_t (*read)(struct device *device, void *to, const void *from, size_t bytes);

    /* Bytes of a packed matrix, a multiple of 64; 0 if the format is not served. */
    size_t (*packed_bytes)(const struct device_config *config, enum fmt fmt, int32_t N, int32_t K);

    /* Packs one matrix into out->data (packed_bytes, 64-byte aligned, set by the caller
     * together with out->bytes) on all lanes; fills the rest of out. Called outside run. */
    int32_t (*pack)(struct device *device, const struct weight_source *source, struct weight *out,
                    struct err *err);

    /* The name of what pack makes on this device: where names are equal, so are the bytes, and the
     * operations read them wherever they are in host memory, 64-byte aligned. "cpu avx2". NULL:
     * they are not to be kept. */
    const char *(*packing)(const struct device *device);

    /* body(lane, arg) on every active lane; returns when all have returned, with the
     * first non-zero result. One caller at a time (the engine thread). */
    int (*run)(struct device *device, int (*body)(struct lane *lane, void *arg), void *arg);

    /* Within run, behind what the lane has queued: a copy of device memory to the host's, which has
     * it when run returns. NULL if is_host. */
    int (*fetch)(struct lane *lane, void *to, const void *from, size_t bytes);

    /* For a device that computes while the host prepares the next step; NULL: there is run alone.
     * launch queues what run would do and the choice of the rows' tokens, and returns; what the
     * batch points to may change afterwards. settle waits for the oldest step that was launched,
     * gives what was chosen for its rows (R; token -1: no finite logit) and returns what run would
     * have. At most STEPS_AHEAD are under way; run, read, write and close are called when none
     * is. */
    int (*launch)(struct device *device, int (*body)(struct lane *lane, void *arg), void *arg);
    int (*settle)(struct device *device, struct sample_output *output);

    int (*lane_id)(const struct lane *lane);
    int (*lane_count)(const struct lane *lane);
    /* Waits for all lanes; what was written before is seen after. */
    void (*barrier)(struct lane *lane);

    /* Active lanes from the next run on, 1 .. config.threads. */
    void (*set_threads)(struct device *device, int threads);

    /* Copies the first n positions of a page, all layers. Outside run. */
    void (*copy_page)(struct device *device, int32_t to, int32_t from, int32_t n);

    /* The content of the scratch, and of the pages too if no sequence has any, is of no
     * more use: its memory may go to the system until the next run. Outside run. */
    void (*discard)(struct device *device, bool pages);

#define OP(name, doc) \
    int (*name)(struct lane * lane, const struct op_##name *op, const struct batch *batch);
#include "ops.def"
#undef OP
};

/* All back ends, best first, made from backends.def; NULL-terminated. */
extern const struct backend *const backends[];

/* By name, or NULL. */
const struct backend *backend_find(const char *name);
