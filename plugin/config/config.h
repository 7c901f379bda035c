/* The configuration: one YAML text, version 1. Unknown keys, wrong types, values out
 * of range, duplicate keys, anchors and aliases are refused with file:line:column,
 * the key's path and "did you mean". */
#pragma once

#include "../base/arena.h"
#include "../base/err.h"
#include "sampling.h"

enum batching {
    BATCHING_IN_FLIGHT, /* a finished sequence leaves at once, a new one joins at the next step */
    BATCHING_STATIC,    /* a batch starts only when the last one has ended, for comparison */
};

/* What matrices become while a model is loaded. */
enum quantization {
    QUANTIZATION_NONE,
    QUANTIZATION_FP8,        /* E4M3, a scale for each row */
    QUANTIZATION_FP8_BLOCK,  /* E4M3, a scale for 128 x 128 values */
    QUANTIZATION_INT8,       /* a scale for each row */
    QUANTIZATION_INT8_GROUP, /* for 32 values of a row */
    QUANTIZATION_INT4,       /* scale and zero point for groups of 128 values of a row */
    QUANTIZATION_INT4_64,    /* of 64 */
    QUANTIZATION_INT4_32,    /* of 32 */
};

/* All fields filled: a missing key has become its default; 0 stays where it is documented
 * as "decided at load". Strings live in the arena given to parse, or for ever. */
struct config {
    const char *model_path;    /* in the folder of the YAML's name, or as given if absolute */
    const char *chat_template; /* the same; a Jinja file that replaces the model's own, or NULL */
    const char *packed_cache;  /* the same; a file for packed weights, or NULL */
    int32_t context;           /* most positions of a sequence; 0: the model's own limit */
    int32_t quantization;      /* enum quantization */
    bool quantize_head;        /* the output head too */
    const char *device;        /* "auto", "cuda", "cpu" */
    int32_t threads;           /* 0: the physical cores this process may use */
    int32_t priority;          /* enum thread_priority of base/thread.h */
    int32_t isa;         /* 0 auto; index in the order plain, avx2, avx512, avx512_bf16 from 1 */
    int32_t activations; /* enum activations of kernels/backend.h */
    int32_t kv_type;     /* enum kv_type of kernels/backend.h */
    bool cublaslt;       /* as in struct device_config */
    int64_t kv_tokens;   /* positions in the pool; 0: decided at load */
    bool prefix_cache;
    uint64_t memory_budget;   /* bytes of all engine memory; 0: no limit */
    bool prefault;            /* cache and buffers have their memory when loading ends */
    int32_t max_sequences;    /* in one step */
    int32_t max_step_tokens;  /* token budget of one step */
    int32_t step_ms;          /* aim of steps in which answers go on; 0: none */
    int32_t batching;         /* enum batching */
    int32_t max_requests;     /* accepted and not yet done */
    int32_t stream_bytes;     /* undelivered text of one request */
    int32_t log_level;        /* 0 error .. 3 debug */
    struct sampling sampling; /* defaults for every request */
};

/* name: of the file, for messages and to resolve relative paths: they go behind its folder
 * as it stands, so a relative name gives paths relative to the process. NULL for a text of
 * the host ("config" in messages). INFLIGHT_E_CONFIG or INFLIGHT_E_NOMEM. */
int32_t config_parse(struct config *config, struct str yaml, const char *name, struct arena *arena,
                     struct err *err);

/* The whole configuration as YAML that config_parse reads back to the same, with a comment
 * about each key. */
struct buf;
void config_print(const struct config *config, struct buf *out);
