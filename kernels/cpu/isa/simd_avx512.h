/* Vectors of simd.h as one 512-bit register; needs AVX-512 F, BW, VL, DQ and VNNI;
 * with ISA_AVX512BF16 also BF16 and VBMI. */
#pragma once

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
/* Tiles of floats done together, which share each broadcast of an input: chains enough for two
 * multiply-adds a cycle, each of which may take six. */
#define FLOAT_TILES(width) ((width) < 5 ? 4 : 2)
#define SHARED_INPUTS      1
/* With many columns pieces of these tiles become floats once for all: half of a first cache. */
#define PIECE_DATA       DATA_F32
#define PIECE_INPUTS     128
#define PIECE_TILES      2
#define HAS_PIECES(data) ((data) == DATA_E4M3 || (data) == DATA_BF16 || (data) == DATA_F16)
/* Tiles of integers done together, which share broadcasts of inputs; but where sums get offsets
 * one is enough: two groups of it are done together. */
#define DOT_TILES(width, data, scales) \
    ((width) > 4 && (data) == DATA_U4 && !((width) == 8 && HAS_ZEROS(scales)) ? 1 : 2)
#define DOT_TILES_MAX   2
#define DOT_COLUMNS     8
#define DOT_COLUMNS_K16 4
/* Where the groups of a pair that share lines are done together. */
#define PAIR_AT_ONCE(width, data) ((width) <= 4 || (data) == DATA_U4)
#define UNPACK_COLUMNS            8 /* values of 5 and 6 bits become bytes for as many columns */
#define UNPACK_BLOCKS             2 /* and blocks of them */
#define ZERO_COLUMNS              4 /* from here on zero points are taken off the lines */
#define DOT_UNROLL                UNROLL
#define DOT_BIAS                  128 /* signed bytes become unsigned ones */
#define HIGH_SCALE                16  /* vi_high leaves nibbles times this */
/* Bytes of weights fetched ahead of their use, see multiply.c. */
#define FLOAT_AHEAD 1024
#define FETCH_TILES 2 /* at most, of integers */
#if defined(ISA_AVX512BF16)
/* Zen 4 fetches by itself what few columns wait for, and bytes. Unpacking takes units that its
 * multiplications leave idle. */
#define INT8_AHEAD(width, data)         ((data) == DATA_S8 || (width) < 5 ? 0 : 2048)
#define STREAM_INPUTS                   10240
#define STREAMS_ALWAYS(data)            ((data) == DATA_S4 || (data) == DATA_U4)
#define INT8_UNPACKS(data, loads_bound) ((loads_bound) && (data) == DATA_S6)
#else
#define INT8_AHEAD(width, data)         1024
#define STREAM_INPUTS                   0
#define STREAMS_ALWAYS(data)            ((data) == DATA_U4)
#define INT8_UNPACKS(data, loads_bound) true
#endif

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
#define E4M3_STEP   4
#define E4M3_ROOM   (2 * LINE_BYTES)
#define E4M3_FACTOR 0x1p8f
#define E4M3_LIFT   1.0f

/* A conversion from memory is one operation of the vector ports, from a register two: left to
 * choose, compilers keep what they have just stored. */
SIMD vf vf_load_stored_f16(const uint8_t *p)
{
#if defined(__AVX512F__)
    vf x;
    __asm__("vcvtph2ps %1, %0" : "=v"(x) : "m"(*(const __m256i_u *)p));
    return x;
#else /* where intrinsics are emulated */
    return vf_load_f16((const uint16_t *)(const void *)p);
#endif
}

/* The bits of a number are those of a half with a larger exponent, subnormal ones too: bytes become
 * halves in room, times 2^-8, the even inputs of all rows before the odd ones. */
SIMD void vf_load_e4m3(const uint8_t *p, int half, uint8_t *room, vf *even, vf *odd)
{
    if (half == 0) {
        const __m512i bits = _mm512_set1_epi16((short)0xbf80);
        __m512i x = _mm512_loadu_si512(p);
        __m512i low =
            _mm512_maddubs_epi16(_mm512_set1_epi16(0x80), x); /* a shift of signed bytes */
        _mm512_storeu_si512(room, _mm512_and_si512(low, bits));
        _mm512_storeu_si512(room + LINE_BYTES, _mm512_and_si512(_mm512_srai_epi16(x, 1), bits));
    }
    *even = vf_load_stored_f16(room + half * LINE_BYTES / 2);
    *odd = vf_load_stored_f16(room + LINE_BYTES + half * LINE_BYTES / 2);
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

/* The same of a vector. Into the sum: compilers that may write elsewhere move sums about. */
SIMD vf vf_add_product(vf sum, vf x, vf y)
{
#if defined(__AVX512F__)
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y));
    return sum;
#else
    return vf_fma(x, y, sum);
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

/* All ones in lanes where a < b, else none. */
SIMD vi vf_is_less(vf a, vf b)
{
    return _mm512_movm_epi32(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ));
}

/* a, but zero in the lanes of a mask. */
SIMD vf vf_without(vf a, vi mask)
{
    return _mm512_castsi512_ps(_mm512_andnot_si512(mask, _mm512_castps_si512(a)));
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

#if defined(ISA_AVX512BF16)
/* X of m .. m + 31, and of 0 .. 127. */
#define E4M3_4(X, m)  X(m), X((m) + 1), X((m) + 2), X((m) + 3)
#define E4M3_16(X, m) E4M3_4(X, m), E4M3_4(X, (m) + 4), E4M3_4(X, (m) + 8), E4M3_4(X, (m) + 12)
#define E4M3_32(X, m) E4M3_16(X, m), E4M3_16(X, (m) + 16)
#define E4M3_128(X)   E4M3_32(X, 0), E4M3_32(X, 32), E4M3_32(X, 64), E4M3_32(X, 96)

/* The bfloat16 of E4M3 magnitude m times 2^-8, of which the subnormal ones become normal. */
#define E4M3_BITS(m)                        \
    ((m) >= 8   ? (112 << 7) + (m)*16       \
     : (m) >= 4 ? (112 << 7) + ((m)-4) * 32 \
     : (m) >= 2 ? (111 << 7) + ((m)-2) * 64 \
                : (m) * (110 << 7))
#define E4M3_LOW(m)  (E4M3_BITS(m) & 0xff)
#define E4M3_HIGH(m) (E4M3_BITS(m) >> 8)
#define E4M3_PAIR(m) (m), 64 + (m)

/* Pairs 0 and 1 of four E4M3 inputs of 16 rows, as bfloat16 times 2^-8: both bytes of a number are
 * looked up, which takes what Zen 4 does in an operation each. */
SIMD void vi_load_e4m3_pairs(const uint8_t *p, vi out[2])
{
    static const uint8_t low[128] = {E4M3_128(E4M3_LOW)}, high[128] = {E4M3_128(E4M3_HIGH)};
    static const uint8_t pair[2][64] = {{E4M3_32(E4M3_PAIR, 0)}, {E4M3_32(E4M3_PAIR, 32)}};
    __m512i x = _mm512_loadu_si512(p);
    __m512i l = _mm512_permutex2var_epi8(vi_load(low), x, vi_load(low + 64));
    __m512i h = _mm512_permutex2var_epi8(vi_load(high), x, vi_load(high + 64));
    h = _mm512_or_si512(h, _mm512_and_si512(x, _mm512_set1_epi8((char)0x80)));
    out[0] = _mm512_permutex2var_epi8(l, vi_load(pair[0]), h);
    out[1] = _mm512_permutex2var_epi8(l, vi_load(pair[1]), h);
}
#endif

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

/* a and b, rounded within -127 .. 127, NaN to -127: as 32 bytes, and as integers. */
SIMD void vf_store_s8_pair(int8_t *p, vf a, vf b, vi *x, vi *y)
{
    const __m512i least = _mm512_set1_epi32(-127);
    *x = _mm512_max_epi32(vi_round(a), least);
    *y = _mm512_max_epi32(vi_round(b), least);
    vi_store_s8(p, *x);
    vi_store_s8(p + LANES, *y);
}

SIMD vi vi_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}

/* The same, of which the compiler does not know where it is from: it will not load it twice. */
SIMD vi vi_once(vi a)
{
#if defined(__AVX512F__) /* elsewhere vectors are emulated in memory */
    __asm__("" : "+v"(a));
#endif
    return a;
}

SIMD vi vi_sub(vi a, vi b)
{
    return _mm512_sub_epi32(a, b);
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

/* Lane i, i < n: the lanes of a[i], added or their largest. Neighbours become one, in which
 * each has half of the lanes. */
SIMD vi vi_fold(vi a, vi b, bool adds)
{
    return adds ? _mm512_add_epi32(a, b) : _mm512_max_epi32(a, b);
}

SIMD vi vi_fold_quarters(vi a, vi b, bool adds)
{
    return vi_fold(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd), adds);
}

SIMD vi vi_fold_each(const vi a[LANES], size_t n, bool adds)
{
    vi x[8], y[4];
    (void)n;
    UNROLL
    for (int i = 0; i < 8; i++)
        x[i] = vi_fold(_mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]),
                       _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]), adds);
    UNROLL
    for (int i = 0; i < 4; i++)
        y[i] = vi_fold(_mm512_unpacklo_epi64(x[2 * i], x[2 * i + 1]),
                       _mm512_unpackhi_epi64(x[2 * i], x[2 * i + 1]), adds);
    return vi_fold_quarters(vi_fold_quarters(y[0], y[1], adds), vi_fold_quarters(y[2], y[3], adds),
                            adds);
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

SIMD vi vi_e2m1(vi codes)
{
    const __m128i numbers =
        _mm_setr_epi8(16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4);
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(numbers), codes);
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

/* The same with four activations at a: the instruction itself gives them to every row. */
SIMD vi vi_dot_add_four(vi sum, vi line, const int8_t *a)
{
#if defined(__AVX512VNNI__)
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(line), "m"(*(const int8_t(*)[4])a));
    return sum;
#else /* where intrinsics are emulated */
    return vi_dot_add(sum, line, vi_broadcast4(a), false);
#endif
}

SIMD vi vi_dot_begin(vi start, vi line, vi a, bool is_signed)
{
    return vi_dot_add(start, line, a, is_signed);
}

SIMD vi vi_dot_begin_four(vi start, vi line, const int8_t *a)
{
    return vi_dot_add_four(start, line, a);
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
