/* Cases of attention: decode over contexts of many sequences, prefill of one prompt. */
#include "card.h"

#include "../../plugin/base/base.h"

#include <stdio.h>

extern const struct backend backend_cuda;

struct heads {
    const char *name;
    int32_t H, K, dim;
};

static const struct heads models[] = {{"8b", 32, 8, 128}, {"smol", 9, 3, 64}};
static const struct heads small_models[] = {{"small", 4, 2, 64}};

static const int sequences[] = {1, 8, 32}, contexts[] = {128, 1024, 8192};
static const int prompts[] = {512, 2048, 8192};
static const int few_sequences[] = {2}, few_contexts[] = {40}, few_prompts[] = {40};

#define LAYERS_MOST 256

struct attend_work {
    const struct heads *heads;
    float *qkv, *y, *rotary;
    int layers;
};

static int attend_body(struct lane *lane, const struct card_case *c, int i)
{
    const struct attend_work *w = c->arg;
    const struct op_attend op = {.qkv = w->qkv,
                                 .y = w->y,
                                 .rotary = w->rotary,
                                 .eps = 1e-5f,
                                 .scale = 0.1f,
                                 .layer = i % w->layers,
                                 .H = w->heads->H,
                                 .K = w->heads->K,
                                 .dim = w->heads->dim,
                                 .rope = ROPE_INTERLEAVED};
    return backend_cuda.attend(lane, &op, &c->batch);
}

/* The pages hold plausible numbers in every type. */
static void fill_pages(struct card *card)
{
    const struct device *device = card->device;
    size_t some = MIN(device->kv_bytes, (size_t)1 << 20) / 4 * 4;
    void *pages = (void *)(uintptr_t)device->kv, *host = malloc(some);
    float *numbers = card_numbers(card, some);
    if (!host || backend_cuda.read(card->device, host, numbers, some) ||
        backend_cuda.write(card->device, pages, host, some))
        exit(EXIT_FAILURE);
    free(host);
    card_give(card, numbers, some);
    card_repeat(card, pages, some, device->kv_bytes);
}

/* S sequences of one token after a context, or (S = 0) one prompt. */
static void measure(struct card *card, const struct heads *heads, enum kv_type type, int S,
                    int context)
{
    const bool decode = S > 0;
    const int T = decode ? S : context;
    static const char *const names[] = {[KV_BF16] = "bf16", [KV_INT8] = "int8", [KV_FP8] = "fp8"};
    const char *type_name = names[type];
    char shape[48];
    (void)snprintf(shape, sizeof shape, decode ? "%s.ctx_%d" : "%s.prompt", heads->name, context);
    if (!card_wants(card, "attend", type_name, shape, T))
        return;
    const double position = heads->K * heads->dim * 2.0 * (type == KV_BF16 ? 2 : 1) +
                            (type == KV_BF16 ? 0 : heads->K * 2.0 * sizeof(float));
    const double kv = position * context * (decode ? S : 1);
    struct attend_work w = {.heads = heads};
    w.layers = (int)MIN((double)card->cold / kv + 1, (double)LAYERS_MOST);
    const struct device_config config = {.threads = 1,
                                         .max_tokens = T,
                                         .max_rows = 1,
                                         .max_context = context,
                                         .max_width = 64,
                                         .L = w.layers,
                                         .H = heads->H,
                                         .K = heads->K,
                                         .dim = heads->dim,
                                         .kv_type = (int32_t)type,
                                         .kv_pages =
                                             (decode ? S : 1) * (context / PAGE_TOKENS + 1)};
    const size_t row = (size_t)T * (size_t)heads->dim * sizeof(float);
    const size_t qkv = row * (size_t)(heads->H + 2 * heads->K), y = row * (size_t)heads->H;
    card_open(card, &config);
    fill_pages(card);
    w.qkv = card_numbers(card, qkv);
    w.y = card_numbers(card, y);
    w.rotary = card_numbers(card, row);
    struct card_case c = {.operation = "attend",
                          .fmt = type_name,
                          .shape = shape,
                          .T = T,
                          .bytes = kv + (double)(qkv + y + row),
                          .flops = 4.0 * heads->H * heads->dim * context *
                                   (decode ? S : (context + 1) / 2.0),
                          .is_sequence = decode,
                          .batch = card_batch(T, decode, decode ? context - 1 : 0, 0),
                          .body = attend_body,
                          .arg = &w};
    card_measure(card, &c);
    card_batch_free(&c.batch);
    card_give(card, w.qkv, qkv);
    card_give(card, w.y, y);
    card_give(card, w.rotary, row);
    card_close(card);
}

static void measure_model(struct card *card, const struct heads *heads, enum kv_type type)
{
    if (card->options.is_small) {
        measure(card, heads, type, few_sequences[0], few_contexts[0]);
        measure(card, heads, type, 0, few_prompts[0]);
        return;
    }
    for (size_t s = 0; s < COUNT_OF(sequences); s++)
        for (size_t c = 0; c < COUNT_OF(contexts); c++)
            measure(card, heads, type, sequences[s], contexts[c]);
    for (size_t p = 0; p < COUNT_OF(prompts); p++)
        measure(card, heads, type, 0, prompts[p]);
}

void card_attention(struct card *card)
{
    const struct heads *heads = card->options.is_small ? small_models : models;
    size_t n = card->options.is_small ? COUNT_OF(small_models) : COUNT_OF(models);
    for (size_t i = 0; i < n; i++) {
        measure_model(card, &heads[i], KV_BF16);
        measure_model(card, &heads[i], KV_INT8);
        measure_model(card, &heads[i], KV_FP8);
    }
}
