/* The PTX instructions that CUDA C has no name for. PTX ISA 9.0; from sm_80 on, unless it says
 * otherwise. */
#pragma once

#include <stdint.h>

/* d += a b: a (16, 16), b (16, 8) bfloat16, d (16, 8) float (9.7.14.5.8). With g = lane / 4 and
 * t = lane % 4: a[0], a[1] rows g and g + 8 of columns 2t, 2t + 1, a[2], a[3] of columns 2t + 8,
 * 2t + 9; b0, b1 those rows of column g; d[0], d[1] row g, d[2], d[3] row g + 8 of columns 2t,
 * 2t + 1. Not volatile: it has no effect but d. */
static __device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t *a, uint32_t b0,
                                                uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* d += a b: a (16, 32), b (32, 8) E4M3, d as above (9.7.14.5.10). a[0], a[1]: rows g and g + 8 of
 * columns 4t .. 4t + 3, a[2], a[3] of columns 4t + 16 .. 4t + 19; b0, b1 those rows of column g.
 * From sm_89 on. */
static __device__ __forceinline__ void mma_fp8(float (&d)[4], const uint32_t *a, uint32_t b0,
                                               uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Four values in a row as E4M3: to nearest, ties to even, what is larger than 448 becomes it, and
 * what is no number stays none. In the order of the bytes of a tile's words, layout.h. From sm_89
 * on. */
static __device__ __forceinline__ uint32_t pack_fp8x4(const float4 &v)
{
    uint16_t low, high;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(v.z), "f"(v.x));
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(v.w), "f"(v.y));
    return (uint32_t)high << 16 | low;
}

/* 16 bytes from global to shared memory, past the registers and L1 (9.7.9.25.3.1); to: in the
 * window of shared memory. */
static __device__ __forceinline__ void copy_async_to(uint32_t to, const void *global)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
}

static __device__ __forceinline__ void copy_async(void *shared, const void *global)
{
    copy_async_to((uint32_t)__cvta_generic_to_shared(shared), global);
}

static __device__ __forceinline__ void copy_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Until all but the last n groups of this thread are there. */
template <int n> static __device__ __forceinline__ void copy_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}

/* (a & mask) | bits. */
static __device__ __forceinline__ uint32_t and_or(uint32_t a, uint32_t mask, uint32_t bits)
{
    uint32_t r;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(a), "r"(mask), "r"(bits));
    return r;
}

/* a + b of two bfloat16 each: a sum of its own is sm_90, a product with 1 before it sm_80. */
static __device__ __forceinline__ uint32_t add_bf16x2(uint32_t a, uint32_t b)
{
    uint32_t r;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(0x3f803f80), "r"(b));
    return r;
}

/* a * b of two bfloat16 each; subnormal numbers are numbers. A product of its own is sm_90. */
static __device__ __forceinline__ uint32_t multiply_bf16x2(uint32_t a, uint32_t b)
{
    uint32_t r;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(0x80008000));
    return r;
}

/* To nearest, ties to even; low in the lower half. */
static __device__ __forceinline__ uint32_t pack_bf16x2(float low, float high)
{
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

/* The half in the lower or upper 16 bits. */
static __device__ __forceinline__ float half_of(uint32_t word, int upper)
{
    float f;
    uint16_t bits = (uint16_t)(upper ? word >> 16 : word);
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(bits));
    return f;
}

/* One of a warp's lanes counts the warp in, between two __syncwarp: the count before, which is 0
 * again after `last`. What the warp has written is seen by those that count later, and it sees
 * what those before have written (atom, and chapter 8, the memory consistency model). */
static __device__ __forceinline__ uint32_t count_in(uint32_t *count, uint32_t last)
{
    uint32_t before;
    asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;"
                 : "=r"(before)
                 : "l"(count), "r"(last)
                 : "memory");
    return before;
}
