#include "head.h"

#include "choose.h"
#include "cuda.h"
#include "product.h"

static int launch_notes(struct device *device, const struct op_head *op)
{
    struct head_args args = {.logits = op->logits,
                             .scale = device->step.view.scale,
                             .block = op->block,
                             .cap = op->cap,
                             .cap_rate = op->cap > 0 ? 2 / op->cap : 0,
                             .V = op->V,
                             .n_blocks = logit_blocks(op->V)};
    struct grid grid = {.x = (uint32_t)(args.n_blocks + 7) / 8,
                        .y = (uint32_t)device->step.view.R,
                        .z = 1,
                        .threads = 8 * WARP};
    return cuda_launch(device, KERNEL_head_notes, grid, &args);
}

int cuda_head(struct lane *lane, const struct op_head *op, const struct batch *batch)
{
    struct device *device = lane->device;
    if (batch->R == 0)
        return 0;
    int rc = step_upload(device, batch);
    if (rc)
        return rc;
    const struct product_input input = {.x = op->x,
                                        .row = device->step.view.row,
                                        .norm = op->norm,
                                        .norm_bias = op->norm_bias,
                                        .eps = op->eps,
                                        .norm_kind = op->norm_kind};
    struct product_args args = {
        .y = op->logits,
        .T = device->step.view.R,
        .K = op->D,
        .ldy = op->V,
        .epilogue = EPILOGUE_STORE,
        .n_part = 1,
        .part = {{.weight = op->weight->data,
                  .bias = op->bias,
                  .layout = op->weight->layout,
                  .N = op->weight->N}},
    };
    rc = product_launch(device, &input, &args);
    if (!rc)
        rc = launch_notes(device, op);
    return rc || !batch->choice ? rc : choose_launch(device, op);
}
