/* Tiles of integers times int8 inputs: see tile.h for the order of operations. One
 * function per layout and width, all made from dot_tiles. */
#include "tile.h"

/* What a kernel is made for; constant wherever it is passed. */
struct kind {
    enum data data;
    enum scales scales;
    int width, tiles; /* of the block; done at once */
    int columns;      /* done at once */
};

/* The weights of one group in each tile: 8 lines, nibbles unpacked. */
struct group {
    vi line[DOT_TILES][8];
    struct group_scales scales[DOT_TILES];
    int high; /* the odd group of a pair */
};

/* Some columns of a record, side by side: where the activations of the first are, and its
 * number in the first of the record's arrays. */
struct columns {
    const int8_t *q;
    const uint8_t *number;
};

/* Group 2 * pair + high of tile i, whose unit is given. The high nibbles come out times
 * HIGH_SCALE, which is taken back, exactly, from the scale. */
SIMD void load_group(struct kind k, struct group *g, int i, const uint8_t *unit, int pair)
{
    const bool nibbles = is_nibbles(k.data);
    const uint8_t *p = unit + scales_bytes(k.scales);
    p += (nibbles ? pair : 2 * pair + g->high) * 8 * LINE_BYTES;
    g->scales[i] = group_scales(k.scales, unit, 2 * pair + g->high);
    if (nibbles && g->high && HIGH_SCALE != 1)
        g->scales[i].d = vf_mul(g->scales[i].d, vf_set1(1.0f / HIGH_SCALE));
    DOT_UNROLL
    for (int j = 0; j < 8; j++) {
        vi w = vi_load(p + j * LINE_BYTES);
        g->line[i][j] = !nibbles ? w : g->high ? vi_high(w) : vi_low(w);
    }
}

/* The number of column c in the record's array at (AT_), in every lane; columns counts
 * from the first that is worked on. */
SIMD vf column_float(struct kind k, const struct columns *columns, int at, int c)
{
    return vf_set1(load_float(columns->number + at * k.width + 4 * c));
}

/* As above, a bias; at 0: none. */
SIMD vi column_start(struct kind k, const struct columns *columns, int at, int c)
{
    return at ? vi_set1(load_int32(columns->number + at * k.width + 4 * c)) : vi_zero();
}

SIMD vi dot_line(enum data data, vi sum, vi line, vi a)
{
    if (is_nibbles(data))
        return vi_narrow_dot_u4(sum, line, a);
    return data == DATA_S8 ? vi_dot_s8(sum, line, a) : vi_dot_u7(sum, line, a);
}

/* The exact sums of 4 (K16) or 8 lines from the first on; they start at a bias (AT_). */
SIMD void dot_lines(struct kind k, const struct group *g, int first, int bias,
                    const struct columns *columns, vi sum[DOT_TILES][DOT_COLUMNS])
{
    const int lines = k.scales == SCALES_K16 ? 4 : 8;
    const int8_t *q = columns->q + 4 * first;
    UNROLL
    for (int c = 0; c < k.columns; c++) {
        vi start = column_start(k, columns, bias, c);
        UNROLL
        for (int i = 0; i < k.tiles; i++)
            sum[i][c] = is_nibbles(k.data) ? vi_narrow_start(start) : start;
    }
    DOT_UNROLL
    for (int j = 0; j < lines; j++) {
        UNROLL
        for (int c = 0; c < k.columns; c++) {
            vi a = vi_broadcast4(q + c * GROUP + 4 * j);
            UNROLL
            for (int i = 0; i < k.tiles; i++)
                sum[i][c] = dot_line(k.data, sum[i][c], g->line[i][first + j], a);
        }
    }
    if (!is_nibbles(k.data))
        return;
    UNROLL
    for (int c = 0; c < k.columns; c++) {
        vi start = column_start(k, columns, bias, c);
        UNROLL
        for (int i = 0; i < k.tiles; i++)
            sum[i][c] = vi_narrow_end(sum[i][c], start);
    }
}

/* acc + m * scaled_sum */
SIMD void add_offsets(struct kind k, const struct group *g, const struct columns *columns,
                      vf acc[DOT_TILES][DOT_COLUMNS])
{
    UNROLL
    for (int c = 0; c < k.columns; c++) {
        const vf sum = column_float(k, columns, AT_SCALED_SUM, c);
        UNROLL
        for (int i = 0; i < k.tiles; i++)
            acc[i][c] = vf_fma(g->scales[i].m, sum, acc[i][c]);
    }
}

/* acc + dot * (d * scale) */
SIMD void add_group(struct kind k, const struct group *g, const struct columns *columns,
                    vf acc[DOT_TILES][DOT_COLUMNS])
{
    vi sum[DOT_TILES][DOT_COLUMNS];
    int bias = k.data == DATA_S8 && DOT_BIAS != 0 ? AT_BIAS_S8 : 0;
    if (k.data == DATA_S4)
        bias = g->high && HIGH_SCALE == 16 ? AT_BIAS_S8 : AT_BIAS_S4;
    dot_lines(k, g, 0, bias, columns, sum);
    UNROLL
    for (int c = 0; c < k.columns; c++) {
        const vf scale = column_float(k, columns, AT_SCALE, c);
        UNROLL
        for (int i = 0; i < k.tiles; i++) {
            vf d = vf_mul(g->scales[i].d, scale);
            acc[i][c] = vf_fma(vf_of_vi(sum[i][c]), d, acc[i][c]);
        }
    }
}

/* acc + (upper dot * d2 + lower dot * d) * scale: the halves have scales of their own. */
SIMD void add_halves(struct kind k, const struct group *g, const struct columns *columns,
                     vf acc[DOT_TILES][DOT_COLUMNS])
{
    vi sum[DOT_TILES][DOT_COLUMNS];
    vf low[DOT_TILES][DOT_COLUMNS];
    dot_lines(k, g, 0, DOT_BIAS != 0 ? AT_BIAS_S8_LOW : 0, columns, sum);
    UNROLL
    for (int c = 0; c < k.columns; c++) {
        UNROLL
        for (int i = 0; i < k.tiles; i++)
            low[i][c] = vf_mul(vf_of_vi(sum[i][c]), g->scales[i].d);
    }
    dot_lines(k, g, 4, DOT_BIAS != 0 ? AT_BIAS_S8_HIGH : 0, columns, sum);
    UNROLL
    for (int c = 0; c < k.columns; c++) {
        const vf scale = column_float(k, columns, AT_SCALE, c);
        UNROLL
        for (int i = 0; i < k.tiles; i++) {
            vf both = vf_fma(vf_of_vi(sum[i][c]), g->scales[i].d2, low[i][c]);
            acc[i][c] = vf_fma(both, scale, acc[i][c]);
        }
    }
}

/* Group number group of the unit, all tiles. */
SIMD void dot_group(struct kind k, const struct tile_job *job, const uint8_t *unit, int group,
                    struct columns columns, vf acc[DOT_TILES][DOT_COLUMNS])
{
    struct group g = {.high = group % 2};
    UNROLL
    for (int i = 0; i < k.tiles; i++)
        load_group(k, &g, i, unit + (size_t)i * job->bytes, group / 2);
    if (has_offset(k.scales))
        add_offsets(k, &g, &columns, acc);
    if (k.scales == SCALES_K16)
        add_halves(k, &g, &columns, acc);
    else
        add_group(k, &g, &columns, acc);
}

/* k.columns columns of the block, from the first on. */
SIMD void dot_columns(struct kind k, const struct tile_job *job, int first)
{
    const int groups = unit_inputs(k.scales) / GROUP, record_bytes = k.width * RECORD_INT8;
    const uint8_t *unit = job->tile;
    const int8_t *q = (const int8_t *)job->inputs + first * GROUP;
    const uint8_t *number = job->inputs + 4 * first;
    vf acc[DOT_TILES][DOT_COLUMNS];
    UNROLL
    for (int c = 0; c < k.columns; c++) {
        UNROLL
        for (int i = 0; i < k.tiles; i++)
            acc[i][c] = vf_zero();
    }
    for (int n = tile_units(k.scales, job->K); n > 0; n--, unit += unit_bytes(k.data, k.scales)) {
        for (int group = 0; group < groups; group += 2) {
            dot_group(k, job, unit, group, (struct columns){q, number}, acc);
            q += record_bytes, number += record_bytes;
            dot_group(k, job, unit, group + 1, (struct columns){q, number}, acc);
            q += record_bytes, number += record_bytes;
        }
    }
    UNROLL
    for (int c = 0; c < k.columns; c++) {
        UNROLL
        for (int i = 0; i < k.tiles; i++)
            vf_store(job->out + (i * k.width + first + c) * PACKED_ROWS, acc[i][c]);
    }
}

/* Columns of a block done at once: an even share for which there are registers. */
SIMD int columns_of_kind(enum scales scales, int width)
{
    const int most = scales == SCALES_K16 ? DOT_COLUMNS_K16 : DOT_COLUMNS;
    if (width <= most || width % most == 0)
        return width <= most ? width : most;
    return width % 3 == 0 && most >= 3 ? 3 : width % 2 == 0 ? 2 : 1;
}

COPIED void dot_tiles(struct kind k, const struct tile_job *job)
{
    for (int first = 0; first < k.width; first += k.columns)
        dot_columns(k, job, first);
}

#define KERNEL_OF_TILES(name, data, scales, width, tiles)                   \
    static void name(const struct tile_job *job)                            \
    {                                                                       \
        dot_tiles((struct kind){DATA_##data, SCALES_##scales, width, tiles, \
                                columns_of_kind(SCALES_##scales, width)},   \
                  job);                                                     \
    }
#if DOT_TILES > 1
#define KERNEL(name, data, scales, width)                   \
    KERNEL_OF_TILES(name##_##width, data, scales, width, 1) \
    KERNEL_OF_TILES(name##_##width##_many, data, scales, width, DOT_TILES)
#define MANY(fn)                                         \
    {                                                    \
        .one = fn, .many = fn##_many, .tiles = DOT_TILES \
    }
#else
#define KERNEL(name, data, scales, width) KERNEL_OF_TILES(name##_##width, data, scales, width, 1)
#define MANY(fn)                          \
    {                                     \
        .one = fn, .many = fn, .tiles = 1 \
    }
#endif
#define LAYOUT(name, data, scales) \
    KERNEL(name, data, scales, 1)  \
    KERNEL(name, data, scales, 2)  \
    KERNEL(name, data, scales, 3)  \
    KERNEL(name, data, scales, 4)  \
    KERNEL(name, data, scales, 6)  \
    KERNEL(name, data, scales, 8)
#define FLOAT_LAYOUT(name, data)
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT

const struct tile_kernel TILE_FN(int8_kernels)[][WIDTHS] = {
#define LAYOUT(name, data, scales)                   \
    {MANY(name##_1), MANY(name##_2), MANY(name##_3), \
     MANY(name##_4), MANY(name##_6), MANY(name##_8)},
#define FLOAT_LAYOUT(name, data)
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT
};
