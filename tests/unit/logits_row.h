/* Rows of logits to test with, normal numbers that are the same every time; and sorting, as
 * the plain definition of what is done without. */
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

struct item {
    int32_t id;
    float logit;
    double p; /* weight, for those who draw */
};

__attribute__((unused)) static struct item items[MAX_V];

__attribute__((unused)) static int by_logit(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

__attribute__((unused)) static int by_id(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}
