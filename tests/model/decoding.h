/* Steps of the smallest model on a CUDA device, put together by hand, for tests of graphs. */
#pragma once

#include "t.h"

#include "plugin/model/model.h"
#include "kernels/cuda/device.h"
#include "tests/gpu/gpu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define MODEL "build/models/tiny.gguf"

enum { CONTEXT = 1024, PAGES = CONTEXT / PAGE_TOKENS, TOKENS_MOST = 64, VOCABULARY = 512 };

/* The simulated GPU's own functions; NULL on a card. */
static struct {
    void (*counts)(struct gpu_counts *out);
    void (*reset_counts)(void);
    bool (*fail)(const char *what);
    bool (*kernel)(const char *name, struct gpu_kernel_counts *out);
    CUresult (*reset)(CUdevice device);
} gpu;

static _Atomic uint64_t taken;
static struct mem mem;

/* C does not convert between pointers to data and to code; POSIX has both of one size. */
static inline void find(void *library, const char *symbol, void *function)
{
    void *at = dlsym(library, symbol);
    memcpy(function, &at, sizeof at);
}

static inline void find_gpu(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    if (!library)
        return;
    find(library, "gpu_counts", &gpu.counts);
    find(library, "gpu_counts_reset", &gpu.reset_counts);
    find(library, "gpu_fail", &gpu.fail);
    find(library, "gpu_kernel_counts", &gpu.kernel);
    find(library, "cuDevicePrimaryCtxReset_v2", &gpu.reset);
    (void)dlclose(library);
}

/* With room for so many sequences, and steps of so many tokens. NULL, and the test is skipped: no
 * driver, or no model. */
static inline struct model *decoding_open(int32_t sequences, int32_t max_tokens)
{
    static struct err err; /* t_skip keeps the text */
    const struct backend *backend = backend_find("cuda");
    struct model *m = NULL;
    FILE *f = fopen(MODEL, "rb");
    if (f)
        (void)fclose(f);
    mem = mem_system;
    mem.taken = &taken;
    const struct model_params params = {.path = MODEL,
                                        .device = "cuda",
                                        .mem = &mem,
                                        .context = CONTEXT,
                                        .threads = 1,
                                        .activations = ACT_INT8,
                                        .kv_type = KV_BF16,
                                        .kv_tokens = sequences * CONTEXT,
                                        .max_tokens = max_tokens,
                                        .max_rows = max_tokens};
    if (!f || !backend || backend->probe(&err)) {
        t_skip(f && backend ? err.text : "no " MODEL ", or no device cuda in this build");
        return NULL;
    }
    if (model_open(&m, &params, &err) || model_load(m, NULL, NULL, &err)) {
        t_fail(__FILE__, __LINE__, "%s", err.text);
        model_close(m);
        return NULL;
    }
    find_gpu();
    CHECK(model_hparams(m)->V <= VOCABULARY);
    return m;
}

/* The model, if the device counts; on a card the test is skipped, and the model closed. */
static inline struct model *decoding_counted(struct model *m)
{
    if (m && gpu.counts) {
        gpu.reset_counts();
        return m;
    }
    if (m)
        t_skip("only the simulated GPU counts, and fails on demand");
    model_close(m);
    return NULL;
}

/* Graphs that there are. */
static inline int graphs_made(struct model *m)
{
    const struct graphs *graphs = &model_device(m)->graphs;
    int made = 0;
    for (int32_t i = 0; i < graphs->n_entry; i++)
        made += graphs->entry[i].exec != NULL;
    return made;
}

/* ---- Steps */

/* A batch as it is put together. Pages of a sequence are not in order. */
struct maker {
    struct batch batch;
    struct batch_seq seq[TOKENS_MOST];
    int32_t page[TOKENS_MOST][PAGES];
    int32_t token[TOKENS_MOST], position[TOKENS_MOST], row[TOKENS_MOST];
};

/* n tokens of sequence s from a position on. */
static inline void put(struct maker *b, int32_t s, int32_t position, int32_t n)
{
    for (int32_t i = 0; i < PAGES; i++)
        b->page[s][i] = s * PAGES + (i * 5 + s) % PAGES;
    b->seq[b->batch.S++] = (struct batch_seq){b->batch.T, n, position, b->page[s]};
    for (int32_t i = 0; i < n; i++) {
        b->position[b->batch.T] = position + i;
        b->token[b->batch.T++] = 3 + (s * 37 + (position + i) * 11) % 200;
    }
}

/* With logits of the first R rows. */
static inline const struct batch *finish(struct maker *b, int32_t R)
{
    for (int32_t r = 0; r < R; r++)
        b->row[r] = r;
    b->batch.R = R;
    b->batch.token = b->token;
    b->batch.position = b->position;
    b->batch.seq = b->seq;
    b->batch.row = b->row;
    return &b->batch;
}

static inline int run(struct model *m, struct maker *b, int32_t R)
{
    return model_forward(m, finish(b, R));
}

/* Positions [0, n) of sequence s. */
static inline void prompt(struct model *m, int32_t s, int32_t n)
{
    const int32_t chunk = model_device(m)->config.max_tokens;
    for (int32_t at = 0; at < n; at += chunk) {
        struct maker b = {0};
        put(&b, s, at, MIN(chunk, n - at));
        CHECK_EQ(run(m, &b, 0), 0);
    }
}

/* One token of sequences 0 .. S - 1 at one position, with logits of R. */
static inline int decode(struct model *m, int32_t S, int32_t position, int32_t R)
{
    struct maker b = {0};
    for (int32_t s = 0; s < S; s++)
        put(&b, s, position, 1);
    return run(m, &b, R);
}
