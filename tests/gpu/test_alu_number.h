/* The small float formats by their definition, for tests: what bits mean, and which bits are
 * nearest to a number, found by looking at the neighbours. Slow, and sure. */
#pragma once

#include <fenv.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct small {
    int exponent, mantissa; /* bits of each */
    uint32_t most;          /* the largest number; one more is infinity or, in e4m3, NaN */
    uint32_t nan;           /* canonical */
};

static const struct small small_f16 = {5, 10, 0x7bff, 0x7fff};
static const struct small small_bf16 = {8, 7, 0x7f7f, 0x7fff};
static const struct small small_tf32 = {8, 10, 0x3fbff, 0x3ffff};
static const struct small small_e4m3 = {4, 3, 0x7e, 0x7f};
static const struct small small_e5m2 = {5, 2, 0x7b, 0x7f};

static inline uint32_t small_sign(const struct small *f)
{
    return 1u << (f->exponent + f->mantissa);
}

/* Also of most + 1, as if it were a number: where rounding goes to infinity. */
static inline long double small_magnitude(const struct small *f, uint32_t bits)
{
    int exponent = (int)(bits >> f->mantissa), bias = (1 << (f->exponent - 1)) - 1;
    uint32_t mantissa = bits & ((1u << f->mantissa) - 1);
    if (exponent)
        mantissa |= 1u << f->mantissa;
    return ldexpl(mantissa, (exponent ? exponent : 1) - bias - f->mantissa);
}

static inline long double small_value(const struct small *f, uint32_t bits)
{
    uint32_t magnitude = bits & (small_sign(f) - 1);
    bool has_infinity = f != &small_e4m3;
    long double v = small_magnitude(f, magnitude);
    if (magnitude > f->most)
        v = has_infinity && magnitude == f->most + 1 ? INFINITY : NAN;
    return bits & small_sign(f) ? -v : v;
}

enum direction { TO_NEAREST, TO_AWAY, TO_ZERO, TO_DOWN, TO_UP };

static inline uint32_t small_of(const struct small *f, long double x, enum direction direction,
                                bool satfinite)
{
    uint32_t low = 0, high = f->most + 1, sign = signbit(x) ? small_sign(f) : 0;
    long double v = fabsl(x);
    if (x != x)
        return f->nan;
    if (isinf(x))
        return sign | (satfinite ? f->most : f->most + 1);
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (small_magnitude(f, middle) <= v)
            low = middle;
        else
            high = middle;
    }
    long double below = v - small_magnitude(f, low), above = small_magnitude(f, high) - v;
    bool up = direction == TO_NEAREST ? below > above || (below == above && low & 1)
              : direction == TO_AWAY  ? below >= above
              : direction == TO_DOWN  ? below > 0 && sign
              : direction == TO_UP    ? below > 0 && !sign
                                      : false;
    low += up;
    return sign | (satfinite && low > f->most ? f->most : low);
}

/* a b + c in double with its last bit set if it is not exact: rounding that to fewer bits gives
 * what rounding the exact number gives. */
static inline double odd_fma(double a, double b, double c)
{
    uint64_t bits;
    volatile double x = a, y = b, z = c;
    fesetround(FE_TOWARDZERO);
    feclearexcept(FE_ALL_EXCEPT);
    volatile double r = fma(x, y, z);
    bool inexact = fetestexcept(FE_INEXACT);
    fesetround(FE_TONEAREST);
    double sum = r;
    memcpy(&bits, &sum, sizeof bits);
    bits |= inexact;
    memcpy(&sum, &bits, sizeof sum);
    return sum;
}
