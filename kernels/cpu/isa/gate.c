/* The operation gate: how much a token takes of what all share. */
#include "isa.h"

#include "../../../plugin/base/base.h"
#include "norm.h"

/* 1 / (1 + e^-g) of a token. */
static float share_of(const struct op_gate *op, const float *x)
{
    const float factor = rms_factor(x, op->D, op->eps);
    vf sum = vf_zero();
    for (int32_t d = 0; d < op->D; d += LANES) {
        const vf n = vf_mul(load_of_row(x, d, op->D), load_of_row(op->norm, d, op->D));
        sum = vf_fma(n, load_of_row(op->gate, d, op->D), sum);
    }
    return 1 / (1 + expf(-vf_sum(sum) * factor));
}

int ISA_FN(gate)(struct lane *lane, const struct op_gate *op, const struct batch *batch)
{
    int first, last;
    lane_share(lane, batch->T, &first, &last);
    for (int t = first; t < last; t++) {
        const size_t row = (size_t)t * (size_t)op->F;
        const vf share = vf_set1(share_of(op, op->x + (size_t)t * (size_t)op->D));
        for (int32_t i = 0; i < op->F; i += LANES) {
            const int n = MIN(op->F - i, LANES);
            const vf from = vf_load_first(op->from + row + i, n);
            vf_store_first(op->y + row + i, vf_mul(share, from), n);
        }
    }
    lane_barrier(lane);
    return 0;
}
