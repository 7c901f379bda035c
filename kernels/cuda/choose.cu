/* Tokens of rows, choose.h. */
#include "choose.cuh"
#include "depend.cuh"
#include "logprob.cuh"

#include "../../plugin/base/philox.h"

#include <float.h>

#define GREEDY_TEMPERATURE 1e-5f /* as in plugin/sample.c */

/* ---- Sums of blocks ---------------------------------------------------------------- */

static __device__ __forceinline__ amount own_sum(const shared &s)
{
    amount sum = 0;
#pragma unroll
    for (int i = 0; i < OWN; i++)
        sum += s.sum[threadIdx.x * OWN + i];
    return sum;
}

/* What the front weighs in each block, and in all. The floats of a block are added in a fixed
 * order. */
static __device__ __forceinline__ amount sum_blocks(shared &s, const row &r)
{
    for_blocks(s, r, [&](int b, bool is_read, const float(&x)[EACH_LANE]) {
        float sum = 0;
        if (is_read) {
#pragma unroll
            for (int i = 0; i < EACH_LANE; i++)
                sum += weight_in_front(r, x[i], b * LOGIT_BLOCK + i * 32 + lane_id());
            sum = reduce_warp(sum, [](float a, float b) { return a + b; });
        }
        if (lane_id() == 0)
            s.sum[b] = units(sum);
    });
    __syncthreads();
    return add(s, own_sum(s));
}

/* The first logit of block b up to and with which the front weighs more than the target; with
 * rounding against it the last that weighs anything. Every warp does the same. */
static __device__ __forceinline__ int pick_of_block(const row &r, int b, amount target)
{
    const int first = b * LOGIT_BLOCK + lane_id() * EACH_LANE;
    amount own[EACH_LANE], sum = 0;
#pragma unroll
    for (int i = 0; i < EACH_LANE; i++) {
        own[i] = first + i < r.V ? units(weight_in_front(r, r.logit[first + i], first + i)) : 0;
        sum += own[i];
    }
    const amount end = scan_warp(sum);
    const unsigned any = __ballot_sync(ALL, sum > 0);
    const unsigned beyond = __ballot_sync(ALL, sum > 0 && end > target);
    amount up_to = end - sum;
    int id = first;
    bool is_beyond = false;
#pragma unroll
    for (int i = 0; i < EACH_LANE; i++) {
        up_to += own[i];
        id = own[i] > 0 && !is_beyond ? first + i : id;
        is_beyond |= own[i] > 0 && up_to > target;
    }
    return __shfl_sync(ALL, id, beyond ? __ffs(beyond) - 1 : 31 - __clz(any));
}

/* The same of the row, by the sums of its blocks, which exceed the target together. */
static __device__ __forceinline__ int pick(shared &s, const row &r, amount target)
{
    const amount own = own_sum(s), before = scan_before(s, own);
    if (before <= target && target < before + own) {
        amount left = target - before;
        int b = threadIdx.x * OWN;
        while (left >= s.sum[b])
            left -= s.sum[b++];
        s.place.left = left;
        s.place.block = b;
    }
    __syncthreads();
    return pick_of_block(r, s.place.block, s.place.left);
}

/* ---- Edits ------------------------------------------------------------------------- */

/* As on the host: a product is rounded before anything is taken from it. */
static __device__ float edited(const row_choice &c, const logit_edit &e, float logit)
{
    logit += e.bias;
    if (e.n_generated >= 0)
        logit = logit > 0 ? logit / c.repetition : __fmul_rn(logit, c.repetition);
    if (e.n_generated > 0)
        logit -= __fadd_rn(c.presence, __fmul_rn(c.frequency, (float)e.n_generated));
    return e.is_barred ? -INFINITY : logit;
}

/* Returns the logit as it was. */
static __device__ __forceinline__ float edit(shared &s, const row &r, const row_choice &c,
                                             const logit_edit &e)
{
    const int b = e.token / LOGIT_BLOCK;
    const float raw = r.logit[e.token];
    r.logit[e.token] = edited(c, e, raw);
    atomicOr(&s.edited[b / 32], 1u << b % 32);
    return raw;
}

/* The token that the step before has chosen and the edits do not know of; -1: none. */
static __device__ int pending_token(const choose_args &a, const row_choice &c, int parity)
{
    return c.pending < 0 ? -1 : a.chosen[(1 - parity) * a.stride + c.pending];
}

static __device__ __forceinline__ void edit_all(shared &s, const choose_args &a, const row &r,
                                                const row_choice &c, int parity)
{
    const int pending = pending_token(a, c, parity);
    bool is_known = false;
#pragma unroll 1
    for (int i = threadIdx.x; i < c.n_edit; i += CHOOSE_THREADS) {
        logit_edit e = a.edit[c.first_edit + i];
        if (e.token == pending) {
            e.n_generated = max(e.n_generated, 0) + 1;
            is_known = true;
        }
        const float raw = edit(s, r, c, e);
        if (c.report)
            a.raw[c.first_edit + i] = raw;
    }
    is_known = __syncthreads_or(is_known);
    if (threadIdx.x == 0 && pending >= 0 && !is_known) {
        s.raw_pending =
            edit(s, r, c, {.token = pending, .bias = 0, .n_generated = 1, .is_barred = 0});
        s.pending = pending;
    }
    __syncthreads();
}

/* A logit as the model gave it; the thread that has edited it knows. c: in global memory, as
 * registers are few. */
static __device__ __forceinline__ float raw_logit(shared &s, const choose_args &a, const row &r,
                                                  const row_choice &c, int token)
{
    if (threadIdx.x == 0)
        s.raw = token == s.pending ? s.raw_pending : r.logit[token];
    __syncthreads();
#pragma unroll 1
    for (int i = threadIdx.x; i < c.n_edit; i += CHOOSE_THREADS)
        if (a.edit[c.first_edit + i].token == token)
            s.raw = a.raw[c.first_edit + i];
    __syncthreads();
    return s.raw;
}

/* Notes of the blocks with edits. */
static __device__ void take_notes(shared &s, const row &r, logit_block *block, float scale)
{
#pragma unroll 1
    for (int b = warp_id(); b < r.n_blocks; b += WARPS) {
        if (!(s.edited[b / 32] >> b % 32 & 1))
            continue;
        float x[EACH_LANE];
        load_block(x, r.logit, r.V, b);
        const logit_block note = note_of(x, scale);
        if (lane_id() == 0) {
            block[b] = note;
            s.max[b] = note.max;
        }
    }
    __syncthreads();
}

/* ---- The front that a target cuts ---------------------------------------------------- */

/* The least sum of at least this share of the total, but not 0. */
static __device__ __forceinline__ amount share(float part, amount total)
{
    return __umul64hi(total, __float2ull_ru(part * 0x1p64f)) + 1;
}

/* The result is that of one 64-bit addition, whatever the order. */
static __device__ __forceinline__ void add_to_bucket(shared &s, int digit, amount x)
{
    const uint32_t low = (uint32_t)x, before = low ? atomicAdd(&s.low[digit], low) : 0;
    const uint32_t high = (uint32_t)(x >> 32) + (before + low < low);
    if (high)
        atomicAdd(&s.high[digit], high);
}

static __device__ __forceinline__ amount bucket_of(const shared &s, int digit)
{
    return (amount)s.high[digit] << 32 | s.low[digit];
}

/* The bucket in which the sum of buckets from the highest on reaches the target. Warp 0. */
static __device__ __forceinline__ void find_bucket(shared &s, amount target)
{
    const int highest = BUCKETS - 1 - lane_id() * (BUCKETS / 32);
    amount own = 0;
    for (int i = 0; i < BUCKETS / 32; i++)
        own += bucket_of(s, highest - i);
    const amount sum = scan_warp(own);
    if (lane_id() == 31 && sum < target)
        s.bucket.digit = -1;
    if (sum < target || sum - own >= target)
        return;
    amount left = target - (sum - own);
    int digit = highest;
#pragma unroll 1
    while (left > bucket_of(s, digit))
        left -= bucket_of(s, digit--);
    s.bucket.left = left;
    s.bucket.size = bucket_of(s, digit);
    s.bucket.digit = digit;
}

/* Adds up the front by the digit of `bits` bits from `shift` on, of what begins with the same
 * rank above, and finds what reaches the target. */
static __device__ __forceinline__ void find_digit(shared &s, const row &r, amount target,
                                                  uint64_t rank, int shift, int bits)
{
    if (threadIdx.x < BUCKETS)
        s.low[threadIdx.x] = s.high[threadIdx.x] = 0;
    __syncthreads();
    for_blocks(s, r, [&](int b, bool is_read, const float(&x)[EACH_LANE]) {
        if (!is_read)
            return;
#pragma unroll
        for (int i = 0; i < EACH_LANE; i++) {
            const int id = b * LOGIT_BLOCK + i * 32 + lane_id();
            const uint64_t digits = (rank_of(x[i], id) ^ rank) >> shift;
            const float weight = weight_in_front(r, x[i], id);
            if (weight > 0 && digits >> bits == 0)
                add_to_bucket(s, (int)digits, units(weight));
        }
    });
    __syncthreads();
    if (warp_id() == 0)
        find_bucket(s, target);
    __syncthreads();
}

/* The shortest front within the row's that reaches the target; that itself if it does not. Its
 * value is a number. */
static __device__ __forceinline__ front cut(shared &s, const row &r, amount target)
{
    const uint64_t highest = rank_of(r.max, 0), lowest = rank_of(r.front.value, r.front.end - 1);
    int open = 64 - __clzll(highest ^ lowest); /* bits that are not found */
    uint64_t rank = highest >> open << open;
#pragma unroll 1
    while (open > 0) {
        const int shift = open > ID_BITS ? max(open - DIGIT, ID_BITS) : max(open - DIGIT, 0);
        find_digit(s, r, target, rank, shift, open - shift);
        if (s.bucket.digit < 0)
            return r.front;
        rank |= (uint64_t)s.bucket.digit << shift;
        target = s.bucket.left;
        open = shift;
        if (target == s.bucket.size) /* all of the bucket */
            break;
        if (open == ID_BITS) { /* of equal ones all but one do not reach it */
            const float weight = r.counts ? 1 : weight_of(r, value_of((uint32_t)(rank >> open)));
            if (target + units(weight) > s.bucket.size)
                break;
        }
    }
    rank = max(rank, lowest); /* a bucket may reach beyond it */
    return {value_of((uint32_t)(rank >> ID_BITS)), (1 << ID_BITS) - (int)(rank % (1 << ID_BITS))};
}

/* ---- Bounds -------------------------------------------------------------------------- */

static __device__ __forceinline__ int count_blocks(const shared &s, float bound)
{
    int n = 0;
#pragma unroll
    for (int i = 0; i < OWN; i++)
        n += __syncthreads_count(s.max[threadIdx.x * OWN + i] >= bound);
    return n;
}

/* A bound that all of the k largest reach, and not many more: if k blocks have a maximum that
 * large, k logits are. */
static __device__ __forceinline__ float bound_of_count(shared &s, const row &r, int k)
{
    float low = INFINITY, middle, high = r.max;
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        const float max = s.max[threadIdx.x * OWN + i];
        low = max > -INFINITY ? fminf(low, max) : low;
    }
    low = middle = reduce(s, low, [](float a, float b) { return fminf(a, b); });
#pragma unroll 1
    for (int i = 0; i <= 16; i++) {
        const int n = count_blocks(s, middle);
        if (n < k)
            high = middle;
        else
            low = middle;
        if (n < k && i == 0)
            return -FLT_MAX;
        if (n >= k && n <= k + k / 4)
            break;
        middle = low / 2 + high / 2;
    }
    return low;
}

/* Slightly below what weighs this much, never above. */
static __device__ __forceinline__ float bound_of_weight(const row &r, float weight)
{
    return r.max + (logf(weight) - 0.01f) / r.scale - fabsf(r.max) * 1e-6f;
}

/* ---- Choices ------------------------------------------------------------------------- */

/* An amount below the total, drawn. */
static __device__ __forceinline__ amount dice(const row_choice &c, amount total, uint32_t attempt)
{
    const uint64_t throw_of = philox_attempt(c.seed, c.position, c.choice, attempt);
    return __umul64hi(total, throw_of) << 40 | total * throw_of >> 24;
}

/* Whether a filter leaves few of the row however flat it is; top-p does not. */
static __device__ __forceinline__ bool has_candidates(const row_choice &c, int V)
{
    return (c.top_k > 0 && c.top_k < V) || c.min_p > 0;
}

/* Top-k and top-p after each other. Min-p is in the weights. */
static __device__ __forceinline__ void cut_candidates(shared &s, row &r, const row_choice &c)
{
    const bool has_top_k = c.top_k > 0 && c.top_k < r.V;
    if (has_top_k)
        r.front.value = bound_of_count(s, r, c.top_k);
    if (c.min_p > 0)
        r.front.value = fmaxf(r.front.value, bound_of_weight(r, c.min_p));
#pragma unroll 1
    for (int filter = has_top_k ? 0 : 1; filter < (c.top_p < 1 ? 2 : 1); filter++) {
        r.counts = filter == 0;
        const amount all = filter == 0 ? 0 : sum_blocks(s, r);
        r.front = cut(s, r, filter == 0 ? c.top_k * units(1) : share(c.top_p, all));
    }
    r.counts = false;
}

/* The sums of blocks by their notes: of the largest alone, or of all. */
static __device__ __forceinline__ amount sum_notes(shared &s, const row &r,
                                                   const logit_block *block)
{
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        const int b = threadIdx.x * OWN + i;
        const float sum = r.counts || b >= r.n_blocks ? 1 : block[b].sum * weight_of(r, s.max[b]);
        s.sum[b] = s.max[b] >= r.front.value ? units(sum) : 0;
    }
    return add(s, own_sum(s));
}

/* What a shorter front can weigh at most. */
static __device__ __forceinline__ amount most_of_front(shared &s, const row &r)
{
    amount most = 0;
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        const int b = threadIdx.x * OWN + i;
        most += s.max[b] >= r.front.value ? s.sum[b] : 0;
    }
    return add(s, most);
}

/* Top-p without other filters draws from fronts that get shorter until one is of the nucleus;
 * all others draw once. has_sums: the notes have them, with the row's scale. */
static __device__ __forceinline__ int choose_token(shared &s, row &r, const row_choice &c,
                                                   const logit_block *block, bool has_sums)
{
    const bool is_greedy = r.max == INFINITY || c.temperature < GREEDY_TEMPERATURE;
    const bool is_cut = !is_greedy && has_candidates(c, r.V);
    amount limit = 0;
    if (r.max == -INFINITY)
        return -1;
    if (is_greedy) {
        r.counts = true;
        r.front.value = r.max;
    }
    if (is_cut)
        cut_candidates(s, r, c);
    else
        r.min_p = 0;
#pragma unroll 1
    for (uint32_t attempt = 0;; attempt++) {
        const bool is_noted = attempt == 0 && (is_greedy || (!is_cut && has_sums));
        const amount sum = is_noted ? sum_notes(s, r, block) : sum_blocks(s, r);
        if (sum < limit)
            return r.front.end;
        const int token = pick(s, r, is_greedy ? 0 : dice(c, sum, attempt));
        if (is_greedy || is_cut || c.top_p >= 1)
            return token;
        limit = attempt == 0 ? share(c.top_p, sum) : limit;
        r.front = {r.logit[token], token};
        if (most_of_front(s, r) < limit)
            return token;
    }
}

static __device__ void load_maxima(shared &s, const logit_block *block, int n_blocks)
{
    for (int b = threadIdx.x; b < CHOOSE_BLOCKS; b += CHOOSE_THREADS) {
        s.max[b] = b < n_blocks ? block[b].max : -INFINITY;
        s.sum[b] = 0;
    }
    if (threadIdx.x < CHOOSE_BLOCKS / 32)
        s.edited[threadIdx.x] = 0;
    if (threadIdx.x == 0)
        s.pending = -1;
    __syncthreads();
}

static __device__ float largest(shared &s)
{
    float max = -INFINITY;
    for (int i = 0; i < OWN; i++)
        max = fmaxf(max, s.max[threadIdx.x * OWN + i]);
    return reduce(s, max, [](float a, float b) { return fmaxf(a, b); });
}

/* Behind the tokens of all rows. */
static __device__ __forceinline__ row_report *report_of(const choose_args &a, int parity,
                                                        int report)
{
    return (row_report *)(a.chosen + parity * a.stride + gridDim.x) + report - 1;
}

extern "C" __global__ void __launch_bounds__(CHOOSE_THREADS)
    choose(const __grid_constant__ choose_args a)
{
    __shared__ shared s;
    wait_for_kernels_before();
    /* Early: what is asked for at the end would be waited for. */
    const int parity = *a.parity;
    const float scale = a.scale[blockIdx.x];
    const row_choice choice = a.choice[blockIdx.x];
    logit_block *block = a.block + (size_t)blockIdx.x * a.n_blocks;
    row r = {.logit = a.logits + (size_t)blockIdx.x * a.V,
             .V = a.V,
             .n_blocks = a.n_blocks,
             .max = 0,
             .scale = 1 / choice.temperature,
             .min_p = choice.min_p,
             .counts = false,
             .front = {-FLT_MAX, a.V}};
    load_maxima(s, block, a.n_blocks);
    if (choice.report) {
        r.max = largest(s);
        report_top(s, r, distribution_of(s, r, block, scale), choice.n_top,
                   report_of(a, parity, choice.report)->output);
    }
    if (choice.n_edit > 0 || choice.pending >= 0) {
        edit_all(s, a, r, choice, parity);
        take_notes(s, r, block, scale);
    }
    r.max = largest(s);
    const int token = choose_token(s, r, choice, block, scale == r.scale);
    if (threadIdx.x == 0)
        a.chosen[parity * a.stride + (int)blockIdx.x] = token;
    if (choice.report) {
        const float raw = token < 0 ? -INFINITY : raw_logit(s, a, r, a.choice[blockIdx.x], token);
        row_report *report = report_of(a, parity, choice.report);
        if (threadIdx.x == 0) {
            report->row = (int)blockIdx.x;
            report->output.token = token;
            report->output.logprob = logprob_of(s.model, raw);
        }
    }
}
