/* How a packed matrix lies in memory: tiles of 16 rows, one after the other; a tile is
 * a run of units along K; a unit is its scales and, right behind, its data, so that a
 * product reads one stream, strictly forward. Rows past N and inputs past K are zero.
 *
 * Integer data comes in lines (see simd.h): 64 bytes, 4 inputs of 16 rows. A group of 32
 * inputs takes 8 lines of bytes. Signed integers are stored plus stored_bias. Of what has 4 to 6
 * bits the low four of two groups share 8 lines: the even group in the low nibbles, the odd one in
 * the high nibbles. Before them are lines of the upper bits, of the even group and the odd one in
 * turn: one each for a fifth bit, two each for two more bits, for 8 or 4 lines of the group. A byte
 * of them has the bits of that byte of line 0 from bit 4 on, where they are wanted, of the next
 * line from there on, and so on around:
 *
 *   bit             7     6     5     4     3     2     1     0
 *   fifth bits    line3 line2 line1 line0 line7 line6 line5 line4
 *   two bits      [  line1  ] [  line0  ] [  line3  ] [  line2  ]    and lines 4 .. 7
 *
 * E2M1 numbers are four bits like these, and become twice what they stand for plus stored_bias when
 * they are read.
 *
 * A unit is 64 inputs, or the block of the format where that is more.
 *
 * Scales of a unit, each an array over its 16 rows:
 *   D    half d[2]                             value = d q
 *   DM   { half d, m }[2]                      value = d q + m
 *   K    uint8 scale[8], min[8]; half d, dmin  value = d scale q - dmin min
 *   K16  int8 scale[16]; half d; 32 bytes      value = d scale q, a scale for 16 inputs
 *   Z32  half d[2]; uint8 zero[2]              value = d (q - zero)
 *   Z64, Z128  half d; uint8 zero; 16 bytes    the same, one for all inputs of the unit
 *   E8   uint8 e[2]                            value = 2^(e - 128) q
 *   E4   uint8 scale[4] of E4M3                value = row's scale / 2 q, a scale for 16 inputs
 *   F128 float scale                           value = scale number
 *   ROW  none, but the tile begins with one    value = scale q or scale number
 *        float for each row, as that of E4 does
 *
 * Floats: a unit is 32 inputs, 16 rows each: f32 and f16 input by input, bf16 in pairs
 * of inputs, the even one in the lower half of 32 bits. E4M3 is in such pairs, of 16 bits, or with
 * AVX2 in fours, inputs 0, 2, 1 and 3, and has units of 64 or 128 inputs; a scale of values of
 * which one is no number is none either. */
#pragma once

#include "../../../quant/quant.h"
#include "../../weight.h"
#include "simd.h"

#include <stdbool.h>

#define PACKED_ROWS 16
#define GROUP       32 /* inputs that share a scale, in weights and activations */

#define SUPER_HALVES (16 * PACKED_ROWS) /* where the halves of K and K16 begin */

enum data {
    DATA_U4,   /* 0 .. 15 */
    DATA_S4,   /* -8 .. 7 */
    DATA_E2M1, /* -12 .. 12 */
    DATA_U5,   /* 0 .. 31 */
    DATA_S5,   /* -16 .. 15 */
    DATA_S6,   /* -32 .. 31 */
    DATA_S8,   /* -128 .. 127 */
    DATA_F32,
    DATA_F16,
    DATA_BF16,
    DATA_E4M3,
};

enum scales {
    SCALES_NONE,
    SCALES_D,
    SCALES_DM,
    SCALES_K,
    SCALES_K16,
    SCALES_E8,
    SCALES_E4,
    SCALES_Z32,
    SCALES_Z64,
    SCALES_Z128,
    SCALES_F128,
    SCALES_ROW
};

enum layout {
#define LAYOUT(name, data, scales)       LAYOUT_##name,
#define FLOAT_LAYOUT(name, data, scales) LAYOUT_##name,
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
#define LAYOUT(name, data, scales)       {DATA_##data, SCALES_##scales},
#define FLOAT_LAYOUT(name, data, scales) {DATA_##data, SCALES_##scales},
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT
};

/* Inputs of a unit. */
SIMD int unit_inputs(enum scales scales)
{
    switch (scales) {
    case SCALES_NONE:
        return GROUP;
    case SCALES_K:
    case SCALES_K16:
        return 256;
    case SCALES_Z128:
    case SCALES_F128:
        return 128;
    case SCALES_D:
    case SCALES_DM:
    case SCALES_E8:
    case SCALES_E4:
    case SCALES_Z32:
    case SCALES_Z64:
    case SCALES_ROW:
    default:
        return 64;
    }
}

SIMD bool is_float(enum data data)
{
    return data == DATA_F32 || data == DATA_F16 || data == DATA_BF16 || data == DATA_E4M3;
}

/* Whether both halves of a group have scales of their own. */
SIMD bool has_halves(enum scales scales)
{
    return scales == SCALES_K16 || scales == SCALES_E4;
}

/* Whether rows have one scale each. */
SIMD bool has_row_scale(enum scales scales)
{
    return scales == SCALES_ROW || scales == SCALES_E4;
}

/* Whether there are zero points; of constants a constant. */
#define HAS_ZEROS(scales) ((scales) >= SCALES_Z32 && (scales) <= SCALES_Z128)
SIMD bool has_zeros(enum scales scales)
{
    return HAS_ZEROS(scales);
}

/* Bits beside the low four that two groups share lines for; bytes are whole. */
SIMD int upper_bits(enum data data)
{
    return data == DATA_U5 || data == DATA_S5 ? 1 : data == DATA_S6 ? 2 : 0;
}

/* Bytes of n inputs of a tile, without scales. */
SIMD size_t data_bytes(enum data data, int n)
{
    size_t values = (size_t)n * PACKED_ROWS;
    switch (data) {
    case DATA_U4:
    case DATA_S4:
    case DATA_E2M1:
    case DATA_U5:
    case DATA_S5:
    case DATA_S6:
        return values * (size_t)(4 + upper_bits(data)) / 8;
    case DATA_S8:
    case DATA_E4M3:
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
    case SCALES_E8:
        return 32;
    case SCALES_D:
    case SCALES_E4:
    case SCALES_Z64:
    case SCALES_Z128:
    case SCALES_F128:
        return 64;
    case SCALES_Z32:
        return 96;
    case SCALES_DM:
        return 128;
    case SCALES_K:
    case SCALES_K16:
        return 320;
    case SCALES_NONE:
    case SCALES_ROW:
    default:
        return 0;
    }
}

/* Bytes of a tile before its units. */
SIMD size_t head_bytes(enum scales scales)
{
    return has_row_scale(scales) ? PACKED_ROWS * sizeof(float) : 0;
}

SIMD size_t unit_bytes(enum data data, enum scales scales)
{
    return data_bytes(data, unit_inputs(scales)) + scales_bytes(scales);
}

SIMD int tile_units(enum scales scales, int32_t K)
{
    return (K + unit_inputs(scales) - 1) / unit_inputs(scales);
}

/* Of the head and the units of a tile. */
SIMD size_t used_bytes(enum layout layout, int32_t K)
{
    const struct layout_info *info = &layout_info[layout];
    return head_bytes(info->scales) +
           (size_t)tile_units(info->scales, K) * unit_bytes(info->data, info->scales);
}

/* The same, so that the next tile begins with a line. */
SIMD size_t tile_bytes(enum layout layout, int32_t K)
{
    return (used_bytes(layout, K) + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
}

/* Whether two groups share the lines of their low four bits. */
SIMD bool has_nibbles(enum data data)
{
    return data == DATA_U4 || data == DATA_S4 || data == DATA_E2M1 || data == DATA_U5 ||
           data == DATA_S5 || data == DATA_S6;
}

/* What is added to an integer where it is stored. */
SIMD int stored_bias(enum data data)
{
    return data == DATA_S4                        ? 8
           : data == DATA_S5 || data == DATA_E2M1 ? 16
           : data == DATA_S6                      ? 32
           : data == DATA_S8                      ? DOT_BIAS
                                                  : 0;
}

/* Whether it is stored as a signed byte. */
SIMD bool is_signed_byte(enum data data)
{
    return data == DATA_S8 && DOT_BIAS == 0;
}

/* Bytes of two groups. */
SIMD size_t pair_bytes(enum data data)
{
    return data_bytes(data, 2 * GROUP);
}

/* Where line j of a group begins in its pair: its bytes or low four bits, and its upper bits. */
SIMD size_t line_offset(enum data data, bool is_odd, int j)
{
    if (has_nibbles(data))
        return (size_t)(2 * upper_bits(data) + j) * LINE_BYTES;
    return (size_t)(is_odd ? j + 8 : j) * LINE_BYTES;
}

SIMD size_t upper_offset(enum data data, bool is_odd, int j)
{
    return (size_t)(2 * (upper_bits(data) * j / 8) + is_odd) * LINE_BYTES;
}

/* The first of the upper bits of line j in the bytes that have them. */
SIMD int upper_place(enum data data, int j)
{
    return (upper_bits(data) * j + 4) % 8;
}

/* The byte of input k of a run of E4M3: of four the inner ones have changed places. */
SIMD int e4m3_place(int k)
{
    return E4M3_RUN == 4 ? k % 2 * 2 + k / 2 : k;
}

/* Offset of row r, input k of a unit of floats. */
SIMD size_t float_offset(enum data data, int r, int k)
{
    switch (data) {
    case DATA_F16:
        return (size_t)(k * PACKED_ROWS + r) * 2;
    case DATA_BF16:
        return (size_t)((k / 2 * PACKED_ROWS + r) * 2 + k % 2) * 2;
    case DATA_E4M3:
        return (size_t)((k / E4M3_RUN * PACKED_ROWS + r) * E4M3_RUN + e4m3_place(k % E4M3_RUN));
    default:
        return (size_t)(k * PACKED_ROWS + r) * 4;
    }
}

/* Half r of array a of an array of halves. */
SIMD size_t half_offset(int a, int r)
{
    return (size_t)(a * PACKED_ROWS + r) * 2;
}

/* Where the scale and the zero point of row r in group g of a unit are. */
SIMD size_t zero_scale_offset(enum scales scales, int g, int r)
{
    return half_offset(scales == SCALES_Z32 ? g : 0, r);
}

SIMD size_t zero_offset(enum scales scales, int g, int r)
{
    return (size_t)((scales == SCALES_Z32 ? 4 + g : 2) * PACKED_ROWS + r);
}

/* One row in one group: its values as they are stored, an unsigned byte each, and its
 * scales as they stand. */
struct row_group {
    uint32_t word[GROUP / 4]; /* 4 values each, the first in the lowest byte */
    uint16_t d, m;            /* halves; K: d and dmin */
    uint8_t scale, min;       /* K; E8: e; E4: of both halves */
    uint8_t zero;             /* Z32, Z64, Z128 */
    int8_t half_scale[2];     /* K16 */
};

/* Row n of a packed matrix to floats, equal to what the format defines. */
void ISA_FN(unpack_row)(const struct weight *weight, int32_t n, float *out);
