/* Query and key heads before attention: RMSNorm, rotation by position, scale, mean. */
#include "attend.h"

#include <math.h>

void ISA_FN(normalize)(const float *x, const float *weight, float eps, int n, float *out)
{
    vf squares = vf_zero();
    for (int i = 0; i < n; i += LANES) {
        vf a = vf_load_first(x + i, MIN(n - i, LANES));
        squares = vf_fma(a, a, squares);
    }
    float factor = 1.0f / sqrtf(vf_sum(squares) / (float)n + eps);
    for (int i = 0; i < n; i += LANES) {
        int m = MIN(n - i, LANES);
        vf a = vf_mul(vf_load_first(x + i, m), vf_set1(factor));
        if (weight)
            a = vf_mul(a, vf_load_first(weight + i, m));
        vf_store_first(out + i, a, m);
    }
}

/* Pairs (i, i + half). */
static void rotate_half(const float *angles, float scale, const float *x, float *out, int half)
{
    const float *c = angles, *s = angles + half;
    for (int i = 0; i < half; i += LANES) {
        int n = MIN(half - i, LANES);
        vf a = vf_load_first(x + i, n), b = vf_load_first(x + half + i, n);
        vf cosine = vf_mul(vf_load_first(c + i, n), vf_set1(scale));
        vf sine = vf_mul(vf_load_first(s + i, n), vf_set1(scale));
        vf_store_first(out + i, vf_sub(vf_mul(a, cosine), vf_mul(b, sine)), n);
        vf_store_first(out + half + i, vf_fma(a, sine, vf_mul(b, cosine)), n);
    }
}

/* Pairs (2i, 2i + 1): x times (c, c, ..) and x with its pairs swapped times (-s, s, ..). */
static void rotate_interleaved(const float *angles, float scale, const float *x, float *out,
                               int half)
{
    static const float sign[LANES] = {-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1};
    const float *c = angles, *s = angles + half;
    vf alternate = vf_mul(vf_load(sign), vf_set1(scale));
    int i = 0;
    for (; i + LANES / 2 <= half; i += LANES / 2) {
        vf a = vf_load(x + 2 * i);
        vf cosine = vf_mul(vf_load_twice(c + i), vf_set1(scale));
        vf sine = vf_mul(vf_load_twice(s + i), alternate);
        vf_store(out + 2 * i, vf_fma(vf_swap_pairs(a), sine, vf_mul(a, cosine)));
    }
    for (; i < half; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): x has 2 * half values */
        float a = x[2 * i], b = x[2 * i + 1], cosine = c[i] * scale, sine = s[i] * scale;
        out[2 * i] = a * cosine - b * sine;
        out[2 * i + 1] = a * sine + b * cosine;
    }
}

static void scale_only(float scale, const float *x, float *out, int n)
{
    for (int i = 0; i < n; i += LANES) {
        int m = MIN(n - i, LANES);
        vf_store_first(out + i, vf_mul(vf_load_first(x + i, m), vf_set1(scale)), m);
    }
}

static void subtract(const float *mean, float *x, int n)
{
    for (int i = 0; i < n; i += LANES) {
        int m = MIN(n - i, LANES);
        vf_store_first(x + i, vf_sub(vf_load_first(x + i, m), vf_load_first(mean + i, m)), m);
    }
}

void ISA_FN(rotate)(const struct rotary *rotary, const float *x, const float *weight, float *out)
{
    float normalized[KV_DIM_MAX];
    if (weight) {
        ISA_FN(normalize)(x, weight, rotary->eps, rotary->dim, normalized);
        x = normalized;
    }
    int turned = rotary->angles ? rotary->turned : 0;
    if (turned && rotary->kind == ROPE_HALF)
        rotate_half(rotary->angles, rotary->scale, x, out, turned / 2);
    else if (turned)
        rotate_interleaved(rotary->angles, rotary->scale, x, out, turned / 2);
    scale_only(rotary->scale, x + turned, out + turned, rotary->dim - turned);
    if (rotary->mean)
        subtract(rotary->mean, out, rotary->dim);
}
