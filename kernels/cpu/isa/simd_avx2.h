/* Vectors of simd.h as two 256-bit registers; needs AVX2, FMA and F16C. */
#pragma once

typedef struct {
    __m256 a, b; /* lanes 0 .. 7, 8 .. 15 */
} vf;

typedef struct {
    __m256i a, b;
} vi;

#define SIMD_NAME "avx2"

/* Tiles of integers done together: of one column four stream at once, but for nibbles, which are
 * faster one by one and fetched ahead. */
#define DOT_TILES(width, data, scales) ((width) == 1 && (data) == DATA_S8 ? 4 : 1)
/* Columns done together, and what else differs. */
#define DOT_COLUMNS               4
#define DOT_COLUMNS_K16           4
#define DOT_TILES_MAX             4
#define PAIR_AT_ONCE(width, data) ((width) == 1) /* groups that share lines */
#define UNPACK_COLUMNS            6 /* values of 5 and 6 bits become bytes for as many columns */
#define UNPACK_BLOCKS             1 /* and blocks of them */
#define ZERO_COLUMNS              9 /* zero points are never taken off lines, always off sums */
#define DOT_UNROLL                UNROLL
#define DOT_BIAS                  0 /* signed bytes stay as they are */
#define HIGH_SCALE                1
#define FETCH_TILES               1 /* of as many tiles at once */
/* Bytes of weights fetched ahead of their use, see multiply.c. */
#define INT8_AHEAD(width, data) 1536
#define FLOAT_AHEAD             0
#define STREAM_INPUTS           0
#define STREAMS_ALWAYS(data)    0
/* Whether a kernel unpacks weights, once for the blocks that it is given. */
#define INT8_UNPACKS(data, loads_bound) true

/* Attention: rows of a tile, and how many vectors of sums fit the registers. */
#define TILES(X)     X(1) X(2) X(3) X(4) X(6)
#define TILE_ROWS    6
#define TILE_VECTORS 6

SIMD vf vf_of(__m256 a, __m256 b)
{
    return (vf){a, b};
}

SIMD vi vi_of(__m256i a, __m256i b)
{
    return (vi){a, b};
}

SIMD vf vf_zero(void)
{
    return vf_of(_mm256_setzero_ps(), _mm256_setzero_ps());
}

SIMD vf vf_set1(float x)
{
    return vf_of(_mm256_set1_ps(x), _mm256_set1_ps(x));
}

SIMD vf vf_load(const float *p)
{
    return vf_of(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}

SIMD void vf_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}

/* All ones in lanes 0 .. n - 1. */
SIMD vi vi_mask_first(int n)
{
    __m256i m = _mm256_set1_epi32(n);
    return vi_of(_mm256_cmpgt_epi32(m, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
                 _mm256_cmpgt_epi32(m, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)));
}

/* The first n lanes only, 0 <= n <= 16; the others are zero, or left as they were. Mostly it is
 * all of them, and on Zen a masked store is dozens of operations. */
SIMD vf vf_load_first(const float *p, int n)
{
    if (n == LANES)
        return vf_load(p);
    vi m = vi_mask_first(n);
    return vf_of(_mm256_maskload_ps(p, m.a), _mm256_maskload_ps(p + 8, m.b));
}

SIMD void vf_store_first(float *p, vf x, int n)
{
    if (n == LANES) {
        vf_store(p, x);
        return;
    }
    vi m = vi_mask_first(n);
    _mm256_maskstore_ps(p, m.a, x.a);
    _mm256_maskstore_ps(p + 8, m.b, x.b);
}

/* Lanes 2i and 2i + 1 are p[i]. */
SIMD vf vf_load_twice(const float *p)
{
    __m256 x = _mm256_loadu_ps(p);
    return vf_of(_mm256_permutevar8x32_ps(x, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)),
                 _mm256_permutevar8x32_ps(x, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7)));
}

/* Lanes 2i and 2i + 1 change places. */
SIMD vf vf_swap_pairs(vf x)
{
    return vf_of(_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1));
}

SIMD vf vf_load_f16(const uint16_t *p)
{
    return vf_of(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                 _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8))));
}

SIMD vf vf_load_bf16(const uint16_t *p)
{
    __m256i a = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    __m256i b = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 8)));
    return vf_of(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)),
                 _mm256_castsi256_ps(_mm256_slli_epi32(b, 16)));
}

SIMD vf vf_add(vf x, vf y)
{
    return vf_of(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b));
}

SIMD vf vf_sub(vf x, vf y)
{
    return vf_of(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b));
}

SIMD vf vf_mul(vf x, vf y)
{
    return vf_of(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b));
}

SIMD vf vf_div(vf x, vf y)
{
    return vf_of(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b));
}

/* x * y + z; rounded once where the hardware can. */
SIMD vf vf_fma(vf x, vf y, vf z)
{
    return vf_of(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}

/* sum + x * *factor, as vf_fma. These are the instructions that take the fewest registers:
 * left to choose, compilers take some that loops full of sums have not got. */
SIMD vf vf_add_times(vf sum, vf x, const float *factor)
{
#if defined(__FMA__)
    __m256 f;
    __asm__("vbroadcastss %5, %2\n\t"
            "vfmadd231ps %2, %3, %0\n\t"
            "vfmadd231ps %2, %4, %1"
            : "+x"(sum.a), "+x"(sum.b), "=&x"(f)
            : "x"(x.a), "x"(x.b), "m"(*factor));
    return sum;
#else /* where intrinsics are emulated */
    return vf_fma(x, vf_set1(*factor), sum);
#endif
}

/* sum + x * y, as vf_fma. */
SIMD vf vf_add_product(vf sum, vf x, vf y)
{
    return vf_fma(x, y, sum);
}

/* y where x is NaN */
SIMD vf vf_max(vf x, vf y)
{
    return vf_of(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b));
}

SIMD vf vf_min(vf x, vf y)
{
    return vf_of(_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b));
}

SIMD vf vf_abs(vf x)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return vf_of(_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b));
}

/* x < y ? yes : no */
SIMD vf vf_less(vf x, vf y, vf yes, vf no)
{
    return vf_of(_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
                 _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)));
}

/* All ones in lanes where x < y, else none. */
SIMD vi vf_is_less(vf x, vf y)
{
    return vi_of(_mm256_castps_si256(_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
                 _mm256_castps_si256(_mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)));
}

/* x, but zero in the lanes of a mask. */
SIMD vf vf_without(vf x, vi mask)
{
    return vf_of(_mm256_andnot_ps(_mm256_castsi256_ps(mask.a), x.a),
                 _mm256_andnot_ps(_mm256_castsi256_ps(mask.b), x.b));
}

/* Lanes 0 .. n - 1 of x, the others of y. */
SIMD vf vf_first(vf x, vf y, int n)
{
    vi m = vi_mask_first(n);
    return vf_of(_mm256_blendv_ps(y.a, x.a, _mm256_castsi256_ps(m.a)),
                 _mm256_blendv_ps(y.b, x.b, _mm256_castsi256_ps(m.b)));
}

/* Lanes i and i + 8, then + 4, + 2, + 1. */
SIMD float vf_sum(vf x)
{
    __m256 b = _mm256_add_ps(x.a, x.b);
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

SIMD float vf_largest(vf x)
{
    __m256 b = _mm256_max_ps(x.a, x.b);
    __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

SIMD vi vf_as_vi(vf x)
{
    return vi_of(_mm256_castps_si256(x.a), _mm256_castps_si256(x.b));
}

SIMD vf vi_as_vf(vi x)
{
    return vf_of(_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b));
}

SIMD vf vf_of_vi(vi x)
{
    return vf_of(_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b));
}

/* Nearest integer, ties to even, of values within int32. */
SIMD vi vi_round(vf x)
{
    return vi_of(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
}

SIMD vi vi_zero(void)
{
    return vi_of(_mm256_setzero_si256(), _mm256_setzero_si256());
}

SIMD vi vi_set1(int32_t x)
{
    return vi_of(_mm256_set1_epi32(x), _mm256_set1_epi32(x));
}

SIMD vi vi_load(const void *p)
{
    return vi_of(_mm256_loadu_si256((const __m256i *)p),
                 _mm256_loadu_si256((const __m256i *)p + 1));
}

/* Rows i and i + 4. */
SIMD __m256i load_2_rows(const uint8_t *const row[16], int i, size_t at)
{
    __m128i a = _mm_loadu_si128((const __m128i *)(row[i] + at));
    __m128i b = _mm_loadu_si128((const __m128i *)(row[i + 4] + at));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
}

/* Words 0 .. 3 of 8 rows. */
SIMD void load_8_rows(const uint8_t *const row[16], int i, size_t at, __m256i out[4])
{
    __m256i a = load_2_rows(row, i, at), b = load_2_rows(row, i + 1, at);
    __m256i c = load_2_rows(row, i + 2, at), d = load_2_rows(row, i + 3, at);
    __m256i ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
    out[0] = _mm256_unpacklo_epi64(ab, cd);
    out[1] = _mm256_unpackhi_epi64(ab, cd);
    ab = _mm256_unpackhi_epi32(a, b);
    cd = _mm256_unpackhi_epi32(c, d);
    out[2] = _mm256_unpacklo_epi64(ab, cd);
    out[3] = _mm256_unpackhi_epi64(ab, cd);
}

/* Lane i of out[j]: word j of the 4 at byte at of row i. */
SIMD void vi_load_rows(const uint8_t *const row[16], size_t at, vi out[4])
{
    __m256i low[4], high[4];
    load_8_rows(row, 0, at, low);
    load_8_rows(row, 8, at, high);
    for (int j = 0; j < 4; j++)
        out[j] = vi_of(low[j], high[j]);
}

SIMD void vi_store(void *p, vi x)
{
    _mm256_storeu_si256((__m256i *)p, x.a);
    _mm256_storeu_si256((__m256i *)p + 1, x.b);
}

#define E4M3_RUN    4 /* see simd.h */
#define E4M3_STEP   4
#define E4M3_ROOM   1 /* none is needed */
#define E4M3_FACTOR 0x1p120f
#define E4M3_LIFT   0x1p60f

/* A vector of signed 16 bits each, of which the sign and the seven bits from the fourth on count:
 * bfloat16 of an exponent too small by 120, subnormal ones too. */
SIMD void split_e4m3(vi pairs, vf *even, vf *odd)
{
    const __m256i m = _mm256_set1_epi32((int32_t)0x87f00000u);
    __m256i a = _mm256_slli_epi32(pairs.a, 16), b = _mm256_slli_epi32(pairs.b, 16);
    *even = vf_of(_mm256_castsi256_ps(_mm256_and_si256(a, m)),
                  _mm256_castsi256_ps(_mm256_and_si256(b, m)));
    *odd = vf_of(_mm256_castsi256_ps(_mm256_and_si256(pairs.a, m)),
                 _mm256_castsi256_ps(_mm256_and_si256(pairs.b, m)));
}

/* Half 0 or 1 of the four numbers of 16 rows: the even bytes of each word, or the odd ones. */
SIMD void vf_load_e4m3(const uint8_t *p, int half, uint8_t *room, vf *first, vf *second)
{
    (void)room;
    vi x = vi_load(unknown(p)); /* anew for each half: it takes a register less */
    if (half)
        x = vi_of(_mm256_srai_epi16(x.a, 4), _mm256_srai_epi16(x.b, 4));
    else /* a shift of signed bytes */
        x = vi_of(_mm256_maddubs_epi16(_mm256_set1_epi16(16), x.a),
                  _mm256_maddubs_epi16(_mm256_set1_epi16(16), x.b));
    split_e4m3(x, first, second);
}

SIMD vi vi_load_u8(const uint8_t *p)
{
    return vi_of(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)),
                 _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8))));
}

SIMD vi vi_load_s8(const int8_t *p)
{
    return vi_of(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)),
                 _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8))));
}

/* The low 8 or 16 bits of each lane. */
SIMD void vi_store_u16(uint16_t *p, vi x)
{
    __m256i m = _mm256_set1_epi32(0xffff);
    __m256i y = _mm256_packus_epi32(_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m));
    _mm256_storeu_si256((__m256i *)p, _mm256_permute4x64_epi64(y, 0xd8));
}

SIMD void vi_store_s8(int8_t *p, vi x)
{
    __m256i m = _mm256_set1_epi32(0xff);
    __m256i y = _mm256_packus_epi32(_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m));
    y = _mm256_permute4x64_epi64(y, 0xd8);
    _mm_storeu_si128((__m128i *)p,
                     _mm_packus_epi16(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1)));
}

/* Rounded within -127 .. 127, NaN to -127. */
SIMD vi vi_round_s8(vf a)
{
    const __m256i least = _mm256_set1_epi32(-127);
    vi x = vi_round(a);
    return vi_of(_mm256_max_epi32(x.a, least), _mm256_max_epi32(x.b, least));
}

/* a and b, rounded in this way: as 32 bytes, and as integers. */
SIMD void vf_store_s8_pair(int8_t *p, vf a, vf b, vi *x, vi *y)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    *x = vi_round_s8(a);
    *y = vi_round_s8(b);
    __m256i q = _mm256_packs_epi16(_mm256_packs_epi32(x->a, x->b), _mm256_packs_epi32(y->a, y->b));
    _mm256_storeu_si256((__m256i *)p, _mm256_permutevar8x32_epi32(q, order));
}

SIMD vi vi_add(vi x, vi y)
{
    return vi_of(_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b));
}

/* The same, of which the compiler does not know where it is from: it will not load it twice. */
SIMD vi vi_once(vi x)
{
    __asm__("" : "+x"(x.a), "+x"(x.b));
    return x;
}

SIMD vi vi_sub(vi x, vi y)
{
    return vi_of(_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b));
}

SIMD vi vi_and(vi x, vi y)
{
    return vi_of(_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b));
}

SIMD vi vi_or(vi x, vi y)
{
    return vi_of(_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b));
}

SIMD vi vi_xor(vi x, vi y)
{
    return vi_of(_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b));
}

/* Shifts by a constant; shr fills with zeros, sar with the sign. */
SIMD vi vi_shl(vi x, int n)
{
    return vi_of(_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n));
}

SIMD vi vi_shr(vi x, int n)
{
    return vi_of(_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n));
}

SIMD vi vi_sar(vi x, int n)
{
    return vi_of(_mm256_srai_epi32(x.a, n), _mm256_srai_epi32(x.b, n));
}

/* Lane i, i < n: the lanes of a[i], added or their largest. Neighbours become one, in which
 * each has half of the lanes. */
SIMD __m256i fold(__m256i a, __m256i b, bool adds)
{
    return adds ? _mm256_add_epi32(a, b) : _mm256_max_epi32(a, b);
}

SIMD __m256i fold_eight(const vi a[8], bool adds)
{
    __m256i x[8], y[4];
    UNROLL
    for (int i = 0; i < 8; i++)
        x[i] = fold(a[i].a, a[i].b, adds);
    UNROLL
    for (int i = 0; i < 4; i++)
        y[i] = fold(_mm256_unpacklo_epi32(x[2 * i], x[2 * i + 1]),
                    _mm256_unpackhi_epi32(x[2 * i], x[2 * i + 1]), adds);
    UNROLL
    for (int i = 0; i < 2; i++)
        x[i] = fold(_mm256_unpacklo_epi64(y[2 * i], y[2 * i + 1]),
                    _mm256_unpackhi_epi64(y[2 * i], y[2 * i + 1]), adds);
    return fold(_mm256_permute2x128_si256(x[0], x[1], 0x20),
                _mm256_permute2x128_si256(x[0], x[1], 0x31), adds);
}

SIMD vi vi_fold_each(const vi a[LANES], size_t n, bool adds)
{
    const __m256i low = fold_eight(a, adds);
    return vi_of(low, n > 8 ? fold_eight(a + 8, adds) : low);
}

/* Nibbles of a line: the low ones, and the high ones times HIGH_SCALE. */
SIMD vi vi_low(vi line)
{
    __m256i m = _mm256_set1_epi8(0x0f);
    return vi_of(_mm256_and_si256(line.a, m), _mm256_and_si256(line.b, m));
}

SIMD vi vi_high(vi line)
{
    return vi_low(vi_of(_mm256_srli_epi16(line.a, 4), _mm256_srli_epi16(line.b, 4)));
}

SIMD vi vi_e2m1(vi codes)
{
    const __m128i numbers =
        _mm_setr_epi8(16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4);
    const __m256i table = _mm256_broadcastsi128_si256(numbers);
    return vi_of(_mm256_shuffle_epi8(table, codes.a), _mm256_shuffle_epi8(table, codes.b));
}

SIMD vi vi_broadcast4(const int8_t *a)
{
    int32_t four;
    memcpy(&four, a, sizeof four);
    return vi_set1(four);
}

/* Pairs of products in 16 bits: 127 * 127 * 2 fits, or 128 of signed bytes. */
#define DOT_LINES(most) (32767 / (2 * 127 * (most)))

/* Sums as the instructions themselves: compilers take a chain of additions apart and compute
 * all its products first, which then wait in memory. */
#if defined(__AVX2__)
SIMD __m256i add_epi16(__m256i x, __m256i y)
{
    __m256i sum;
    __asm__("vpaddw %2, %1, %0" : "=x"(sum) : "%x"(x), "x"(y));
    return sum;
}

SIMD __m256i add_epi32(__m256i x, __m256i y)
{
    __m256i sum;
    __asm__("vpaddd %2, %1, %0" : "=x"(sum) : "%x"(x), "x"(y));
    return sum;
}
#else /* where intrinsics are emulated */
#define add_epi16 _mm256_add_epi16
#define add_epi32 _mm256_add_epi32
#endif

/* Signed: |w| times a with the sign of w. */
SIMD vi vi_dot_begin(vi start, vi line, vi a, bool is_signed)
{
    (void)start;
    if (is_signed) {
        a = vi_of(_mm256_sign_epi8(a.a, line.a), _mm256_sign_epi8(a.b, line.b));
        line = vi_of(_mm256_abs_epi8(line.a), _mm256_abs_epi8(line.b));
    }
    return vi_of(_mm256_maddubs_epi16(line.a, a.a), _mm256_maddubs_epi16(line.b, a.b));
}

SIMD vi vi_dot_add(vi sum, vi line, vi a, bool is_signed)
{
    vi pairs = vi_dot_begin(sum, line, a, is_signed);
    return vi_of(add_epi16(sum.a, pairs.a), add_epi16(sum.b, pairs.b));
}

SIMD vi vi_dot_begin_four(vi start, vi line, const int8_t *a)
{
    return vi_dot_begin(start, line, vi_broadcast4(a), false);
}

SIMD vi vi_dot_add_four(vi sum, vi line, const int8_t *a)
{
    return vi_dot_add(sum, line, vi_broadcast4(a), false);
}

SIMD vi vi_dot_end(vi sum)
{
    const __m256i one = _mm256_set1_epi16(1);
    return vi_of(_mm256_madd_epi16(sum.a, one), _mm256_madd_epi16(sum.b, one));
}

SIMD vi vi_dot_end_after(vi start, vi sum)
{
    vi end = vi_dot_end(sum);
    return vi_of(add_epi32(start.a, end.a), add_epi32(start.b, end.b));
}
