/* Weights as they stand in device memory, for C and for nvcc.
 *
 * A matrix (N, K) is a sequence of strips of 16 rows; missing rows of the last one are zeros.
 *
 *   strip    tiles along K, 1024 bytes each | records along K | zeros up to a multiple of 256
 *   tile     16 rows x 64 bytes of one kind of number: 32 bfloat16, 64 int8 or 128 int4.
 *            Byte 512 * (row / 8) + 16 * lane: the 16 bytes that lane = 4 * (row % 8) + t of a
 *            warp holds. So a warp reads a tile in two loads of 512 bytes without gaps, and what
 *            it has read is operand A of mma.m16n8k16 (PTX ISA 9.0, 9.7.14.5.8).
 *   record   per tile and row, layout_words() words: scales and minima.
 *
 * Chunks. K is counted in chunks of 32. In a chunk, value
 *     k = 16 s + 4 t + 2 h + e        s: step of the mma, t: lane % 4, h: register, e: half
 * is number 8 t + 4 s + 2 h + e of the activations (prepare.h permutes them so), which makes a
 * lane's activations of a chunk 16 bytes in a row while a step still covers 16 values in a row,
 * as groups of 16 need.
 *
 * The 16 bytes of a lane, for each kind:
 *   bfloat16  one chunk: word 2 s + h, half e.
 *   int8      two chunks of 8 bytes: word s, byte h + 2 e.
 *   int4      four chunks of one word: nibble 2 s + h + 4 e.
 * So one mask takes both halves of a register out of a word (dequant.cuh).
 *
 * Numbers are the integers of the file, records its scales: nothing is rounded again, except
 * that float32 and float16 become bfloat16. */
#pragma once

#include "../../quant/quant.h"

#include <stdbool.h>

#define STRIP_ROWS 16
#define TILE_BYTES 1024
#define CHUNK      32 /* values */

/* Activations are padded to a multiple of this, the widest tile. */
#define WIDTH_STEP 128

enum layout {
    LAYOUT_BF16,     /* f32, f16, bf16 */
    LAYOUT_INT4_D,   /* q4_0: half d[4]; q - 8 */
    LAYOUT_INT4_DM,  /* q4_1: (half d, m)[4] */
    LAYOUT_INT4_K,   /* q4_k: half d, dmin; (uint8 scale, min)[4] */
    LAYOUT_INT8_D,   /* q8_0, q5_0: half d[2] */
    LAYOUT_INT8_DM,  /* q5_1: (half d, m)[2] */
    LAYOUT_INT8_K,   /* q5_k: half d, dmin; (uint8 scale, min)[2] */
    LAYOUT_INT8_K16, /* q6_k: half d, 0; int8 scale[4], of 16 values each */
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
    return layout == LAYOUT_BF16      ? 0
           : layout == LAYOUT_INT4_D  ? 2
           : layout == LAYOUT_INT4_DM ? 4
           : layout == LAYOUT_INT4_K  ? 3
           : layout == LAYOUT_INT8_D  ? 1
                                      : 2;
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
    return (tile * (size_t)layout_tiles(layout, K) + 255) / 256 * 256;
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

/* K is summed in eight slices of whole tiles, slice s from tile slice_first(s) on, and the
 * slices in their order: in every kernel, so that a result does not depend on which one ran. */
#define SLICES 8

LAYOUT_FN int slice_first(int n_tiles, int slice)
{
    return n_tiles * slice / SLICES;
}

#ifdef __CUDACC__
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
    case LAYOUT_INT8_D:          \
        BODY(LAYOUT_INT8_D);     \
        break;                   \
    case LAYOUT_INT8_DM:         \
        BODY(LAYOUT_INT8_DM);    \
        break;                   \
    case LAYOUT_INT8_K:          \
        BODY(LAYOUT_INT8_K);     \
        break;                   \
    default:                     \
        BODY(LAYOUT_INT8_K16);   \
    }
#endif
