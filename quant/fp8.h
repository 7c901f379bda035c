/* fp8: one E4M3 number. A row has one scale, a float before its values.
 * value = scale * e4m3(bits).
 *
 *   byte  0        4                              4 + n
 *        | scale  | bits[0]  bits[1]  ...              |
 */
#pragma once

#include "e4m3.h"

#include <assert.h>

struct __attribute__((packed)) fp8 {
    uint8_t bits;
};
static_assert(sizeof(struct fp8) == 1, "fp8 is 1 byte");

/* Value i without the scale of its row. */
HD float fp8_at(const struct fp8 *b, int i)
{
    return e4m3_to_float(b[i].bits);
}

HD void fp8_decode(const struct fp8 *b, float *out)
{
    *out = e4m3_to_float(b->bits);
}
