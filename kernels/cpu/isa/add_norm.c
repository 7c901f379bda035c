/* The operation add_norm: what a layer adds, normalized first. */
#include "isa.h"

#include "../../../plugin/base/base.h"

#include <math.h>

/* x += y / sqrt(mean(y^2) + eps) * norm */
static void add_row(const struct op_add_norm *op, const float *y, float *x)
{
    vf squares = vf_zero();
    for (int32_t i = 0; i < op->D; i += LANES) {
        const vf a = vf_load_first(y + i, MIN(op->D - i, LANES));
        squares = vf_fma(a, a, squares);
    }
    const vf factor = vf_set1(1.0f / sqrtf(vf_sum(squares) / (float)op->D + op->eps));
    for (int32_t i = 0; i < op->D; i += LANES) {
        const int n = MIN(op->D - i, LANES);
        const vf a = vf_mul(vf_load_first(y + i, n), factor);
        vf_store_first(x + i, vf_fma(a, vf_load_first(op->norm + i, n), vf_load_first(x + i, n)),
                       n);
    }
}

int ISA_FN(add_norm)(struct lane *lane, const struct op_add_norm *op, const struct batch *batch)
{
    int first, last;
    lane_share(lane, batch->T, &first, &last);
    for (int t = first; t < last; t++) {
        const size_t row = (size_t)t * (size_t)op->D;
        add_row(op, op->y + row, op->x + row);
    }
    lane_barrier(lane);
    return 0;
}
