#include "embed.h"

#include "cuda.h"

int cuda_embed(struct lane *lane, const struct op_embed *op, const struct batch *batch)
{
    struct device *device = lane->device;
    int rc = step_upload(device, batch);
    if (rc)
        return rc;
    struct embed_args args = {.table = op->table->data,
                              .token = device->step.view.token,
                              .position = device->step.view.position,
                              .freq = op->freq,
                              .x = op->x,
                              .rotary = op->rotary,
                              .rotary_scale = op->rotary_scale,
                              .layout = op->table->layout,
                              .D = op->D,
                              .dim = op->dim};
    struct grid grid = {.x = (uint32_t)batch->T, .y = 1, .z = 1, .threads = 256};
    return cuda_launch(device, KERNEL_embed, grid, &args);
}
