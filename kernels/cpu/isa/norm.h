/* What a norm takes from a row, for the operations that have one: its mean and the factor that
 * makes its values' deviation 1. Sums are kept in 16 partial sums, in the order of the row. */
#pragma once

#include "simd.h"

#include "../../ops.h"

#include <math.h>

/* What becomes of each value of a row but its weight and bias: (x - mean) * factor. */
struct standard {
    float mean, factor;
};

/* Values from k on of a row of K, a vector of them or as many as there are, and zeros. */
SIMD vf load_of_row(const float *x, int32_t k, int32_t K)
{
    return K - k < LANES ? vf_load_first(x + k, K - k) : vf_load(x + k);
}

/* 1 / sqrt(mean of squares + eps) */
SIMD float rms_factor(const float *x, int32_t K, float eps)
{
    vf sum = vf_zero();
    for (int32_t k = 0; k < K; k += LANES) {
        vf v = load_of_row(x, k, K);
        sum = vf_fma(v, v, sum);
    }
    return 1.0f / sqrtf(vf_sum(sum) / (float)K + eps);
}

SIMD float mean_of(const float *x, int32_t K)
{
    vf sum = vf_zero();
    for (int32_t k = 0; k < K; k += LANES)
        sum = vf_add(sum, load_of_row(x, k, K));
    return vf_sum(sum) / (float)K;
}

/* 1 / sqrt(variance + eps), of differences: squares of a large mean would hide it. */
SIMD float layer_factor(const float *x, int32_t K, float mean, float eps)
{
    vf sum = vf_zero();
    for (int32_t k = 0; k < K; k += LANES) {
        vf v = vf_sub(load_of_row(x, k, K), vf_set1(mean));
        if (K - k < LANES)
            v = vf_first(v, vf_zero(), K - k);
        sum = vf_fma(v, v, sum);
    }
    return 1.0f / sqrtf(vf_sum(sum) / (float)K + eps);
}

SIMD struct standard standard_of(enum norm kind, const float *x, int32_t K, float eps)
{
    if (kind == NORM_RMS)
        return (struct standard){0, rms_factor(x, K, eps)};
    float mean = mean_of(x, K);
    return (struct standard){mean, layer_factor(x, K, mean, eps)};
}
