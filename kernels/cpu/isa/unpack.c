/* Rows of a packed matrix back to floats, for the embedding table. */
#include "../../../quant/bf16.h"
#include "../../../quant/e4m3.h"
#include "../../../quant/mxfp4.h"
#include "layout.h"

static uint16_t get_half(const uint8_t *halves, int a, int r)
{
    uint16_t bits;
    memcpy(&bits, halves + half_offset(a, r), sizeof bits);
    return bits;
}

static void get_scales(enum scales kind, const uint8_t *scales, int r, int g,
                       struct row_group *group)
{
    const uint8_t *halves = scales + SUPER_HALVES;
    if (kind == SCALES_D) {
        group->d = get_half(scales, g, r);
    } else if (kind == SCALES_DM) {
        group->d = get_half(scales, 2 * g, r);
        group->m = get_half(scales, 2 * g + 1, r);
    } else if (kind == SCALES_K) {
        group->scale = scales[g * PACKED_ROWS + r];
        group->min = scales[(8 + g) * PACKED_ROWS + r];
        group->d = get_half(halves, 0, r);
        group->m = get_half(halves, 1, r);
    } else if (kind == SCALES_E8) {
        group->scale = scales[g * PACKED_ROWS + r];
    } else if (kind == SCALES_E4) {
        group->scale = scales[2 * g * PACKED_ROWS + r];
        group->min = scales[(2 * g + 1) * PACKED_ROWS + r];
    } else if (has_zeros(kind)) {
        memcpy(&group->d, scales + zero_scale_offset(kind, g, r), sizeof group->d);
        group->zero = scales[zero_offset(kind, g, r)];
    } else if (kind == SCALES_K16) {
        group->half_scale[0] = (int8_t)scales[2 * g * PACKED_ROWS + r];
        group->half_scale[1] = (int8_t)scales[(2 * g + 1) * PACKED_ROWS + r];
        group->d = get_half(halves, 0, r);
    }
}

/* Four bytes of row r in the line at p. */
static uint32_t get_word(const uint8_t *p, int r)
{
    uint32_t word;
    memcpy(&word, p + 4 * r, sizeof word);
    return word;
}

/* Row r, group g of a unit of integer data. */
static void get_group(const struct layout_info *info, const uint8_t *unit, int r, int g,
                      struct row_group *group)
{
    const enum data data = info->data;
    const bool is_odd = g % 2;
    const uint8_t *pair = unit + scales_bytes(info->scales) + (size_t)(g / 2) * pair_bytes(data);
    const uint32_t upper_mask = (1u << upper_bits(data)) - 1;
    for (int j = 0; j < GROUP / 4; j++) {
        uint32_t word = get_word(pair + line_offset(data, is_odd, j), r);
        if (has_nibbles(data))
            word = word >> (is_odd ? 4 : 0) & 0x0f0f0f0fu;
        if (upper_mask) {
            uint32_t upper = get_word(pair + upper_offset(data, is_odd, j), r);
            word |= (upper >> upper_place(data, j) & upper_mask * 0x01010101u) << 4;
        }
        group->word[j] = word;
    }
    get_scales(info->scales, unit, r, g, group);
}

/* The integer of a stored byte. */
static int value_of(enum data data, int stored)
{
    if (data == DATA_E2M1)
        return e2m1_twice(stored);
    return is_signed_byte(data) ? (int8_t)stored : stored - stored_bias(data);
}

/* row_scale: if the row has one for all. */
static void unpack_group(const struct layout_info *info, const struct row_group *group,
                         float row_scale, float *out)
{
    float d = info->scales == SCALES_ROW  ? row_scale
              : info->scales == SCALES_E8 ? 0.5f * e8m0_to_float(group->scale)
                                          : f16_to_float(group->d);
    float m = f16_to_float(group->m);
    float scale[2] = {d, d}, offset = 0.0f;
    if (info->scales == SCALES_DM) {
        offset = m;
    } else if (info->scales == SCALES_K) {
        scale[0] = scale[1] = d * (float)group->scale;
        offset = -(m * (float)group->min);
    } else if (info->scales == SCALES_E4) {
        scale[0] = 0.5f * e4m3_to_float(group->scale);
        scale[1] = 0.5f * e4m3_to_float(group->min);
    } else if (info->scales == SCALES_K16) {
        scale[0] = d * (float)group->half_scale[0];
        scale[1] = d * (float)group->half_scale[1];
    }
    for (int k = 0; k < GROUP; k++) {
        int q = value_of(info->data, (int)(group->word[k / 4] >> 8 * (k % 4) & 0xff)) - group->zero;
        out[k] = (float)q * scale[k / 16] + offset;
        if (info->scales == SCALES_E4)
            out[k] *= row_scale;
    }
}

static float unpack_float(enum data data, const uint8_t *unit, int r, int k)
{
    const uint8_t *at = unit + float_offset(data, r, k);
    uint16_t half;
    float value;
    if (data == DATA_E4M3)
        return e4m3_to_float(*at);
    memcpy(&half, at, sizeof half);
    if (data == DATA_F16)
        return f16_to_float(half);
    if (data == DATA_BF16)
        return bf16_to_float(half);
    memcpy(&value, at, sizeof value);
    return value;
}

/* The scale of row r at the head of a tile or of a unit of floats; 1 where there is none. */
static float float_scale(const uint8_t *head, bool is_there, int r)
{
    float scale = 1.0f;
    if (is_there)
        memcpy(&scale, head + (size_t)r * sizeof scale, sizeof scale);
    return scale;
}

void ISA_FN(unpack_row)(const struct weight *weight, int32_t n, float *out)
{
    enum layout layout = (enum layout)weight->layout;
    const struct layout_info *info = &layout_info[layout];
    int r = n % PACKED_ROWS, per_unit = unit_inputs(info->scales) / GROUP;
    size_t bytes = unit_bytes(info->data, info->scales);
    const uint8_t *tile =
        (const uint8_t *)weight->data + (size_t)(n / PACKED_ROWS) * tile_bytes(layout, weight->K);
    float scale = float_scale(tile, has_row_scale(info->scales), r);
    struct row_group group = {0};
    for (int32_t g = 0; g < weight->K / GROUP; g++, out += GROUP) {
        const uint8_t *unit = tile + head_bytes(info->scales) + (size_t)(g / per_unit) * bytes;
        if (is_float(info->data)) {
            const uint8_t *data = unit + scales_bytes(info->scales);
            float s = info->scales == SCALES_F128 ? float_scale(unit, true, r) : scale;
            for (int k = 0; k < GROUP; k++)
                out[k] = s * unpack_float(info->data, data, r, g % per_unit * GROUP + k);
        } else {
            get_group(info, unit, r, g % per_unit, &group);
            unpack_group(info, &group, scale, out);
        }
    }
}
