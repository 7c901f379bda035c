/* The operation attend: rotate.h, then decode.h for sequences with few rows and prefill.h for the
 * others. Both give the same bits, so which of them has a sequence is a matter of speed alone. */
#include "attend.h"

#include "cuda.h"
#include "decode.h"
#include "kv.h"
#include "prefill.h"
#include "rotate.h"

#include "../../plugin/base/base.h"

#include <assert.h>

#define LOG2_E 1.44269504f

/* Partial results have room for so many splits of one token, if there can be as many. */
#define SPLITS_ROOM 2048

static_assert(KERNEL_decode_int8_256 - KERNEL_decode_bf16_64 == 5 &&
                  KERNEL_prefill_int8_256 - KERNEL_prefill_bf16_64 == 5,
              "the order of attend_variant");

/* Rows of partial results that there is room for: always for one token of the longest sequence. */
static int64_t rows_most(const struct device_config *config)
{
    int64_t splits = attend_splits(config->max_context);
    return config->H * MAX(splits, MIN(splits * config->max_tokens, SPLITS_ROOM));
}

/* Scratch: queries, pairs of partial results, outputs of partial results. */
static uint64_t q_bytes(const struct device_config *config)
{
    uint64_t rows = (uint64_t)config->max_tokens * (uint64_t)config->H;
    return ROUND_UP(rows * (uint64_t)kv_width(config->dim) * sizeof(uint16_t), (uint64_t)64);
}

static uint64_t pair_bytes(const struct device_config *config)
{
    return ROUND_UP((uint64_t)rows_most(config) * 2 * sizeof(float), (uint64_t)64);
}

uint64_t attend_scratch_bytes(const struct device_config *config)
{
    uint64_t width = (uint64_t)kv_width(config->dim);
    return q_bytes(config) + pair_bytes(config) +
           (uint64_t)rows_most(config) * width * sizeof(float);
}

uint64_t kv_page_bytes(const struct device_config *config)
{
    return kv_layout_of(config).page_bytes;
}

int32_t attend_check(const struct device_config *config, struct err *err)
{
    if (config->kv_type == KV_F32)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "keys and values are bf16 or int8 on a CUDA device, not f32");
    return INFLIGHT_OK;
}

int32_t attend_open(struct device *device, struct err *err)
{
    int32_t variant = attend_variant(&device->config);
    int32_t rc = cuda_allow_shared(device, (enum kernel)(KERNEL_decode_bf16_64 + variant),
                                   decode_shared(variant), err);
    return rc ? rc
              : cuda_allow_shared(device, (enum kernel)(KERNEL_prefill_bf16_64 + variant),
                                  prefill_shared(variant), err);
}

static int rotate(struct device *device, const struct op_attend *op,
                  const struct attend_args *attend, uint16_t *q, uint8_t *pool)
{
    struct rotate_args args = {.qkv = op->qkv,
                               .rotary = op->rotary,
                               .q_norm = op->q_norm,
                               .k_norm = op->k_norm,
                               .slot = attend->step.slot,
                               .q = q,
                               .pool = pool,
                               .page_bytes = attend->page_bytes,
                               .block_bytes = attend->block_bytes,
                               .eps = op->eps,
                               .H = op->H,
                               .K = op->K,
                               .dim = op->dim,
                               .width = attend->width,
                               .rope = op->rope};
    CLEAR_PADDING(&args, rotate_args, rope, sizeof args);
    return rotate_launch(device, &args, attend->step.T);
}

int cuda_attend(struct lane *lane, const struct op_attend *op, const struct batch *batch)
{
    struct device *device = lane->device;
    const struct device_config *config = &device->config;
    const struct kv_layout layout = kv_layout_of(config);
    int rc = step_upload(device, batch);
    if (rc)
        return rc;
    uint8_t *pool = (uint8_t *)(uintptr_t)device->kv + (uint64_t)op->layer * layout.layer_bytes;
    uint8_t *scratch = (uint8_t *)(uintptr_t)device->attend_scratch;
    uint8_t *pair = scratch + q_bytes(config), *output = pair + pair_bytes(config);
    struct attend_args args = {.step = device->step.view,
                               .q = scratch,
                               .y = op->y,
                               .pool = pool,
                               .page_bytes = layout.page_bytes,
                               .block_bytes = layout.block_bytes,
                               .scale_log2 = op->scale * LOG2_E,
                               .H = op->H,
                               .K = op->K,
                               .dim = op->dim,
                               .width = layout.width,
                               .pair = (float *)(void *)pair,
                               .output = (float *)(void *)output,
                               .rows_most = rows_most(config)};
    CLEAR_PADDING(&args, attend_args, items, offsetof(struct attend_args, pair));
    CLEAR_PADDING(&args, attend_args, rows, offsetof(struct attend_args, rows_most));
    rc = rotate(device, op, &args, (uint16_t *)(void *)scratch, pool);
    if (!rc)
        rc = decode_launch(device, &args, batch);
    return rc ? rc : prefill_launch(device, &args, batch);
}
