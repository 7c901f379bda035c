/* Weights as they stand in device memory, for C and for nvcc.
 *
 * A matrix (N, K) is a sequence of strips of 16 rows; missing rows of the last one are zeros.
 *
 *   strip    tiles along K, 1024 bytes each | records along K, or a scale of each row | zeros up
 *            to a multiple of 256
 *   tile     16 rows x 64 bytes of one kind of number: 32 bfloat16, 64 int8 or E4M3, 128 int4 or
 *            E2M1.
 *            Byte 512 * (row / 8) + 16 * lane: the 16 bytes that lane = 4 * (row % 8) + t of a
 *            warp holds. So a warp reads a tile in two loads of 512 bytes without gaps, and what
 *            it has read is operand A of mma.m16n8k16 (PTX ISA 9.0, 9.7.14.5.8).
 *   record   per tile and row, layout_words() words: scales, minima and zero points.
 *   scale    a float of each row, in LAYOUT_INT8_ROW and LAYOUT_FP8_ROW.
 *
 * Chunks. K is counted in chunks of 32. In a chunk, value
 *     k = 16 s + 4 t + 2 h + e        s: step of the mma, t: lane % 4, h: register, e: half
 * is number 8 t + 4 s + 2 h + e of the activations (prepare.h permutes them so), which makes a
 * lane's activations of a chunk 16 bytes in a row while a step still covers 16 values in a row,
 * as groups of 16 need.
 *
 * The 16 bytes of a lane, for each kind:
 *   bfloat16  one chunk: word 2 s + h, half e.
 *   int8      two chunks of 8 bytes: word s, byte h + 2 e. E4M3 alike.
 *   int4      four chunks of one word: nibble 2 s + h + 4 e. E2M1 alike.
 * So one mask takes both halves of a register out of a word (dequant.cuh).
 *
 * E4M3 by E4M3. Where tensor cores do that (arch_has_fp8), a lane's 16 bytes of a tile are operand
 * A of two mma.m16n8k32 as they are, each of a chunk, with K in another order within fours. E4M3
 * activations stand in the same order: the 64 bytes of a token that belong to a tile are those of a
 * row of it, 16 bytes of each lane t.
 *
 * Numbers are those of the file, records its scales: nothing is rounded again, except that
 * float32 and float16 become bfloat16. Where E4M3 numbers of the file are not numbers at all, the
 * scale that they share is none. */
#pragma once

#include "../../quant/quant.h"

#include <stdbool.h>

#define STRIP_ROWS 16
#define TILE_BYTES 1024
#define CHUNK      32 /* values */

/* Activations are padded to a multiple of this, the widest tile. */
#define WIDTH_STEP 128

enum layout {
    LAYOUT_BF16,      /* f32, f16, bf16 */
    LAYOUT_INT4_D,    /* q4_0: half d[4]; q - 8 */
    LAYOUT_INT4_DM,   /* q4_1: (half d, m)[4] */
    LAYOUT_INT4_K,    /* q4_k: half d, dmin; (uint8 scale, min)[4] */
    LAYOUT_INT4_Z,    /* int4_32, int4_64: (half d, bfloat16 -128 - zero)[4]; q - zero */
    LAYOUT_INT4_Z128, /* int4_128: one of these */
    LAYOUT_E2M1,      /* mxfp4: uint8 e[4], of powers of two */
    LAYOUT_E2M1_16,   /* nvfp4: float, the row's scale; E4M3 scale[8], of 16 values each */
    LAYOUT_INT8_D,    /* q8_0, q5_0: half d[2] */
    LAYOUT_INT8_DM,   /* q5_1: (half d, m)[2] */
    LAYOUT_INT8_K,    /* q5_k: half d, dmin; (uint8 scale, min)[2] */
    LAYOUT_INT8_K16,  /* q6_k: half d, 0; int8 scale[4], of 16 values each */
    LAYOUT_INT8_ROW,  /* int8: none; a scale of each row */
    LAYOUT_FP8_ROW,   /* fp8: none; a scale of each row */
    LAYOUT_FP8_128,   /* fp8_128: float scale, twice for each 128 values */
    LAYOUT_COUNT
};

#ifdef __CUDACC__
#define LAYOUT_FN __host__ __device__ constexpr
#else
#define LAYOUT_FN static inline
#endif

/* Values of a row of a tile. */
LAYOUT_FN int layout_tile_width(int layout)
{
    return layout == LAYOUT_BF16 ? 32 : layout < LAYOUT_INT8_D ? 128 : 64;
}

/* Words of a record. */
LAYOUT_FN int layout_words(int layout)
{
    switch (layout) {
    case LAYOUT_BF16:
    case LAYOUT_INT8_ROW:
    case LAYOUT_FP8_ROW:
        return 0;
    case LAYOUT_INT4_Z128:
    case LAYOUT_E2M1:
    case LAYOUT_INT8_D:
    case LAYOUT_FP8_128:
        return 1;
    case LAYOUT_INT4_K:
    case LAYOUT_E2M1_16:
        return 3;
    case LAYOUT_INT4_DM:
    case LAYOUT_INT4_Z:
        return 4;
    default:
        return 2;
    }
}

/* Numbers are E4M3. */
LAYOUT_FN bool layout_is_fp8(int layout)
{
    return layout == LAYOUT_FP8_ROW || layout == LAYOUT_FP8_128;
}

/* Numbers are E2M1. */
LAYOUT_FN bool layout_is_e2m1(int layout)
{
    return layout == LAYOUT_E2M1 || layout == LAYOUT_E2M1_16;
}

/* Both halves of a chunk have scales of their own. */
LAYOUT_FN bool layout_has_halves(int layout)
{
    return layout == LAYOUT_INT8_K16 || layout == LAYOUT_E2M1_16;
}

/* Integers have a zero point, which is in the record of their scale. */
LAYOUT_FN bool layout_has_zero(int layout)
{
    return layout == LAYOUT_INT4_Z || layout == LAYOUT_INT4_Z128;
}

/* Whether code for an architecture (__CUDA_ARCH__ / 10) multiplies E4M3 by E4M3: where mma.sync has
 * the instruction and tensor cores that do it. On 9.0 it is made of products of halves, and on 10.x
 * and 11.x other instructions have these tensor cores. */
LAYOUT_FN bool arch_has_fp8(int arch)
{
    return arch == 89 || arch >= 120;
}

/* Whether code for an architecture rounds floats to E4M3: instructions that do came with 8.9. */
LAYOUT_FN bool arch_makes_fp8(int arch)
{
    return arch >= 89;
}

/* Activations of products are E4M3 with a scale of each token, else bfloat16. has_fp8: of the code
 * that multiplies. */
LAYOUT_FN bool layout_x_is_fp8(int layout, bool has_fp8)
{
    return has_fp8 && layout_is_fp8(layout);
}

/* Values of K whose activations are 64 bytes of a token, and of a lane operands B of two mma. */
LAYOUT_FN int layout_x_chunk(int layout, bool has_fp8)
{
    return layout_x_is_fp8(layout, has_fp8) ? 64 : CHUNK;
}

/* A row has one scale, which its sum is multiplied by. */
LAYOUT_FN bool layout_has_row_scale(int layout)
{
    return layout == LAYOUT_INT8_ROW || layout == LAYOUT_FP8_ROW;
}

/* Chunks of a tile whose products are summed before they are multiplied by their scale, of which
 * they have one; 0: products are summed as they are. */
LAYOUT_FN int layout_group(int layout)
{
    return layout == LAYOUT_BF16 || layout_has_row_scale(layout) ? 0
           : layout == LAYOUT_INT4_Z128                          ? 4
           : layout == LAYOUT_FP8_128                            ? 2
                                                                 : 1;
}

/* Values have a minimum beside the scale. */
LAYOUT_FN bool layout_has_min(int layout)
{
    return layout == LAYOUT_INT4_DM || layout == LAYOUT_INT4_K || layout == LAYOUT_INT8_DM ||
           layout == LAYOUT_INT8_K;
}

LAYOUT_FN int layout_tiles(int layout, int K)
{
    return (K + layout_tile_width(layout) - 1) / layout_tile_width(layout);
}

LAYOUT_FN size_t layout_strip_bytes(int layout, int K)
{
    size_t tile = (size_t)(TILE_BYTES + STRIP_ROWS * 4 * layout_words(layout));
    size_t scales = layout_has_row_scale(layout) ? STRIP_ROWS * 4 : 0;
    return (tile * (size_t)layout_tiles(layout, K) + scales + 255) / 256 * 256;
}

LAYOUT_FN int layout_strips(int N)
{
    return (N + STRIP_ROWS - 1) / STRIP_ROWS;
}

/* Number of value k of a chunk (k < 32) among the activations of it. */
LAYOUT_FN int chunk_place(int k)
{
    return (k >> 2 & 3) * 8 + (k >> 4) * 4 + (k & 3);
}

/* Number of the four values from 4 quad on (quad < 16) among the words of 64 E4M3 activations. */
LAYOUT_FN int quad_place(int quad)
{
    return (quad & 3) * 4 + (quad >> 2 & 3);
}

/* Sums of activations over chunks. Those of eight tokens and four chunks in a row are 128 bytes, in
 * an order in which a token's four share a sector, so that the block that prepares it asks for one,
 * and a warp that multiplies eight tokens by a tile of four chunks asks for no sector twice; tiles
 * of two chunks ask for each twice, for half of it. Lane t = lane % 4 of the warp has tokens 2 t
 * and 2 t + 1. */
enum sums_order {
    SUMS_OF_TOKENS, /* skinny: a lane's 16 bytes are four chunks of a token, even tokens first */
    SUMS_OF_PAIRS   /* tile: its 8 bytes are a chunk of both tokens, chunks side by side */
};

#define SUMS_CHUNKS (WIDTH_STEP / CHUNK)
#define SUMS_TOKENS 8

/* Number of chunk (< SUMS_CHUNKS) of a token among the floats of SUMS_CHUNKS chunks. */
LAYOUT_FN int sums_place(enum sums_order order, int token, int chunk)
{
    const int eights = (token & -SUMS_TOKENS) * SUMS_CHUNKS;
    const int pair = token >> 1 & (SUMS_TOKENS / 2 - 1), odd = token & 1;
    return eights + (order == SUMS_OF_PAIRS ? pair * 8 + chunk * 2 + odd
                                            : odd * 16 + pair * SUMS_CHUNKS + chunk);
}

/* K is summed in eight slices of whole tiles, slice s from tile slice_first(s) on, and the
 * slices in their order: in every kernel, so that a result does not depend on which one ran. */
#define SLICES 8

LAYOUT_FN int slice_first(int n_tiles, int slice)
{
    return n_tiles * slice / SLICES;
}

#ifdef __CUDACC__
/* Of the code at hand. */
#ifdef __CUDA_ARCH__
#define HAS_FP8   arch_has_fp8(__CUDA_ARCH__ / 10)
#define MAKES_FP8 arch_makes_fp8(__CUDA_ARCH__ / 10)
#else
#define HAS_FP8   false
#define MAKES_FP8 false
#endif

/* BODY(L) for the layout of a part: a branch that a whole block takes. */
#define FOR_LAYOUT(layout, BODY) \
    switch (layout) {            \
    case LAYOUT_BF16:            \
        BODY(LAYOUT_BF16);       \
        break;                   \
    case LAYOUT_INT4_D:          \
        BODY(LAYOUT_INT4_D);     \
        break;                   \
    case LAYOUT_INT4_DM:         \
        BODY(LAYOUT_INT4_DM);    \
        break;                   \
    case LAYOUT_INT4_K:          \
        BODY(LAYOUT_INT4_K);     \
        break;                   \
    case LAYOUT_INT4_Z:          \
        BODY(LAYOUT_INT4_Z);     \
        break;                   \
    case LAYOUT_INT4_Z128:       \
        BODY(LAYOUT_INT4_Z128);  \
        break;                   \
    case LAYOUT_E2M1:            \
        BODY(LAYOUT_E2M1);       \
        break;                   \
    case LAYOUT_E2M1_16:         \
        BODY(LAYOUT_E2M1_16);    \
        break;                   \
    case LAYOUT_INT8_D:          \
        BODY(LAYOUT_INT8_D);     \
        break;                   \
    case LAYOUT_INT8_DM:         \
        BODY(LAYOUT_INT8_DM);    \
        break;                   \
    case LAYOUT_INT8_K:          \
        BODY(LAYOUT_INT8_K);     \
        break;                   \
    case LAYOUT_INT8_K16:        \
        BODY(LAYOUT_INT8_K16);   \
        break;                   \
    case LAYOUT_INT8_ROW:        \
        BODY(LAYOUT_INT8_ROW);   \
        break;                   \
    case LAYOUT_FP8_ROW:         \
        BODY(LAYOUT_FP8_ROW);    \
        break;                   \
    default:                     \
        BODY(LAYOUT_FP8_128);    \
    }
#endif
