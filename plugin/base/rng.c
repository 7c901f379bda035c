#include "rng.h"

#include "philox.h"

void rng_philox(uint64_t seed, uint64_t position, uint32_t stream, uint32_t out[4])
{
    philox(seed, position, stream, out);
}

float rng_uniform(uint64_t seed, uint64_t position, uint32_t stream)
{
    return rng_attempt(seed, position, stream, 0);
}

float rng_attempt(uint64_t seed, uint64_t position, uint32_t stream, uint32_t attempt)
{
    return (float)philox_attempt(seed, position, stream, attempt) * 0x1p-24f;
}
