/* The operation add_norm: what a layer adds, normalized first. */
#include "isa.h"

#include "../../../plugin/base/base.h"
#include "norm.h"

/* x += (y - mean) * factor * norm + norm_bias; is_first: to -0, which with a number is that
 * number. What comes of it times that of the operation. */
static void add_row(const struct op_add_norm *op, const float *y, float *x)
{
    const struct standard standard = standard_of((enum norm)op->norm_kind, y, op->D, op->eps);
    const vf mean = vf_set1(standard.mean), factor = vf_set1(standard.factor);
    for (int32_t i = 0; i < op->D; i += LANES) {
        const int n = MIN(op->D - i, LANES);
        const vf a = vf_mul(vf_sub(vf_load_first(y + i, n), mean), factor);
        vf sum = op->is_first ? vf_set1(-0.0f) : vf_load_first(x + i, n);
        if (op->norm_bias)
            sum = vf_add(sum, vf_load_first(op->norm_bias + i, n));
        sum = vf_fma(a, vf_load_first(op->norm + i, n), sum);
        if (op->factor)
            sum = vf_mul(sum, vf_set1(*op->factor));
        vf_store_first(x + i, sum, n);
    }
}

int ISA_FN(add_norm)(struct lane *lane, const struct op_add_norm *op, const struct batch *batch)
{
    int first, last;
    lane_share(lane, batch->T, &first, &last);
    for (int t = first; t < last; t++) {
        const size_t row = (size_t)t * (size_t)op->ld;
        for (int32_t i = 0; i < MAX(op->parts, 1); i++) {
            const size_t part = row + (size_t)i * (size_t)op->D;
            add_row(op, op->y + part, op->x + part);
        }
    }
    lane_barrier(lane);
    return 0;
}
