/* One row of a group into a packed unit and back. */
#include "layout.h"

static bool is_nibbles(enum data data)
{
    return data == DATA_U4 || data == DATA_S4;
}

/* What is added to a value to store it. */
static int stored_bias(enum data data)
{
    return data == DATA_S4 ? 8 : data == DATA_S8 ? DOT_BIAS : 0;
}

/* Halves of row r: array a of the unit's halves. */
static uint8_t *half_at(uint8_t *halves, int a, int r)
{
    return halves + (size_t)(a * PACKED_ROWS + r) * 2;
}

static void put_half(uint8_t *halves, int a, int r, uint16_t bits)
{
    memcpy(half_at(halves, a, r), &bits, sizeof bits);
}

static uint16_t get_half(const uint8_t *halves, int a, int r)
{
    uint16_t bits;
    memcpy(&bits, halves + (size_t)(a * PACKED_ROWS + r) * 2, sizeof bits);
    return bits;
}

static void put_scales(enum scales kind, uint8_t *scales, int r, int g,
                       const struct row_group *group)
{
    uint8_t *halves = scales + 16 * PACKED_ROWS; /* of super-blocks: behind 16 arrays of bytes */
    switch (kind) {
    case SCALES_D:
        put_half(scales, g, r, group->d);
        break;
    case SCALES_DM:
        put_half(scales, 2 * g, r, group->d);
        put_half(scales, 2 * g + 1, r, group->m);
        break;
    case SCALES_K:
        scales[g * PACKED_ROWS + r] = group->scale;
        scales[(8 + g) * PACKED_ROWS + r] = group->min;
        put_half(halves, 0, r, group->d);
        put_half(halves, 1, r, group->m);
        break;
    case SCALES_K16:
        scales[2 * g * PACKED_ROWS + r] = (uint8_t)group->half_scale[0];
        scales[(2 * g + 1) * PACKED_ROWS + r] = (uint8_t)group->half_scale[1];
        put_half(halves, 0, r, group->d);
        break;
    case SCALES_NONE:
        break;
    }
}

static void get_scales(enum scales kind, const uint8_t *scales, int r, int g,
                       struct row_group *group)
{
    const uint8_t *halves = scales + 16 * PACKED_ROWS;
    switch (kind) {
    case SCALES_D:
        group->d = get_half(scales, g, r);
        break;
    case SCALES_DM:
        group->d = get_half(scales, 2 * g, r);
        group->m = get_half(scales, 2 * g + 1, r);
        break;
    case SCALES_K:
        group->scale = scales[g * PACKED_ROWS + r];
        group->min = scales[(8 + g) * PACKED_ROWS + r];
        group->d = get_half(halves, 0, r);
        group->m = get_half(halves, 1, r);
        break;
    case SCALES_K16:
        group->half_scale[0] = (int8_t)scales[2 * g * PACKED_ROWS + r];
        group->half_scale[1] = (int8_t)scales[(2 * g + 1) * PACKED_ROWS + r];
        group->d = get_half(halves, 0, r);
        break;
    case SCALES_NONE:
        break;
    }
}

void ISA_FN(group_put)(enum layout layout, uint8_t *unit, int r, int g,
                       const struct row_group *group)
{
    const struct layout_info *info = &layout_info[layout];
    uint8_t *data = unit + scales_bytes(info->scales);
    int bias = stored_bias(info->data);
    bool nibbles = is_nibbles(info->data);
    int shift = nibbles && g % 2 ? 4 : 0;
    for (int k = 0; k < GROUP; k += 4) {
        uint8_t *to = data + byte_offset(info->data, r, g * GROUP + k);
        for (int i = 0; i < 4; i++) {
            unsigned stored = (unsigned)(group->q[k + i] + bias) & 0xff;
            to[i] = (uint8_t)((shift ? to[i] : 0) | stored << shift);
        }
    }
    put_scales(info->scales, unit, r, g, group);
}

void ISA_FN(group_get)(enum layout layout, const uint8_t *unit, int r, int g,
                       struct row_group *group)
{
    const struct layout_info *info = &layout_info[layout];
    const uint8_t *data = unit + scales_bytes(info->scales);
    int bias = stored_bias(info->data);
    bool nibbles = is_nibbles(info->data), sign = info->data == DATA_S8 && bias == 0;
    for (int k = 0; k < GROUP; k++) {
        int stored = data[byte_offset(info->data, r, g * GROUP + k)];
        if (nibbles)
            stored = g % 2 ? stored >> 4 : stored & 15;
        group->q[k] = (int16_t)(sign ? (int8_t)stored : stored - bias);
    }
    get_scales(info->scales, unit, r, g, group);
}
