/* Log probabilities of a row of logits as the model gave them.
 *
 *   log_sum = log of the sum of e^(logit - max)
 *   logprob = logit - max - log_sum; with an infinite max 0 of what equals it, -inf of all others
 *
 * The sum is that of the notes of blocks with scale 1, in units of 2^-44: no order matters to it.
 *
 * The n largest logits are in the n blocks that come first by their maxima, the lowest block among
 * equal ones: every other block has n logits before all of its own, one in each of these. So at
 * most 20 blocks are read, however many logits are equal. Blocks, and then logits, are found in the
 * same way: each warp takes the n largest of what its lanes hold, and the first warp merges. */
#pragma once

#include "choose.cuh"

static __device__ __forceinline__ float logprob_of(const distribution &d, float logit)
{
    if (isinf(d.max))
        return logit == d.max ? 0 : -INFINITY;
    return logit - d.max - d.log_sum;
}

/* scale: of the sums in block. */
static __device__ __forceinline__ distribution distribution_of(shared &s, row r,
                                                               const logit_block *block,
                                                               float scale)
{
    amount sum = 0;
    if (isinf(r.max))
        return {r.max, 0};
    r.scale = 1;
    if (scale == 1) {
        for (int b = threadIdx.x; b < r.n_blocks; b += CHOOSE_THREADS)
            sum += units(block[b].sum * weight_of(r, s.max[b]));
    } else {
        for_blocks(s, r, [&](int, bool is_read, const float(&x)[EACH_LANE]) {
            if (!is_read)
                return;
            const logit_block note = note_of(x, 1);
            sum += lane_id() == 0 ? units(note.sum * weight_of(r, note.max)) : 0;
        });
    }
    return {r.max, logf(__ull2float_rn(add(s, sum)) * 0x1p-44f)};
}

/* ---- The largest ---------------------------------------------------------------------- */

/* 0: there is no such logit */
static __device__ __forceinline__ uint64_t rank_if_any(float value, int id)
{
    return value > -INFINITY ? rank_of(value, id) : 0;
}

static __device__ __forceinline__ int id_of(uint64_t rank)
{
    return (1 << ID_BITS) - 1 - (int)(rank % (1 << ID_BITS));
}

static __device__ __forceinline__ uint64_t largest_of_warp(uint64_t rank)
{
    const uint32_t own = (uint32_t)(rank >> 32), high = __reduce_max_sync(ALL, own);
    const uint32_t low = __reduce_max_sync(ALL, own == high ? (uint32_t)rank : 0);
    return (uint64_t)high << 32 | low;
}

/* The n largest of the warp's ranks, which differ, in their order. */
template <int N>
static __device__ __forceinline__ void take_largest(uint64_t (&rank)[N], int n, uint64_t *top)
{
#pragma unroll 1
    for (int k = 0; k < n; k++) {
        uint64_t own = 0;
#pragma unroll
        for (int i = 0; i < N; i++)
            own = max(own, rank[i]);
        const uint64_t next = largest_of_warp(own);
#pragma unroll
        for (int i = 0; i < N; i++)
            rank[i] = rank[i] == next ? 0 : rank[i];
        if (lane_id() == 0)
            top[k] = next;
    }
}

/* The n largest of what n_list warps have taken; lane k has the k-th, 0 if there is none. */
static __device__ __forceinline__ uint64_t merge(const shared &s, int n_list, int n)
{
    const int end = lane_id() < n_list ? n : 0;
    uint64_t mine = 0;
    int at = 0;
#pragma unroll 1
    for (int k = 0; k < n; k++) {
        const uint64_t own = at < end ? s.top[lane_id()][at] : 0;
        const uint64_t next = largest_of_warp(own);
        at += own == next;
        mine = lane_id() == k ? next : mine;
    }
    return mine;
}

/* The blocks that the n largest logits are in, to s.top_block. */
static __device__ __forceinline__ void find_blocks(shared &s, int n)
{
    uint64_t rank[OWN];
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        const int b = i * CHOOSE_THREADS + (int)threadIdx.x;
        rank[i] = rank_if_any(s.max[b], b);
    }
    take_largest(rank, n, s.top[warp_id()]);
    __syncthreads();
    if (warp_id() == 0) {
        const uint64_t first = merge(s, WARPS, n);
        if (lane_id() < n)
            s.top_block[lane_id()] = first ? id_of(first) : -1;
    }
    __syncthreads();
}

/* n, which may be more than there are: 0 .. TOP_LOGPROBS. */
static __device__ __forceinline__ void report_top(shared &s, const row &r, const distribution &d,
                                                  int n, sample_output &output)
{
    find_blocks(s, n);
    if (warp_id() < n) {
        const int b = s.top_block[warp_id()];
        uint64_t rank[EACH_LANE] = {};
        float x[EACH_LANE];
        if (b >= 0) {
            load_block(x, r.logit, r.V, b);
#pragma unroll
            for (int i = 0; i < EACH_LANE; i++)
                rank[i] = rank_if_any(x[i], b * LOGIT_BLOCK + i * 32 + lane_id());
        }
        take_largest(rank, n, s.top[warp_id()]);
    }
    __syncthreads();
    if (warp_id() > 0)
        return;
    const uint64_t rank = merge(s, n, n);
    const int n_top = __popc(__ballot_sync(ALL, rank > 0));
    if (lane_id() == 0) {
        output.n_top = n_top;
        s.model = d;
    }
    if (lane_id() < TOP_LOGPROBS) /* all: what is copied has been written */
        output.top[lane_id()] = {
            .token = rank ? id_of(rank) : -1,
            .logprob = rank ? logprob_of(d, value_of((uint32_t)(rank >> ID_BITS))) : 0};
}
