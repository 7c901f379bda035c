/* Conversions of single numbers between f32 or f64 and the small float formats, exact and without
 * branches, so that loops of them vectorise.
 *
 * Narrowing goes through double: every small format and f32 is exact in it, so there is one
 * rounding only. A result that is itself rounded in double beforehand would be rounded twice; it is
 * made odd first: with the last bit set where anything was cut off, no second rounding to a format
 * of at least two bits less can go wrong (Boldo and Melquiond, "Emulation of FMA and correctly
 * rounded sums: proved algorithms using rounding to odd"). */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t number_bits32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline float number_of32(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static inline uint64_t number_bits64(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline double number_of64(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* With masks: the compiler may not compute a float ahead of a branch, as that could raise an
 * exception, and so would not vectorise a conditional. */
static inline uint32_t number_choose(bool first, uint32_t a, uint32_t b)
{
    uint32_t mask = 0u - (uint32_t)first;
    return (a & mask) | (b & ~mask);
}

/* ---- Widening, exact */

/* The exponent is moved by a product, which makes numbers of subnormals too. */
static inline float number_from_f16(uint16_t h)
{
    uint32_t bits = (h & 0x7fffu) << 13;
    uint32_t scaled = number_bits32(number_of32(bits) * 0x1p112f);
    uint32_t magnitude = number_choose(bits >= 0x7c00u << 13, bits | 0x7f800000u, scaled);
    return number_of32(magnitude | (h & 0x8000u) << 16);
}
static inline float number_from_bf16(uint16_t h)
{
    return number_of32((uint32_t)h << 16);
}
/* e4m3 has no infinity, and its NaN is all ones (OCP 8-bit floating point, 5.3). */
static inline float number_from_e4m3(uint8_t h)
{
    uint32_t scaled = number_bits32(number_of32((h & 0x7fu) << 20) * 0x1p120f);
    uint32_t magnitude = number_choose((h & 0x7f) == 0x7f, 0x7fffffffu, scaled);
    return number_of32(magnitude | (h & 0x80u) << 24);
}
static inline float number_from_e5m2(uint8_t h)
{
    return number_from_f16((uint16_t)(h << 8));
}

/* ---- Narrowing */

enum number_round {
    NUMBER_NEAREST, /* ties to even */
    NUMBER_AWAY,    /* to nearest, ties away from zero */
    NUMBER_ZERO,
    NUMBER_DOWN,
    NUMBER_UP
};

struct number_format {
    int mantissa, bias; /* bits stored; exponent of 1.0 */
    uint32_t sign;      /* its place */
    uint32_t most;      /* the largest number; what follows it is infinity or NaN */
    uint32_t nan;       /* the canonical one, as hardware and NVIDIA's headers give it */
};

static const struct number_format number_f32 = {23, 127, 31, 0x7f7fffff, 0x7fffffff};
static const struct number_format number_tf32 = {10, 127, 18, 0x3fbff, 0x3ffff};
static const struct number_format number_f16 = {10, 15, 15, 0x7bff, 0x7fff};
static const struct number_format number_bf16 = {7, 127, 15, 0x7f7f, 0x7fff};
static const struct number_format number_e4m3 = {3, 7, 7, 0x7e, 0x7f};
static const struct number_format number_e5m2 = {2, 15, 7, 0x7b, 0x7f};

/* satfinite: what is too large becomes the largest number, infinity too. */
static inline uint32_t number_narrow(double x, struct number_format f, enum number_round round,
                                     bool satfinite)
{
    uint64_t bits = number_bits64(x), magnitude = bits & INT64_MAX;
    uint64_t negative = bits >> 63;
    int64_t exponent = (int64_t)(magnitude >> 52) - 1023;
    uint64_t mantissa = (magnitude & ((UINT64_C(1) << 52) - 1)) | (uint64_t)(magnitude >> 52 != 0)
                                                                      << 52;
    int64_t below = 1 - f.bias - exponent; /* > 0: subnormal in the format */
    int64_t shift = 52 - f.mantissa + (below > 0 ? below : 0);
    shift = shift < 60 ? shift : 60;
    uint64_t kept = mantissa >> shift, half = UINT64_C(1) << (shift - 1);
    uint64_t rest = mantissa & (2 * half - 1);
    bool up = round == NUMBER_NEAREST ? rest + (kept & 1) > half
              : round == NUMBER_AWAY  ? rest >= half
              : round == NUMBER_DOWN  ? negative && rest
              : round == NUMBER_UP    ? !negative && rest
                                      : false;
    /* Added, so that a carry out of the mantissa raises the exponent. */
    uint64_t base = below > 0 ? 0 : (uint64_t)-below << f.mantissa;
    uint64_t result = base + kept + up;
    bool to_most = satfinite || round == NUMBER_ZERO || (round == NUMBER_DOWN && !negative) ||
                   (round == NUMBER_UP && negative);
    bool infinite = magnitude == UINT64_C(0x7ff) << 52;
    uint64_t large = infinite ? f.most + !satfinite : f.most + !to_most;
    result = result > f.most || infinite ? large : result;
    result |= negative << f.sign;
    return magnitude > UINT64_C(0x7ff) << 52 ? f.nan : (uint32_t)result;
}

/* The same for the frequent cases, in 32 bits and to nearest. over: what too large a number
 * becomes. */
static inline uint32_t number_to_small(float x, struct number_format f, uint32_t over)
{
    uint32_t bits = number_bits32(x), b = bits & 0x7fffffff;
    int shift = 23 - f.mantissa;
    uint32_t least_normal = (uint32_t)(128 - f.bias) << 23;
    /* A power of two whose last place is that of the format's subnormals: adding it rounds. */
    uint32_t power = (uint32_t)(127 + 1 - f.bias + shift) << 23;
    uint32_t small = number_bits32(number_of32(b) + number_of32(power)) - power;
    uint32_t rebased = b - ((uint32_t)(127 - f.bias) << 23);
    uint32_t normal = (rebased + (1u << (shift - 1)) - 1 + (rebased >> shift & 1)) >> shift;
    uint32_t r = number_choose(b < least_normal, small, normal);
    r = number_choose(r > f.most, over, r) | bits >> 31 << f.sign;
    return number_choose(b > 0x7f800000u, f.nan, r);
}
static inline uint16_t number_to_f16(float x)
{
    return (uint16_t)number_to_small(x, number_f16, 0x7c00);
}
static inline uint8_t number_to_e4m3(float x)
{
    return (uint8_t)number_to_small(x, number_e4m3, number_e4m3.most);
}
static inline uint8_t number_to_e5m2(float x)
{
    return (uint8_t)number_to_small(x, number_e5m2, number_e5m2.most);
}
static inline uint16_t number_to_bf16(float x)
{
    uint32_t bits = number_bits32(x);
    uint32_t r = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)number_choose((bits & 0x7fffffff) > 0x7f800000u, 0x7fffu, r);
}

/* ---- Rounding to odd */

/* A sum whose last bit is set if it is not exact. error: what rounding to nearest cut off, exactly
 * (Knuth's two-sum); zero leaves the sum as it is, and so does the NaN of an infinite one. */
static inline double number_odd(double sum, double error)
{
    uint64_t bits = number_bits64(sum), cut = number_bits64(error);
    bool inexact = (cut & INT64_MAX) - 1 < UINT64_C(0x7ff) << 52;
    uint64_t step = (bits ^ cut) >> 63 ? UINT64_MAX : 1, odd = bits & 1 ? bits : bits + step;
    return number_of64(inexact ? odd : bits);
}
static inline double number_add_odd(double a, double b)
{
    double sum = a + b, t = sum - a;
    return number_odd(sum, (a - (sum - t)) + (b - t));
}
static inline float number_add_odd32(float a, float b)
{
    float sum = a + b, t = sum - a, error = (a - (sum - t)) + (b - t);
    uint32_t bits = number_bits32(sum), cut = number_bits32(error);
    bool inexact = (cut & INT32_MAX) - 1 < 0x7f800000u;
    uint32_t step = (bits ^ cut) >> 31 ? UINT32_MAX : 1, odd = bits & 1 ? bits : bits + step;
    return number_of32(number_choose(inexact, odd, bits));
}

/* Integers beyond 2^53 lose their last 11 bits, which leave a mark. */
static inline double number_from_u64(uint64_t v)
{
    uint64_t cut = v >> 53 ? 0x7ff : 0;
    uint64_t mark = (uint64_t)((v & cut) != 0) << 11;
    return (double)((v & ~cut) | mark);
}
static inline double number_from_s64(int64_t v)
{
    double magnitude = number_from_u64(v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
    return v < 0 ? -magnitude : magnitude;
}
