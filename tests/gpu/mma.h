/* mma.sync: D = A B + C of one warp, A of 16 x K, B of K x 8, C and D of 16 x 8.
 *
 * Layout of the fragments (PTX ISA 9.0, 9.7.14.5.6 to 9.7.14.5.11: mma.m16n8k4 to m16n8k64). The
 * text has a formula for each shape and type; with e elements in a register of 32 bits they are
 * all the same. For lane l, g = l / 4 and t = l % 4, element i of register j is
 *
 *   A   row g + 8 (j % 2),  column  e t + i + 4 e (j / 2)
 *   B   row e t + i + 4 e j,  column g
 *   C, D of 32 bits: register j is row g + 8 (j / 2), column 2 t + j % 2
 *   C, D of f16: element i of register j is row g + 8 j, column 2 t + i
 *
 * A has two registers and K = 4 e, or four and K = 8 e; B has half as many.
 *
 * Arithmetic: products are exact. Float sums are rounded to nearest in f32 one by one, beginning
 * with C, k ascending; f16 results are rounded from f32 once, at the end. Hardware adds some k at
 * a time with a few bits cut off, in an order that is not documented, so it differs in the last
 * bits. A result that is not a number is 0x7fffffff, or 0x7fff in f16, as on hardware. Integer
 * results are exact, modulo 2^32 or with .satfinite clamped once, at the end. */
#pragma once

#include "exec.h"

#define MMA_M     16
#define MMA_N     8
#define MMA_K_MAX 64

enum mma_type {
    MMA_F16,
    MMA_BF16,
    MMA_TF32,
    MMA_E4M3,
    MMA_E5M2,
    MMA_S8,
    MMA_U8,
    MMA_S4,
    MMA_U4,
    MMA_TYPES
};

enum mma_result { MMA_TO_F32, MMA_TO_F16, MMA_TO_S32, MMA_TO_S32_SATFINITE };

/* Elements in a register of 32 bits. */
int mma_elements(enum mma_type type);

/* The elements of a register of all lanes as floats, lane by lane: (32, elements). Each is a
 * float exactly, integers too, whose products then sum exactly in f32 (64 x 15 x 15 and
 * 32 x 255 x 255 are below 2^24). */
void mma_decode(enum mma_type type, const uint32_t *reg, float *out);

void mma_halves_of_floats(const float *value, uint16_t *half, size_t n);

/* detail of a form: types of A and B, result, registers of A. */
ptx_run mma_run;
ptx_find mma_find;
