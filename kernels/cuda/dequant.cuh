/* A lane's part of a tile of weights (layout.h): loaded, turned into operands of mma, and into
 * scales. All integers are exact in bfloat16, whose 8 bits of significand hold -256 .. 256, and so
 * are all numbers of E4M3 and E2M1. */
#pragma once

#include "layout.h"
#include "mma.cuh"

template <int L> struct tile {
    uint4 row[2]; /* of rows lane / 4 and lane / 4 + 8 */
    uint32_t record[2][layout_words(L) ? layout_words(L) : 1];
};

/* The numbers of a tile in any memory. */
template <int L>
static __device__ __forceinline__ void load_numbers(tile<L> &out, const uint8_t *numbers)
{
    const uint4 *row = (const uint4 *)numbers + (threadIdx.x & 31);
    out.row[0] = row[0];
    out.row[1] = row[32];
}

/* The records of its rows. */
template <int L>
static __device__ __forceinline__ void load_records(tile<L> &out, const uint8_t *records)
{
    constexpr int words = layout_words(L);
    const uint32_t *record = (const uint32_t *)records + ((threadIdx.x & 31) >> 2) * words;
#pragma unroll
    for (int r = 0; r < 2; r++, record += 8 * words) {
        if constexpr (words == 4) {
            const uint4 v = *(const uint4 *)record;
            out.record[r][0] = v.x, out.record[r][1] = v.y;
            out.record[r][2] = v.z, out.record[r][3] = v.w;
        } else if constexpr (words == 2) {
            const uint2 v = *(const uint2 *)record;
            out.record[r][0] = v.x, out.record[r][1] = v.y;
        } else {
#pragma unroll
            for (int w = 0; w < words; w++)
                out.record[r][w] = record[w];
        }
    }
}

static __device__ __forceinline__ uint32_t word_of(const uint4 &v, int i)
{
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/* Two int8 in bits 0 .. 7 and 16 .. 23. Their lower 7 bits after 128 = 0x4300 make 128 .. 255;
 * from that 128 is taken, or 256 = 0x4380 if the sign is set. */
static __device__ __forceinline__ uint32_t pair_of_int8(uint32_t q)
{
    return add_bf16x2(and_or(q, 0x007f007f, 0x43004300), and_or(q, 0x00800080, 0xc300c300));
}

/* Two E4M3 in bits 8 .. 15 and 24 .. 31. Sign, exponent and fraction in their places are the
 * number times 2^(7 - 127), subnormal numbers as well, and the product with 2^120 is exact. */
static __device__ __forceinline__ uint32_t pair_of_fp8(uint32_t q)
{
    return multiply_bf16x2(and_or(q, 0x80008000, q >> 4 & 0x07f007f0), 0x7b807b80);
}

/* Two E2M1 in bits 0 .. 3 and 16 .. 19, alike: times 2^(1 - 127) in their places. */
static __device__ __forceinline__ uint32_t pair_of_e2m1(uint32_t q)
{
    return multiply_bf16x2(and_or(q << 12, 0x80008000, q << 6 & 0x01c001c0), 0x7e807e80);
}

/* Two int4 in bits 0 .. 3 and 16 .. 19: after 128 they make 128 .. 143, to which `less` is added:
 * twice -128 or, where there is a zero point, -128 - zero. */
static __device__ __forceinline__ uint32_t pair_of_int4(uint32_t q, uint32_t less)
{
    return add_bf16x2(and_or(q, 0x000f000f, 0x43004300), less);
}

/* What is added to the integers of chunk c of row lane / 4 + 8 r. */
template <int L> static __device__ __forceinline__ uint32_t less_of(const tile<L> &in, int c, int r)
{
    if constexpr (layout_has_zero(L))
        return __byte_perm(in.record[r][c / layout_group(L)], 0, 0x3232);
    return L == LAYOUT_INT4_D ? 0xc308c308 : 0xc300c300;
}

/* Row lane / 4 + 8 r of operand A of two steps, of numbers that are multiplied as they stand. */
template <int L>
static __device__ __forceinline__ void words_as_operands(const tile<L> &in, int r, uint32_t (&a)[8])
{
    a[r] = in.row[r].x, a[r + 2] = in.row[r].y;
    a[r + 4] = in.row[r].z, a[r + 6] = in.row[r].w;
}

/* Operand A of both steps of chunk c of the tile: a[4 s ..] as mma_bf16 wants it. Here and below
 * c is a constant once loops are unrolled. */
template <int L>
static __device__ __forceinline__ void operands(const tile<L> &in, int c, uint32_t (&a)[8])
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        if constexpr (L == LAYOUT_BF16) {
            words_as_operands(in, r, a);
        } else if constexpr (layout_is_fp8(L)) {
            uint32_t first = word_of(in.row[r], 2 * c);
            uint32_t second = word_of(in.row[r], 2 * c + 1);
            a[r] = pair_of_fp8(first << 8), a[r + 2] = pair_of_fp8(first);
            a[r + 4] = pair_of_fp8(second << 8), a[r + 6] = pair_of_fp8(second);
        } else if constexpr (layout_tile_width(L) == 64) {
            uint32_t first = word_of(in.row[r], 2 * c);
            uint32_t second = word_of(in.row[r], 2 * c + 1);
            a[r] = pair_of_int8(first), a[r + 2] = pair_of_int8(first >> 8);
            a[r + 4] = pair_of_int8(second), a[r + 6] = pair_of_int8(second >> 8);
        } else if constexpr (layout_is_e2m1(L)) {
            uint32_t q = word_of(in.row[r], c);
            a[r] = pair_of_e2m1(q), a[r + 2] = pair_of_e2m1(q >> 4);
            a[r + 4] = pair_of_e2m1(q >> 8), a[r + 6] = pair_of_e2m1(q >> 12);
        } else {
            uint32_t q = word_of(in.row[r], c), less = less_of<L>(in, c, r);
            a[r] = pair_of_int4(q, less), a[r + 2] = pair_of_int4(q >> 4, less);
            a[r + 4] = pair_of_int4(q >> 8, less), a[r + 6] = pair_of_int4(q >> 12, less);
        }
    }
}

/* value = scale * number + min, times the scale of the row if it has one. */
struct scales {
    float scale[2]; /* of the lower and the upper 16 values of the chunk */
    float min;
};

static __device__ __forceinline__ float byte_of(uint32_t word, int i)
{
    return (float)(word >> (8 * i) & 0xff);
}

/* 2^(e - 127), e8m0_to_float. */
static __device__ __forceinline__ float power_of(uint32_t e)
{
    return __uint_as_float(e ? e << 23 : 1u << 22);
}

/* Byte i of a word, an E4M3 number without a sign. */
static __device__ __forceinline__ float unsigned_fp8(uint32_t word, int i)
{
    return __uint_as_float(__byte_perm(word, 0, 0x4440 + i) << 20) * 0x1p120f;
}

/* Of chunk c of row lane / 4 + 8 r. Products of a half and an integer of 8 bits are exact. */
template <int L> static __device__ __forceinline__ scales scales_of(const tile<L> &in, int c, int r)
{
    const auto &record = in.record[r];
    scales s = {{1, 1}, 0};
    if constexpr (layout_group(L) == 0) {
        return s;
    } else if constexpr (layout_has_zero(L)) {
        s.scale[0] = half_of(record[c / layout_group(L)], 0);
    } else if constexpr (L == LAYOUT_FP8_128) {
        s.scale[0] = __uint_as_float(record[0]);
    } else if constexpr (L == LAYOUT_E2M1) {
        s.scale[0] = power_of(record[0] >> (8 * c) & 255);
    } else if constexpr (L == LAYOUT_E2M1_16) {
        const float d = __uint_as_float(record[0]);
        s.scale[0] = d * unsigned_fp8(record[1 + c / 2], c % 2 * 2);
        s.scale[1] = d * unsigned_fp8(record[1 + c / 2], c % 2 * 2 + 1);
        return s;
    } else if constexpr (L == LAYOUT_INT4_D || L == LAYOUT_INT8_D) {
        s.scale[0] = half_of(record[c / 2], c % 2);
    } else if constexpr (L == LAYOUT_INT4_DM || L == LAYOUT_INT8_DM) {
        s.scale[0] = half_of(record[c], 0);
        s.min = half_of(record[c], 1);
    } else if constexpr (L == LAYOUT_INT4_K || L == LAYOUT_INT8_K) {
        s.scale[0] = half_of(record[0], 0) * byte_of(record[1 + c / 2], c % 2 * 2);
        s.min = -half_of(record[0], 1) * byte_of(record[1 + c / 2], c % 2 * 2 + 1);
    } else {
        float d = half_of(record[0], 0);
        s.scale[0] = d * (float)(int8_t)(record[1] >> (c * 16));
        s.scale[1] = d * (float)(int8_t)(record[1] >> (c * 16 + 8));
        return s;
    }
    s.scale[1] = s.scale[0];
    return s;
}

/* The scale of row n of a matrix (N, K), a row that there is. */
template <int L>
static __device__ __forceinline__ float row_scale(const uint8_t *weight, int K, int n)
{
    static_assert(layout_has_row_scale(L), "its rows have scales");
    const uint8_t *strip = weight + (size_t)(n / STRIP_ROWS) * layout_strip_bytes(L, K);
    const uint8_t *scales = strip + (size_t)layout_tiles(L, K) * TILE_BYTES;
    return __ldg((const float *)scales + n % STRIP_ROWS);
}
