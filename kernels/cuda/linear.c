/* The operation linear, and what it shares with head: the input is prepared in the device's
 * scratch, then one of the kernels multiplies. All of them give the same bits, so the choice is
 * one of speed alone and may depend on anything. Other bits come of cuBLASLt, which only
 * configurations that ask for it have (dense.h). */
#include "cuda.h"
#include "dense.h"
#include "experts.h"
#include "prepare.h"
#include "product.h"
#include "skinny.h"
#include "tile.h"

#include "../../plugin/base/base.h"

static uint64_t rows_bytes(int32_t rows, int32_t padded)
{
    return (uint64_t)rows * (uint64_t)padded * sizeof(uint16_t);
}

static uint64_t sums_bytes(int32_t rows, int32_t padded)
{
    return (uint64_t)rows * (uint64_t)(padded / CHUNK) * sizeof(float);
}

/* With a scale of each row. */
static uint64_t fp8_bytes(int32_t rows, int32_t padded)
{
    return (uint64_t)rows * (uint64_t)padded + (uint64_t)rows * sizeof(float);
}

/* Activations, in both types for parts that differ, then what tile.h leaves in between. */
uint64_t linear_scratch_bytes(const struct device_config *config)
{
    const int32_t dense = tile_rows(MAX(config->max_tokens, config->max_rows));
    const int32_t rows =
        MAX(dense, experts_rows(config->max_tokens, config->experts_met, config->experts));
    const int32_t padded = ROUND_UP(config->max_width, WIDTH_STEP);
    const uint64_t bytes =
        rows_bytes(rows, padded) + sums_bytes(rows, padded) + fp8_bytes(rows, padded);
    return ROUND_UP(bytes, 256) + TILE_SCRATCH_BYTES;
}

/* Which code runs depends on what this build has and not on the card alone; all images have the
 * same. */
static int32_t find_fp8(struct device *device, struct err *err)
{
    int arch = 0;
    CUresult result = device->driver->cuFuncGetAttribute(&arch, CU_FUNC_ATTRIBUTE_PTX_VERSION,
                                                         device->kernel[KERNEL_prepare]);
    device->has_fp8 = arch_has_fp8(arch);
    device->makes_fp8 = arch_makes_fp8(arch);
    return result ? driver_refuse(device->driver, result, "asking for a kernel's architecture", err)
                  : INFLIGHT_OK;
}

int32_t linear_open(struct device *device, struct err *err)
{
    if (find_fp8(device, err) || skinny_open(device, err) || experts_open(device, err))
        return err->code;
    return tile_open(device, err);
}

/* Sums are wanted for minima, E4M3 by parts that multiply it. */
int product_prepare(struct device *device, const struct product_input *input,
                    struct product_args *args, enum sums_order order, const struct dense_plan *plan)
{
    const CUdeviceptr sums = device->linear_scratch + rows_bytes(args->rows, args->padded);
    const CUdeviceptr fp8 = sums + sums_bytes(args->rows, args->padded);
    const CUdeviceptr scale = fp8 + (CUdeviceptr)args->rows * (CUdeviceptr)args->padded;
    struct prepare_args prepare = {.x = input->x,
                                   .row = input->row,
                                   .live = input->live,
                                   .norm = input->norm,
                                   .norm_bias = input->norm_bias,
                                   .eps = input->eps,
                                   .norm_kind = input->norm_kind,
                                   .sums_order = (int32_t)order,
                                   .T = args->T,
                                   .rows = args->rows,
                                   .K = args->K,
                                   .padded = args->padded};
    for (int32_t i = 0; i < args->n_part; i++) {
        const int32_t layout = args->part[i].layout;
        if (plan ? dense_x_is_fp8(plan, &args->part[i])
                 : layout_x_is_fp8(layout, device->has_fp8)) {
            prepare.fp8 = (void *)(uintptr_t)fp8;
            prepare.scale = (float *)(uintptr_t)scale;
        } else {
            prepare.out = (void *)(uintptr_t)device->linear_scratch;
        }
        if (layout_has_min(layout))
            prepare.sums = (float *)(uintptr_t)sums;
    }
    CLEAR_PADDING(&prepare, prepare_args, padded, sizeof prepare);
    args->x = prepare.out;
    args->sums = prepare.sums;
    args->x_fp8 = prepare.fp8;
    args->x_scale = prepare.scale;
    return prepare_launch(device, &prepare);
}

/* One token alone has a kernel that reads the input itself; then the kernels' own sizes: rows of
 * skinny, and of the blocks of tile. */
int32_t product_bucket(int32_t T)
{
    return T <= 1 ? T : T <= SKINNY_MOST ? skinny_rows(T) : T <= 32 ? 32 : ROUND_UP(T, 64);
}

/* Up to 16 tokens the weights are what is waited for, which skinny spreads over all of the card,
 * and reads activations again for every strip. Beyond it that costs more than the weights: tile
 * reads them once for 128 or 256 rows. */
int product_launch(struct device *device, const struct product_input *input,
                   struct product_args *args)
{
    const bool tile = args->T > SKINNY_MOST;
    args->padded = ROUND_UP(args->K, WIDTH_STEP);
    args->rows = tile ? tile_rows(args->T) : skinny_rows(args->T);
    if (skinny_takes_input(device, input, args))
        return skinny_launch(device, input, args);
    struct dense_plan plan;
    const bool dense = dense_takes(device, args, &plan);
    int rc = product_prepare(device, input, args, tile ? SUMS_OF_PAIRS : SUMS_OF_TOKENS,
                             dense ? &plan : NULL);
    if (rc)
        return rc;
    CLEAR_PADDING(args, product_args, n_part, offsetof(struct product_args, part));
    if (dense)
        return dense_launch(device, args, &plan);
    return tile ? tile_launch(device, args) : skinny_launch(device, NULL, args);
}

int cuda_linear(struct lane *lane, const struct op_linear *op, const struct batch *batch)
{
    const struct product_input input = {.x = op->x,
                                        .norm = op->norm,
                                        .norm_bias = op->norm_bias,
                                        .eps = op->eps,
                                        .norm_kind = op->norm_kind};
    struct product_args args = {.y = op->y,
                                .T = step_tokens(lane->device, batch),
                                .K = op->D,
                                .ldy = op->ldy,
                                .epilogue = op->epilogue,
                                .n_part = op->n_part};
    for (int32_t i = 0; i < op->n_part; i++) {
        const struct linear_part *part = &op->part[i];
        args.part[i] = (struct product_part){.weight = part->weight->data,
                                             .bias = part->bias,
                                             .layout = part->weight->layout,
                                             .N = part->weight->N,
                                             .column = part->column};
    }
    return product_launch(lane->device, &input, &args);
}
