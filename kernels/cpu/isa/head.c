/* The operation head: logits of the rows that are sampled, and of no others. */
#include "multiply.h"

int ISA_FN(head)(struct lane *lane, const struct op_head *op, const struct batch *batch)
{
    const struct linear_part part = {.weight = op->weight};
    struct product product = {
        .in = {.x = op->x,
               .row = batch->row,
               .norm = op->norm,
               .eps = op->eps,
               .n = batch->R,
               .K = op->D},
        .y = op->logits,
        .ldy = (size_t)op->V,
        .epilogue = EPILOGUE_STORE,
        .n_part = 1,
        .part = &part,
    };
    ISA_FN(multiply)(lane, &product);
    return 0;
}
