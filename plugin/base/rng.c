#include "rng.h"

static void philox(uint64_t seed, uint64_t position, uint64_t stream, uint32_t out[4])
{
    uint32_t c[4] = {(uint32_t)position, (uint32_t)(position >> 32), (uint32_t)stream,
                     (uint32_t)(stream >> 32)};
    uint32_t k[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0];
        uint64_t b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b,
                            (uint32_t)(a >> 32) ^ c[3] ^ k[1], (uint32_t)a};
        for (int i = 0; i < 4; i++)
            c[i] = next[i];
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    for (int i = 0; i < 4; i++)
        out[i] = c[i];
}

void rng_philox(uint64_t seed, uint64_t position, uint32_t stream, uint32_t out[4])
{
    philox(seed, position, stream, out);
}

float rng_uniform(uint64_t seed, uint64_t position, uint32_t stream)
{
    return rng_attempt(seed, position, stream, 0);
}

/* Attempts count in the word of the counter that is 0 everywhere else. */
float rng_attempt(uint64_t seed, uint64_t position, uint32_t stream, uint32_t attempt)
{
    uint32_t word[4];
    philox(seed, position, (uint64_t)attempt << 32 | stream, word);
    return (float)(word[0] >> 8) * 0x1p-24f;
}
