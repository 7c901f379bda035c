/* What the choice of a token and its log probabilities share: a row, weights of logits, their
 * descending order, sums over all threads of a block, and its passes over the row. */
#pragma once

#include "choose.h"

#include "notes.cuh"

#define ALL   0xffffffffu
#define WARPS (CHOOSE_THREADS / 32)
#define OWN   (CHOOSE_BLOCKS / CHOOSE_THREADS) /* blocks of a thread, one behind the other */

#define DIGIT   8
#define BUCKETS (1 << DIGIT)
#define ID_BITS 18

typedef unsigned long long amount; /* of weight, in units of 2^-44 */

static_assert(WARPS == 32, "a warp reduces what the warps have");
static_assert(CHOOSE_BLOCKS * LOGIT_BLOCK == 1 << ID_BITS, "ids of all logits");

struct distribution { /* logprob.cuh */
    float max, log_sum;
};

struct shared {
    amount sum[CHOOSE_BLOCKS];            /* of blocks; 0 beyond the row */
    float max[CHOOSE_BLOCKS];             /* of blocks; -inf beyond the row */
    uint32_t edited[CHOOSE_BLOCKS / 32];  /* bits: the block's notes are to be taken again */
    amount part[WARPS];                   /* of reductions and sums over all threads */
    uint32_t low[BUCKETS], high[BUCKETS]; /* halves of amounts: a card adds 32 bits at once */
    struct {
        amount left, size; /* of the target before it; its own */
        int digit;         /* -1: the target is not reached */
    } bucket;
    struct {
        amount left;
        int block;
    } place;
    uint64_t top[WARPS][TOP_LOGPROBS]; /* ranks, the largest of each warp first; 0: no more */
    int top_block[TOP_LOGPROBS];       /* -1: no more */
    distribution model;                /* of the logits before their edits */
    int pending;                       /* token that had an edit of its own; -1: there was none */
    float raw_pending, raw;            /* logits as the model gave them: its, the chosen token's */
};

/* What comes before a value at an index in the descending order (plugin/logits_front.h). */
struct front {
    float value;
    int end;
};

struct row {
    float *logit; /* (V) */
    int V, n_blocks;
    float max;   /* of all logits */
    float scale; /* 1 / temperature */
    float min_p;
    bool counts; /* every logit weighs 1 */
    front front; /* logits beyond it weigh nothing */
};

static __device__ __forceinline__ int lane_id(void)
{
    return threadIdx.x % 32;
}

static __device__ __forceinline__ int warp_id(void)
{
    return threadIdx.x / 32;
}

/* ---- Weights ----------------------------------------------------------------------- */

/* e^((value - max) / temperature) */
static __device__ __forceinline__ float weight_of(const row &r, float value)
{
    const float power = (value - r.max) * r.scale;
    return power >= -87 ? expf(power) : 0; /* NaN: 0 */
}

static __device__ __forceinline__ float weight_in_front(const row &r, float value, int id)
{
    if (!(value > r.front.value || (value == r.front.value && id < r.front.end)))
        return 0;
    const float weight = r.counts ? 1 : weight_of(r, value);
    return weight >= r.min_p ? weight : 0;
}

/* Rounded up: whatever weighs anything can be found. 2^18 logits weigh less than 2^63. */
static __device__ __forceinline__ amount units(float weight)
{
    return __float2ull_ru(weight * 0x1p44f);
}

/* ---- The descending order ---------------------------------------------------------- */

/* Floats in their order as unsigned integers, both zeros as one; and back. */
static __device__ __forceinline__ uint32_t key_of(float value)
{
    const uint32_t bits = __float_as_uint(value + 0.0f);
    return bits ^ (bits >> 31 ? 0xffffffff : 0x80000000);
}

static __device__ __forceinline__ float value_of(uint32_t key)
{
    return __uint_as_float(key ^ (key >> 31 ? 0x80000000 : 0xffffffff));
}

/* Descending order: larger values, and lower ids among equal ones, have larger ranks. */
static __device__ __forceinline__ uint64_t rank_of(float value, int id)
{
    return (uint64_t)key_of(value) << ID_BITS | ((1 << ID_BITS) - 1 - id);
}

/* ---- All threads of the block ------------------------------------------------------ */

template <typename T, typename F> static __device__ T reduce_warp(T x, F f)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        x = f(x, __shfl_xor_sync(ALL, x, i));
    return x;
}

/* The same in all threads. */
template <typename T, typename F> static __device__ T reduce(shared &s, T x, F f)
{
    T *part = (T *)s.part;
    x = reduce_warp(x, f);
    __syncthreads();
    if (lane_id() == 0)
        part[warp_id()] = x;
    __syncthreads();
    return reduce_warp(part[lane_id()], f);
}

static __device__ amount add(shared &s, amount x)
{
    return reduce(s, x, [](amount a, amount b) { return a + b; });
}

/* Of the lanes up to and with this one. */
static __device__ amount scan_warp(amount x)
{
#pragma unroll
    for (int i = 1; i < 32; i *= 2) {
        const amount before = __shfl_up_sync(ALL, x, i);
        x += lane_id() >= i ? before : 0;
    }
    return x;
}

/* Of the threads before this one. */
static __device__ amount scan_before(shared &s, amount x)
{
    const amount in_warp = scan_warp(x);
    __syncthreads();
    if (lane_id() == 31)
        s.part[warp_id()] = in_warp;
    __syncthreads();
    const amount part = s.part[lane_id()];
    const amount warps = __shfl_sync(ALL, scan_warp(part) - part, warp_id());
    return warps + in_warp - x;
}

/* ---- Logits of blocks -------------------------------------------------------------- */

/* f(b, is_read, x): by a warp, of each block of the row, whose logits x are read if its maximum
 * may be in the front. The loads of two blocks are under way. */
template <typename F>
static __device__ __forceinline__ void for_blocks(const shared &s, const row &r, F f)
{
#pragma unroll 1
    for (int first = warp_id(); first < r.n_blocks; first += 2 * WARPS) {
        float x[2][EACH_LANE];
        bool is_read[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int b = first + i * WARPS;
            is_read[i] = b < r.n_blocks && s.max[b] >= r.front.value;
            if (is_read[i])
                load_block(x[i], r.logit, r.V, b);
        }
#pragma unroll
        for (int i = 0; i < 2; i++)
            if (first + i * WARPS < r.n_blocks)
                f(first + i * WARPS, is_read[i], x[i]);
    }
}
