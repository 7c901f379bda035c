#include "probe.h"

#include <stdint.h>

/* As wide as every x86-64 has them: memory is slower by far than loads of this width. */
typedef uint64_t u64x2 __attribute__((vector_size(16)));

void probe_read(const void *data, size_t bytes)
{
    const u64x2 *p = data;
    u64x2 a = {0}, b = {0}, c = {0}, d = {0};
    for (const u64x2 *end = p + bytes / sizeof *p; p < end; p += 16) {
        a ^= p[0] ^ p[1] ^ p[2] ^ p[3];
        b ^= p[4] ^ p[5] ^ p[6] ^ p[7];
        c ^= p[8] ^ p[9] ^ p[10] ^ p[11];
        d ^= p[12] ^ p[13] ^ p[14] ^ p[15];
    }
    a ^= b ^ c ^ d;
    volatile uint64_t sink = a[0] ^ a[1];
    (void)sink;
}

#define ROUNDS 150000

/* The upper halves are left zero: until then some processors run what follows slowly.
 * Enough independent sums to hide the latency, with registers left for the operands. */
#define TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define CLOBBERS                                                                             \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

#define VNNI(i)   "vpdpbusd %%zmm14, %%zmm15, %%zmm" #i "\n\t"
#define BF16(i)   "vdpbf16ps %%zmm14, %%zmm15, %%zmm" #i "\n\t"
#define FMA512(i) "vfmadd231ps %%zmm14, %%zmm15, %%zmm" #i "\n\t"
#define FMA256(i) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #i "\n\t"
#define AVX2(i)                                \
    "vpmaddubsw %%ymm14, %%ymm15, %%ymm12\n\t" \
    "vpaddw %%ymm12, %%ymm" #i ", %%ymm" #i "\n\t"

__attribute__((target("avx512f"))) static void run_vnni(void)
{
    for (int i = 0; i < ROUNDS; i++)
        __asm__ volatile(TWELVE(VNNI) : : : CLOBBERS);
    __asm__ volatile("vzeroupper");
}

/* Zeros, not what happens to be there: a denormal number takes longer. */
__attribute__((target("avx512f"))) static void run_bf16(void)
{
    __asm__ volatile("vzeroall" : : : CLOBBERS);
    for (int i = 0; i < ROUNDS; i++)
        __asm__ volatile(TWELVE(BF16) : : : CLOBBERS);
    __asm__ volatile("vzeroupper");
}

__attribute__((target("avx512f"))) static void run_fma512(void)
{
    __asm__ volatile("vzeroall" : : : CLOBBERS);
    for (int i = 0; i < ROUNDS; i++)
        __asm__ volatile(TWELVE(FMA512) : : : CLOBBERS);
    __asm__ volatile("vzeroupper");
}

__attribute__((target("fma"))) static void run_fma256(void)
{
    __asm__ volatile("vzeroall" : : : CLOBBERS);
    for (int i = 0; i < ROUNDS; i++)
        __asm__ volatile(TWELVE(FMA256) : : : CLOBBERS);
    __asm__ volatile("vzeroupper");
}

__attribute__((target("avx2"))) static void run_avx2(void)
{
    for (int i = 0; i < ROUNDS; i++)
        __asm__ volatile(TWELVE(AVX2) : : : CLOBBERS);
    __asm__ volatile("vzeroupper");
}

bool probe_has(enum probe_dot kind)
{
    switch (kind) {
    case PROBE_VNNI:
        return __builtin_cpu_supports("avx512vnni");
    case PROBE_AVX2:
        return __builtin_cpu_supports("avx2");
    case PROBE_BF16:
        return __builtin_cpu_supports("avx512bf16");
    case PROBE_FMA512:
        return __builtin_cpu_supports("avx512f");
    case PROBE_FMA256:
        return __builtin_cpu_supports("fma");
    default:
        return false;
    }
}

double probe_dot(enum probe_dot kind)
{
    static const struct {
        void (*run)(void);
        int products; /* of one instruction, or two */
    } dot[PROBE_DOTS] = {
        {run_vnni, 64}, {run_avx2, 32}, {run_bf16, 32}, {run_fma512, 16}, {run_fma256, 8}};
    if (!probe_has(kind))
        return 0;
    dot[kind].run();
    return 2.0 * dot[kind].products * 12 * ROUNDS;
}
