/* The operation linear: matrices that share the tokens of the step. */
#include "multiply.h"

int ISA_FN(linear)(struct lane *lane, const struct op_linear *op, const struct batch *batch)
{
    struct product product = {
        .in = {.x = op->x,
               .norm = op->norm,
               .norm_bias = op->norm_bias,
               .norm_kind = (enum norm)op->norm_kind,
               .eps = op->eps,
               .n = batch->T,
               .K = op->D},
        .y = op->y,
        .ldy = (size_t)op->ldy,
        .epilogue = op->epilogue,
        .n_part = op->n_part,
        .part = op->part,
        .factor = op->factor,
        .ld_factor = (size_t)op->ld_factor,
    };
    ISA_FN(multiply)(lane, &product);
    return 0;
}
