#include "hparams.h"

#include "rope.h"

#include <stdio.h>
#include <string.h>

/* One integer key: where it goes, what it may be, and which field stands in for it. */
struct row {
    const char *key; /* after "<arch>." */
    size_t offset;   /* int32_t in struct hparams */
    int64_t min, max;
    bool optional; /* left as it is when missing */
};

static const struct row rows[] = {
    {"block_count", offsetof(struct hparams, L), 1, 1024, false},
    {"embedding_length", offsetof(struct hparams, D), 32, 1 << 17, false},
    {"feed_forward_length", offsetof(struct hparams, F), 32, 1 << 20, false},
    {"context_length", offsetof(struct hparams, context), 16, 1 << 24, false},
    {"attention.head_count", offsetof(struct hparams, H), 1, 1024, false},
    {"attention.head_count_kv", offsetof(struct hparams, K), 1, 1024, true},
    {"attention.key_length", offsetof(struct hparams, dim), 2, 2 * FREQ_MAX, true},
};

static const char *full_key(const struct hparams *h, const char *key, char out[96])
{
    (void)snprintf(out, 96, "%s.%s", h->arch, key);
    return out;
}

static int32_t read_row(struct hparams *h, const struct gguf *g, const struct row *row,
                        struct err *err)
{
    char key[96];
    int64_t value;
    full_key(h, row->key, key);
    if (!gguf_find(g, key)) {
        if (row->optional)
            return INFLIGHT_OK;
        return err_set(err, INFLIGHT_E_MODEL, "%s is missing", key);
    }
    if (!gguf_int(g, key, &value) || value < row->min || value > row->max)
        return err_set(err, INFLIGHT_E_MODEL, "%s must be an integer in %lld .. %lld", key,
                       (long long)row->min, (long long)row->max);
    *(int32_t *)(void *)((char *)h + row->offset) = (int32_t)value;
    return INFLIGHT_OK;
}

/* What must hold between the numbers. */
static int32_t check(const struct hparams *h, const struct gguf *g, struct err *err)
{
    char key[96];
    int64_t other;
    if (h->H % h->K)
        return err_set(err, INFLIGHT_E_MODEL, "%d query heads do not share %d key/value heads",
                       h->H, h->K);
    if (h->dim < 2 || h->dim % 2 || h->dim > 2 * FREQ_MAX)
        return err_set(err, INFLIGHT_E_MODEL, "head width %d is not an even number in 2 .. %d",
                       h->dim, 2 * FREQ_MAX);
    if (gguf_int(g, full_key(h, "attention.value_length", key), &other) && other != h->dim)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s is %lld, keys have %d: not served", key,
                       (long long)other, h->dim);
    if (gguf_int(g, full_key(h, "rope.dimension_count", key), &other) && other != h->dim)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "%s is %lld of %d: partial rotation is not served", key, (long long)other,
                       h->dim);
    return INFLIGHT_OK;
}

static int32_t read_vocabulary(struct hparams *h, const struct gguf *g, struct err *err)
{
    const struct gguf_value *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    if (!tokens || tokens->type != GGUF_ARRAY || tokens->n < 1 || tokens->n > (1 << 24))
        return err_set(err, INFLIGHT_E_MODEL, "tokenizer.ggml.tokens is missing or empty");
    h->V = (int32_t)tokens->n;
    return INFLIGHT_OK;
}

int32_t hparams_read(struct hparams *h, const struct gguf *g, struct err *err)
{
    char key[96];
    struct str text;
    double eps;
    *h = (struct hparams){0};
    if (!gguf_str(g, "general.architecture", &text) || text.len >= sizeof h->arch)
        return err_set(err, INFLIGHT_E_MODEL, "general.architecture is missing or too long");
    memcpy(h->arch, text.ptr, text.len);
    if (gguf_str(g, "general.name", &text))
        memcpy(h->name, text.ptr, MIN(text.len, sizeof h->name - 1));

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (read_row(h, g, &rows[i], err))
            return err->code;
    if (!h->K)
        h->K = h->H;
    if (!h->dim)
        h->dim = h->D / h->H;
    if (!gguf_float(g, full_key(h, "attention.layer_norm_rms_epsilon", key), &eps) || !(eps > 0) ||
        !(eps < 1))
        return err_set(err, INFLIGHT_E_MODEL, "%s is missing or not in 0 .. 1", key);
    h->eps = (float)eps;
    if (check(h, g, err) || read_vocabulary(h, g, err))
        return err->code;
    return rope_read(h, g, err);
}
