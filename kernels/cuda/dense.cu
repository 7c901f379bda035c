/* Weights as rows of bfloat16 or E4M3, and outputs from sums: dense.h. */
#include "dense.h"

#include "depend.cuh"
#include "product.cuh"

/* Tiles of a warp, and where they go. */
template <int L> struct unpacker {
    static constexpr int WIDTH = layout_tile_width(L), WORDS = layout_words(L);
    tile<L> tiles[UNPACK_TILES];
    int first; /* tile */
    int n;     /* tiles of a strip */

    __device__ __forceinline__ void load(const dense_unpack_args &a)
    {
        const uint8_t *strip = a.weight + (size_t)blockIdx.x * layout_strip_bytes(L, a.K);
        const uint8_t *records = strip + (size_t)n * TILE_BYTES;
#pragma unroll
        for (int i = 0; i < UNPACK_TILES; i++) {
            if (first + i >= n)
                continue;
            load_numbers(tiles[i], strip + (size_t)(first + i) * TILE_BYTES);
            const uint8_t *record = records + (size_t)(first + i) * STRIP_ROWS * 4 * WORDS;
            if constexpr (WORDS == 3)
                load_thirds(tiles[i], (const uint32_t *)record);
            else if constexpr (WORDS > 0)
                load_records(tiles[i], record);
        }
    }

    /* Records of three words, which no lane can load in one request: those of eight rows are 24
     * words, which so many lanes load and hand round. */
    static __device__ __forceinline__ void load_thirds(tile<L> &out, const uint32_t *record)
    {
#pragma unroll
        for (int r = 0; r < 2; r++)
            out.record[r][0] = record[r * 8 * WORDS + min(threadIdx.x & 31, 8 * WORDS - 1)];
    }

    static __device__ __forceinline__ void hand_round(tile<L> &of)
    {
        const int mine = (threadIdx.x & 31) >> 2;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const uint32_t word = of.record[r][0];
#pragma unroll
            for (int w = 0; w < WORDS; w++)
                of.record[r][w] = __shfl_sync(0xffffffff, word, mine * WORDS + w);
        }
    }

    /* A lane's eight values of a row in a chunk. */
    static __device__ __forceinline__ uint4 values(const uint32_t (&a)[8], int r, const scales &by)
    {
        uint32_t out[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const uint32_t pair = a[r + 2 * i];
            const float low = __uint_as_float(pair << 16);
            const float high = __uint_as_float(pair & 0xffff0000);
            out[i] = L == LAYOUT_BF16 ? pair
                                      : pack_bf16x2(fmaf(by.scale[i / 2], low, by.min),
                                                    fmaf(by.scale[i / 2], high, by.min));
        }
        return make_uint4(out[0], out[1], out[2], out[3]);
    }

    /* Numbers as they stand: a lane has 16 bytes of a row of each tile. */
    __device__ __forceinline__ void store_numbers(const dense_unpack_args &a) const
    {
        const int lane = threadIdx.x & 31;
        const size_t row = (size_t)blockIdx.x * STRIP_ROWS + (lane >> 2), width = n * WIDTH;
        uint8_t *out = (uint8_t *)a.out + row * width + first * WIDTH + (lane & 3) * 16;
#pragma unroll
        for (int i = 0; i < UNPACK_TILES; i++)
#pragma unroll
            for (int r = 0; r < 2; r++)
                if (first + i < n)
                    *(uint4 *)(out + r * 8 * width + i * WIDTH) = tiles[i].row[r];
    }

    __device__ __forceinline__ void store(const dense_unpack_args &a)
    {
        if constexpr (dense_can_be_fp8(L))
            if (a.is_fp8)
                return store_numbers(a);
        const int lane = threadIdx.x & 31;
        const size_t row = (size_t)blockIdx.x * STRIP_ROWS + (lane >> 2), width = n * WIDTH;
        uint16_t *out = (uint16_t *)a.out + row * width + first * WIDTH + (lane & 3) * 8;
        float scale[2] = {1, 1};
        if constexpr (layout_has_row_scale(L))
#pragma unroll
            for (int r = 0; r < 2; r++)
                scale[r] = row_scale<L>((const uint8_t *)a.weight, a.K, (int)row + 8 * r);
#pragma unroll
        for (int i = 0; i < UNPACK_TILES; i++) {
            if (first + i >= n)
                continue;
            if constexpr (WORDS == 3)
                hand_round(tiles[i]);
#pragma unroll
            for (int c = 0; c < WIDTH / CHUNK; c++) {
                uint32_t numbers[8];
                operands(tiles[i], c, numbers);
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    scales by = scales_of(tiles[i], c, r);
                    by.scale[0] *= scale[r], by.scale[1] *= scale[r];
                    *(uint4 *)(out + r * 8 * width + i * WIDTH + c * CHUNK) =
                        values(numbers, r, by);
                }
            }
        }
    }
};

template <int L> static __device__ __forceinline__ void unpack(const dense_unpack_args &a)
{
    unpacker<L> u;
    u.n = layout_tiles(L, a.K);
    u.first = (blockIdx.y * (DENSE_THREADS / 32) + (threadIdx.x >> 5)) * UNPACK_TILES;
    u.load(a);
    wait_for_kernels_before();
    u.store(a);
}

extern "C" __global__ void __launch_bounds__(DENSE_THREADS)
    dense_unpack(const __grid_constant__ dense_unpack_args a)
{
#define UNPACK(L) unpack<L>(a)
    FOR_LAYOUT(a.layout, UNPACK)
#undef UNPACK
}

extern "C" __global__ void __launch_bounds__(DENSE_THREADS)
    dense_finish(const __grid_constant__ dense_finish_args a)
{
    const int n = blockIdx.x * DENSE_THREADS + threadIdx.x, token = blockIdx.y * FINISH_TOKENS;
    const bool is = n < a.n;
    const float bias[2] = {is && a.bias[0] ? a.bias[0][n] : 0, is && a.bias[1] ? a.bias[1][n] : 0};
    float sum[FINISH_TOKENS] = {}, other[FINISH_TOKENS] = {};
    float scale[2] = {1, 1}, token_scale[FINISH_TOKENS];
#pragma unroll
    for (int i = 0; i < 2; i++)
        if (is && a.weight[i])
            scale[i] = row_scale<LAYOUT_FP8_ROW>(a.weight[i], a.K, n);
    wait_for_kernels_before();
#pragma unroll
    for (int i = 0; i < FINISH_TOKENS; i++) {
        token_scale[i] = 1;
        if (!is || token + i >= a.T)
            continue;
        if (a.x_scale)
            token_scale[i] = a.x_scale[token + i];
        sum[i] = a.sum[(size_t)(token + i) * a.ld + n];
        if (a.up)
            other[i] = a.up[(size_t)(token + i) * a.ld + n];
        else if (product_reads_y(a.epilogue))
            other[i] = a.y[(size_t)(token + i) * a.ldy + n];
    }
#pragma unroll
    for (int i = 0; i < FINISH_TOKENS; i++) {
        const float first = biased_fp8(sum[i], scale[0], token_scale[i], bias[0]);
        const float second = biased_fp8(other[i], scale[1], token_scale[i], bias[1]);
        if (is && token + i < a.T)
            a.y[(size_t)(token + i) * a.ldy + n] =
                a.up ? gated(a.epilogue, first, second) : finished(a.epilogue, other[i], first);
    }
}
