/* The operation linear, and what it shares with head: the input is prepared in the device's
 * scratch, then one of the kernels multiplies. All of them give the same bits, so the choice is
 * one of speed alone and may depend on anything. */
#include "cuda.h"
#include "prepare.h"
#include "product.h"
#include "skinny.h"
#include "tile.h"

#include "../../plugin/base/base.h"

static size_t rows_bytes(int32_t rows, int32_t padded)
{
    return (size_t)rows * (size_t)padded * sizeof(uint16_t);
}

static size_t sums_bytes(int32_t rows, int32_t padded)
{
    return (size_t)rows * (size_t)(padded / CHUNK) * sizeof(float);
}

uint64_t linear_scratch_bytes(const struct device_config *config)
{
    const int32_t rows = tile_rows(MAX(config->max_tokens, config->max_rows));
    const int32_t padded = ROUND_UP(config->max_width, WIDTH_STEP);
    return rows_bytes(rows, padded) + sums_bytes(rows, padded);
}

/* Up to 32 tokens the weights are what is waited for, which skinny spreads over all of the card;
 * beyond it tile reads activations less often, if its larger blocks keep the card busy. */
static bool wants_tile(const struct device *device, const struct product_args *args)
{
    return args->T > SKINNY_MOST || (args->T > 32 && tile_blocks(args) >= device->n_sm);
}

int product_launch(struct device *device, const struct product_input *input,
                   struct product_args *args)
{
    const bool tile = wants_tile(device, args);
    args->padded = ROUND_UP(args->K, WIDTH_STEP);
    args->rows = tile ? tile_rows(args->T) : skinny_rows(args->T);
    const CUdeviceptr sums = device->linear_scratch + rows_bytes(args->rows, args->padded);
    struct prepare_args prepare = {.x = input->x,
                                   .row = input->row,
                                   .norm = input->norm,
                                   .out = (void *)(uintptr_t)device->linear_scratch,
                                   .sums = (float *)(uintptr_t)sums,
                                   .eps = input->eps,
                                   .T = args->T,
                                   .rows = args->rows,
                                   .K = args->K,
                                   .padded = args->padded};
    CLEAR_PADDING(&prepare, prepare_args, padded, sizeof prepare);
    CLEAR_PADDING(args, product_args, n_part, offsetof(struct product_args, part));
    args->x = prepare.out;
    args->sums = prepare.sums;
    int rc = prepare_launch(device, &prepare);
    if (rc)
        return rc;
    return tile ? tile_launch(device, args) : skinny_launch(device, args);
}

int cuda_linear(struct lane *lane, const struct op_linear *op, const struct batch *batch)
{
    const struct product_input input = {.x = op->x, .norm = op->norm, .eps = op->eps};
    struct product_args args = {.y = op->y,
                                .T = batch->T,
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
