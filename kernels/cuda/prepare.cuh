/* A row of floats becomes a row of activations, by a group of PREPARE_THREADS: what prepare.cu does
 * for many rows, and skinny.cu for its only one. The order of every sum is a function of K. */
#pragma once

#include "layout.h"
#include "mma.cuh"
#include "prepare.h"

#include "../ops.h"

#define PREPARE_WARPS    (PREPARE_THREADS / 32)
#define PREPARE_PARTIALS (3 * PREPARE_WARPS) /* floats of shared memory */

/* The thread's number in its group; a block may have several groups. */
static __device__ __forceinline__ int thread_of_group(void)
{
    return threadIdx.x % PREPARE_THREADS;
}

/* Until all threads of the group are here, of up to four in a block; barrier 0 is the block's.
 * Numbers are constants, for with others a block takes all barriers that there are. */
static __device__ __forceinline__ void wait_for_group(void)
{
#define BARRIER_OF_GROUP(i)                                                               \
    case i:                                                                               \
        asm volatile("bar.sync %0, %1;" ::"n"((i) + 1), "n"(PREPARE_THREADS) : "memory"); \
        break
    switch (threadIdx.x / PREPARE_THREADS) {
        BARRIER_OF_GROUP(0);
        BARRIER_OF_GROUP(1);
        BARRIER_OF_GROUP(2);
        BARRIER_OF_GROUP(3);
    }
#undef BARRIER_OF_GROUP
}

/* Four values each: number first + thread + j * PREPARE_THREADS of a row. */
struct quads {
    float4 v[PREPARE_BATCH];
};

/* Zeros beyond the n that there are. */
static __device__ __forceinline__ void load_quads(quads &to, const float *x, int first, int thread,
                                                  int n)
{
#pragma unroll
    for (int j = 0; j < PREPARE_BATCH; j++) {
        const int i = first + thread + j * PREPARE_THREADS;
        to.v[j] = make_float4(0, 0, 0, 0);
        if (i < n)
            to.v[j] = ((const float4 *)x)[i];
    }
}

static __device__ __forceinline__ float add_squares(float sum, const float4 &v)
{
    sum = fmaf(v.x, v.x, sum);
    sum = fmaf(v.y, v.y, sum);
    sum = fmaf(v.z, v.z, sum);
    return fmaf(v.w, v.w, sum);
}

/* op of the values of the group and 0, the same in all threads. partial: (PREPARE_WARPS) in shared
 * memory. */
template <typename OP>
static __device__ __forceinline__ float reduce_group(float value, float *partial, OP op)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        value = op(value, __shfl_xor_sync(0xffffffff, value, i));
    if (threadIdx.x % 32 == 0)
        partial[thread_of_group() / 32] = value;
    wait_for_group();
    float all = 0;
#pragma unroll
    for (int i = 0; i < PREPARE_WARPS; i++)
        all = op(all, partial[i]);
    return all;
}

static __device__ __forceinline__ float sum_of_group(float value, float *partial)
{
    return reduce_group(value, partial, [](float a, float b) { return a + b; });
}

/* Of magnitudes. */
static __device__ __forceinline__ float most_of_group(float value, float *partial)
{
    return reduce_group(value, partial, [](float a, float b) { return fmaxf(a, b); });
}

/* What becomes of a row first; weight NULL: nothing. */
struct row_norm {
    const float *weight, *bias; /* (K); bias of NORM_LAYER, or NULL */
    float eps;
    bool is_layer;
};

static __device__ __forceinline__ void subtract(float4 &v, float mean)
{
    v.x -= mean, v.y -= mean, v.z -= mean, v.w -= mean;
}

/* head: the first quads of x. partial: (PREPARE_WARPS), other than that of norm_factor. */
static __device__ __forceinline__ float mean_of(const quads &head, const float *x, int K,
                                                float *partial)
{
    float sum = 0;
#pragma unroll
    for (int j = 0; j < PREPARE_BATCH; j++)
        sum += (head.v[j].x + head.v[j].y) + (head.v[j].z + head.v[j].w);
#pragma unroll 2
    for (int i = PREPARE_QUADS + thread_of_group(); i < K / 4; i += PREPARE_THREADS) {
        const float4 v = ((const float4 *)x)[i];
        sum += (v.x + v.y) + (v.z + v.w);
    }
    return __fdividef(sum_of_group(sum, partial), (float)K);
}

/* 1 / sqrt(variance + eps), of differences: squares of a large mean would hide it. head: the first
 * quads of x. */
static __device__ __forceinline__ float layer_factor(const quads &head, const float *x, int K,
                                                     float mean, float eps, float *partial)
{
    const int thread = thread_of_group();
    float sum = 0;
#pragma unroll
    for (int j = 0; j < PREPARE_BATCH; j++) {
        float4 v = head.v[j];
        subtract(v, mean);
        if (thread + j * PREPARE_THREADS < K / 4)
            sum = add_squares(sum, v);
    }
#pragma unroll 2
    for (int i = PREPARE_QUADS + thread; i < K / 4; i += PREPARE_THREADS) {
        float4 v = ((const float4 *)x)[i];
        subtract(v, mean);
        sum = add_squares(sum, v);
    }
    return rsqrtf(__fdividef(sum_of_group(sum, partial), (float)K) + eps);
}

/* head: the first quads of x. */
static __device__ __forceinline__ float norm_factor(const quads &head, const float *x, int K,
                                                    float eps, float *partial)
{
    float sum = 0;
#pragma unroll
    for (int j = 0; j < PREPARE_BATCH; j++)
        sum = add_squares(sum, head.v[j]);
#pragma unroll 2
    for (int i = PREPARE_QUADS + thread_of_group(); i < K / 4; i += PREPARE_THREADS)
        sum = add_squares(sum, ((const float4 *)x)[i]);
    return rsqrtf(__fdividef(sum_of_group(sum, partial), (float)K) + eps);
}

/* What becomes of each value of a row but its weight and bias: (x - mean) * factor. */
struct row_standard {
    float mean, factor;
};

/* head: the first quads of x. LAYER: it may be NORM_LAYER, which takes registers. partial: (2 *
 * PREPARE_WARPS), of which NORM_RMS takes the first half. */
template <bool LAYER>
static __device__ __forceinline__ row_standard standard_of(const quads &head, const float *x, int K,
                                                           bool is_layer, float eps, float *partial)
{
    row_standard s = {};
    if (LAYER && is_layer) {
        s.mean = mean_of(head, x, K, partial);
        s.factor = layer_factor(head, x, K, s.mean, eps, partial + PREPARE_WARPS);
    } else {
        s.factor = norm_factor(head, x, K, eps, partial);
    }
    return s;
}

/* The sum of the two bfloat16 of a word. */
static __device__ __forceinline__ float sum_of(uint32_t pair)
{
    return __uint_as_float(pair << 16) + __uint_as_float(pair & 0xffff0000);
}

/* Where a prepared row goes. */
struct row_place {
    uint16_t *x; /* (padded) bfloat16, or NULL */
    float *sums; /* of its chunks, `step` apart, from four on to the next four `stride` */
    bool wants_sums;
    int stride, step, padded;
    float *partial; /* (PREPARE_PARTIALS) for sum_of_group */
    int thread;     /* where this thread begins, in quads: groups that share a row stand apart */
    uint32_t *fp8;  /* (padded / 4) words of E4M3, or NULL */
};

static __device__ __forceinline__ void put_bf16(const row_place &to, const quads &in, int first)
{
    constexpr uint32_t step = 4 * PREPARE_THREADS; /* values, of whole SUMS_CHUNKS chunks */
    const uint32_t k = 4 * (first + to.thread);
    uint16_t *x = to.x + k / CHUNK * CHUNK + chunk_place((int)(k % CHUNK));
    float *sums = to.sums + (size_t)(k / WIDTH_STEP) * to.stride + k % WIDTH_STEP / CHUNK * to.step;
#pragma unroll
    for (uint32_t j = 0; j < PREPARE_BATCH; j++) {
        const float4 v = in.v[j];
        const uint32_t low = pack_bf16x2(v.x, v.y), high = pack_bf16x2(v.z, v.w);
        float sum = sum_of(low) + sum_of(high);
        if (to.wants_sums)
#pragma unroll
            for (int lane = 1; lane < 8; lane *= 2)
                sum += __shfl_xor_sync(0xffffffff, sum, lane);
        if (k + j * step < (uint32_t)to.padded) { /* all lanes of a warp */
            *(uint64_t *)(x + j * step) = (uint64_t)high << 32 | low;
            if (to.wants_sums && to.thread % 8 == 0)
                sums[j * (step / WIDTH_STEP) * to.stride] = sum;
        }
    }
}

/* factor: 1 / scale. */
static __device__ __forceinline__ void put_fp8(const row_place &to, const quads &in, int first,
                                               float factor)
{
    const int quad = first + to.thread;
    uint32_t *word = to.fp8 + quad / 16 * 16 + quad_place(quad % 16);
#pragma unroll
    for (int j = 0; j < PREPARE_BATCH; j++) {
        const float4 v = in.v[j];
        if (quad + j * PREPARE_THREADS < to.padded / 4)
            word[j * PREPARE_THREADS] =
                pack_fp8x4(make_float4(v.x * factor, v.y * factor, v.z * factor, v.w * factor));
    }
}

static __device__ __forceinline__ void normalize(quads &x, float mean, float factor,
                                                 const quads &norm)
{
#pragma unroll
    for (int j = 0; j < PREPARE_BATCH; j++) {
        subtract(x.v[j], mean);
        x.v[j].x = x.v[j].x * factor * norm.v[j].x;
        x.v[j].y = x.v[j].y * factor * norm.v[j].y;
        x.v[j].z = x.v[j].z * factor * norm.v[j].z;
        x.v[j].w = x.v[j].w * factor * norm.v[j].w;
    }
}

static __device__ __forceinline__ void add_bias(quads &x, const float *bias, int first, int thread,
                                                int n)
{
#pragma unroll
    for (int j = 0; j < PREPARE_BATCH; j++) {
        const int i = first + thread + j * PREPARE_THREADS;
        if (i < n) {
            const float4 b = ((const float4 *)bias)[i];
            x.v[j].x += b.x, x.v[j].y += b.y, x.v[j].z += b.z, x.v[j].w += b.w;
        }
    }
}

/* Quads of x from `first` on and, if there is a norm, what it makes of them. */
template <bool LAYER>
static __device__ __forceinline__ void finish(quads &x, const quads &weight, const row_norm &norm,
                                              float mean, float factor, int first, int thread,
                                              int n)
{
    if (norm.weight)
        normalize(x, mean, factor, weight);
    if (LAYER && norm.weight && norm.bias)
        add_bias(x, norm.bias, first, thread, n);
}

/* The scale of a row's E4M3 numbers. head: its first quads, finished. What is no number is not
 * counted, and remains none. */
template <bool LAYER>
static __device__ __forceinline__ float fp8_scale(const quads &head, const float *x, int K,
                                                  const row_norm &norm, float mean, float factor,
                                                  float *partial)
{
    const int thread = thread_of_group();
    quads value = head, weight;
    float most = 0;
    int first = 0;
    while (true) {
#pragma unroll
        for (int j = 0; j < PREPARE_BATCH; j++) {
            const float4 v = value.v[j];
            most = fmaxf(most, fmaxf(fabsf(v.x), fabsf(v.y)));
            most = fmaxf(most, fmaxf(fabsf(v.z), fabsf(v.w)));
        }
        first += PREPARE_QUADS;
        if (first >= K / 4)
            break;
        load_quads(value, x, first, thread, K / 4);
        if (norm.weight)
            load_quads(weight, norm.weight, first, thread, K / 4);
        finish<LAYER>(value, weight, norm, mean, factor, first, thread, K / 4);
    }
    return fmaxf(__fdiv_rn(most_of_group(most, partial), 448.0f), FP8_SCALE_LEAST);
}

/* The quads of a row from `first` on, the next `step` further, which are the same in all threads:
 * of x, (K), if there is a norm normalized by it; K 0: zeros. Where there is a norm or E4M3 is
 * wanted one group has all of them. other: the first quads of the norm, loaded already. LAYER: it
 * may be NORM_LAYER, which takes registers. Returns the scale of E4M3. */
template <bool LAYER>
static __device__ __forceinline__ float put_row(const row_place &to, const float *x, int K,
                                                const row_norm &norm, quads &other, int first,
                                                int step)
{
    row_standard standard = {0, 1};
    float scale = 1;
    quads value;
    load_quads(value, x, first, to.thread, K / 4);
    if (norm.weight)
        standard = standard_of<LAYER>(value, x, K, norm.is_layer, norm.eps, to.partial);
    else
        load_quads(other, x, first + step, to.thread, K / 4); /* what comes after value */
    const float mean = standard.mean, factor = standard.factor;
    finish<LAYER>(value, other, norm, mean, factor, first, to.thread, K / 4);
    if (MAKES_FP8 && to.fp8)
        scale = fp8_scale<LAYER>(value, x, K, norm, mean, factor, to.partial + 2 * PREPARE_WARPS);
#pragma unroll 1
    while (first < to.padded / 4) {
        if (to.x)
            put_bf16(to, value, first);
        if constexpr (MAKES_FP8)
            if (to.fp8)
                put_fp8(to, value, first, __frcp_rn(scale));
        first += step;
        if (norm.weight) {
            load_quads(value, x, first, to.thread, K / 4);
            load_quads(other, norm.weight, first, to.thread, K / 4);
            finish<LAYER>(value, other, norm, mean, factor, first, to.thread, K / 4);
        } else {
            value = other;
            load_quads(other, x, first + step, to.thread, K / 4);
        }
    }
    return scale;
}
