#include "embed.h"

#include "cuda.h"
#include "layout.h"

/* If there is such a table. */
static void add_rotary(struct embed_args *args, const struct rotary_table *rotary)
{
    if (!rotary->out)
        return;
    args->rotary[args->n_rotary] = rotary->out;
    args->freq[args->n_rotary] = rotary->freq;
    args->rotary_scale[args->n_rotary] = rotary->scale;
    args->dim = rotary->dim; /* of all kinds: see attend_check */
    args->n_rotary++;
}

int cuda_embed(struct lane *lane, const struct op_embed *op, const struct batch *batch)
{
    struct device *device = lane->device;
    int rc = step_upload(device, batch);
    if (rc)
        return rc;
    struct embed_args args = {.table = op->table->data,
                              .token = device->step.view.token,
                              .chosen = (const int32_t *)(uintptr_t)device->chosen,
                              .parity = device->step.view.parity,
                              .position = device->step.view.position,
                              .row = op->position,
                              .x = op->x,
                              .scale = op->scale,
                              .layout = op->table->layout,
                              .D = op->D,
                              .stride = ahead_stride(&device->config)};
    for (int i = 0; i < ROTARY_KINDS; i++)
        add_rotary(&args, &op->rotary[i]);
    CLEAR_PADDING(&args, embed_args, stride, sizeof args);
    const uint32_t parts = ((uint32_t)op->D + CHUNK - 1) / CHUNK * 4;
    const uint32_t blocks = (parts + EMBED_THREADS - 1) / EMBED_THREADS;
    struct grid grid = {.x = (uint32_t)device->step.view.T,
                        .y = blocks + (uint32_t)args.n_rotary,
                        .z = 1,
                        .threads = EMBED_THREADS};
    return cuda_launch(device, KERNEL_embed, grid, &args);
}
