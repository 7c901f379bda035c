/* Tiles of integers times int8 inputs: see tile.h for the order of operations. One
 * function per layout and width, all made from dot_tile. */
#include "tile.h"

/* The 8 lines of group g: nibbles are unpacked, the high ones times HIGH_SCALE. */
SIMD void group_lines(enum data data, const uint8_t *unit, int pair, int high, vi line[8])
{
    const bool nibbles = data == DATA_U4 || data == DATA_S4;
    const uint8_t *p = unit + (nibbles ? pair : 2 * pair + high) * 8 * LINE_BYTES;
    UNROLL
    for (int i = 0; i < 8; i++) {
        vi w = vi_load(p + i * LINE_BYTES);
        line[i] = !nibbles ? w : high ? vi_high(w) : vi_low(w);
    }
}

SIMD vi dot_lines(enum data data, vi acc, const vi *line, int n, const int8_t *q)
{
    UNROLL
    for (int i = 0; i < n; i++)
        acc =
            data == DATA_S8 ? vi_dot_s8(acc, line[i], q + 4 * i) : vi_dot(acc, line[i], q + 4 * i);
    return acc;
}

/* Where the integer sum of a column starts: minus the bias of the stored bytes. */
SIMD vi dot_start(enum data data, int high, const uint8_t *record, size_t width, int column)
{
    const uint8_t *p = record + 4 * column;
    if (data == DATA_S4)
        return vi_set1(
            load_int32(p + (high && HIGH_SCALE == 16 ? AT_BIAS_S8 : AT_BIAS_S4) * width));
    if (data == DATA_S8 && DOT_BIAS != 0)
        return vi_set1(load_int32(p + AT_BIAS_S8 * width));
    return vi_zero();
}

/* One group of one column. */
SIMD vf dot_column(enum data data, enum scales scales, int high, const vi line[8],
                   const struct group_scales *s, const uint8_t *record, int width, int column,
                   vf acc)
{
    const size_t w = (size_t)width;
    const int8_t *q = (const int8_t *)record + column * GROUP;
    const uint8_t *p = record + 4 * column;
    const vf scale = vf_set1(load_float(p + AT_SCALE * w));
    if (scales == SCALES_K16) {
        vi low = vi_zero(), upper = vi_zero();
        if (DOT_BIAS) {
            low = vi_set1(load_int32(p + AT_BIAS_S8_LOW * w));
            upper = vi_set1(load_int32(p + AT_BIAS_S8_HIGH * w));
        }
        low = dot_lines(data, low, line, 4, q);
        upper = dot_lines(data, upper, line + 4, 4, q + GROUP / 2);
        acc = vf_fma(vf_of_vi(low), vf_mul(s->d, scale), acc);
        return vf_fma(vf_of_vi(upper), vf_mul(s->d2, scale), acc);
    }
    vi sum = dot_start(data, high, record, w, column);
    sum = data == DATA_U4 || data == DATA_S4 ? vi_dot_nibbles(sum, line, q)
                                             : dot_lines(data, sum, line, 8, q);
    if (has_offset(scales))
        acc = vf_fma(s->m, vf_set1(load_float(p + AT_SCALED_SUM * w)), acc);
    return vf_fma(vf_of_vi(sum), vf_mul(s->d, scale), acc);
}

/* One group of all columns. */
SIMD void dot_group(enum data data, enum scales scales, int width, int pair, int high,
                    const uint8_t *unit, const uint8_t *record, vf acc[BLOCK_COLUMNS])
{
    const bool nibbles = data == DATA_U4 || data == DATA_S4;
    const uint8_t *p = unit + data_bytes(data, unit_inputs(scales));
    struct group_scales s = group_scales(scales, p, 2 * pair + high);
    vi line[8];
    group_lines(data, unit, pair, high, line);
    if (nibbles && high && HIGH_SCALE != 1)
        s.d = vf_mul(s.d, vf_set1(1.0f / HIGH_SCALE));
    UNROLL_COLUMNS
    for (int c = 0; c < width; c++)
        acc[c] = dot_column(data, scales, high, line, &s, record, width, c, acc[c]);
}

SIMD void dot_tile(enum data data, enum scales scales, int width, const struct tile_job *job)
{
    const int pairs = unit_inputs(scales) / (2 * GROUP);
    const size_t record_bytes = (size_t)width * RECORD_INT8;
    const uint8_t *unit = job->tile, *record = job->inputs;
    vf acc[BLOCK_COLUMNS];
    UNROLL_COLUMNS
    for (int c = 0; c < width; c++)
        acc[c] = vf_zero();
    for (int n = tile_units(scales, job->K); n > 0; n--, unit += unit_bytes(data, scales)) {
        for (int pair = 0; pair < pairs; pair++, record += 2 * record_bytes) {
            dot_group(data, scales, width, pair, 0, unit, record, acc);
            dot_group(data, scales, width, pair, 1, unit, record + record_bytes, acc);
        }
    }
    UNROLL_COLUMNS
    for (int c = 0; c < width; c++)
        vf_store(job->out + c * PACKED_ROWS, acc[c]);
}

#define KERNEL(name, data, scales, width)                   \
    static void name##_##width(const struct tile_job *job)  \
    {                                                       \
        dot_tile(DATA_##data, SCALES_##scales, width, job); \
    }
#define LAYOUT(name, data, scales) \
    KERNEL(name, data, scales, 1)  \
    KERNEL(name, data, scales, 2)  \
    KERNEL(name, data, scales, 3)  \
    KERNEL(name, data, scales, 4)  \
    KERNEL(name, data, scales, 6)  \
    KERNEL(name, data, scales, 8)  \
    KERNEL(name, data, scales, 12) \
    KERNEL(name, data, scales, 16)
#define FLOAT_LAYOUT(name, data)
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT

#define ONE(fn)                           \
    {                                     \
        .one = fn, .many = fn, .tiles = 1 \
    }
const struct tile_kernel ISA_FN(int8_kernels)[][WIDTHS] = {
#define LAYOUT(name, data, scales)                                \
    {ONE(name##_1), ONE(name##_2), ONE(name##_3),  ONE(name##_4), \
     ONE(name##_6), ONE(name##_8), ONE(name##_12), ONE(name##_16)},
#define FLOAT_LAYOUT(name, data)
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT
};
