/* fp8_128: 128 E4M3 numbers and a scale. value = scale * e4m3(bits). In files a scale is of
 * 128 x 128 values; here it stands in each of their rows.
 *
 *   byte  0        4                                 132
 *        | scale  | bits[0]  bits[1]  ...  bits[127]  |
 */
#pragma once

#include "e4m3.h"

#include <assert.h>

struct __attribute__((packed)) fp8_128 {
    float scale;
    uint8_t bits[128];
};
static_assert(sizeof(struct fp8_128) == 132, "fp8_128 is 132 bytes");

HD float fp8_128_at(const struct fp8_128 *b, int i)
{
    return b->scale * e4m3_to_float(b->bits[i]);
}

HD void fp8_128_decode(const struct fp8_128 *b, float *out)
{
    for (int i = 0; i < 128; i++)
        out[i] = fp8_128_at(b, i);
}
