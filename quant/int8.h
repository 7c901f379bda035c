/* int8: one signed byte. A row has one scale, a float before its values. value = scale * q.
 *
 *   byte  0        4                        4 + n
 *        | scale  | q[0]  q[1]  ...              |
 */
#pragma once

#include "quant.h"

#include <assert.h>

struct __attribute__((packed)) int8 {
    int8_t q;
};
static_assert(sizeof(struct int8) == 1, "int8 is 1 byte");

/* The integer of value i, -128 .. 127. */
HD int int8_q(const struct int8 *b, int i)
{
    return b[i].q;
}

/* Value i without the scale of its row. */
HD float int8_at(const struct int8 *b, int i)
{
    return (float)b[i].q;
}

HD void int8_decode(const struct int8 *b, float *out)
{
    *out = (float)b->q;
}
