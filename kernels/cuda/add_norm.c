#include "add_norm.h"

#include "cuda.h"
#include "prepare.h"

int cuda_add_norm(struct lane *lane, const struct op_add_norm *op, const struct batch *batch)
{
    struct device *device = lane->device;
    struct add_norm_args args = {
        .x = op->x, .y = op->y, .norm = op->norm, .eps = op->eps, .D = op->D};
    CLEAR_PADDING(&args, add_norm_args, D, sizeof args);
    struct grid grid = {
        .x = (uint32_t)step_tokens(device, batch), .y = 1, .z = 1, .threads = PREPARE_THREADS};
    return cuda_launch(device, KERNEL_add_norm, grid, &args);
}
