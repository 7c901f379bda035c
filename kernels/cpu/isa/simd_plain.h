/* Vectors of simd.h as four of the compiler's own 16-byte vectors: portable C that
 * becomes the base instruction set of the machine. */
#pragma once

#include "../../../quant/e4m3.h"
#include "../../../quant/f16.h"

typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef int16_t i16x8 __attribute__((vector_size(16)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));

typedef struct {
    f32x4 v[4]; /* lanes 0 .. 3, 4 .. 7, 8 .. 11, 12 .. 15 */
} vf;

typedef struct {
    i32x4 v[4];
} vi;

#define SIMD_NAME "plain"

/* Tiles of integers done together. */
#define DOT_TILES(width, data, scales) 1
/* Columns done together, and what else differs. */
#define DOT_COLUMNS               2
#define DOT_COLUMNS_K16           2
#define DOT_TILES_MAX             1
#define PAIR_AT_ONCE(width, data) 0 /* groups that share lines are done in turn */
#define UNPACK_COLUMNS            6 /* values of 5 and 6 bits become bytes for as many columns */
#define UNPACK_BLOCKS             1 /* and blocks of them */
#define ZERO_COLUMNS              9 /* zero points are never taken off lines, always off sums */
#define DOT_UNROLL                /* not the lines: there is too little room for what that gains */
#define DOT_BIAS                  0
#define HIGH_SCALE                1
#define FETCH_TILES               0
/* Bytes of weights fetched ahead of their use, see multiply.c. */
#define INT8_AHEAD(width, data) 0
#define FLOAT_AHEAD             0
#define STREAM_INPUTS           0
#define STREAMS_ALWAYS(data)    0
/* Whether a kernel unpacks weights, once for the blocks that it is given. */
#define INT8_UNPACKS(data, loads_bound) true

/* Attention: rows of a tile, and how many vectors of sums fit the registers. */
#define TILES(X)     X(1) X(2)
#define TILE_ROWS    2
#define TILE_VECTORS 2

/* One vector from an expression of i = 0 .. 3. */
#define EACH4(type, expression)       \
    do {                              \
        type each;                    \
        UNROLL                        \
        for (int i = 0; i < 4; i++)   \
            each.v[i] = (expression); \
        return each;                  \
    } while (0)

SIMD vf vf_set1(float x)
{
    EACH4(vf, ((f32x4){x, x, x, x}));
}

SIMD vf vf_zero(void)
{
    return vf_set1(0.0f);
}

SIMD vf vf_load(const float *p)
{
    vf x;
    memcpy(&x, p, sizeof x);
    return x;
}

SIMD void vf_store(float *p, vf x)
{
    memcpy(p, &x, sizeof x);
}

/* The first n lanes only, 0 <= n <= 16; the others are zero, or left as they were. Mostly it is
 * all of them, which needs no call of memcpy. */
SIMD vf vf_load_first(const float *p, int n)
{
    if (n == LANES)
        return vf_load(p);
    vf x = vf_zero();
    memcpy(&x, p, (size_t)n * sizeof *p);
    return x;
}

SIMD void vf_store_first(float *p, vf x, int n)
{
    if (n == LANES) {
        vf_store(p, x);
        return;
    }
    memcpy(p, &x, (size_t)n * sizeof *p);
}

/* Lanes 2i and 2i + 1 are p[i]. */
SIMD vf vf_load_twice(const float *p)
{
    vf x;
    UNROLL
    for (int i = 0; i < 4; i++)
        x.v[i] = (f32x4){p[2 * i], p[2 * i], p[2 * i + 1], p[2 * i + 1]};
    return x;
}

/* Lanes 2i and 2i + 1 change places. */
SIMD vf vf_swap_pairs(vf x)
{
    UNROLL
    for (int i = 0; i < 4; i++)
        x.v[i] = (f32x4){x.v[i][1], x.v[i][0], x.v[i][3], x.v[i][2]};
    return x;
}

/* Not inline: it is long, and used often. */
static __attribute__((noinline, unused)) vf vf_load_f16(const uint16_t *p)
{
    float x[16];
    for (int i = 0; i < 16; i++)
        x[i] = f16_to_float(p[i]);
    return vf_load(x);
}

SIMD vf vf_load_bf16(const uint16_t *p)
{
    uint32_t bits[16];
    vf x;
    for (int i = 0; i < 16; i++)
        bits[i] = (uint32_t)p[i] << 16;
    memcpy(&x, bits, sizeof x);
    return x;
}

#define E4M3_RUN    2 /* see simd.h */
#define E4M3_STEP   2
#define E4M3_ROOM   1 /* none is needed */
#define E4M3_FACTOR 0x1p8f
#define E4M3_LIFT   1.0f

/* The even and the odd ones of 16 pairs of E4M3 numbers, each times 2^-8. */
static __attribute__((noinline, unused)) void vf_load_e4m3(const uint8_t *p, int half,
                                                           uint8_t *room, vf *even, vf *odd)
{
    float x[2][16];
    (void)half; /* there is one */
    (void)room;
    for (int i = 0; i < 32; i++)
        x[i % 2][i / 2] = e4m3_to_float(p[i]) * 0x1p-8f;
    *even = vf_load(x[0]);
    *odd = vf_load(x[1]);
}

SIMD vf vf_add(vf x, vf y)
{
    EACH4(vf, x.v[i] + y.v[i]);
}

SIMD vf vf_sub(vf x, vf y)
{
    EACH4(vf, x.v[i] - y.v[i]);
}

SIMD vf vf_mul(vf x, vf y)
{
    EACH4(vf, x.v[i] * y.v[i]);
}

SIMD vf vf_div(vf x, vf y)
{
    EACH4(vf, x.v[i] / y.v[i]);
}

/* x * y + z; rounded once where the hardware can: here twice. */
SIMD vf vf_fma(vf x, vf y, vf z)
{
    EACH4(vf, x.v[i] * y.v[i] + z.v[i]);
}

/* sum + x * *factor, as vf_fma */
SIMD vf vf_add_times(vf sum, vf x, const float *factor)
{
    return vf_fma(x, vf_set1(*factor), sum);
}

/* mask ? yes : no, lane by lane; mask lanes are 0 or -1. */
SIMD f32x4 choose(i32x4 mask, f32x4 yes, f32x4 no)
{
    return (f32x4)((mask & (i32x4)yes) | (~mask & (i32x4)no));
}

/* sum + x * y, as vf_fma. */
SIMD vf vf_add_product(vf sum, vf x, vf y)
{
    return vf_fma(x, y, sum);
}

/* y where x is NaN */
SIMD vf vf_max(vf x, vf y)
{
    EACH4(vf, choose(x.v[i] > y.v[i], x.v[i], y.v[i]));
}

SIMD vf vf_min(vf x, vf y)
{
    EACH4(vf, choose(x.v[i] < y.v[i], x.v[i], y.v[i]));
}

SIMD vf vf_abs(vf x)
{
    const i32x4 m = {0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff};
    EACH4(vf, (f32x4)((i32x4)x.v[i] & m));
}

/* x < y ? yes : no */
SIMD vf vf_less(vf x, vf y, vf yes, vf no)
{
    EACH4(vf, choose(x.v[i] < y.v[i], yes.v[i], no.v[i]));
}

/* All ones in lanes where x < y, else none. */
SIMD vi vf_is_less(vf x, vf y)
{
    EACH4(vi, x.v[i] < y.v[i]);
}

/* x, but zero in the lanes of a mask. */
SIMD vf vf_without(vf x, vi mask)
{
    EACH4(vf, (f32x4)((i32x4)x.v[i] & ~mask.v[i]));
}

/* Lanes 0 .. n - 1 of x, the others of y. */
SIMD vf vf_first(vf x, vf y, int n)
{
    const i32x4 lane = {0, 1, 2, 3};
    EACH4(vf, choose(lane + 4 * i < n, x.v[i], y.v[i]));
}

/* Lanes i and i + 8, then + 4, + 2, + 1. */
SIMD float vf_sum(vf x)
{
    f32x4 c = (x.v[0] + x.v[2]) + (x.v[1] + x.v[3]);
    return (c[0] + c[2]) + (c[1] + c[3]);
}

SIMD float vf_largest(vf x)
{
    float all[16], most;
    vf_store(all, x);
    most = all[0];
    for (int i = 1; i < 16; i++)
        most = all[i] > most ? all[i] : most;
    return most;
}

SIMD vi vf_as_vi(vf x)
{
    EACH4(vi, (i32x4)x.v[i]);
}

SIMD vf vi_as_vf(vi x)
{
    EACH4(vf, (f32x4)x.v[i]);
}

SIMD vf vf_of_vi(vi x)
{
    EACH4(vf, __builtin_convertvector(x.v[i], f32x4));
}

/* Nearest integer, ties to even, of values within int32. Below 2^22 in magnitude the
 * rounding of an addition does it; all uses are. */
SIMD vi vi_round(vf x)
{
    const f32x4 magic = {12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f};
    EACH4(vi, (i32x4)(x.v[i] + magic) - (i32x4)magic);
}

SIMD vi vi_set1(int32_t x)
{
    EACH4(vi, ((i32x4){x, x, x, x}));
}

SIMD vi vi_zero(void)
{
    return vi_set1(0);
}

SIMD vi vi_load(const void *p)
{
    vi x;
    memcpy(&x, p, sizeof x);
    return x;
}

SIMD int32_t word_at(const uint8_t *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Lane i of out[j]: word j of the 4 at byte at of row i. */
SIMD void vi_load_rows(const uint8_t *const row[16], size_t at, vi out[4])
{
    UNROLL
    for (int i = 0; i < 4; i++) {
        const uint8_t *const *r = row + 4 * i;
        UNROLL
        for (int j = 0; j < 4; j++, at += 4)
            out[j].v[i] = (i32x4){word_at(r[0] + at), word_at(r[1] + at), word_at(r[2] + at),
                                  word_at(r[3] + at)};
        at -= 16;
    }
}

SIMD void vi_store(void *p, vi x)
{
    memcpy(p, &x, sizeof x);
}

SIMD vi vi_load_u8(const uint8_t *p)
{
    int32_t x[16];
    for (int i = 0; i < 16; i++)
        x[i] = p[i];
    return vi_load(x);
}

SIMD vi vi_load_s8(const int8_t *p)
{
    int32_t x[16];
    for (int i = 0; i < 16; i++)
        x[i] = p[i];
    return vi_load(x);
}

/* The low 8 or 16 bits of each lane. */
SIMD void vi_store_s8(int8_t *p, vi x)
{
    uint32_t all[16];
    vi_store(all, x);
    for (int i = 0; i < 16; i++)
        p[i] = (int8_t)(all[i] & 0xff);
}

SIMD void vi_store_u16(uint16_t *p, vi x)
{
    uint32_t all[16];
    vi_store(all, x);
    for (int i = 0; i < 16; i++)
        p[i] = (uint16_t)all[i];
}

/* Wraps, as the instructions of the others do. */
SIMD vi vi_add(vi x, vi y)
{
    EACH4(vi, (i32x4)((u32x4)x.v[i] + (u32x4)y.v[i]));
}

/* There are too few registers to keep it in. */
SIMD vi vi_once(vi x)
{
    return x;
}

SIMD vi vi_sub(vi x, vi y)
{
    EACH4(vi, (i32x4)((u32x4)x.v[i] - (u32x4)y.v[i]));
}

SIMD vi vi_and(vi x, vi y)
{
    EACH4(vi, x.v[i] & y.v[i]);
}

SIMD vi vi_or(vi x, vi y)
{
    EACH4(vi, x.v[i] | y.v[i]);
}

SIMD vi vi_xor(vi x, vi y)
{
    EACH4(vi, x.v[i] ^ y.v[i]);
}

/* Shifts by a constant; shr fills with zeros, sar with the sign. */
SIMD vi vi_shl(vi x, int n)
{
    EACH4(vi, (i32x4)((u32x4)x.v[i] << n));
}

SIMD vi vi_shr(vi x, int n)
{
    EACH4(vi, (i32x4)((u32x4)x.v[i] >> n));
}

SIMD vi vi_sar(vi x, int n)
{
    EACH4(vi, x.v[i] >> n);
}

/* a and b, rounded within -127 .. 127, NaN to -127: as 32 bytes, and as integers. */
SIMD void vf_store_s8_pair(int8_t *p, vf a, vf b, vi *x, vi *y)
{
    const vf least = vf_set1(-127.0f), most = vf_set1(127.0f);
    *x = vi_round(vf_min(vf_max(a, least), most));
    *y = vi_round(vf_min(vf_max(b, least), most));
    vi_store_s8(p, *x);
    vi_store_s8(p + LANES, *y);
}

/* Lane i, i < n: the lanes of a[i], added or their largest; the others are 0. */
SIMD vi vi_fold_each(const vi a[LANES], size_t n, bool adds)
{
    vi out = vi_zero();
    for (size_t i = 0; i < n; i++) {
        int32_t x = a[i].v[0][0];
        for (int j = 1; j < LANES; j++) {
            const int32_t next = a[i].v[j / 4][j % 4];
            x = adds ? x + next : next > x ? next : x;
        }
        out.v[i / 4][i % 4] = x;
    }
    return out;
}

/* Nibbles of a line: the low ones, and the high ones times HIGH_SCALE. */
SIMD vi vi_low(vi line)
{
    return vi_and(line, vi_set1(0x0f0f0f0f));
}

SIMD vi vi_high(vi line)
{
    return vi_low(vi_shr(line, 4));
}

/* Of codes from 4 on the step doubles with each power of two. No byte carries into the next. */
SIMD vi vi_e2m1(vi codes)
{
    const vi ones = vi_set1(0x01010101);
    const vi is_large = vi_and(vi_shr(codes, 2), ones), is_minus = vi_and(vi_shr(codes, 3), ones);
    const vi large = vi_and(codes, vi_add(is_large, vi_shl(is_large, 1)));
    const vi largest = vi_shl(vi_and(vi_and(large, vi_shr(large, 1)), ones), 1);
    const vi size = vi_add(vi_and(codes, vi_set1(0x07070707)), vi_add(large, largest));
    const vi minus = vi_sub(vi_shl(is_minus, 4), is_minus); /* 15 where it is */
    return vi_add(vi_xor(size, minus), vi_sub(vi_set1(0x10101010), minus));
}

SIMD vi vi_broadcast4(const int8_t *a)
{
    int32_t four;
    memcpy(&four, a, sizeof four);
    return vi_set1(four);
}

/* Pairs of products in 16 bits: 127 * 127 * 2 fits, or 128 of signed bytes. */
#define DOT_LINES(most) (32767 / (2 * 127 * (most)))

/* The bytes at even and at odd places, sign-extended to 16 bits. */
SIMD i16x8 even_bytes(i32x4 x)
{
    return (i16x8)((u16x8)x << 8) >> 8;
}

SIMD i16x8 odd_bytes(i32x4 x)
{
    return (i16x8)x >> 8;
}

/* Bytes up to 127 are the same with a sign. */
SIMD vi vi_dot_add(vi sum, vi line, vi a, bool is_signed)
{
    (void)is_signed;
    UNROLL
    for (int i = 0; i < 4; i++) {
        i16x8 even = even_bytes(line.v[i]) * even_bytes(a.v[i]);
        i16x8 odd = odd_bytes(line.v[i]) * odd_bytes(a.v[i]);
        sum.v[i] = (i32x4)((i16x8)sum.v[i] + even + odd);
    }
    return sum;
}

SIMD vi vi_dot_begin(vi start, vi line, vi a, bool is_signed)
{
    (void)start;
    return vi_dot_add(vi_zero(), line, a, is_signed);
}

SIMD vi vi_dot_begin_four(vi start, vi line, const int8_t *a)
{
    return vi_dot_begin(start, line, vi_broadcast4(a), false);
}

SIMD vi vi_dot_add_four(vi sum, vi line, const int8_t *a)
{
    return vi_dot_add(sum, line, vi_broadcast4(a), false);
}

/* Adds the two 16-bit values in each 32-bit lane. */
SIMD vi vi_dot_end(vi sum)
{
    EACH4(vi, ((i32x4)((u32x4)sum.v[i] << 16) >> 16) + (sum.v[i] >> 16));
}

SIMD vi vi_dot_end_after(vi start, vi sum)
{
    return vi_add(start, vi_dot_end(sum));
}
