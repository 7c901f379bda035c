/* Rows of a packed matrix back to floats, for the embedding table. */
#include "../../../quant/bf16.h"
#include "layout.h"

static void unpack_group(enum scales scales, const struct row_group *group, float *out)
{
    float d = f16_to_float(group->d), m = f16_to_float(group->m);
    float scale[2] = {d, d}, offset = 0.0f;
    if (scales == SCALES_DM) {
        offset = m;
    } else if (scales == SCALES_K) {
        scale[0] = scale[1] = d * (float)group->scale;
        offset = -(m * (float)group->min);
    } else if (scales == SCALES_K16) {
        scale[0] = d * (float)group->half_scale[0];
        scale[1] = d * (float)group->half_scale[1];
    }
    for (int k = 0; k < GROUP; k++)
        out[k] = (float)group->q[k] * scale[k / 16] + offset;
}

static float unpack_float(enum data data, const uint8_t *unit, int r, int k)
{
    const uint8_t *at = unit + float_offset(data, r, k);
    uint16_t half;
    float value;
    memcpy(&half, at, sizeof half);
    if (data == DATA_F16)
        return f16_to_float(half);
    if (data == DATA_BF16)
        return bf16_to_float(half);
    memcpy(&value, at, sizeof value);
    return value;
}

void ISA_FN(unpack_row)(const struct weight *weight, int32_t n, float *out)
{
    enum layout layout = (enum layout)weight->layout;
    const struct layout_info *info = &layout_info[layout];
    int r = n % PACKED_ROWS, per_unit = unit_inputs(info->scales) / GROUP;
    size_t bytes = unit_bytes(info->data, info->scales);
    const uint8_t *tile =
        (const uint8_t *)weight->data + (size_t)(n / PACKED_ROWS) * tile_bytes(layout, weight->K);
    struct row_group group = {0};
    for (int32_t g = 0; g < weight->K / GROUP; g++, out += GROUP) {
        const uint8_t *unit = tile + (size_t)(g / per_unit) * bytes;
        if (info->scales == SCALES_NONE) {
            for (int k = 0; k < GROUP; k++)
                out[k] = unpack_float(info->data, unit, r, k);
        } else {
            ISA_FN(group_get)(layout, unit, r, g % per_unit, &group);
            unpack_group(info->scales, &group, out);
        }
    }
}
