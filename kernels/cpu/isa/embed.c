/* The operation embed: rows of the table, which may also be the head and so lies packed,
 * and the rotary table of the step. */
#include "isa.h"
#include "layout.h"

#include <math.h>

/* The angle is a product in double: exact for positions below 2^29. */
static void write_rotary(const struct op_embed *op, int32_t position, float *out)
{
    int32_t half = op->dim / 2;
    for (int32_t i = 0; i < half; i++) {
        double angle = (double)position * (double)op->freq[i];
        out[i] = (float)(cos(angle) * (double)op->rotary_scale);
        out[half + i] = (float)(sin(angle) * (double)op->rotary_scale);
    }
}

int ISA_FN(embed)(struct lane *lane, const struct op_embed *op, const struct batch *batch)
{
    int first, last;
    lane_share(lane, batch->T, &first, &last);
    for (int t = first; t < last; t++) {
        ISA_FN(unpack_row)(op->table, batch->token[t], op->x + (size_t)t * (size_t)op->D);
        write_rotary(op, batch->position[t], op->rotary + (size_t)t * (size_t)op->dim);
    }
    lane_barrier(lane);
    return 0;
}
