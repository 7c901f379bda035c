/* The one random generator: counter-based, so that a draw depends on the request's
 * seed and the position alone, never on the batch or on what was drawn before. */
#pragma once

#include "base.h"

/* Four 32-bit words for (seed, position, stream). */
void rng_philox(uint64_t seed, uint64_t position, uint32_t stream, uint32_t out[4]);

/* Uniform in [0, 1) with 24 bits, exact in float. */
float rng_uniform(uint64_t seed, uint64_t position, uint32_t stream);

/* The same for one of several attempts at a draw; attempt 0 is rng_uniform. */
float rng_attempt(uint64_t seed, uint64_t position, uint32_t stream, uint32_t attempt);
