/* The operation attend: decode.h for sequences with few rows, rotate.h and prefill.h for the
 * others. Both give the same bits, so which of them has a sequence is a matter of speed alone. */
#include "attend.h"

#include "decode.h"
#include "device.h"
#include "kv.h"
#include "prefill.h"

#include "../../plugin/base/base.h"

#include <assert.h>

/* Partial results have room for so many splits of one token, if there can be as many. */
#define SPLITS_ROOM 2048

static_assert(KERNEL_decode_fp8_256 - KERNEL_decode_bf16_64 == 8 &&
                  KERNEL_prefill_fp8_256 - KERNEL_prefill_bf16_64 == 8,
              "the order of attend_variant");

/* Rows of partial results that there is room for: always for one token of the longest sequence. */
static int64_t rows_most(const struct device_config *config)
{
    int64_t splits = attend_splits(config->max_context);
    return config->H * MAX(splits, MIN(splits * config->max_tokens, SPLITS_ROOM));
}

/* Counters of decode.h: of a launch with splits, for every sequence, head and tile of rows. Such a
 * launch has H rows or more for each sequence and split. */
static uint64_t counter_bytes(const struct device_config *config)
{
    int64_t sequences = rows_most(config) / config->H;
    int64_t tiles = config->K * decode_tiles(config->H / config->K);
    return ROUND_UP((uint64_t)(sequences * tiles) * sizeof(uint32_t), (uint64_t)64);
}

/* Scratch: counters, queries, pairs of partial results, outputs of partial results. */
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
    return counter_bytes(config) + q_bytes(config) + pair_bytes(config) +
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
                       "keys and values are bf16, int8 or fp8 on a CUDA device, not f32");
    if (config->kv_kind)
        return err_set(
            err, INFLIGHT_E_UNSUPPORTED,
            "layers whose heads differ, or that share keys and values, are not served on "
            "a CUDA device");
    return INFLIGHT_OK;
}

/* Zeros for the counters, by way of the memory that steps are copied from. */
static int32_t clear_counters(struct device *device, struct err *err)
{
    uint8_t *to = (uint8_t *)(uintptr_t)device->attend_scratch;
    size_t left = (size_t)counter_bytes(&device->config), bytes = MIN(left, device->step.bytes);
    int32_t rc = INFLIGHT_OK;
    memset(device->step.host[0], 0, bytes);
    for (; left && !rc; left -= bytes, to += bytes) {
        bytes = MIN(left, bytes);
        rc = cuda_write(device, to, device->step.host[0], bytes);
    }
    return rc ? err_set(err, rc, "scratch of attention cannot be cleared") : INFLIGHT_OK;
}

int32_t attend_open(struct device *device, struct err *err)
{
    int32_t variant = attend_variant(&device->config);
    int32_t rc = cuda_allow_shared(device, (enum kernel)(KERNEL_decode_bf16_64 + variant),
                                   decode_shared(variant, DECODE_ROWS), err);
    if (!rc)
        rc = cuda_allow_shared(device, (enum kernel)(KERNEL_prefill_bf16_64 + variant),
                               prefill_shared(variant), err);
    return rc ? rc : clear_counters(device, err);
}

/* Pointers into scratch and to the layer's keys and values. */
static void place(struct attend_args *args, const struct device *device, int32_t layer)
{
    const struct device_config *config = &device->config;
    const struct kv_layout layout = kv_layout_of(config);
    uint8_t *scratch = (uint8_t *)(uintptr_t)device->attend_scratch;
    args->arrived = (uint32_t *)(void *)scratch;
    scratch += counter_bytes(config);
    args->q = (uint16_t *)(void *)scratch;
    scratch += q_bytes(config);
    args->pair = (float *)(void *)scratch;
    scratch += pair_bytes(config);
    args->output = (float *)(void *)scratch;
    args->rows_most = rows_most(config);
    args->pool = (uint8_t *)(uintptr_t)device->kv + (uint64_t)layer * layout.layer_bytes;
    args->page_bytes = layout.page_bytes;
    args->block_bytes = layout.block_bytes;
    args->width = layout.width;
}

int cuda_attend(struct lane *lane, const struct op_attend *op, const struct batch *batch)
{
    struct device *device = lane->device;
    int rc = step_upload(device, batch);
    if (rc)
        return rc;
    const struct step_view *step = &device->step.view;
    struct attend_args args = {.qkv = op->qkv,
                               .rotary = op->rotary,
                               .q_norm = op->q_norm,
                               .k_norm = op->k_norm,
                               .k_mean = op->k_mean,
                               .y = op->y,
                               .sequence = step->sequence,
                               .slot = step->slot,
                               .position = step->position,
                               .first = step->first,
                               .length = step->length,
                               .page = step->page,
                               .max_pages = step->max_pages,
                               .slopes = op->slopes,
                               .sinks = op->sinks,
                               .scale_log2 = op->scale * LOG2_E,
                               .cap_log2 = op->cap * LOG2_E,
                               .cap_rate = op->cap > 0 ? 2 / op->cap : 0,
                               .eps = op->eps,
                               .growth = op->growth,
                               .growth_from = op->growth_from,
                               .H = op->H,
                               .K = op->K,
                               .dim = op->dim,
                               .rope = op->rope,
                               .rotary_dim = attend_rotary_dim(op),
                               .window = op->window};
    place(&args, device, op->layer);
    CLEAR_PADDING(&args, attend_args, rows, sizeof args);
    rc = decode_launch(device, &args, batch);
    return rc ? rc : prefill_launch(device, &args, batch);
}
