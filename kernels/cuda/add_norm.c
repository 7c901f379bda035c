#include "add_norm.h"

#include "cuda.h"
#include "prepare.h"

int cuda_add_norm(struct lane *lane, const struct op_add_norm *op, const struct batch *batch)
{
    struct device *device = lane->device;
    struct add_norm_args args = {.x = op->x,
                                 .y = op->y,
                                 .norm = op->norm,
                                 .bias = op->norm_bias,
                                 .eps = op->eps,
                                 .is_layer = op->norm_kind == NORM_LAYER,
                                 .is_first = op->is_first,
                                 .D = op->D};
    CLEAR_PADDING(&args, add_norm_args, D, sizeof args);
    struct grid grid = {
        .x = (uint32_t)step_tokens(device, batch), .y = 1, .z = 1, .threads = PREPARE_THREADS};
    const bool is_any = args.is_layer || args.is_first || args.bias;
    return cuda_launch(device, is_any ? KERNEL_add_norm_any : KERNEL_add_norm, grid, &args);
}
