/* What skinny.cu and tile.cu share: the arithmetic of a chunk of 32 values of K, or of 64 where
 * activations are E4M3. */
#pragma once

#include "dequant.cuh"
#include "product.h"

/* Activations of a layout are E4M3 here, and how many make 64 bytes. */
template <int L> static constexpr bool x_is_fp8 = layout_x_is_fp8(L, HAS_FP8);
template <int L> static constexpr int x_chunk = layout_x_chunk(L, HAS_FP8);

/* Bytes of a token's activations. */
template <int L> static __device__ __forceinline__ int x_row_bytes(const product_args &a)
{
    return x_is_fp8<L> ? a.padded : a.padded * 2;
}

template <int L> static __device__ __forceinline__ const uint8_t *x_of(const product_args &a)
{
    return (const uint8_t *)(x_is_fp8<L> ? a.x_fp8 : a.x);
}

/* Operand A of the two mma of chunk c of a tile. */
template <int L>
static __device__ __forceinline__ void operands_of_chunk(const tile<L> &in, int c, uint32_t (&a)[8])
{
    if constexpr (x_is_fp8<L>) {
        words_as_operands(in, 0, a);
        words_as_operands(in, 1, a);
    } else {
        operands(in, c, a);
    }
}

static __device__ __forceinline__ void add_scaled(float (&acc)[4], const float (&part)[4],
                                                  float low, float high)
{
    acc[0] = fmaf(low, part[0], acc[0]);
    acc[1] = fmaf(low, part[1], acc[1]);
    acc[2] = fmaf(high, part[2], acc[2]);
    acc[3] = fmaf(high, part[3], acc[3]);
}

/* acc += 16 rows of chunk c of a tile times the activations x of 8 tokens. low, high: scales
 * of rows lane / 4 and lane / 4 + 8. sum: of the activations of tokens 2t and 2t + 1. group: of the
 * chunks before that have the same scale, zeros at the first of a tile. */
template <int L>
static __device__ __forceinline__ void multiply_chunk(const uint32_t (&a)[8], const scales &low,
                                                      const scales &high, const uint4 &x,
                                                      const float2 &sum, int c, float (&group)[4],
                                                      float (&acc)[4])
{
    if constexpr (x_is_fp8<L>) {
        float part[4] = {0, 0, 0, 0};
        mma_fp8(part, a, x.x, x.y);
        mma_fp8(part, a + 4, x.z, x.w);
        add_scaled(acc, part, low.scale[0], high.scale[0]);
        return;
    } else if constexpr (layout_group(L) == 0) {
        mma_bf16(acc, a, x.x, x.y);
        mma_bf16(acc, a + 4, x.z, x.w);
        return;
    } else if constexpr (layout_group(L) > 1) {
        mma_bf16(group, a, x.x, x.y);
        mma_bf16(group, a + 4, x.z, x.w);
        if (c + 1 == layout_group(L))
            add_scaled(acc, group, low.scale[0], high.scale[0]);
        return;
    }
    float part[4] = {0, 0, 0, 0};
    mma_bf16(part, a, x.x, x.y);
    if constexpr (layout_has_halves(L)) {
        add_scaled(acc, part, low.scale[0], high.scale[0]);
        part[0] = part[1] = part[2] = part[3] = 0;
    }
    mma_bf16(part, a + 4, x.z, x.w);
    add_scaled(acc, part, low.scale[1], high.scale[1]);
    if constexpr (layout_has_min(L)) {
        const float sums[4] = {sum.x, sum.y, sum.x, sum.y};
        add_scaled(acc, sums, low.min, high.min);
    }
}

/* The part that a block of rows belongs to; a copy, for parameters have no run-time index. */
static __device__ __forceinline__ product_part part_of(const product_args &a, int block)
{
    product_part part = a.part[0];
    if (!product_is_gated(a.epilogue)) {
        if (a.n_part > 1 && block >= a.part[1].first_block)
            part = a.part[1];
        if (a.n_part > 2 && block >= a.part[2].first_block)
            part = a.part[2];
    }
    return part;
}

/* An output from its sum of E4M3 by E4M3: one order of roundings, whoever has summed. */
static __device__ __forceinline__ float biased_fp8(float sum, float scale, float token_scale,
                                                   float bias)
{
    return fmaf(__fmul_rn(sum, scale), token_scale, bias);
}

/* An output from its sum over K; scale, token_scale: of its row and of E4M3 activations. */
template <int L>
static __device__ __forceinline__ float biased(float sum, float scale, float token_scale,
                                               float bias)
{
    if constexpr (x_is_fp8<L>)
        return biased_fp8(sum, scale, token_scale, bias);
    return layout_has_row_scale(L) ? fmaf(sum, scale, bias) : sum + bias;
}

/* x / (1 + e^-x), or with tanh's approximation of gelu x / (1 + e^-2u), u = sqrt(2 / pi) (x +
 * 0.044715 x^3): one expression, whose numbers say which. Here and below products and sums are such
 * that the compiler may not fuse: they are rounded alike in every kernel. */
static __device__ __forceinline__ float sigmoid_weighted(float x, bool is_gelu)
{
    const float cubic = is_gelu ? -0.0713548163f : 0.0f, linear = is_gelu ? -1.59576912f : -1.0f;
    const float square = fminf(__fmul_rn(x, x), 1e30f);
    const float power = expf(__fmul_rn(x, fmaf(square, cubic, linear)));
    return __fdiv_rn(x, __fadd_rn(1.0f, power));
}

/* x P(X <= x) for a standard normal X; Abramowitz and Stegun 7.1.26, wrong by 1.5e-7 at most. */
static __device__ __forceinline__ float gelu(float x)
{
    const float z = fabsf(x) * 0.707106781f, t = 1.0f / fmaf(z, 0.3275911f, 1.0f);
    float p = fmaf(0.5f * 1.061405429f, t, 0.5f * -1.453152027f);
    p = fmaf(p, t, 0.5f * 1.421413741f);
    p = fmaf(p, t, 0.5f * -0.284496736f);
    p = fmaf(p, t, 0.5f * 0.254829592f);
    const float beyond = __fmul_rn(__fmul_rn(p, t), expf(-__fmul_rn(z, z)));
    return __fmul_rn(x, x < 0 ? beyond : 1.0f - beyond);
}

/* A NaN stays one. */
static __device__ __forceinline__ float squared_relu(float x)
{
    const float kept = x < 0 ? 0.0f : x;
    return __fmul_rn(kept, kept);
}

/* The sum with 0 makes zeros positive, as a bias that is added to them later does. */
static __device__ __forceinline__ float gated(int epilogue, float gate, float up)
{
    return __fmaf_rn(sigmoid_weighted(gate, epilogue == EPILOGUE_GLU_GELU), up, 0.0f);
}

/* An output from its sum; before: what y holds, or the sum of a gate's first matrix. */
static __device__ __forceinline__ float finished(int epilogue, float before, float sum)
{
    if (epilogue == EPILOGUE_STORE)
        return sum;
    if (epilogue == EPILOGUE_ADD)
        return before + sum;
    if (epilogue == EPILOGUE_GELU)
        return gelu(sum);
    if (epilogue == EPILOGUE_GELU_TANH)
        return sigmoid_weighted(sum, true);
    if (epilogue == EPILOGUE_RELU2)
        return squared_relu(sum);
    return gated(epilogue, before, sum);
}
