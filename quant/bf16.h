/* bf16: the upper half of an IEEE single.
 *
 *    15  14        7  6            0
 *   | s | exponent   | fraction     |
 */
#pragma once

#include "f16.h"

struct __attribute__((packed)) bf16 {
    uint16_t bits;
};
static_assert(sizeof(struct bf16) == 2, "bf16 is 2 bytes");

HD float bf16_to_float(uint16_t bits)
{
    return float_of_bits((uint32_t)bits << 16);
}

/* To nearest, ties to even. A NaN becomes a quiet one: its payload may lie wholly in
 * the bits that are cut off, and it must not turn into infinity. */
HD uint16_t bf16_of_float(float value)
{
    uint32_t bits = float_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

HD float bf16_at(const struct bf16 *b, int i)
{
    return bf16_to_float(b[i].bits);
}

HD void bf16_decode(const struct bf16 *b, float *out)
{
    *out = bf16_to_float(b->bits);
}
