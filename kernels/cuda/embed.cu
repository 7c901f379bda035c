/* Rows of the table and the rotary tables, embed.h. */
#include "embed.h"

#include "depend.cuh"
#include "dequant.cuh"

/* 16 bytes in one request: of what stands in two branches the compiler may make one for each. */
static __device__ __forceinline__ uint4 load_whole(const void *from)
{
    uint4 v;
    asm("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(from));
    return v;
}

/* A lane's part of a chunk (layout.h): 4 bytes of int4, 8 of int8, 16 of bfloat16. */
template <int L> static __device__ __forceinline__ uint4 load_part(const uint8_t *part)
{
    if constexpr (L == LAYOUT_BF16)
        return load_whole(part);
    if constexpr (layout_tile_width(L) == 64) {
        const uint2 words = *(const uint2 *)part;
        return make_uint4(words.x, words.y, 0, 0);
    }
    return make_uint4(*(const uint32_t *)part, 0, 0, 0);
}

/* Number i of step s: value 16 s + 4 t + i of the chunk. */
template <int L> static __device__ __forceinline__ float number(const uint4 &part, int s, int i)
{
    const int h = i >> 1, e = i & 1;
    if constexpr (L == LAYOUT_BF16) {
        const uint32_t pair = s ? (h ? part.w : part.z) : (h ? part.y : part.x);
        return __uint_as_float(e ? pair & 0xffff0000 : pair << 16);
    }
    if constexpr (layout_is_fp8(L)) {
        const uint32_t q = (s ? part.y : part.x) >> (8 * (h + 2 * e));
        return __uint_as_float((q & 0x80) << 24 | (q & 0x7f) << 20) * 0x1p120f;
    }
    if constexpr (layout_tile_width(L) == 64)
        return (float)(int8_t)((s ? part.y : part.x) >> (8 * (h + 2 * e)));
    const uint32_t q = part.x >> (4 * (2 * s + h + 4 * e)) & 15;
    if constexpr (layout_is_e2m1(L))
        return __uint_as_float((q & 8) << 28 | (q & 7) << 22) * 0x1p126f;
    return (float)((int)q - (L == LAYOUT_INT4_D ? 8 : 0));
}

/* What the scales of a chunk come from: a word of the record of its row and tile, or of two levels
 * the word of the upper and that of the chunk. */
struct record_words {
    uint32_t first, second;
};

/* Of chunk c, in one request. Of three words, which no lane can load at once, lanes of a chunk load
 * one each and hand it round: rows of q4_k are whole blocks, and so are their warps. */
template <int L>
static __device__ __forceinline__ record_words load_words(const uint32_t *record, int c)
{
    if constexpr (L == LAYOUT_INT4_K) {
        const uint32_t word = record[min(threadIdx.x % 4, 2)];
        return {__shfl_sync(0xffffffff, word, 0, 4), __shfl_sync(0xffffffff, word, 1 + c / 2, 4)};
    } else if constexpr (L == LAYOUT_E2M1_16) {
        return {record[0], record[1 + c / 2]};
    } else if constexpr (L == LAYOUT_INT8_K || L == LAYOUT_INT8_K16) {
        const uint2 words = *(const uint2 *)record;
        return {words.x, words.y};
    } else if constexpr (layout_has_zero(L)) {
        return {record[c / layout_group(L)], 0};
    } else if constexpr (L == LAYOUT_INT4_DM || L == LAYOUT_INT8_DM) {
        return {record[c], 0};
    } else {
        return {layout_group(L) ? record[layout_words(L) == 1 ? 0 : c / 2] : 0, 0};
    }
}

/* Of step s of chunk c of a tile: value = scale * number + min, of E2M1_16 without the scale of
 * all. */
template <int L>
static __device__ __forceinline__ float2 scale_and_min(const record_words &words, int c, int s)
{
    if constexpr (layout_group(L) == 0) {
        return make_float2(1, 0);
    } else if constexpr (layout_has_zero(L)) {
        const float d = half_of(words.first, 0);
        return make_float2(d, -d * (float)(words.first >> 16 & 127));
    } else if constexpr (L == LAYOUT_FP8_128) {
        return make_float2(__uint_as_float(words.first), 0);
    } else if constexpr (L == LAYOUT_E2M1) {
        return make_float2(power_of(words.first >> (8 * c) & 255), 0);
    } else if constexpr (L == LAYOUT_E2M1_16) {
        return make_float2(unsigned_fp8(words.second, c % 2 * 2 + s), 0);
    } else if constexpr (L == LAYOUT_INT4_D || L == LAYOUT_INT8_D) {
        return make_float2(half_of(words.first, c % 2), 0);
    } else if constexpr (L == LAYOUT_INT4_DM || L == LAYOUT_INT8_DM) {
        return make_float2(half_of(words.first, 0), half_of(words.first, 1));
    } else {
        const uint32_t d = words.first, bytes = words.second >> (c % 2 * 16);
        if constexpr (L == LAYOUT_INT8_K16)
            return make_float2(half_of(d, 0) * (float)(int8_t)(bytes >> (8 * s)), 0);
        return make_float2(half_of(d, 0) * (float)(bytes & 255),
                           -half_of(d, 1) * (float)(bytes >> 8 & 255));
    }
}

/* A row without a finite logit has chosen -1: what becomes of it does not matter. */
static __device__ __forceinline__ int token_of(const embed_args &a, int t)
{
    const int token = a.token[t];
    return token >= 0 ? token : max(a.chosen[(1 - *a.parity) * a.stride - 1 - token], 0);
}

/* Eight values of row `token`: those of lane `part` % 4 in chunk `part` / 4. more: (D) to be added,
 * or NULL. */
template <int L>
static __device__ __forceinline__ void read_part(const embed_args &a, int token, int part,
                                                 const float *more, float *x)
{
    constexpr int chunks = layout_tile_width(L) / CHUNK;
    const int row = token % STRIP_ROWS, t = part % 4, chunk = part / 4;
    const int i = chunk / chunks, c = chunk % chunks;
    const uint8_t *strip = a.table + (size_t)(token / STRIP_ROWS) * layout_strip_bytes(L, a.D);
    const uint8_t *records = strip + (size_t)layout_tiles(L, a.D) * TILE_BYTES;
    const uint32_t *record =
        (const uint32_t *)records + (size_t)(i * STRIP_ROWS + row) * layout_words(L);
    const uint4 q =
        load_part<L>(strip + (size_t)i * TILE_BYTES + row * 64 + t * 16 + c * (16 / chunks));
    const record_words words = load_words<L>(record, c);
    float2 scale[2] = {scale_and_min<L>(words, c, 0), scale_and_min<L>(words, c, 1)};
    const float all = L == LAYOUT_E2M1_16 ? __uint_as_float(words.first) : 1;
    if constexpr (layout_has_row_scale(L))
        scale[0].x = scale[1].x = row_scale<L>(a.table, a.D, token);
#pragma unroll
    for (int s = 0; s < 2; s++) {
        const int k = chunk * CHUNK + s * 16 + t * 4;
        float v[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            v[j] = fmaf(scale[s].x, number<L>(q, s, j), scale[s].y) * all * a.scale;
        if (k >= a.D)
            continue;
        if (more) {
            const float4 m = *(const float4 *)(more + k);
            v[0] += m.x, v[1] += m.y, v[2] += m.z, v[3] += m.w;
        }
        *(float4 *)(x + k) = make_float4(v[0], v[1], v[2], v[3]);
    }
}

/* Cosine and sine. The angle less a multiple n of pi / 2, which in double is wrong by 6e-17 n,
 * is in [-pi / 4, pi / 4], where the series end below 2^-40; n % 4 says which of them it is and
 * with what sign. */
static __device__ __forceinline__ void turn(double angle, double *cosine, double *sine)
{
    const double n = rint(angle * 0.63661977236758134308);
    const double r = fma(-n, 1.5707963267948965580, angle);
    const double z = r * r;
    double s = fma(z, 1.0 / 6227020800, -1.0 / 39916800);
    s = fma(z, s, 1.0 / 362880);
    s = fma(z, s, -1.0 / 5040);
    s = fma(z, s, 1.0 / 120);
    s = fma(z, s, -1.0 / 6);
    s = fma(z * r, s, r);
    double c = fma(z, 1.0 / 479001600, -1.0 / 3628800);
    c = fma(z, c, 1.0 / 40320);
    c = fma(z, c, -1.0 / 720);
    c = fma(z, c, 1.0 / 24);
    c = fma(z, c, -0.5);
    c = fma(z, c, 1.0);
    const int quarter = (int)n & 3;
    *cosine = (quarter == 1 || quarter == 2 ? -1.0 : 1.0) * (quarter & 1 ? s : c);
    *sine = (quarter >= 2 ? -1.0 : 1.0) * (quarter & 1 ? c : s);
}

/* Row t of table j. */
static __device__ __forceinline__ void fill_rotary(const embed_args &a, int j, int t)
{
    const int half = a.dim / 2;
    float *rotary = a.rotary[j] + (size_t)t * a.dim;
    for (int i = threadIdx.x; i < half; i += EMBED_THREADS) {
        double cosine, sine;
        turn((double)a.position[t] * (double)a.freq[j][i], &cosine, &sine);
        rotary[i] = (float)(cosine * (double)a.rotary_scale[j]);
        rotary[half + i] = (float)(sine * (double)a.rotary_scale[j]);
    }
}

extern "C" __global__ void __launch_bounds__(EMBED_THREADS)
    embed(const __grid_constant__ embed_args a)
{
    const int t = blockIdx.x, part = blockIdx.y * EMBED_THREADS + threadIdx.x;
    const int table = (int)blockIdx.y - ((int)gridDim.y - a.n_rotary); /* the last blocks' */
    wait_for_kernels_before();
    if (table >= 0) {
        fill_rotary(a, table, t);
    } else if (part / 4 * CHUNK < a.D) {
        const int token = token_of(a, t);
        const float *more = a.row ? a.row + (size_t)a.position[t] * a.D : NULL;
        float *x = a.x + (size_t)t * a.D;
#define READ_PART(L) read_part<L>(a, token, part, more, x)
        FOR_LAYOUT(a.layout, READ_PART)
#undef READ_PART
    }
}
