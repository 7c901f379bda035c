/* The operation embed: rows of the table, which may also be the head and so lies packed, those of
 * positions, and the rotary tables of the step. */
#include "isa.h"
#include "layout.h"

#include <math.h>

/* The angle is a product in double: exact for positions below 2^29. */
static void write_rotary(const struct rotary_table *rotary, int t, int32_t position)
{
    const int32_t half = rotary->dim / 2;
    float *out = rotary->out + (size_t)t * (size_t)rotary->dim;
    for (int32_t i = 0; i < half; i++) {
        double angle = (double)position * (double)rotary->freq[i];
        out[i] = (float)(cos(angle) * (double)rotary->scale);
        out[half + i] = (float)(sin(angle) * (double)rotary->scale);
    }
}

static void scale_row(float *x, int32_t D, float scale)
{
    for (int32_t i = 0; i < D; i += LANES) {
        const int n = MIN(D - i, LANES);
        vf_store_first(x + i, vf_mul(vf_load_first(x + i, n), vf_set1(scale)), n);
    }
}

static void add_row(float *x, int32_t D, const float *row)
{
    for (int32_t i = 0; i < D; i += LANES) {
        const int n = MIN(D - i, LANES);
        vf_store_first(x + i, vf_add(vf_load_first(x + i, n), vf_load_first(row + i, n)), n);
    }
}

int ISA_FN(embed)(struct lane *lane, const struct op_embed *op, const struct batch *batch)
{
    int first, last;
    lane_share(lane, batch->T, &first, &last);
    for (int t = first; t < last; t++) {
        float *x = op->x + (size_t)t * (size_t)op->D;
        ISA_FN(unpack_row)(op->table, batch->token[t], x);
        if (op->scale != 1)
            scale_row(x, op->D, op->scale);
        if (op->position)
            add_row(x, op->D, op->position + (size_t)batch->position[t] * (size_t)op->D);
        for (int i = 0; i < ROTARY_KINDS; i++)
            if (op->rotary[i].out)
                write_rotary(&op->rotary[i], t, batch->position[t]);
    }
    lane_barrier(lane);
    return 0;
}
