#include "add_norm.h"

#include "cuda.h"
#include "prepare.h"

int cuda_add_norm(struct lane *lane, const struct op_add_norm *op, const struct batch *batch)
{
    struct device *device = lane->device;
    struct add_norm_args args = {.x = op->x,
                                 .y = op->y,
                                 .norm = op->norm,
                                 .norm_bias = op->norm_bias,
                                 .eps = op->eps,
                                 .norm_kind = op->norm_kind,
                                 .D = op->D,
                                 .ld = op->ld,
                                 .is_first = op->is_first};
    CLEAR_PADDING(&args, add_norm_args, is_first, sizeof args);
    struct grid grid = {
        .x = (uint32_t)step_tokens(device, batch), .y = 1, .z = 1, .threads = PREPARE_THREADS};
    return cuda_launch(device, KERNEL_add_norm, grid, &args);
}
