/* Rows of logits to test with: normal numbers, the same every time. */
#pragma once

#include "plugin/base/rng.h"

#include <math.h>
#include <stdint.h>

#define MAX_V 50000

static const int32_t sizes[] = {1, 2, 7, 63, 64, 127, 128, 129, 1000, 5003, 49152};

static float model[MAX_V];

static float normal(uint64_t stream, uint64_t i)
{
    float a = rng_uniform(stream, i, 1) + 0x1p-25f, b = rng_uniform(stream, i, 2);
    return sqrtf(-2 * logf(a)) * cosf(6.2831853f * b);
}

static void fill(int32_t V, float deviation, uint64_t stream)
{
    for (int32_t i = 0; i < V; i++)
        model[i] = deviation * normal(stream, (uint64_t)i);
}
