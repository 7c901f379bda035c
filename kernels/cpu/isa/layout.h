/* How a packed matrix lies in memory: tiles of 16 rows, one after the other; a tile is
 * a run of units along K; a unit is its scales and, right behind, its data, so that a
 * product reads one stream, strictly forward. Rows past N and inputs past K are zero.
 *
 * Integer data comes in lines (see simd.h): 64 bytes, 4 inputs of 16 rows. A group of 32
 * inputs takes 8 lines. Signed integers are stored plus stored_bias. Of 4-bit data two
 * groups share 8 lines: the even group in the low nibbles, the odd one in the high nibbles.
 * A unit is 64 inputs, or 256 where the format has super-blocks.
 *
 * Scales of a unit, each an array over its 16 rows:
 *   D    half d[2]                             value = d q
 *   DM   { half d, m }[2]                      value = d q + m
 *   K    uint8 scale[8], min[8]; half d, dmin  value = d scale q - dmin min
 *   K16  int8 scale[16]; half d; 32 bytes      value = d scale q, a scale for 16 inputs
 *
 * Floats: a unit is 32 inputs, 16 rows each: f32 and f16 input by input, bf16 in pairs
 * of inputs, the even one in the lower half of 32 bits. */
#pragma once

#include "../../../quant/quant.h"
#include "../../weight.h"
#include "simd.h"

#include <stdbool.h>

#define PACKED_ROWS 16
#define GROUP       32 /* inputs that share a scale, in weights and activations */

#define SUPER_HALVES (16 * PACKED_ROWS) /* where the halves of K and K16 begin */

enum data {
    DATA_U4, /* 0 .. 15 */
    DATA_S4, /* -8 .. 7 */
    DATA_U5, /* 0 .. 31, in bytes */
    DATA_S5, /* -16 .. 15, in bytes */
    DATA_S6, /* -32 .. 31, in bytes */
    DATA_S8, /* -128 .. 127 */
    DATA_F32,
    DATA_F16,
    DATA_BF16,
};

enum scales { SCALES_NONE, SCALES_D, SCALES_DM, SCALES_K, SCALES_K16 };

enum layout {
#define LAYOUT(name, data, scales) LAYOUT_##name,
#define FLOAT_LAYOUT(name, data)   LAYOUT_##name,
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT
    LAYOUT_COUNT
};

struct layout_info {
    enum data data;
    enum scales scales;
};

static const struct layout_info layout_info[LAYOUT_COUNT] = {
#define LAYOUT(name, data, scales) {DATA_##data, SCALES_##scales},
#define FLOAT_LAYOUT(name, data)   {DATA_##data, SCALES_NONE},
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT
};

/* Inputs of a unit. */
SIMD int unit_inputs(enum scales scales)
{
    return scales == SCALES_NONE ? GROUP : scales == SCALES_K || scales == SCALES_K16 ? 256 : 64;
}

/* Bytes of n inputs of a tile, without scales. */
SIMD size_t data_bytes(enum data data, int n)
{
    size_t values = (size_t)n * PACKED_ROWS;
    switch (data) {
    case DATA_U4:
    case DATA_S4:
        return values / 2;
    case DATA_U5:
    case DATA_S5:
    case DATA_S6:
    case DATA_S8:
        return values;
    case DATA_F16:
    case DATA_BF16:
        return values * 2;
    case DATA_F32:
    default:
        return values * 4;
    }
}

SIMD size_t scales_bytes(enum scales scales)
{
    switch (scales) {
    case SCALES_D:
        return 64;
    case SCALES_DM:
        return 128;
    case SCALES_K:
    case SCALES_K16:
        return 320;
    case SCALES_NONE:
    default:
        return 0;
    }
}

SIMD size_t unit_bytes(enum data data, enum scales scales)
{
    return data_bytes(data, unit_inputs(scales)) + scales_bytes(scales);
}

SIMD int tile_units(enum scales scales, int32_t K)
{
    return (K + unit_inputs(scales) - 1) / unit_inputs(scales);
}

SIMD size_t tile_bytes(enum layout layout, int32_t K)
{
    const struct layout_info *info = &layout_info[layout];
    return (size_t)tile_units(info->scales, K) * unit_bytes(info->data, info->scales);
}

SIMD bool is_nibbles(enum data data)
{
    return data == DATA_U4 || data == DATA_S4;
}

/* What is added to an integer where it is stored. */
SIMD int stored_bias(enum data data)
{
    return data == DATA_S4   ? 8
           : data == DATA_S5 ? 16
           : data == DATA_S6 ? 32
           : data == DATA_S8 ? DOT_BIAS
                             : 0;
}

/* Whether it is stored as a signed byte. */
SIMD bool is_signed_byte(enum data data)
{
    return data == DATA_S8 && DOT_BIAS == 0;
}

/* Offset of row r, input k of a unit of integer data; of 4-bit data the byte that also
 * holds input k ^ 32. */
SIMD size_t byte_offset(enum data data, int r, int k)
{
    int line = k / 4;
    if (is_nibbles(data))
        line = k / 64 * 8 + k % 32 / 4;
    return (size_t)(line * LINE_BYTES + r * 4 + k % 4);
}

/* Offset of row r, input k of a unit of floats. */
SIMD size_t float_offset(enum data data, int r, int k)
{
    switch (data) {
    case DATA_F16:
        return (size_t)(k * PACKED_ROWS + r) * 2;
    case DATA_BF16:
        return (size_t)((k / 2 * PACKED_ROWS + r) * 2 + k % 2) * 2;
    default:
        return (size_t)(k * PACKED_ROWS + r) * 4;
    }
}

/* Half r of array a of an array of halves. */
SIMD size_t half_offset(int a, int r)
{
    return (size_t)(a * PACKED_ROWS + r) * 2;
}

/* One row in one group: its values as they are stored, an unsigned byte each, and its
 * scales as they stand. */
struct row_group {
    uint32_t word[GROUP / 4]; /* 4 values each, the first in the lowest byte */
    uint16_t d, m;            /* halves; K: d and dmin */
    uint8_t scale, min;       /* K */
    int8_t half_scale[2];     /* K16 */
};

/* Row n of a packed matrix to floats, equal to what the format defines. */
void ISA_FN(unpack_row)(const struct weight *weight, int32_t n, float *out);
