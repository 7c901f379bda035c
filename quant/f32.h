/* f32: one IEEE single. The block is one value, so that it is read like the others. */
#pragma once

#include "quant.h"

#include <assert.h>

struct __attribute__((packed)) f32 {
    float v;
};
static_assert(sizeof(struct f32) == 4, "f32 is 4 bytes");

HD float f32_at(const struct f32 *b, int i)
{
    return b[i].v;
}

HD void f32_decode(const struct f32 *b, float *out)
{
    *out = b->v;
}
