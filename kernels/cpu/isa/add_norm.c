/* The operation add_norm: what a layer adds, normalized first. */
#include "isa.h"

#include "../../../plugin/base/base.h"

#include <math.h>

static float mean_of(const float *y, int32_t D)
{
    vf sum = vf_zero();
    for (int32_t i = 0; i < D; i += LANES)
        sum = vf_add(sum, vf_load_first(y + i, MIN(D - i, LANES)));
    return vf_sum(sum) / (float)D;
}

/* y - mean, of at most LANES values; 0 behind them. */
SIMD vf centered(const float *y, float mean, int n)
{
    const float zeros[LANES] = {0};
    float out[LANES];
    if (n == LANES)
        return vf_sub(vf_load(y), vf_set1(mean));
    vf_store(out, vf_load(zeros));
    vf_store_first(out, vf_sub(vf_load_first(y, n), vf_set1(mean)), n);
    return vf_load(out);
}

/* x += (y - mean) / sqrt(mean((y - mean)^2) + eps) * norm + bias, where the mean is 0 but of
 * NORM_LAYER. */
static void add_row(const struct op_add_norm *op, const float *y, float *x)
{
    const float mean = op->norm_kind == NORM_LAYER ? mean_of(y, op->D) : 0;
    vf squares = vf_zero();
    for (int32_t i = 0; i < op->D; i += LANES) {
        const vf a = centered(y + i, mean, MIN(op->D - i, LANES));
        squares = vf_fma(a, a, squares);
    }
    const vf factor = vf_set1(1.0f / sqrtf(vf_sum(squares) / (float)op->D + op->eps));
    for (int32_t i = 0; i < op->D; i += LANES) {
        const int n = MIN(op->D - i, LANES);
        const vf a = vf_mul(centered(y + i, mean, n), factor);
        vf sum = op->is_first ? vf_zero() : vf_load_first(x + i, n);
        if (op->norm_bias)
            sum = vf_add(sum, vf_load_first(op->norm_bias + i, n));
        vf_store_first(x + i, vf_fma(a, vf_load_first(op->norm + i, n), sum), n);
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
