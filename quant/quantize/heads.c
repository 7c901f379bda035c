#include "heads.h"

#include <math.h>

float values_peak(const float *x, int64_t n, float peak)
{
    for (int64_t i = 0; i < n; i++) {
        const float size = fabsf(x[i]);
        peak = size <= peak ? peak : isnan(size) ? INFINITY : size;
    }
    return peak;
}

static float norm_factor(const struct heads *heads, const float *x)
{
    double sum = 0;
    if (!heads->norm)
        return 1;
    for (int32_t i = 0; i < heads->dim; i++)
        sum += (double)x[i] * (double)x[i];
    return (float)(1 / sqrt(sum / heads->dim + (double)heads->eps));
}

void heads_turn(const struct heads *heads, const float *x, const float *rotary, float *y)
{
    const int32_t half = heads->rotary_dim / 2;
    const bool is_half = heads->rope == ROPE_HALF;
    for (int32_t h = 0; h < heads->K; h++, x += heads->dim, y += heads->dim) {
        const float factor = norm_factor(heads, x);
        for (int32_t i = 0; i < heads->dim; i++)
            y[i] = x[i] * factor * (heads->norm ? heads->norm[i] : 1);
        for (int32_t i = 0; i < half && rotary; i++) {
            const int32_t first = is_half ? i : 2 * i, second = is_half ? i + half : 2 * i + 1;
            const float a = y[first], b = y[second], c = rotary[i], s = rotary[half + i];
            y[first] = a * c - b * s;
            y[second] = a * s + b * c;
        }
    }
}
