/* Vectors of 16 lanes, one set of names for every instruction set: vf holds 16
 * floats, vi 16 int32. This header and the three it picks from are the only place
 * that knows which instruction set is being compiled.
 *
 * Every function is exact about the order of its operations, so that a result never
 * depends on where a value stood in a vector. Loads and stores need no alignment.
 *
 * Dot products: a "line" is a vi read as 64 bytes, 4 consecutive inputs of 16 output
 * rows (lane i, byte j: row i, input j); vi_broadcast4 gives 4 activations, -127 .. 127, to
 * every row. To sum the products of several lines, exactly: vi_dot_begin for the first,
 * vi_dot_add for the others, at most DOT_LINES(most) of them if bytes are 0 .. most, or the same
 * with _four, which take activations that are yet to be given to every row; then
 * vi_dot_end, or vi_dot_end_after with the start that vi_dot_begin has had: in between the
 * sums are in whatever form is best. Bytes are signed where so said (then one line alone),
 * which is how signed bytes are stored if DOT_BIAS is 0; otherwise they are stored plus
 * DOT_BIAS, and a sum comes out too large by DOT_BIAS times that of the activations.
 *
 * E2M1: vi_e2m1 makes of a code in each byte, 0 .. 15, twice its number plus 16.
 *
 * E4M3: weights keep E4M3_RUN inputs of a row side by side, 2 or 4, in the order of e4m3_place.
 * vf_load_e4m3 gives inputs 2 half and 2 half + 1 of the E4M3_STEP inputs of 16 rows at p, divided
 * by E4M3_FACTOR; half 0 comes first and leaves in room, of E4M3_ROOM bytes, what the other needs.
 * Inputs are multiplied by E4M3_LIFT where they meet them, so that products do not become too
 * small; those beyond 2^67 then count as infinite. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Name of a non-static symbol of this directory: ISA_FN(linear) is linear_avx512. */
#define ISA_JOIN_(name, isa) name##_##isa
#define ISA_JOIN(name, isa)  ISA_JOIN_(name, isa)
#define ISA_FN(name)         ISA_JOIN(name, ISA)

/* The same of the integer and float tiles: compiled once for the sets that agree on them. */
#if defined(ISA_AVX512BF16)
#define TILE_FN(name) ISA_JOIN(name, avx512)
#else
#define TILE_FN(name) ISA_FN(name)
#endif

#define SIMD       static inline __attribute__((always_inline, unused))
#define LANES      16
#define LINE_BYTES 64

/* COPIED: the outermost function of a kernel, copied for each set of constants it is called
 * with, and its loops unrolled. Not so with sanitizers, whose checks in every copy take a
 * compiler minutes and find nothing that they do not find in one. */
#if defined(ONE_COPY)
#define COPIED static __attribute__((noinline))
#define UNROLL
#elif defined(__clang__)
#define COPIED SIMD
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define COPIED SIMD
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* The same address, of which the compiler does not know that it is: it will read anew. */
SIMD const uint8_t *unknown(const uint8_t *p)
{
    __asm__ volatile("" : "+r"(p));
    return p;
}

#if !defined(ISA_PLAIN)
#include <immintrin.h>
#endif

#if defined(ISA_AVX512) || defined(ISA_AVX512BF16)
#include "simd_avx512.h"
#elif defined(ISA_AVX2)
#include "simd_avx2.h"
#else
#include "simd_plain.h"
#endif

/* Products in floats, with 16 registers or fewer. */
#if !defined(FLOAT_TILES)
#define FLOAT_COLUMNS      4                                       /* that fit the registers */
#define FLOAT_TILES(width) ((width) < 3 ? 4 : (width) < 5 ? 2 : 1) /* done together */
#define SHARED_INPUTS      0
/* With many columns pieces of these tiles are unpacked once for all: what the first cache holds
 * beside inputs. */
#define PIECE_DATA       DATA_BF16
#define PIECE_INPUTS     512
#define PIECE_TILES      1
#define HAS_PIECES(data) ((data) == DATA_E4M3)
#endif

#if defined(ISA_AVX512BF16)
#define DOT_PAIRS 1 /* pairs of bfloat16 are multiplied by an instruction */
#else
#define DOT_PAIRS 0
#endif

/* The 16 even and odd elements of 16 pairs of bfloat16. */
SIMD vf vf_bf16_even(vi pairs)
{
    return vi_as_vf(vi_shl(pairs, 16));
}

SIMD vf vf_bf16_odd(vi pairs)
{
    return vi_as_vf(vi_and(pairs, vi_set1((int32_t)0xffff0000u)));
}

/* sum + a.odd b.odd, rounded, + a.even b.even, rounded: products are exact. Where it is an
 * instruction, subnormal numbers are taken for zero. */
SIMD vf vf_dot_pairs(vf sum, vi a, vi b)
{
#if DOT_PAIRS
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
#else
    sum = vf_fma(vf_bf16_odd(a), vf_bf16_odd(b), sum);
    return vf_fma(vf_bf16_even(a), vf_bf16_even(b), sum);
#endif
}

/* e^x within 2 units of the last place; exactly 0 below -87.3, at most e^88.3. In two halves, for
 * loops over many numbers: the operations of one number wait for one another, and more numbers are
 * under way at once where each takes half as many. x = n ln 2 + rest; power is what n adds to the
 * bits of a float. Where the result is 0 the rest is, and n, -126 there, is one less: the bits of 1
 * become none. */
struct vf_exp_parts {
    vf rest;
    vi power;
};

SIMD struct vf_exp_parts vf_exp_begin(vf x)
{
    const vf lowest = vf_set1(-87.3f);
    vf y = vf_min(vf_max(x, lowest), vf_set1(88.3f));
    vi n = vi_round(vf_mul(y, vf_set1(1.44269504f))), below = vf_is_less(x, lowest);
    vf k = vf_of_vi(n);
    vf r = vf_fma(k, vf_set1(-0.693359375f), y); /* ln 2 in two parts */
    r = vf_fma(k, vf_set1(2.12194440e-4f), r);
    return (struct vf_exp_parts){vf_without(r, below), vi_shl(vi_add(n, below), 23)};
}

SIMD vf vf_exp_end(vf r, vi power)
{
    vf p = vf_set1(1.9875691500e-4f);
    p = vf_fma(p, r, vf_set1(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set1(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set1(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set1(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set1(5.0000001201e-1f));
    p = vf_add(vf_fma(p, vf_mul(r, r), r), vf_set1(1.0f));
    return vi_as_vf(vi_add(vf_as_vi(p), power));
}

SIMD vf vf_exp(vf x)
{
    struct vf_exp_parts parts = vf_exp_begin(x);
    return vf_exp_end(parts.rest, parts.power);
}

/* u of x / (1 + e^u): of silu, x / (1 + e^-x). */
SIMD vf vf_silu_power(vf x)
{
    return vf_sub(vf_zero(), x);
}

/* And of x / 2 (1 + tanh(v)) = x / (1 + e^-2v), v = sqrt(2 / pi) (x + 0.044715 x^3). */
SIMD vf vf_gelu_tanh_power(vf x)
{
    const float two_root = -1.59576912f; /* -2 sqrt(2 / pi) */
    vf cubic = vf_fma(vf_mul(x, x), vf_set1(0.044715f * two_root), vf_set1(two_root));
    return vf_mul(x, cubic);
}

/* x P(X <= x) with the complementary error function as in Abramowitz and Stegun 7.1.26, wrong by
 * 1.5e-7 at most: for z = |x| / sqrt(2), P(X > |x|) = t (a + t (b + ...)) e^-z^2 / 2. */
SIMD vf vf_gelu(vf x)
{
    vf z = vf_mul(vf_abs(x), vf_set1(0.707106781f));
    vf t = vf_div(vf_set1(1.0f), vf_fma(z, vf_set1(0.3275911f), vf_set1(1.0f)));
    vf p = vf_set1(0.5f * 1.061405429f);
    p = vf_fma(p, t, vf_set1(0.5f * -1.453152027f));
    p = vf_fma(p, t, vf_set1(0.5f * 1.421413741f));
    p = vf_fma(p, t, vf_set1(0.5f * -0.284496736f));
    p = vf_fma(p, t, vf_set1(0.5f * 0.254829592f));
    vf beyond = vf_mul(vf_mul(p, t), vf_exp(vf_sub(vf_zero(), vf_mul(z, z))));
    return vf_mul(x, vf_less(x, vf_zero(), beyond, vf_sub(vf_set1(1.0f), beyond)));
}

/* cap tanh(x / cap) = cap - 2 cap / (1 + e^(2 x / cap)) */
SIMD vf vf_cap(vf x, float cap)
{
    vf e = vf_exp(vf_mul(x, vf_set1(2 / cap)));
    return vf_sub(vf_set1(cap), vf_div(vf_set1(2 * cap), vf_add(vf_set1(1.0f), e)));
}

/* Nearest bfloat16, ties to even; not for NaN. */
SIMD void vf_store_bf16(uint16_t *out, vf x)
{
    vi bits = vf_as_vi(x);
    vi odd = vi_and(vi_shr(bits, 16), vi_set1(1));
    vi_store_u16(out, vi_shr(vi_add(vi_add(bits, vi_set1(0x7fff)), odd), 16));
}
