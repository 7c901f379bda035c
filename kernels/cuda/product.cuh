/* What skinny.cu and tile.cu share: the arithmetic of a chunk of 32 values of K. */
#pragma once

#include "dequant.cuh"
#include "product.h"

static __device__ __forceinline__ void add_scaled(float (&acc)[4], const float (&part)[4],
                                                  float low, float high)
{
    acc[0] = fmaf(low, part[0], acc[0]);
    acc[1] = fmaf(low, part[1], acc[1]);
    acc[2] = fmaf(high, part[2], acc[2]);
    acc[3] = fmaf(high, part[3], acc[3]);
}

/* acc += 16 rows of chunk c of a tile times the activations x of 8 tokens. low, high: scales
 * of rows lane / 4 and lane / 4 + 8. sum: of the activations of tokens 2t and 2t + 1. */
template <int L>
static __device__ __forceinline__ void multiply_chunk(const uint32_t (&a)[8], const scales &low,
                                                      const scales &high, const uint4 &x,
                                                      const float2 &sum, float (&acc)[4])
{
    if constexpr (L == LAYOUT_BF16) {
        mma_bf16(acc, a, x.x, x.y);
        mma_bf16(acc, a + 4, x.z, x.w);
        return;
    }
    float part[4] = {0, 0, 0, 0};
    mma_bf16(part, a, x.x, x.y);
    if constexpr (L == LAYOUT_INT8_K16) {
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
    if (a.epilogue != EPILOGUE_GLU_SILU) {
        if (a.n_part > 1 && block >= a.part[1].first_block)
            part = a.part[1];
        if (a.n_part > 2 && block >= a.part[2].first_block)
            part = a.part[2];
    }
    return part;
}

/* The second matrix of a gate, its outputs where the first's would go. */
static __device__ __forceinline__ product_part gated_part(const product_args &a)
{
    product_part part = a.part[1];
    part.column = a.part[0].column;
    part.first_block = a.part[0].first_block;
    return part;
}

static __device__ __forceinline__ float silu(float x)
{
    return x / (1.0f + expf(-x));
}

/* Output n of a part. */
static __device__ __forceinline__ void put_output(const product_args &a, const product_part &part,
                                                  int token, int n, float value)
{
    float *to = a.y + (size_t)token * a.ldy + part.column + n;
    *to = a.epilogue == EPILOGUE_ADD ? *to + value : value;
}
