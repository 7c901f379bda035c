/* Products for few tokens, skinny.h. */
#include "skinny.h"

#include "depend.cuh"
#include "prepare.cuh"
#include "product.cuh"

static_assert(SKINNY_THREADS == PREPARE_THREADS, "a group prepares rows");

/* The block's groups of threads, and this thread's. */
static __device__ __forceinline__ int n_groups(void)
{
    return blockDim.x / SKINNY_THREADS;
}

static __device__ __forceinline__ int group(void)
{
    return threadIdx.x / SKINNY_THREADS;
}

/* This warp's slice of K. */
static __device__ __forceinline__ int slice_of_warp(void)
{
    return threadIdx.x % SKINNY_THREADS / 32;
}

/* The shared memory of a block; row_x and row_sums are skinny_1's. */
template <int L, int TOKENS> struct block_memory {
    uint8_t *ring;   /* of this warp: SKINNY_DEPTH slots */
    float *partials; /* of this group: [2][SLICES][STRIP_ROWS * TOKENS] */
    uint8_t *row_x;  /* (padded) bfloat16 or E4M3 */
    float *row_sums; /* (padded / CHUNK), of bfloat16 */

    __device__ __forceinline__ block_memory(uint8_t *shared, int padded)
        : ring(shared + (threadIdx.x >> 5) * SKINNY_DEPTH * skinny_slot(L)),
          partials(
              (float *)(shared + n_groups() * skinny_rings(L) + group() * skinny_partials(TOKENS))),
          row_x(shared + n_groups() * (skinny_rings(L) + skinny_partials(TOKENS))),
          row_sums((float *)(row_x + padded * 2))
    {
    }
};

/* ---- The ring of tiles */

/* Strips of a group, in their order: number i is block_at(i) of all parts, until there is none. Of
 * a gate of one layout both matrices come in turn. */
struct strips {
    const skinny_args &args;
    bool pairs;

    __device__ __forceinline__ strips(const skinny_args &a)
        : args(a), pairs(product_is_gated(a.product.epilogue) && a.product.n_part == 2)
    {
    }

    __device__ __forceinline__ int block_at(int i) const
    {
        return (int)blockIdx.x + (group() + (i >> pairs) * n_groups()) * (int)gridDim.x;
    }

    __device__ __forceinline__ bool has(int i) const
    {
        return block_at(i) < args.n_strips;
    }

    /* A copy, for parameters have no run-time index. */
    __device__ __forceinline__ product_part part_at(int i) const
    {
        const product_part(&part)[3] = args.product.part;
        const bool second = pairs ? i & 1 : block_at(i) >= part[1].first_block;
        const bool third = !pairs && block_at(i) >= part[2].first_block;
        return third ? part[2] : second ? part[1] : part[0];
    }
};

/* cp.async where wanted, without a branch. */
static __device__ __forceinline__ void copy_async_if(bool wanted, void *shared, const void *global)
{
    const uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("{\n"
                 ".reg .pred p;\n"
                 "setp.ne.u32 p, %0, 0;\n"
                 "@p cp.async.cg.shared.global [%1], [%2], 16;\n"
                 "}" ::"r"((uint32_t)wanted),
                 "r"(to), "l"(global)
                 : "memory");
}

/* The tiles of a warp's slice of every strip, on their way to its ring. */
template <int L> struct copies {
    const strips &all;
    int first, last;     /* tiles of the slice */
    int strip, tile;     /* the next */
    const uint8_t *from; /* the strip's first tile, this lane's part of it */
    bool are_left;

    __device__ __forceinline__ copies(const strips &of) : all(of)
    {
        const int n = layout_tiles(L, K()), slice = slice_of_warp();
        first = slice_first(n, slice), last = slice_first(n, slice + 1);
        strip = 0;
        are_left = first < last && all.has(0);
        begin_strip();
    }

    __device__ __forceinline__ int K() const
    {
        return all.args.product.K;
    }

    __device__ __forceinline__ void begin_strip()
    {
        const product_part part = all.part_at(strip);
        const int lane = threadIdx.x & 31, number = all.block_at(strip) - part.first_block;
        tile = first;
        from = part.weight + (size_t)number * layout_strip_bytes(L, K()) + lane * 16;
    }

    /* Copies the next tile, if there is one, as a group of its own. */
    __device__ __forceinline__ void next(uint8_t *slot)
    {
        const int lane = threadIdx.x & 31;
        constexpr int record = skinny_slot(L) - TILE_BYTES;
        if (are_left) {
            const uint8_t *numbers = from + tile * TILE_BYTES;
            slot += lane * 16;
            copy_async(slot, numbers);
            copy_async(slot + 512, numbers + 512);
            if (record > 0)
                copy_async_if(lane < record / 16, slot + TILE_BYTES,
                              from + layout_tiles(L, K()) * TILE_BYTES + tile * record);
            if (++tile == last) {
                are_left = all.has(++strip);
                begin_strip();
            }
        }
        copy_commit();
    }
};

/* ---- Activations */

/* Of this lane's token, from its place in the first chunk on. */
struct activations {
    const uint8_t *x;
    const float *sums; /* of its first column, from four chunks on to the next four `stride` */
    int stride;
    float scale; /* of this thread's output's token, if activations are E4M3 */
};

/* Prepares the row in shared memory. Groups share it; if there is a norm or a scale, which is of
 * the whole row, the first has all of it and the others stand behind its end. Returns the scale of
 * E4M3, in the first. */
template <int L>
static __device__ __forceinline__ float prepare_input(const skinny_args &args,
                                                      const block_memory<L, 1> &memory)
{
    const product_input &input = args.input;
    const int K = args.product.K, padded = args.product.padded;
    const bool is_whole = input.norm || x_is_fp8<L>;
    const int apart = group() * (is_whole ? padded / 4 : PREPARE_QUADS);
    const int thread = threadIdx.x % SKINNY_THREADS + apart;
    quads norm = {};
    if (input.norm)
        load_quads(norm, input.norm, 0, thread, K / 4);
    wait_for_kernels_before();
    const float *x = input.x + (input.row ? (size_t)input.row[0] * K : 0);
    const row_place to = {x_is_fp8<L> ? NULL : (uint16_t *)memory.row_x,
                          memory.row_sums,
                          layout_has_min(L),
                          SUMS_CHUNKS,
                          1,
                          padded,
                          memory.partials,
                          thread,
                          x_is_fp8<L> ? (uint32_t *)memory.row_x : NULL};
    const float scale = put_row<false>(to, x, K, {input.norm, NULL, input.eps, false}, norm, 0,
                                       (is_whole ? 1 : n_groups()) * PREPARE_QUADS);
    __syncthreads();
    return scale;
}

/* Once the kernels before have ended. The last of up to eight tokens is read again in place of
 * those from T on: one token costs the traffic of one. */
template <int L, int TOKENS>
static __device__ __forceinline__ activations
wait_for_activations(const skinny_args &args, const block_memory<L, TOKENS> &memory)
{
    const product_args &a = args.product;
    const int lane = threadIdx.x & 31, t = lane & 3;
    if constexpr (TOKENS == 1) {
        const float scale = prepare_input(args, memory);
        return {memory.row_x + t * 16, memory.row_sums, SUMS_CHUNKS, scale};
    } else {
        const int token = min((int)threadIdx.x / STRIP_ROWS, a.T - 1);
        const int g = TOKENS == 8 ? min(lane >> 2, a.T - 1) : lane >> 2;
        wait_for_kernels_before();
        return {x_of<L>(a) + (size_t)g * x_row_bytes<L>(a) + t * 16,
                a.sums + sums_place(SUMS_OF_TOKENS, 2 * t, 0), SUMS_CHUNKS * a.rows,
                x_is_fp8<L> ? a.x_scale[token] : 1};
    }
}

/* ---- Sums */

/* What a lane multiplies a chunk with. */
template <int MT>
static __device__ __forceinline__ void load_b(uint4 (&to)[MT], const activations &from,
                                              int row_bytes, int chunk)
{
    const uint8_t *x = from.x + chunk * 64;
#pragma unroll
    for (int m = 0; m < MT; m++)
        to[m] = *(const uint4 *)(x + (size_t)(m * 8) * row_bytes);
}

/* Sums of the activations of a lane's columns over the chunks of a tile, for minima. */
template <int L, int MT> struct tile_sums {
    static constexpr int CHUNKS = layout_tile_width(L) / CHUNK;
    float column[MT][2][CHUNKS];

    __device__ __forceinline__ float2 of_chunk(int m, int c) const
    {
        return layout_has_min(L) ? make_float2(column[m][0][c], column[m][1][c])
                                 : make_float2(0, 0);
    }
};

/* Of tile i of a strip, a column's in one request. All columns of skinny_1 are its token. */
template <int L, int TOKENS, int MT>
static __device__ __forceinline__ void load_sums(tile_sums<L, MT> &to, const activations &from,
                                                 int i)
{
    constexpr int chunks = tile_sums<L, MT>::CHUNKS;
    const int chunk = i * chunks;
    const float *sums =
        from.sums + (size_t)(chunk / SUMS_CHUNKS) * from.stride + chunk % SUMS_CHUNKS;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int odd = 0; odd < 2; odd++) {
            float(&column)[chunks] = to.column[m][odd];
            const float *at =
                TOKENS == 1 ? sums : sums + sums_place(SUMS_OF_TOKENS, m * 8 + odd, 0);
            if constexpr (chunks == 4) {
                const float4 v = *(const float4 *)at;
                column[0] = v.x, column[1] = v.y, column[2] = v.z, column[3] = v.w;
            } else {
                const float2 v = *(const float2 *)at;
                column[0] = v.x, column[1] = v.y;
            }
        }
}

/* acc += the tile in a slot, number i of its strip, times the tokens; then the slot is free, and
 * `refill` is called for it. Activations of up to eight tokens, which come from L1 or L2, are
 * loaded together. */
template <int L, int TOKENS, int MT, class REFILL>
static __device__ __forceinline__ void add_tile(const uint8_t *slot, int i, int row_bytes,
                                                const activations &from, float (&acc)[MT][4],
                                                REFILL refill)
{
    constexpr int chunks = layout_tile_width(L) / x_chunk<L>;
    uint4 b[chunks][MT];
    tile_sums<L, MT> sums;
    float group[MT][4] = {};
    tile<L> w;
    if constexpr (TOKENS == 8)
#pragma unroll
        for (int c = 0; c < chunks; c++)
            load_b(b[c], from, row_bytes, i * chunks + c);
    if constexpr (layout_has_min(L))
        load_sums<L, TOKENS>(sums, from, i);
    copy_wait<SKINNY_DEPTH - 1>();
    __syncwarp(); /* the copies of other lanes are there */
    load_numbers(w, slot);
    load_records(w, slot + TILE_BYTES);
    __syncwarp(); /* other lanes have read */
    refill();
#pragma unroll
    for (int c = 0; c < chunks; c++) {
        const scales low = scales_of(w, c, 0), high = scales_of(w, c, 1);
        uint32_t operand[8];
        operands_of_chunk(w, c, operand);
        if constexpr (TOKENS != 8)
            load_b(b[c], from, row_bytes, i * chunks + c);
#pragma unroll
        for (int m = 0; m < MT; m++)
            multiply_chunk<L>(operand, low, high, b[c][m], sums.of_chunk(m, c), c, group[m],
                              acc[m]);
    }
}

/* Where a strip's output of a token is among those of a slice: lanes of a fragment, and then 16
 * rows of two tokens, fall on different banks. */
static __device__ __forceinline__ int partial_place(int token, int row)
{
    return (token * STRIP_ROWS + row) ^ (token & 6) << 2;
}

/* Stores the warp's sums. All columns of skinny_1 are its token: even lanes store the upper row,
 * odd ones the lower, two of them the same. */
template <int TOKENS, int MT>
static __device__ __forceinline__ void put_partials(float *partials, const float (&acc)[MT][4])
{
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    partials += slice_of_warp() * STRIP_ROWS * TOKENS;
    if constexpr (TOKENS == 1) {
        partials[(t & 1) * 8 + g] = t & 1 ? acc[0][2] : acc[0][0];
    } else {
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                partials[partial_place(m * 8 + t * 2 + j % 2, g + j / 2 * 8)] = acc[m][j];
    }
}

/* The sum of the slices for this thread's output. */
template <int TOKENS>
static __device__ __forceinline__ float add_partials(const float *partials, int token, int row)
{
    const int at = TOKENS == 1 ? row : partial_place(token, row);
    float total = 0;
#pragma unroll
    for (int s = 0; s < SLICES; s++)
        total += partials[s * STRIP_ROWS * TOKENS + at];
    return total;
}

/* An output of a strip and what it is made of beside the sums, loaded while these are made. */
struct output {
    int32_t at;  /* of y; -1: this thread has none */
    float scale; /* of the row */
    float bias;
    float before; /* what is added to, or a gate that a launch before has left in y */
};

template <int L>
static __device__ __forceinline__ output output_of(const strips &all, int i, int token, int row)
{
    const product_args &a = all.args.product;
    const product_part part = all.part_at(i);
    const int n = (all.block_at(i) - part.first_block) * STRIP_ROWS + row;
    output out = {-1, 1, 0, 0};
    if (token < a.T && n < part.N) {
        out.at = token * a.ldy + part.column + n;
        if constexpr (layout_has_row_scale(L))
            out.scale = row_scale<L>(part.weight, a.K, n);
        if (part.bias)
            out.bias = __ldg(part.bias + n);
        if (product_reads_y(a.epilogue) && !all.pairs)
            out.before = a.y[out.at];
    }
    return out;
}

/* gate: of the strip before, which was the first of its pair. */
template <int L>
static __device__ __forceinline__ void put_output(const strips &all, int i, const output &out,
                                                  float total, float token_scale, float &gate)
{
    const product_args &a = all.args.product;
    const float value = biased<L>(total, out.scale, token_scale, out.bias);
    if (all.pairs && !(i & 1))
        gate = value;
    else if (out.at >= 0)
        a.y[out.at] = finished(a.epilogue, all.pairs ? gate : out.before, value);
}

template <int L, int TOKENS> static __device__ __forceinline__ void skinny(const skinny_args &args)
{
    constexpr int MT = (TOKENS + 7) / 8, BUFFER = skinny_partials(TOKENS) / 2 / 4;
    extern __shared__ __align__(16) uint8_t shared[];
    const product_args &a = args.product;
    const int thread = threadIdx.x % SKINNY_THREADS;
    const int token = thread / STRIP_ROWS, row = thread % STRIP_ROWS;
    const block_memory<L, TOKENS> memory(shared, a.padded);
    const strips strips(args);
    copies<L> copies(strips);

#pragma unroll 1
    for (int i = 0; i < SKINNY_DEPTH; i++)
        copies.next(memory.ring + i * skinny_slot(L));
    const activations from = wait_for_activations<L, TOKENS>(args, memory);
    const int row_bytes = x_row_bytes<L>(a);

    float gate = 0;
    int slot = 0;
#pragma unroll 1
    for (int strip = 0; strips.has(strip); strip++) {
        float acc[MT][4] = {};
        const output out = output_of<L>(strips, strip, token, row);
#pragma unroll 1
        for (int i = copies.first; i < copies.last; i++) {
            uint8_t *at = memory.ring + slot * skinny_slot(L);
            add_tile<L, TOKENS>(at, i, row_bytes, from, acc, [&] { copies.next(at); });
            slot = (slot + 1) % SKINNY_DEPTH;
        }
        float *partials = memory.partials + (strip & 1) * BUFFER;
        put_partials<TOKENS>(partials, acc);
        wait_for_group(); /* the buffer of the strip before is free once all are here again */
        if (token < TOKENS)
            put_output<L>(strips, strip, out, add_partials<TOKENS>(partials, token, row),
                          from.scale, gate);
    }
}

/* Registers for as many threads as an SM has of a kernel. Many groups go together where kernels
 * begin beside others and SMs have the shared memory; skinny.c asks the image. */
#if __CUDA_ARCH__ >= 900 && __CUDA_ARCH__ < 1200
#define GROUPS(tokens) skinny_groups(tokens)
#else
#define GROUPS(tokens) 1
#endif

static_assert(!HAS_FP8 || GROUPS(1) == 1, "the group that has the scale of a row is the only one");

#define SKINNY(name, L, tokens)                                                  \
    extern "C" __global__ void __launch_bounds__(SKINNY_THREADS *GROUPS(tokens), \
                                                 GROUPS(tokens) == 1 ? 2 : 1)    \
        name(const __grid_constant__ skinny_args a)                              \
    {                                                                            \
        skinny<L, tokens>(a);                                                    \
    }

#define SKINNY_LAYOUTS(tokens)                                    \
    SKINNY(skinny_##tokens##_bf16, LAYOUT_BF16, tokens)           \
    SKINNY(skinny_##tokens##_int4_d, LAYOUT_INT4_D, tokens)       \
    SKINNY(skinny_##tokens##_int4_dm, LAYOUT_INT4_DM, tokens)     \
    SKINNY(skinny_##tokens##_int4_k, LAYOUT_INT4_K, tokens)       \
    SKINNY(skinny_##tokens##_int4_z, LAYOUT_INT4_Z, tokens)       \
    SKINNY(skinny_##tokens##_int4_z128, LAYOUT_INT4_Z128, tokens) \
    SKINNY(skinny_##tokens##_e2m1, LAYOUT_E2M1, tokens)           \
    SKINNY(skinny_##tokens##_e2m1_16, LAYOUT_E2M1_16, tokens)     \
    SKINNY(skinny_##tokens##_int8_d, LAYOUT_INT8_D, tokens)       \
    SKINNY(skinny_##tokens##_int8_dm, LAYOUT_INT8_DM, tokens)     \
    SKINNY(skinny_##tokens##_int8_k, LAYOUT_INT8_K, tokens)       \
    SKINNY(skinny_##tokens##_int8_k16, LAYOUT_INT8_K16, tokens)   \
    SKINNY(skinny_##tokens##_int8_row, LAYOUT_INT8_ROW, tokens)   \
    SKINNY(skinny_##tokens##_fp8_row, LAYOUT_FP8_ROW, tokens)     \
    SKINNY(skinny_##tokens##_fp8_128, LAYOUT_FP8_128, tokens)

SKINNY_LAYOUTS(1)
SKINNY_LAYOUTS(8)
SKINNY_LAYOUTS(16)
