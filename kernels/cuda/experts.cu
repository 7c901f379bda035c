/* Experts: experts.h. */
#include "experts.h"

#include "tile.cuh"

#define FULL 0xffffffffu

/* ---- Choice */

/* Whether score a of expert i comes before b of expert j; below 0: of none. */
static __device__ __forceinline__ bool is_before(float a, int i, float b, int j)
{
    if (i < 0 || j < 0)
        return j < 0 && i >= 0;
    if (isnan(a) != isnan(b))
        return isnan(b);
    return a > b || (!(a < b) && i < j);
}

struct scored {
    float score;
    int expert;
};

/* The best of a warp's; mine: of this lane's own, which are every 32nd. */
static __device__ __forceinline__ scored best_of_warp(scored mine)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2) {
        const scored other = {__shfl_xor_sync(FULL, mine.score, i),
                              __shfl_xor_sync(FULL, mine.expert, i)};
        if (is_before(other.score, other.expert, mine.score, mine.expert))
            mine = other;
    }
    return mine;
}

/* taken: bits of this lane's experts. */
static __device__ __forceinline__ scored best_of(const experts_choose_args &a, const float *score,
                                                 uint32_t taken)
{
    const int lane = threadIdx.x & 31;
    scored best = {0, -1};
    for (int e = lane; e < a.E; e += 32) {
        const float value = a.choice_bias ? score[e] + a.choice_bias[e] : score[e];
        if (!(taken >> (e / 32) & 1) && is_before(value, e, best.score, best.expert))
            best = {value, e};
    }
    return best_of_warp(best);
}

static __device__ __forceinline__ float sum_of_all(const float *score, int E, float most)
{
    float sum = 0;
    for (int e = threadIdx.x & 31; e < E; e += 32)
        sum += expf(score[e] - most);
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        sum += __shfl_xor_sync(FULL, sum, i);
    return sum;
}

static __device__ __forceinline__ float most_of_all(const float *score, int E)
{
    float most = -INFINITY;
    for (int e = threadIdx.x & 31; e < E; e += 32)
        most = fmaxf(most, score[e]);
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        most = fmaxf(most, __shfl_xor_sync(FULL, most, i));
    return most;
}

/* Scores become p, see op_experts: by each lane those of its experts, which others read when all
 * have come on. */
static __device__ __forceinline__ void make_p(const experts_choose_args &a, float *score)
{
    const int lane = threadIdx.x & 31;
    if (a.shares == SHARES_LOGISTIC || a.shares == SHARES_OF_LOGISTIC)
        for (int e = lane; e < a.E; e += 32)
            score[e] = 1.0f / (1.0f + expf(-score[e]));
    else {
        const float most = most_of_all(score, a.E), sum = sum_of_all(score, a.E, most);
        for (int e = lane; e < a.E; e += 32)
            score[e] = expf(score[e] - most) / sum;
    }
    __syncwarp();
}

/* What shares are divided by. sum: of those that are chosen. */
static __device__ __forceinline__ float divisor_of(const experts_choose_args &a, const float *score,
                                                   float most, float sum)
{
    if (a.shares == SHARES_LOGISTIC)
        return 1;
    if (a.shares == SHARES_OF_LOGISTIC)
        return sum + SHARES_LEAST;
    if (a.shares == SHARES_OF_CHOSEN)
        return sum;
    return a.choice_bias ? 1 : sum_of_all(score, a.E, most);
}

extern "C" __global__ void __launch_bounds__(256)
    experts_choose(const __grid_constant__ experts_choose_args a)
{
    const int t = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x & 31;
    wait_for_kernels_before();
    if (t >= a.T)
        return;
    float *score = a.scores + (size_t)t * a.E;
    expert_choice *choice = a.choice + (size_t)t * a.U;
    if (a.slot[t] < 0) {
        for (int i = lane; i < a.U; i += 32)
            choice[i] = {-1, 0, 0};
        return;
    }
    uint32_t taken = 0;
    float most = 0, sum = 0;
    if (a.has_p)
        make_p(a, score);
    for (int i = 0; i < a.U; i++) {
        const scored best = best_of(a, score, taken);
        if (best.expert % 32 == lane)
            taken |= 1u << best.expert / 32;
        if (i == 0)
            most = best.score;
        const float share = a.has_p ? score[best.expert] : expf(best.score - most);
        sum += share;
        if (lane == 0)
            choice[i] = {best.expert, share, 0};
    }
    const float divisor = divisor_of(a, score, most, sum);
    for (int i = 0; lane == 0 && i < a.U; i++)
        choice[i].share = choice[i].share / divisor * a.factor;
}

/* ---- Rows */

/* Lanes whose choice, number i, is of expert e. */
static __device__ __forceinline__ uint32_t choosers(const experts_slots_args &a, int i, int e)
{
    return __ballot_sync(FULL, i < a.n && a.choice[i].expert == e);
}

/* first and count of all experts, by one warp. count: in shared memory, and then first. */
static __device__ __forceinline__ void begin_rows(const experts_slots_args &a, int *count)
{
    const int lane = threadIdx.x & 31;
    int end = 0;
    for (int from = 0; from < a.E; from += 32) {
        const int e = from + lane, n = e < a.E ? count[e] : 0, rows = (n + 1) / 2 * 2;
        int before = rows;
#pragma unroll
        for (int i = 1; i < 32; i *= 2) {
            const int other = __shfl_up_sync(FULL, before, i);
            before += lane >= i ? other : 0;
        }
        const int all = __shfl_sync(FULL, before, 31), first = end + before - rows;
        if (e < a.E) {
            a.first[e] = count[e] = first;
            a.count[e] = n;
        }
        end += all;
    }
    if (lane == 0)
        a.first[a.E] = count[a.E] = end;
}

extern "C" __global__ void __launch_bounds__(EXPERTS_SLOT_THREADS)
    experts_slots(const __grid_constant__ experts_slots_args a)
{
    __shared__ int first[EXPERTS_MOST + 1];
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31, warps = EXPERTS_SLOT_THREADS / 32;
    wait_for_kernels_before();
    for (int e = warp; e < a.E; e += warps) {
        int n = 0;
        for (int from = 0; from < a.n; from += 32)
            n += __popc(choosers(a, from + lane, e));
        if (lane == 0)
            first[e] = n;
    }
    __syncthreads();
    if (warp == 0)
        begin_rows(a, first);
    __syncthreads();
    for (int e = warp; e < a.E; e += warps) {
        int row = first[e];
        for (int from = 0; from < a.n; from += 32) {
            const uint32_t who = choosers(a, from + lane, e);
            if (who >> lane & 1) {
                const int slot = row + __popc(who & ((1u << lane) - 1));
                a.choice[from + lane].slot = slot;
                a.token[slot] = (from + lane) / a.U;
            }
            row += __popc(who);
        }
        if (lane == 0 && row < first[e + 1])
            a.token[row] = -1;
    }
    for (int row = first[a.E] + threadIdx.x; row < a.rows; row += EXPERTS_SLOT_THREADS)
        a.token[row] = -1;
}

/* ---- Products */

static __device__ __forceinline__ int blocks_of(const experts_args &a, int e)
{
    return (a.count[e] + EXPERTS_TOKENS - 1) / EXPERTS_TOKENS;
}

/* Which expert a block is of, and its how manyth; expert -1: there are fewer blocks. By every warp,
 * whose lanes have some experts each. */
struct expert_block {
    int expert, number;
};

static __device__ __forceinline__ expert_block find_block(const experts_args &a, int block)
{
    const int lane = threadIdx.x & 31, each = (a.n + 31) / 32;
    const int begin = min(lane * each, a.n), end = min(begin + each, a.n);
    int mine = 0;
    for (int e = begin; e < end; e++)
        mine += blocks_of(a, e);
    int before = mine;
#pragma unroll
    for (int i = 1; i < 32; i *= 2) {
        const int other = __shfl_up_sync(FULL, before, i);
        before += lane >= i ? other : 0;
    }
    before -= mine;
    const uint32_t has = __ballot_sync(FULL, block >= before && block < before + mine);
    expert_block found = {-1, 0};
    if (has >> lane & 1) {
        int e = begin, left = block - before;
        for (; left >= blocks_of(a, e); e++)
            left -= blocks_of(a, e);
        found = {e, left};
    }
    const int owner = has ? __ffs((int)has) - 1 : 0;
    return {__shfl_sync(FULL, found.expert, owner), __shfl_sync(FULL, found.number, owner)};
}

/* EPILOGUE_GLU_CLAMPED. */
static __device__ __forceinline__ float clamped(float gate, float up, float limit)
{
    const float g = gate > limit ? limit : gate;
    const float u = up > limit ? limit : up < -limit ? -limit : up;
    return __fdiv_rn(g, __fadd_rn(1.0f, expf(__fmul_rn(-1.702f, g)))) * __fadd_rn(1.0f, u);
}

/* The product of an expert, as one of its own. */
static __device__ __forceinline__ product_args product_of(const experts_args &a, int expert,
                                                          int end)
{
    product_args p = a.tile.product;
    p.T = end;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        if (p.part[i].weight)
            p.part[i].weight += (size_t)expert * a.stride[i];
        if (p.part[i].bias)
            p.part[i].bias += (size_t)expert * p.part[i].N;
    }
    return p;
}

template <int L> static __device__ __forceinline__ void expert_product(const experts_args &a)
{
    wait_for_kernels_before();
    const expert_block block = find_block(a, blockIdx.x);
    if (block.expert < 0)
        return;
    const int first = a.first[block.expert];
    const product_args p = product_of(a, block.expert, first + a.count[block.expert]);
    const auto gate_of = [&](float gate, float up) {
        return a.limit > 0 ? clamped(gate, up, a.limit) : gated(p.epilogue, gate, up);
    };
    tile_product<L, EXPERTS_TOKENS / 8>(a.tile, p, p.part[0], first + block.number * EXPERTS_TOKENS,
                                        gate_of);
}

#define EXPERTS(name, L, ...)                                  \
    extern "C" __global__ void __launch_bounds__(__VA_ARGS__)  \
        experts_##name(const __grid_constant__ experts_args a) \
    {                                                          \
        expert_product<L>(a);                                  \
    }

EXPERTS(bf16, LAYOUT_BF16, THREADS_MOST, 2)
EXPERTS(int4_d, LAYOUT_INT4_D, THREADS_MOST, 1)
EXPERTS(int4_dm, LAYOUT_INT4_DM, THREADS_MOST, 1)
EXPERTS(int4_k, LAYOUT_INT4_K, THREADS_MOST, 1)
EXPERTS(int4_z, LAYOUT_INT4_Z, THREADS_MOST, 1)
EXPERTS(int4_z128, LAYOUT_INT4_Z128, THREADS_MOST, 1)
EXPERTS(e2m1, LAYOUT_E2M1, THREADS_MOST, 1)
EXPERTS(e2m1_16, LAYOUT_E2M1_16, THREADS_MOST, 1)
EXPERTS(int8_d, LAYOUT_INT8_D, THREADS_MOST, 1)
EXPERTS(int8_dm, LAYOUT_INT8_DM, THREADS_MOST, 1)
EXPERTS(int8_k, LAYOUT_INT8_K, THREADS_MOST, 1)
EXPERTS(int8_k16, LAYOUT_INT8_K16, THREADS_MOST, 1)
EXPERTS(int8_row, LAYOUT_INT8_ROW, THREADS_MOST, 1)
EXPERTS(fp8_row, LAYOUT_FP8_ROW, THREADS_MOST, 1)
EXPERTS(fp8_128, LAYOUT_FP8_128, THREADS_MOST, 1)

/* ---- Sum */

extern "C" __global__ void __launch_bounds__(256)
    experts_add(const __grid_constant__ experts_add_args a)
{
    const expert_choice *choice = a.choice + (size_t)blockIdx.x * a.U;
    wait_for_kernels_before();
    if (choice->expert < 0)
        return;
    float4 *x = (float4 *)(a.x + (size_t)blockIdx.x * a.D);
    for (int d = threadIdx.x; d < a.D / 4; d += 256) {
        float4 sum = {0, 0, 0, 0};
        for (int i = 0; i < a.U; i++) {
            const float share = choice[i].share;
            const float4 y = ((const float4 *)(a.answer + (size_t)choice[i].slot * a.D))[d];
            sum = make_float4(fmaf(share, y.x, sum.x), fmaf(share, y.y, sum.y),
                              fmaf(share, y.z, sum.z), fmaf(share, y.w, sum.w));
        }
        x[d] = add(x[d], sum);
    }
}
