/* Tiles of integers times int8 inputs: see tile.h for the order of operations. One
 * function per layout and width, all made from dot_tiles. */
#include "../../../plugin/base/base.h"
#include "tile.h"

/* What a kernel is made for; constant wherever it is passed. */
struct kind {
    enum data data;
    enum scales scales;
    int width, tiles; /* of the block; done at once */
    int columns;      /* done at once */
};

/* One group of each tile, and the activations of some columns. */
struct group {
    const uint8_t *unit;   /* of the first tile */
    size_t bytes;          /* from one tile to the next */
    size_t pair;           /* of groups, in the unit */
    bool high;             /* the odd group of the pair */
    const int8_t *q;       /* activations of the first column */
    const uint8_t *column; /* its place in the first of the record's arrays */
};

/* Line j of the group in tile i; nibbles come unpacked, the high ones times HIGH_SCALE. */
SIMD vi group_line(struct kind k, const struct group *g, int i, int j)
{
    const bool nibbles = is_nibbles(k.data);
    const uint8_t *p = g->unit + (size_t)i * g->bytes + scales_bytes(k.scales);
    vi line =
        vi_load(p + ((nibbles ? g->pair : 2 * g->pair + g->high) * 8 + (size_t)j) * LINE_BYTES);
    return !nibbles ? line : g->high ? vi_high(line) : vi_low(line);
}

/* Of tile i; the HIGH_SCALE of its nibbles is taken back, exactly. */
SIMD struct group_scales scales_of_group(struct kind k, const struct group *g, int i)
{
    struct group_scales s =
        group_scales(k.scales, g->unit + (size_t)i * g->bytes, 2 * g->pair + g->high);
    if (is_nibbles(k.data) && g->high && HIGH_SCALE != 1)
        s.d = vf_mul(s.d, vf_set1(1.0f / HIGH_SCALE));
    return s;
}

/* The number of column c in the record's array at (AT_), in every lane. */
SIMD vf column_float(struct kind k, const struct group *g, int at, int c)
{
    return vf_set1(load_float(g->column + at * k.width + 4 * c));
}

/* What a sum of stored integers starts at, to come out as that of the values; at: where it
 * is in a record (AT_), 0: nowhere, as it is 0. */
SIMD vi column_start(struct kind k, const struct group *g, int at, int c)
{
    vi start = at ? vi_set1(load_int32(g->column + at * k.width + 4 * c)) : vi_zero();
    return k.data == DATA_S5 ? vi_add(start, start) : start;
}

/* Where that is for the sum of lines from the first on. */
SIMD int start_at(struct kind k, const struct group *g, int first)
{
    switch (k.data) {
    case DATA_S4: /* the high nibbles come times HIGH_SCALE */
        return g->high && HIGH_SCALE == 16 ? AT_BIAS_S8 : AT_BIAS_S4;
    case DATA_S5:
        return AT_BIAS_S4; /* twice */
    case DATA_S6:
        return first ? AT_BIAS_S6_HIGH : AT_BIAS_S6_LOW;
    case DATA_S8:
        return DOT_BIAS ? AT_BIAS_S8 : 0;
    default:
        return 0;
    }
}

/* Lines whose products can be added before their sums are brought to their end. */
SIMD int lines_of_run(enum data data)
{
    switch (data) {
    case DATA_U4:
    case DATA_S4:
        return DOT_LINES(15);
    case DATA_U5:
    case DATA_S5:
        return DOT_LINES(31);
    case DATA_S6:
        return DOT_LINES(63);
    default:
        return DOT_LINES(128);
    }
}

/* The sums of a run, of one column: where they start and how they end. before: there are sums
 * of an earlier run; at: where a start is otherwise (AT_). */
SIMD vi run_start(struct kind k, const struct group *g, int at, bool before, vi sum, int c)
{
    return before ? sum : column_start(k, g, at, c);
}

SIMD vi run_end(struct kind k, const struct group *g, int at, bool before, vi sum, int c, vi part)
{
    vi start = run_start(k, g, at, before, sum, c);
    return before || at ? vi_dot_end_after(start, part) : vi_dot_end(part);
}

/* The exact sums of lines [first, last). A line that is a run by itself comes to its end
 * column by column: the registers would not hold what waits for it. */
SIMD void dot_run(struct kind k, const struct group *g, int first, int last, int at, bool before,
                  vi sum[DOT_TILES][DOT_COLUMNS])
{
    const bool at_once = last - first == 1;
    vi part[DOT_TILES][DOT_COLUMNS];
    DOT_UNROLL
    for (int j = first; j < last; j++) {
        vi line[DOT_TILES];
        UNROLL
        for (int i = 0; i < k.tiles; i++)
            line[i] = group_line(k, g, i, j);
        UNROLL
        for (int c = 0; c < k.columns; c++) {
            vi a = vi_broadcast4(g->q + c * GROUP + 4 * j);
            UNROLL
            for (int i = 0; i < k.tiles; i++) {
                vi start = j > first ? part[i][c] : run_start(k, g, at, before, sum[i][c], c);
                part[i][c] = j > first ? vi_dot_add(start, line[i], a, is_signed_byte(k.data))
                                       : vi_dot_begin(start, line[i], a, is_signed_byte(k.data));
                if (at_once)
                    sum[i][c] = run_end(k, g, at, before, sum[i][c], c, part[i][c]);
            }
        }
    }
    if (at_once)
        return;
    UNROLL
    for (int c = 0; c < k.columns; c++) {
        UNROLL
        for (int i = 0; i < k.tiles; i++)
            sum[i][c] = run_end(k, g, at, before, sum[i][c], c, part[i][c]);
    }
}

/* The exact sums of 4 (K16) or 8 lines from the first on. */
SIMD void dot_lines(struct kind k, const struct group *g, int first, vi sum[DOT_TILES][DOT_COLUMNS])
{
    const int last = first + (k.scales == SCALES_K16 ? 4 : 8), at = start_at(k, g, first);
    const int run = MIN(lines_of_run(k.data), last - first);
    UNROLL
    for (int j = first; j < last; j += run)
        dot_run(k, g, j, j + run, at, j > first, sum);
}

/* acc + m * scaled_sum */
SIMD void add_offsets(struct kind k, const struct group *g, vf acc[DOT_TILES][DOT_COLUMNS])
{
    UNROLL
    for (int i = 0; i < k.tiles; i++) {
        const struct group_scales s = scales_of_group(k, g, i);
        UNROLL
        for (int c = 0; c < k.columns; c++)
            acc[i][c] = vf_fma(s.m, column_float(k, g, AT_SCALED_SUM, c), acc[i][c]);
    }
}

/* acc + m * scaled_sum + dot * (d * scale) */
SIMD void add_group(struct kind k, const struct group *g, vf acc[DOT_TILES][DOT_COLUMNS])
{
    vi sum[DOT_TILES][DOT_COLUMNS];
    if (has_offset(k.scales))
        add_offsets(k, g, acc);
    dot_lines(k, g, 0, sum);
    UNROLL
    for (int i = 0; i < k.tiles; i++) {
        const struct group_scales s = scales_of_group(k, g, i);
        UNROLL
        for (int c = 0; c < k.columns; c++) {
            vf d = vf_mul(s.d, column_float(k, g, AT_SCALE, c));
            acc[i][c] = vf_fma(vf_of_vi(sum[i][c]), d, acc[i][c]);
        }
    }
}

/* acc + (upper dot * d2 + lower dot * d) * scale: the halves have scales of their own. */
SIMD void add_halves(struct kind k, const struct group *g, vf acc[DOT_TILES][DOT_COLUMNS])
{
    vi sum[DOT_TILES][DOT_COLUMNS];
    vf low[DOT_TILES][DOT_COLUMNS];
    dot_lines(k, g, 0, sum);
    UNROLL
    for (int i = 0; i < k.tiles; i++) {
        const struct group_scales s = scales_of_group(k, g, i);
        UNROLL
        for (int c = 0; c < k.columns; c++)
            low[i][c] = vf_mul(vf_of_vi(sum[i][c]), s.d);
    }
    dot_lines(k, g, 4, sum);
    UNROLL
    for (int i = 0; i < k.tiles; i++) {
        const struct group_scales s = scales_of_group(k, g, i);
        UNROLL
        for (int c = 0; c < k.columns; c++) {
            vf both = vf_fma(vf_of_vi(sum[i][c]), s.d2, low[i][c]);
            acc[i][c] = vf_fma(both, column_float(k, g, AT_SCALE, c), acc[i][c]);
        }
    }
}

/* The lines that come FETCH_AHEAD bytes later: for each pair its share of a unit. */
SIMD void fetch_ahead(struct kind k, const struct group *g)
{
    const size_t pairs = (size_t)unit_inputs(k.scales) / (2 * GROUP);
    const size_t share = ROUND_UP(unit_bytes(k.data, k.scales) / pairs, LINE_BYTES);
    const uint8_t *p = g->unit + g->pair * share + FETCH_AHEAD;
    for (int i = 0; i < k.tiles; i++, p += g->bytes)
        for (size_t at = 0; at < share; at += LINE_BYTES)
            __builtin_prefetch(p + at);
}

/* k.columns columns of the block, from the first on. */
SIMD void dot_columns(struct kind k, const struct tile_job *job, int first)
{
    const size_t pairs = (size_t)unit_inputs(k.scales) / (2 * GROUP);
    const size_t record_bytes = (size_t)k.width * RECORD_INT8;
    const bool cold = FETCH_AHEAD && job->cold && first == 0;
    struct group g = {.unit = job->tile,
                      .bytes = job->bytes,
                      .q = (const int8_t *)job->inputs + first * GROUP,
                      .column = job->inputs + 4 * first};
    vf acc[DOT_TILES][DOT_COLUMNS];
    UNROLL
    for (int c = 0; c < k.columns; c++) {
        UNROLL
        for (int i = 0; i < k.tiles; i++)
            acc[i][c] = vf_zero();
    }
    for (int n = tile_units(k.scales, job->K); n > 0; n--, g.unit += unit_bytes(k.data, k.scales)) {
        for (g.pair = 0; g.pair < pairs; g.pair++) {
            if (cold)
                fetch_ahead(k, &g);
            UNROLL
            for (int i = 0; i < 2; i++, g.q += record_bytes, g.column += record_bytes) {
                g.high = i;
                if (k.scales == SCALES_K16)
                    add_halves(k, &g, acc);
                else
                    add_group(k, &g, acc);
            }
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
