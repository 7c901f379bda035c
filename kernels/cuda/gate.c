#include "gate.h"

#include "cuda.h"

int cuda_gate(struct lane *lane, const struct op_gate *op, const struct batch *batch)
{
    struct device *device = lane->device;
    struct gate_args args = {.x = op->x,
                             .norm = op->norm,
                             .gate = op->gate,
                             .from = op->from,
                             .y = op->y,
                             .eps = op->eps,
                             .D = op->D,
                             .F = op->F};
    CLEAR_PADDING(&args, gate_args, F, sizeof args);
    struct grid grid = {
        .x = (uint32_t)step_tokens(device, batch), .y = 1, .z = 1, .threads = GATE_THREADS};
    return cuda_launch(device, KERNEL_gate, grid, &args);
}
