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

float heads_peak(const struct heads *heads, const float *x, const float *rotary, float peak)
{
    const int32_t half = heads->rotary_dim / 2;
    const bool is_half = heads->rope == ROPE_HALF;
    for (int32_t h = 0; h < heads->K; h++, x += heads->dim) {
        const float factor = norm_factor(heads, x);
        for (int32_t i = 0; i < half; i++) {
            const int32_t first = is_half ? i : 2 * i, second = is_half ? i + half : 2 * i + 1;
            const float a = x[first] * factor * (heads->norm ? heads->norm[first] : 1);
            const float b = x[second] * factor * (heads->norm ? heads->norm[second] : 1);
            const float c = rotary ? rotary[i] : 1, s = rotary ? rotary[half + i] : 0;
            peak = values_peak((const float[]){a * c - b * s, a * s + b * c}, 2, peak);
        }
        for (int32_t i = heads->rotary_dim; i < heads->dim; i++) {
            const float value = x[i] * factor * (heads->norm ? heads->norm[i] : 1);
            peak = values_peak(&value, 1, peak);
        }
    }
    return peak;
}
