/* Vectors of simd.h as one 512-bit register; needs AVX-512 F, BW, VL, DQ and VNNI;
 * with ISA_AVX512BF16 also BF16. */
#pragma once

#include <immintrin.h>

typedef __m512 vf;
typedef __m512i vi;
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));

#if defined(ISA_AVX512BF16)
#define SIMD_NAME "avx512-vnni-bf16"
#else
#define SIMD_NAME "avx512-vnni"
#endif

#define FLOAT_COLUMNS 8 /* of a product in floats that fit the registers */
/* Columns of a product in integers done together, tiles that share their broadcasts. */
#define DOT_COLUMNS             8
#define DOT_COLUMNS_K16         4
#define DOT_TILES(width, bytes) 2
#define DOT_TILES_MAX           2
#define DOT_UNROLL              UNROLL
#define DOT_BIAS                128 /* signed bytes become unsigned ones */
#define HIGH_SCALE              16  /* vi_high leaves nibbles times this */
#define FETCH_AHEAD             0   /* the hardware does it: more was slower on Zen 4 */

/* Attention: rows of a tile, and how many vectors of sums fit the registers. */
#define TILES(X)     X(1) X(2) X(3) X(4) X(6) X(8) X(12)
#define TILE_ROWS    12
#define TILE_VECTORS 24

SIMD vf vf_zero(void)
{
    return _mm512_setzero_ps();
}

SIMD vf vf_set1(float x)
{
    return _mm512_set1_ps(x);
}

SIMD vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

SIMD void vf_store(float *p, vf x)
{
    _mm512_storeu_ps(p, x);
}

/* The first n lanes only, 0 <= n <= 16; the others are zero, or left as they were. */
SIMD vf vf_load_first(const float *p, int n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}

SIMD void vf_store_first(float *p, vf x, int n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x);
}

/* Lanes 2i and 2i + 1 are p[i]. */
SIMD vf vf_load_twice(const float *p)
{
    const __m512i at = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(at, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}

/* Lanes 2i and 2i + 1 change places. */
SIMD vf vf_swap_pairs(vf a)
{
    return _mm512_permute_ps(a, 0xb1);
}

SIMD vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

SIMD vf vf_load_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}

#define E4M3_RUN    2 /* see simd.h */
#define E4M3_FACTOR 0x1p8f
#define E4M3_LIFT   1.0f

/* The even and the odd ones of 16 pairs of E4M3 numbers, each times 2^-8: their bits are those
 * of a half with a larger exponent. */
SIMD void vf_load_e4m3(const uint8_t *p, int half, vf *even, vf *odd)
{
    const __m256i m = _mm256_set1_epi16((short)0xbf80);
    (void)half; /* there is one */
    __m256i pairs = _mm256_loadu_si256((const __m256i *)p);
    __m256i e = _mm256_srai_epi16(_mm256_slli_epi16(pairs, 8), 1);
    *even = _mm512_cvtph_ps(_mm256_and_si256(e, m));
    *odd = _mm512_cvtph_ps(_mm256_and_si256(_mm256_srai_epi16(pairs, 1), m));
}

SIMD vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

SIMD vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

SIMD vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

SIMD vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

/* a * b + c; rounded once where the hardware can. */
SIMD vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* sum + x * *factor, as vf_fma. The factor is broadcast by the instruction itself, so that
 * it takes no register. */
SIMD vf vf_add_times(vf sum, vf x, const float *factor)
{
#if defined(__AVX512F__)
    __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(x), "m"(*factor));
    return sum;
#else /* where intrinsics are emulated */
    return vf_fma(x, vf_set1(*factor), sum);
#endif
}

/* b where a is NaN */
SIMD vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

SIMD vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

SIMD vf vf_abs(vf a)
{
    return _mm512_abs_ps(a);
}

/* a < b ? yes : no */
SIMD vf vf_less(vf a, vf b, vf yes, vf no)
{
    return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), yes);
}

/* Lanes 0 .. n - 1 of a, the others of b. */
SIMD vf vf_first(vf a, vf b, int n)
{
    return _mm512_mask_mov_ps(b, (__mmask16)((1u << n) - 1), a);
}

/* Lanes i and i + 8, then + 4, + 2, + 1. */
SIMD float vf_sum(vf a)
{
    __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

SIMD float vf_largest(vf a)
{
    return _mm512_reduce_max_ps(a);
}

SIMD vi vf_as_vi(vf a)
{
    return _mm512_castps_si512(a);
}

SIMD vf vi_as_vf(vi a)
{
    return _mm512_castsi512_ps(a);
}

SIMD vf vf_of_vi(vi a)
{
    return _mm512_cvtepi32_ps(a);
}

/* Nearest integer, ties to even, of values within int32. */
SIMD vi vi_round(vf a)
{
    return _mm512_cvtps_epi32(a);
}

SIMD vi vi_zero(void)
{
    return _mm512_setzero_si512();
}

SIMD vi vi_set1(int32_t x)
{
    return _mm512_set1_epi32(x);
}

SIMD vi vi_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

SIMD __m128i load_16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

/* Rows i, i + 4, i + 8, i + 12. */
SIMD __m512i load_4_rows(const uint8_t *const row[16], int i, size_t at)
{
    __m512i x = _mm512_castsi128_si512(load_16(row[i] + at));
    x = _mm512_inserti32x4(x, load_16(row[i + 4] + at), 1);
    x = _mm512_inserti32x4(x, load_16(row[i + 8] + at), 2);
    return _mm512_inserti32x4(x, load_16(row[i + 12] + at), 3);
}

/* Lane i of out[j]: word j of the 4 at byte at of row i. */
SIMD void vi_load_rows(const uint8_t *const row[16], size_t at, vi out[4])
{
    __m512i x[4], y[4];
    UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = load_4_rows(row, i, at);
    y[0] = _mm512_unpacklo_epi32(x[0], x[1]);
    y[1] = _mm512_unpackhi_epi32(x[0], x[1]);
    y[2] = _mm512_unpacklo_epi32(x[2], x[3]);
    y[3] = _mm512_unpackhi_epi32(x[2], x[3]);
    out[0] = _mm512_unpacklo_epi64(y[0], y[2]);
    out[1] = _mm512_unpackhi_epi64(y[0], y[2]);
    out[2] = _mm512_unpacklo_epi64(y[1], y[3]);
    out[3] = _mm512_unpackhi_epi64(y[1], y[3]);
}

SIMD void vi_store(void *p, vi x)
{
    _mm512_storeu_si512(p, x);
}

SIMD vi vi_load_u8(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}

SIMD vi vi_load_s8(const int8_t *p)
{
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p));
}

/* The low 8 or 16 bits of each lane. */
SIMD void vi_store_s8(int8_t *p, vi x)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(x));
}

SIMD void vi_store_u16(uint16_t *p, vi x)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(x));
}

SIMD vi vi_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}

SIMD vi vi_sub(vi a, vi b)
{
    return _mm512_sub_epi32(a, b);
}

/* Products of the low 16 bits of lanes, 0 .. 32767 in a. */
SIMD vi vi_mul16(vi a, vi b)
{
    return _mm512_madd_epi16(a, b);
}

SIMD vi vi_and(vi a, vi b)
{
    return _mm512_and_si512(a, b);
}

SIMD vi vi_or(vi a, vi b)
{
    return _mm512_or_si512(a, b);
}

SIMD vi vi_xor(vi a, vi b)
{
    return _mm512_xor_si512(a, b);
}

/* Shifts by a constant; shr fills with zeros, sar with the sign. */
SIMD vi vi_shl(vi a, int n)
{
    return (vi)((u32x16)a << n);
}

SIMD vi vi_shr(vi a, int n)
{
    return (vi)((u32x16)a >> n);
}

SIMD vi vi_sar(vi a, int n)
{
    return (vi)((i32x16)a >> n);
}

SIMD int32_t vi_sum(vi a)
{
    return _mm512_reduce_add_epi32(a);
}

/* Nibbles of a line: the low ones, and the high ones times HIGH_SCALE. */
SIMD vi vi_low(vi line)
{
    return _mm512_and_si512(line, _mm512_set1_epi8(0x0f));
}

SIMD vi vi_high(vi line)
{
    return _mm512_and_si512(line, _mm512_set1_epi8((char)0xf0));
}

SIMD vi vi_broadcast4(const int8_t *a)
{
    int32_t four;
    memcpy(&four, a, sizeof four);
    return _mm512_set1_epi32(four);
}

#define DOT_LINES(most) 8

SIMD vi vi_dot_add(vi sum, vi line, vi a, bool is_signed)
{
    (void)is_signed;
    return _mm512_dpbusd_epi32(sum, line, a);
}

SIMD vi vi_dot_begin(vi start, vi line, vi a, bool is_signed)
{
    return vi_dot_add(start, line, a, is_signed);
}

SIMD vi vi_dot_end(vi sum)
{
    return sum;
}

SIMD vi vi_dot_end_after(vi start, vi sum)
{
    (void)start;
    return sum;
}
