/* Norms of heads, rotary embedding, and the way to the pages: rotate.h. */
#include "rotate.h"

#include "mma.cuh"

#include "../ops.h"

#define THREADS 256
#define PAIRS   4 /* of a lane, 128 of a head */

/* A lane's pairs of a head: pair i has columns first and second of it. */
struct head {
    float u[PAIRS], v[PAIRS];
    int first[PAIRS], second[PAIRS]; /* -1: there is no such pair */
};

static __device__ __forceinline__ float sum_of_warp(float x)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        x += __shfl_xor_sync(0xffffffff, x, i);
    return x;
}

static __device__ __forceinline__ void load(head &h, const float *x, int dim, bool halves, int lane)
{
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        const int i = lane + 32 * j;
        const bool is = 2 * i < dim;
        h.first[j] = !is ? -1 : halves ? i : 2 * i;
        h.second[j] = !is ? -1 : halves ? i + dim / 2 : 2 * i + 1;
        h.u[j] = is ? x[h.first[j]] : 0;
        h.v[j] = is ? x[h.second[j]] : 0;
    }
}

static __device__ __forceinline__ void normalize(head &h, const float *norm, int dim, float eps)
{
    float sum = 0;
#pragma unroll
    for (int j = 0; j < PAIRS; j++)
        sum = fmaf(h.v[j], h.v[j], fmaf(h.u[j], h.u[j], sum));
    const float factor = 1.0f / sqrtf(sum_of_warp(sum) / (float)dim + eps);
#pragma unroll
    for (int j = 0; j < PAIRS; j++)
        if (h.first[j] >= 0) {
            h.u[j] = h.u[j] * factor * norm[h.first[j]];
            h.v[j] = h.v[j] * factor * norm[h.second[j]];
        }
}

static __device__ __forceinline__ void turn(head &h, const float *rotary, int dim, int lane)
{
#pragma unroll
    for (int j = 0; j < PAIRS; j++)
        if (h.first[j] >= 0) {
            const float c = rotary[lane + 32 * j], s = rotary[dim / 2 + lane + 32 * j];
            const float u = h.u[j], v = h.v[j];
            h.u[j] = u * c - v * s;
            h.v[j] = u * s + v * c;
        }
}

static __device__ __forceinline__ void store_bf16(uint16_t *to, const head &h, int dim, int width,
                                                  bool halves, int lane)
{
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        const uint32_t pair = pack_bf16x2(h.u[j], h.v[j]);
        if (h.first[j] >= 0 && !halves) {
            *(uint32_t *)(to + h.first[j]) = pair;
        } else if (h.first[j] >= 0) {
            to[h.first[j]] = (uint16_t)pair;
            to[h.second[j]] = (uint16_t)(pair >> 16);
        }
    }
    if (lane < width - dim)
        to[dim + lane] = 0;
}

static __device__ __forceinline__ void store_int8(int8_t *to, float *scale, const head &h, int dim,
                                                  int width, bool halves, int lane)
{
    float most = 0;
#pragma unroll
    for (int j = 0; j < PAIRS; j++)
        most = fmaxf(most, fmaxf(fabsf(h.u[j]), fabsf(h.v[j])));
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, i));
    const float factor = most > 0 ? 127.0f / most : 0;
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        const int u = __float2int_rn(h.u[j] * factor), v = __float2int_rn(h.v[j] * factor);
        if (h.first[j] >= 0 && !halves) {
            *(uint16_t *)(to + h.first[j]) = (uint16_t)((u & 0xff) | v << 8);
        } else if (h.first[j] >= 0) {
            to[h.first[j]] = (int8_t)u;
            to[h.second[j]] = (int8_t)v;
        }
    }
    if (lane < width - dim)
        to[dim + lane] = 0;
    if (lane == 0)
        *scale = most / 127.0f;
}

/* A key (part 0) or value (part 1) of a head to its row of a page. */
template <bool INT8>
static __device__ __forceinline__ void append(const rotate_args &a, const head &h, int t, int kv,
                                              int part, bool halves, int lane)
{
    const int slot = a.slot[t], row = part * PAGE_TOKENS + slot % PAGE_TOKENS;
    uint8_t *block =
        a.pool + (uint64_t)(slot / PAGE_TOKENS) * a.page_bytes + (uint64_t)kv * a.block_bytes;
    if constexpr (INT8)
        store_int8((int8_t *)block + row * a.width,
                   (float *)(block + 2 * PAGE_TOKENS * a.width) + row, h, a.dim, a.width, halves,
                   lane);
    else
        store_bf16((uint16_t *)block + row * a.width, h, a.dim, a.width, halves, lane);
}

template <bool INT8> static __device__ __forceinline__ void rotate(const rotate_args &a)
{
    const int t = blockIdx.x, lane = threadIdx.x % 32;
    const int i = blockIdx.y * (THREADS / 32) + threadIdx.x / 32, heads = a.H + 2 * a.K;
    if (i >= heads)
        return;
    const bool is_q = i < a.H, is_v = i >= a.H + a.K;
    const float *norm = is_q ? a.q_norm : a.k_norm;
    const bool halves = a.rope == ROPE_HALF && !is_v; /* neighbours are stored at once */
    head h;
    load(h, a.qkv + ((size_t)t * heads + i) * a.dim, a.dim, halves, lane);
    if (norm && !is_v)
        normalize(h, norm, a.dim, a.eps);
    if (a.rotary && !is_v)
        turn(h, a.rotary + (size_t)t * a.dim, a.dim, lane);
    if (is_q)
        store_bf16(a.q + ((size_t)t * a.H + i) * a.width, h, a.dim, a.width, halves, lane);
    else
        append<INT8>(a, h, t, is_v ? i - a.H - a.K : i - a.H, is_v, halves, lane);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    rotate_bf16(const __grid_constant__ rotate_args a)
{
    rotate<false>(a);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    rotate_int8(const __grid_constant__ rotate_args a)
{
    rotate<true>(a);
}
