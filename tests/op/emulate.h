/* Comes before the kernels of an instruction set in a build with EMULATE (see the Makefile):
 * intrinsics that the processor lacks become what they mean. SIMDe has that for most; here
 * is what its version 0.7.4 lacks of what the kernels use, or has with another rounding
 * (later versions have more). One that neither has does not compile. A lane is 4 bytes. */
#pragma once

#include <immintrin.h> /* first: SIMDe then takes these types for its own */

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>

#include <stdint.h>
#include <string.h>

#define MEANING static inline __attribute__((always_inline, unused))

typedef float lanes_f32 __attribute__((vector_size(64)));
typedef int32_t lanes_i32 __attribute__((vector_size(64)));
typedef uint32_t lanes_u32 __attribute__((vector_size(64)));
typedef int8_t lanes_i8 __attribute__((vector_size(16)));
typedef uint8_t lanes_u8 __attribute__((vector_size(16)));
typedef int16_t lanes_i16 __attribute__((vector_size(32)));
typedef uint16_t lanes_u16 __attribute__((vector_size(32)));

#if !defined(__FMA__)
/* a b + c, rounded once. */
MEANING __m256 meaning_fmadd_256(__m256 a, __m256 b, __m256 c)
{
    for (int i = 0; i < 8; i++)
        c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
}

MEANING __m512 meaning_fmadd(__m512 a, __m512 b, __m512 c)
{
    for (int i = 0; i < 16; i++)
        c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
}

#undef _mm256_fmadd_ps
#undef _mm512_fmadd_ps
#define _mm256_fmadd_ps meaning_fmadd_256
#define _mm512_fmadd_ps meaning_fmadd
#endif

#if !defined(__AVX512F__)
/* Lanes whose bit of k is set, the others are zero; memory of these is not touched. */
MEANING __m512 meaning_maskz_loadu(__mmask16 k, const void *p)
{
    lanes_f32 a = {0};
    for (int i = 0; i < 16; i++)
        if (k >> i & 1) {
            float x;
            memcpy(&x, (const char *)p + 4 * i, sizeof x);
            a[i] = x;
        }
    return a;
}

/* The same of a store. */
MEANING void meaning_mask_storeu(void *p, __mmask16 k, __m512 a)
{
    for (int i = 0; i < 16; i++)
        if (k >> i & 1) {
            float x = a[i];
            memcpy((char *)p + 4 * i, &x, sizeof x);
        }
}

/* Each lane becomes one of the 4 of its quarter, the i-th of them the one that the i-th pair
 * of bits says. */
MEANING __m512 meaning_permute(__m512 a, int which)
{
    lanes_f32 r;
    for (int i = 0; i < 16; i++)
        r[i] = a[i - i % 4 + (which >> 2 * (i % 4) & 3)];
    return r;
}

/* Half floats, exactly. */
MEANING __m512 meaning_cvtph_ps(__m256i a)
{
    simde__m256i_private halves = simde__m256i_to_private(a);
    simde__m512_private r;
    for (int i = 0; i < 2; i++)
        r.m256[i] = _mm256_cvtph_ps(halves.m128i[i]);
    return simde__m512_from_private(r);
}

/* The nearest integer, ties to even. */
MEANING __m512i meaning_cvtps_epi32(__m512 a)
{
    simde__m512_private x = simde__m512_to_private(a);
    simde__m512i_private r;
    for (int i = 0; i < 2; i++)
        r.m256i[i] = _mm256_cvtps_epi32(x.m256[i]);
    return simde__m512i_from_private(r);
}

/* Of all lanes: the sum modulo 2^32, the largest. */
MEANING int32_t meaning_reduce_add(__m512i a)
{
    uint32_t sum = 0;
    for (int i = 0; i < 16; i++)
        sum += ((lanes_u32)a)[i];
    return (int32_t)sum;
}

MEANING float meaning_reduce_max(__m512 a)
{
    float most = a[0];
    for (int i = 1; i < 16; i++)
        most = a[i] > most ? a[i] : most;
    return most;
}

#undef _mm512_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#undef _mm512_permute_ps
#undef _mm512_cvtph_ps
#undef _mm512_cvtps_epi32
#undef _mm512_reduce_add_epi32
#undef _mm512_reduce_max_ps
#define _mm512_maskz_loadu_ps   meaning_maskz_loadu
#define _mm512_mask_storeu_ps   meaning_mask_storeu
#define _mm512_permute_ps       meaning_permute
#define _mm512_cvtph_ps         meaning_cvtph_ps
#define _mm512_cvtps_epi32      meaning_cvtps_epi32
#define _mm512_reduce_add_epi32 meaning_reduce_add
#define _mm512_reduce_max_ps    meaning_reduce_max

#undef _mm512_cvtepi8_epi32
#undef _mm512_cvtepu8_epi32
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtepi32_epi8
#undef _mm512_cvtepi32_epi16
#undef _mm512_cvtepi32_ps

/* Numbers to numbers of another type: bytes and words grow with the sign or zeros, lanes
 * lose their upper bits, integers become the nearest float, ties to even. */
#define TO_LANES(from, a)        ((__m512i) __builtin_convertvector((from)(a), lanes_i32))
#define _mm512_cvtepi8_epi32(a)  TO_LANES(lanes_i8, a)
#define _mm512_cvtepu8_epi32(a)  TO_LANES(lanes_u8, a)
#define _mm512_cvtepu16_epi32(a) TO_LANES(lanes_u16, a)
#define _mm512_cvtepi32_epi8(a)  ((__m128i) __builtin_convertvector((lanes_i32)(a), lanes_i8))
#define _mm512_cvtepi32_epi16(a) ((__m256i) __builtin_convertvector((lanes_i32)(a), lanes_i16))
#define _mm512_cvtepi32_ps(a)    __builtin_convertvector((lanes_i32)(a), lanes_f32)
#endif

#if !defined(__AVX512BW__)
/* Signed products of words, added in pairs. */
MEANING __m512i meaning_madd_epi16(__m512i a, __m512i b)
{
    simde__m512i_private x = simde__m512i_to_private(a), y = simde__m512i_to_private(b);
    for (int i = 0; i < 2; i++)
        x.m256i[i] = _mm256_madd_epi16(x.m256i[i], y.m256i[i]);
    return simde__m512i_from_private(x);
}

#undef _mm512_madd_epi16
#define _mm512_madd_epi16 meaning_madd_epi16
#endif

#if !defined(__AVX512DQ__)
/* Lanes 8 i to 8 i + 7. */
#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps(a, i) (simde__m512_to_private(a).m256[i])
#endif

#if !defined(__AVX512BF16__)
/* Subnormal numbers become zero, with their sign. */
MEANING __m512 meaning_flush(lanes_u32 bits)
{
    lanes_u32 normal = (lanes_u32)((bits & 0x7f800000u) != 0);
    return (__m512)(bits & (normal | 0x80000000u));
}

/* sum + a.odd b.odd, rounded, + a.even b.even, rounded, of pairs of bfloat16; ties to even,
 * and everything that goes in or comes out is flushed. */
MEANING __m512 meaning_dpbf16(__m512 sum, __m512bh a, __m512bh b)
{
    lanes_u32 x = (lanes_u32)a, y = (lanes_u32)b, s = (lanes_u32)sum;
    s = (lanes_u32)_mm512_fmadd_ps(meaning_flush(x & 0xffff0000u), meaning_flush(y & 0xffff0000u),
                                   meaning_flush(s));
    s = (lanes_u32)_mm512_fmadd_ps(meaning_flush(x << 16), meaning_flush(y << 16),
                                   meaning_flush(s));
    return meaning_flush(s);
}

#undef _mm512_dpbf16_ps
#define _mm512_dpbf16_ps meaning_dpbf16
#endif
