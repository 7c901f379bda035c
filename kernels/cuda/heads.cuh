/* What becomes of a head's row of the product before attention, for rotate.h and decode.h: both
 * give the same bits, so sums and products that nvcc could fuse are written as intrinsics.
 *
 * A warp has a head as pairs of columns, pair lane + 32 j in u[j] and v[j]: of the columns that
 * turn those that turn together, i and i + rotary_dim / 2 for ROPE_HALF; otherwise neighbours. */
#pragma once

#include "attend.h"
#include "mma.cuh"

#include "../../quant/e4m3.h"
#include "../kv_type.h"
#include "../ops.h"

template <int PAIRS> struct head {
    float u[PAIRS], v[PAIRS];     /* 0 where there is no such pair */
    float cos[PAIRS], sin[PAIRS]; /* by which it turns, if it does */
};

/* Which of the step's heads it is, and what it needs. */
struct head_source {
    const float *x;      /* (dim) */
    const float *norm;   /* (dim) or NULL */
    const float *rotary; /* (2, rotary_dim/2) or NULL */
    const float *mean;   /* (dim) or NULL */
    int half;            /* pairs before this one are i, i + half; others are neighbours */
    float scale;         /* of what has turned: 1, but for queries that grow */
};

/* Of a query at a position. */
static __device__ __forceinline__ float growth_of(const attend_args &a, int position)
{
    if (a.growth == 0 || position < a.growth_from)
        return 1;
    return fmaf(a.growth, logf((float)(1 + position / a.growth_from)), 1.0f);
}

/* Head i of the H + 2K of a token at a position. */
static __device__ __forceinline__ head_source source_of(const attend_args &a, int token, int i,
                                                        int position)
{
    const bool is_q = i < a.H, is_v = i >= a.H + a.K, is_k = !is_q && !is_v;
    return {a.qkv + ((size_t)token * (a.H + 2 * a.K) + i) * a.dim,
            is_v   ? nullptr
            : is_q ? a.q_norm
                   : a.k_norm,
            is_v || !a.rotary ? nullptr : a.rotary + (size_t)token * a.rotary_dim,
            is_k && a.k_mean ? a.k_mean + (i - a.H) * a.dim : nullptr,
            a.rope == ROPE_HALF && !is_v ? a.rotary_dim / 2 : 0,
            is_q ? growth_of(a, position) : 1};
}

/* The two numbers of pair i of a row. */
static __device__ __forceinline__ float2 load_pair(const float *x, int i, int half)
{
    if (i < half)
        return {x[i], x[i + half]};
    return *(const float2 *)(x + 2 * i);
}

template <int PAIRS>
static __device__ __forceinline__ void load_head(head<PAIRS> &h, const attend_args &a,
                                                 const head_source &from)
{
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        const int i = lane + 32 * j;
        const float2 x = 2 * i < a.dim ? load_pair(from.x, i, from.half) : float2{0, 0};
        h.u[j] = x.x, h.v[j] = x.y;
        h.cos[j] = 1, h.sin[j] = 0;
        if (from.rotary && 2 * i < a.rotary_dim)
            h.cos[j] = from.rotary[i], h.sin[j] = from.rotary[a.rotary_dim / 2 + i];
    }
}

static __device__ __forceinline__ float sum_of_warp(float x)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        x = __fadd_rn(x, __shfl_xor_sync(0xffffffff, x, i));
    return x;
}

static __device__ __forceinline__ float most_of_warp(float x)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, i));
    return x;
}

template <int PAIRS>
static __device__ __forceinline__ void normalize(head<PAIRS> &h, const head_source &from, int dim,
                                                 float eps)
{
    const int lane = threadIdx.x % 32;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < PAIRS; j++)
        sum = __fmaf_rn(h.v[j], h.v[j], __fmaf_rn(h.u[j], h.u[j], sum));
    const float mean = __fdiv_rn(sum_of_warp(sum), (float)dim);
    const float factor = __frcp_rn(__fsqrt_rn(__fadd_rn(mean, eps)));
#pragma unroll
    for (int j = 0; j < PAIRS; j++)
        if (2 * (lane + 32 * j) < dim) {
            const float2 norm = load_pair(from.norm, lane + 32 * j, from.half);
            h.u[j] = __fmul_rn(__fmul_rn(h.u[j], factor), norm.x);
            h.v[j] = __fmul_rn(__fmul_rn(h.v[j], factor), norm.y);
        }
}

template <int PAIRS> static __device__ __forceinline__ void turn(head<PAIRS> &h)
{
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        const float u = h.u[j], v = h.v[j];
        h.u[j] = __fmaf_rn(u, h.cos[j], -__fmul_rn(v, h.sin[j]));
        h.v[j] = __fmaf_rn(u, h.sin[j], __fmul_rn(v, h.cos[j]));
    }
}

template <int PAIRS>
static __device__ __forceinline__ void subtract_mean(head<PAIRS> &h, const head_source &from,
                                                     int dim)
{
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < PAIRS; j++)
        if (2 * (lane + 32 * j) < dim) {
            const float2 mean = load_pair(from.mean, lane + 32 * j, from.half);
            h.u[j] = __fsub_rn(h.u[j], mean.x);
            h.v[j] = __fsub_rn(h.v[j], mean.y);
        }
}

template <int PAIRS> static __device__ __forceinline__ void grow(head<PAIRS> &h, float scale)
{
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        h.u[j] = __fmul_rn(h.u[j], scale);
        h.v[j] = __fmul_rn(h.v[j], scale);
    }
}

/* The head's norm, rotation, growth and mean, if it has them. */
template <int PAIRS>
static __device__ __forceinline__ void rotate_head(head<PAIRS> &h, const attend_args &a,
                                                   const head_source &from)
{
    if (from.norm)
        normalize(h, from, a.dim, a.eps);
    if (from.rotary)
        turn(h);
    if (from.scale != 1)
        grow(h, from.scale);
    if (from.mean)
        subtract_mean(h, from, a.dim);
}

/* Pairs of bfloat16 to at(column); zeros from dim to width, which is less than 16 beyond. */
template <int PAIRS, class At>
static __device__ __forceinline__ void store_bf16(const head<PAIRS> &h, const attend_args &a,
                                                  int half, At at)
{
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        const int i = lane + 32 * j;
        const uint32_t pair = pack_bf16x2(h.u[j], h.v[j]);
        if (i < half) {
            *at(i) = (uint16_t)pair;
            *at(i + half) = (uint16_t)(pair >> 16);
        } else if (2 * i < a.dim) {
            *(uint32_t *)at(2 * i) = pair;
        }
    }
    if (lane < a.width - a.dim)
        *at(a.dim + lane) = 0;
}

/* Codes of E4M3, u's in bits 0 .. 7, v's in bits 8 .. 15: to nearest, ties to even, saturating. */
static __device__ __forceinline__ uint16_t pack_e4m3x2(float u, float v)
{
#if __CUDA_ARCH__ >= 890
    uint16_t pair;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(v), "f"(u));
    return pair;
#else
    return (uint16_t)(e4m3_of_float(u) | e4m3_of_float(v) << 8);
#endif
}

/* A code in bits 0 .. 7 as attention unpacks it from a page, the two that are no numbers too. */
static __device__ __forceinline__ float unpack_e4m3(uint32_t code)
{
    return __fmul_rn(__uint_as_float((code & 0x80) << 24 | (code & 0x7f) << 20), 0x1p120f);
}

/* The two as the type keeps them. */
template <int TYPE> static __device__ __forceinline__ void round_pair(float &u, float &v)
{
    if constexpr (TYPE == KV_INT8) {
        u = (float)__float2int_rn(u);
        v = (float)__float2int_rn(v);
    } else {
        const uint32_t pair = pack_e4m3x2(u, v);
        u = unpack_e4m3(pair), v = unpack_e4m3(pair >> 8);
    }
}

/* The numbers of int8 or E4M3 in place of those of the head; returns their scale. */
template <int TYPE, int PAIRS> static __device__ __forceinline__ float quantize(head<PAIRS> &h)
{
    constexpr float MOST = TYPE == KV_INT8 ? 127.0f : E4M3_MAX;
    float most = 0;
#pragma unroll
    for (int j = 0; j < PAIRS; j++)
        most = fmaxf(most, fmaxf(fabsf(h.u[j]), fabsf(h.v[j])));
    most = most_of_warp(most);
    const float factor = most > 0 ? __fdiv_rn(MOST, most) : 0;
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        h.u[j] = __fmul_rn(h.u[j], factor);
        h.v[j] = __fmul_rn(h.v[j], factor);
        round_pair<TYPE>(h.u[j], h.v[j]);
    }
    return __fdiv_rn(most, MOST);
}

/* Numbers that quantize gave; u in bits 0 .. 7, v in bits 8 .. 15. */
template <int TYPE> static __device__ __forceinline__ uint16_t pack_bytes(float u, float v)
{
    if constexpr (TYPE == KV_INT8)
        return (uint16_t)(((int)u & 0xff) | (int)v << 8);
    else
        return pack_e4m3x2(u, v);
}

template <int TYPE, int PAIRS>
static __device__ __forceinline__ void store_bytes(const head<PAIRS> &h, const attend_args &a,
                                                   int half, uint8_t *to)
{
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        const int i = lane + 32 * j;
        const uint16_t pair = pack_bytes<TYPE>(h.u[j], h.v[j]);
        if (i < half) {
            to[i] = (uint8_t)pair;
            to[i + half] = (uint8_t)(pair >> 8);
        } else if (2 * i < a.dim) {
            *(uint16_t *)(to + 2 * i) = pair;
        }
    }
    if (lane < a.width - a.dim)
        to[a.dim + lane] = 0;
}

/* A key (part 0) or value (part 1), of bytes quantized, to its row of a block of a page. */
template <int TYPE, int PAIRS>
static __device__ __forceinline__ void append(const head<PAIRS> &h, const attend_args &a, int half,
                                              uint8_t *block, int position, int part, float scale)
{
    const int row = part * PAGE_TOKENS + position % PAGE_TOKENS;
    if constexpr (TYPE != KV_BF16) {
        store_bytes<TYPE>(h, a, half, block + row * a.width);
        if (threadIdx.x % 32 == 0)
            ((float *)(block + 2 * PAGE_TOKENS * a.width))[row] = scale;
    } else {
        uint16_t *to = (uint16_t *)block + row * a.width;
        store_bf16(h, a, half, [to](int column) { return to + column; });
    }
}
