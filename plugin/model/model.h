/* A model: file -> hparams -> arch -> weights -> plan, and the forward pass. Opened in
 * two parts, so that what it will take is known exactly before anything is taken. */
#pragma once

#include "hparams.h"

#include "../base/arena.h"
#include "../file/packed.h"
#include "../text/chat.h"
#include "../text/tokenizer.h"
#include "../../kernels/backend.h"

struct model;

/* What "auto" has passed over in the course of one loading, and why. All zero before it. */
struct fallback {
    int32_t n;      /* back ends of the list that are not tried again */
    char text[400]; /* "cuda: no CUDA driver: ..."; empty: nothing */
};

struct model_params {
    const char *path;
    const char *chat_template; /* a file that replaces the model's own, or NULL */
    const char *packed_cache;  /* a file that keeps packed weights, or NULL; outlives the load */
    const char *device;        /* "auto" or a back end's name */
    void *cuda_context;        /* the host's CUcontext for device cuda, or NULL */
    struct time_slice *slice;  /* as in struct device_config */
    struct fallback *fallback; /* read and added to by "auto"; or NULL: all are tried */
    const inflight_io *io;     /* or NULL */
    const struct mem *mem;     /* outlives the model */
    int32_t context;           /* 0: the model's own */
    int32_t threads, isa, activations, kv_type;
    int32_t quantization; /* enum fmt that matrices become while they are loaded; 0: none */
    bool quantize_head;   /* the output head too */
    bool prefault;        /* as in struct device_config, and the activations */
    bool cublaslt;        /* as in struct device_config */
    int64_t kv_tokens;    /* 0: enough for one full context and at least 16384 */
    int32_t max_tokens, max_rows;
    uint64_t memory_budget; /* 0: none */
};

/* Exact bytes of everything the model takes. */
struct memory_plan {
    uint64_t weights;     /* packed matrices and norms */
    uint64_t kv;          /* the pool */
    uint64_t kv_token;    /* per position */
    uint64_t activations; /* buffers between operations */
    uint64_t workspace;   /* scratch of the lanes */
    uint64_t logits;      /* twice, if the device's memory is not the host's */
    uint64_t total;
};

/* Reads headers, tokenizer and template; checks every tensor; measures. Takes no
 * memory in proportion to the weights. Over the budget, or over what the device has free:
 * INFLIGHT_E_NOMEM with both numbers (an automatic kv_tokens shrinks first, down to one
 * context). "auto" is the first back end that is there, serves the model and fits. */
int32_t model_open(struct model **out, const struct model_params *params, struct err *err);
void model_close(struct model *m); /* NULL is allowed */

/* Progress while loading; non-zero stops it with INFLIGHT_E_SHUTDOWN. */
typedef int model_progress(void *user, const char *stage, uint64_t done, uint64_t total);

/* Opens the device and packs the weights on all its lanes. */
int32_t model_load(struct model *m, model_progress *progress, void *user, struct err *err);

/* What became of packed_cache, and why it was not mapped: empty, or "is damaged: ...". */
enum packed_use model_packed_use(const struct model *m, const char **note);

/* model_load has failed with err, or err says how the device was lost. If "auto" may try another
 * one, that goes into fallback, err is cleared and the model is to be opened again. */
bool model_pass_over(const struct model *m, struct fallback *fallback, struct err *err);

/* Whether no forward pass will ever work again. */
bool model_is_lost(const struct model *m);

/* Gives back everything but what the headers said: hparams, tokenizer and chat template. */
void model_unload(struct model *m);

/* One forward pass. Afterwards model_logits(m, r) is row r of the batch, and model_blocks
 * the notes of it, in host memory. */
int model_forward(struct model *m, const struct batch *batch);
float *model_logits(struct model *m, int32_t r);              /* (V) */
struct logit_block *model_blocks(struct model *m, int32_t r); /* (logit_blocks(V)) */

/* A forward pass that is only queued, with the choice of tokens (batch->choice), and the wait for
 * the oldest of those queued: backend->launch and settle. Not if model_launches is false. */
bool model_launches(const struct model *m);
int model_launch(struct model *m, const struct batch *batch);
int model_settle(struct model *m, struct sample_output *output); /* (R) */

/* Between forward passes: activations and scratch may lose their memory to the system until
 * the next pass; with pages, the KV pool too, which then must hold nothing of use. */
void model_discard(struct model *m, bool pages);

const struct hparams *model_hparams(const struct model *m);
const struct memory_plan *model_memory(const struct model *m);
const struct tokenizer *model_tokenizer(const struct model *m);
const struct chat *model_chat(const struct model *m); /* NULL: the file has no template */
const struct backend *model_backend(const struct model *m);
struct device *model_device(struct model *m); /* after load */
int32_t model_context(const struct model *m); /* most positions of a sequence */
int32_t model_kv_pages(const struct model *m);
void model_describe(const struct model *m, struct buf *out); /* JSON */
