#include "config.h"

/* Bounds that keep every product below in 64 bits. */
#define THREADS_MAX 1024
#define LAYERS_MAX  4096
#define HEADS_MAX   4096
#define PAGES_MAX   (1 << 27)
#define STEP_MAX    (1 << 20) /* tokens, rows */
#define WIDTH_MAX   (1 << 24)

static int32_t check_range(const char *name, int32_t value, int32_t least, int32_t most,
                           struct err *err)
{
    if (value >= least && value <= most)
        return INFLIGHT_OK;
    return err_set(err, INFLIGHT_E_ARG, "%s is %d, expected %d to %d", name, value, least, most);
}

/* Of keys and values of a layer. */
static int32_t check_shape(const struct device_config *config, int32_t K, int32_t dim,
                           int32_t dim_most, struct err *err)
{
    if (check_range("key/value heads", K, 1, HEADS_MAX, err) ||
        check_range("head width", dim, 2, dim_most, err))
        return err->code;
    if (dim % 2)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "head width %d is odd", dim);
    if (config->H % K)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "%d query heads cannot share %d key/value heads evenly", config->H, K);
    return INFLIGHT_OK;
}

/* Of layers that differ. */
static int32_t check_kinds(const struct device_config *config, int32_t dim_most, struct err *err)
{
    for (int32_t l = 0; l < config->L; l++) {
        if (check_range("kind of keys and values", config->kv_kind[l], KV_OWN, KV_NONE, err) ||
            (config->kv_kind[l] == KV_NEAR &&
             check_shape(config, config->near_K, config->near_dim, dim_most, err)))
            return err->code;
    }
    return INFLIGHT_OK;
}

int32_t device_config_check(const struct device_config *config, int32_t dim_most, struct err *err)
{
    const struct {
        const char *name;
        int32_t value, least, most;
    } fields[] = {
        {"threads", config->threads, 1, THREADS_MAX},
        {"activations", config->activations, ACT_INT8, ACT_FLOAT},
        {"max_tokens", config->max_tokens, 1, STEP_MAX},
        {"max_rows", config->max_rows, 1, STEP_MAX},
        {"max_context", config->max_context, 1, INT32_MAX},
        {"max_width", config->max_width, 1, WIDTH_MAX},
        {"layers", config->L, 1, LAYERS_MAX},
        {"query heads", config->H, 1, HEADS_MAX},
        {"KV type", config->kv_type, KV_BF16, KV_F32},
        {"KV pages", config->kv_pages, 1, PAGES_MAX},
        {"experts", config->experts, 0, EXPERTS_MOST},
        {"experts of a token", config->experts_met, 0, config->experts},
    };
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        int32_t rc =
            check_range(fields[i].name, fields[i].value, fields[i].least, fields[i].most, err);
        if (rc)
            return rc;
    }
    int32_t rc = check_shape(config, config->K, config->dim, dim_most, err);
    return !rc && config->kv_kind ? check_kinds(config, dim_most, err) : rc;
}

int32_t device_config_pool(const struct device_config *config, uint64_t page,
                           struct device_bytes *bytes, struct err *err)
{
    if (page > SIZE_MAX / 2 / (uint64_t)config->kv_pages)
        return err_set(err, INFLIGHT_E_NOMEM, "%d KV pages of %llu bytes are more than memory",
                       config->kv_pages, (unsigned long long)page);
    bytes->kv = page * (uint64_t)config->kv_pages;
    bytes->kv_token = (page + PAGE_TOKENS - 1) / PAGE_TOKENS;
    return INFLIGHT_OK;
}
