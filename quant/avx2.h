/* Functions that are compiled twice, where a processor may have AVX2: one source, whose vectors are
 * then twice as wide. */
#pragma once

#include <stdbool.h>

#define INTO_BOTH static inline __attribute__((always_inline))

#ifdef __x86_64__
#define AVX2 __attribute__((target("avx2")))

static inline bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}
#else
#define AVX2

static inline bool has_avx2(void)
{
    return false;
}
#endif
