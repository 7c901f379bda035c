/* Philox-4x32-10, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". The same for
 * host code and nvcc: a device draws what the host would. */
#pragma once

#include <stdint.h>

#ifdef __CUDACC__
#define PHILOX static __device__ __forceinline__
#else
#define PHILOX static inline
#endif

/* Four words for a key and a counter of 128 bits, its low half first. */
PHILOX void philox(uint64_t key, uint64_t low, uint64_t high, uint32_t out[4])
{
    uint32_t c[4] = {(uint32_t)low, (uint32_t)(low >> 32), (uint32_t)high, (uint32_t)(high >> 32)};
    uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
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

/* One of several attempts at a draw, uniform in [0, 2^24). Attempts count in the word of the
 * counter that is 0 everywhere else. */
PHILOX uint32_t philox_attempt(uint64_t seed, uint64_t position, uint32_t stream, uint32_t attempt)
{
    uint32_t word[4];
    philox(seed, position, (uint64_t)attempt << 32 | stream, word);
    return word[0] >> 8;
}
