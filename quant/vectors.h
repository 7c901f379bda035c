/* Functions that are compiled several times, where a processor may have wider vectors: with the
 * same bits, since nothing is fused or summed in another order. */
#pragma once

#include <stdbool.h>

#define INTO_BOTH static inline __attribute__((always_inline))

#ifdef __x86_64__
#define AVX2   __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f")))

static inline bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}

static inline bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f");
}
#else
#define AVX2
#define AVX512

static inline bool has_avx2(void)
{
    return false;
}

static inline bool has_avx512(void)
{
    return false;
}
#endif
