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
    const uint8_t *record; /* of the inputs */
    int column;            /* of the record, the first */
};

/* The activations of column c that meet line j, and its numbers. */
SIMD const int8_t *column_inputs(const struct group *g, int c, int j)
{
    return (const int8_t *)g->record + (g->column + c) * GROUP + 4 * j;
}

SIMD const struct column_numbers *numbers_of(struct kind k, const struct group *g, int c)
{
    return (const struct column_numbers *)(const void *)(g->record + k.width * GROUP) + g->column +
           c;
}

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

/* Whether a sum of stored integers starts at something, to come out as that of the values. */
SIMD bool has_start(struct kind k)
{
    return has_zeros(k.scales) || k.data == DATA_S4 || k.data == DATA_S5 || k.data == DATA_S6 ||
           (k.data == DATA_S8 && DOT_BIAS != 0);
}

/* With zero points: minus their product with the sum of the activations, which the columns have
 * times -8; high nibbles come times HIGH_SCALE. */
SIMD vi zero_start(struct kind k, const struct group *g, int i, int c)
{
    vi zero = group_zeros(k.scales, g->unit + (size_t)i * g->bytes, 2 * g->pair + g->high);
    vi eight = vi_mul16(zero, vi_set1(numbers_of(k, g, c)->bias_s4));
    return g->high && HIGH_SCALE == 16 ? vi_add(eight, eight) : vi_sar(eight, 3);
}

/* What that is for tile i and column c, of lines from the first on. */
SIMD vi column_start(struct kind k, const struct group *g, int first, int i, int c)
{
    const struct column_numbers *n = numbers_of(k, g, c);
    if (has_zeros(k.scales))
        return zero_start(k, g, i, c);
    switch (k.data) {
    case DATA_S4: /* the high nibbles come times HIGH_SCALE */
        return vi_set1(g->high && HIGH_SCALE == 16 ? n->bias_s8 : n->bias_s4);
    case DATA_S5:
        return vi_add(vi_set1(n->bias_s4), vi_set1(n->bias_s4));
    case DATA_S6:
        return vi_set1(first ? n->bias_s6_high : n->bias_s6_low);
    case DATA_S8:
        return DOT_BIAS ? vi_set1(n->bias_s8) : vi_zero();
    default:
        return vi_zero();
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

/* Lines that are summed in one go: a run. before: there are sums of an earlier run already. */
struct run {
    int first, last;
    bool before;
};

/* The sums of a run, of one tile and column: where they start and how they end. */
SIMD vi run_start(struct kind k, const struct group *g, struct run run, vi sum, int i, int c)
{
    return run.before ? sum : column_start(k, g, run.first, i, c);
}

SIMD vi run_end(struct kind k, const struct group *g, struct run run, vi sum, int i, int c, vi part)
{
    if (!run.before && !has_start(k))
        return vi_dot_end(part);
    return vi_dot_end_after(run_start(k, g, run, sum, i, c), part);
}

/* The exact sums of a run. A line that is one by itself comes to its end column by column:
 * the registers would not hold what waits for it. */
SIMD void dot_run(struct kind k, const struct group *g, struct run run,
                  vi sum[DOT_TILES_MAX][DOT_COLUMNS])
{
    const bool at_once = run.last - run.first == 1;
    vi part[DOT_TILES_MAX][DOT_COLUMNS];
    DOT_UNROLL
    for (int j = run.first; j < run.last; j++) {
        vi line[DOT_TILES_MAX] = {group_line(k, g, 0, j)};
        UNROLL
        for (int i = 1; i < k.tiles; i++)
            line[i] = group_line(k, g, i, j);
        UNROLL
        for (int c = 0; c < k.columns; c++) {
            vi a = vi_broadcast4(column_inputs(g, c, j));
            UNROLL
            for (int i = 0; i < k.tiles; i++) {
                vi start = j > run.first ? part[i][c] : run_start(k, g, run, sum[i][c], i, c);
                part[i][c] = j > run.first
                                 ? vi_dot_add(start, line[i], a, is_signed_byte(k.data))
                                 : vi_dot_begin(start, line[i], a, is_signed_byte(k.data));
                if (at_once)
                    sum[i][c] = run_end(k, g, run, sum[i][c], i, c, part[i][c]);
            }
        }
    }
    if (at_once)
        return;
    UNROLL
    for (int c = 0; c < k.columns; c++) {
        UNROLL
        for (int i = 0; i < k.tiles; i++)
            sum[i][c] = run_end(k, g, run, sum[i][c], i, c, part[i][c]);
    }
}

/* The exact sums of 4 (K16) or 8 lines from the first on. */
SIMD void dot_lines(struct kind k, const struct group *g, int first,
                    vi sum[DOT_TILES_MAX][DOT_COLUMNS])
{
    const int last = first + (k.scales == SCALES_K16 ? 4 : 8);
    const int n = MIN(lines_of_run(k.data), last - first);
    UNROLL
    for (int j = first; j < last; j += n)
        dot_run(k, g, (struct run){j, j + n, j > first}, sum);
}

/* acc + m * scaled_sum */
SIMD void add_offsets(struct kind k, const struct group *g, vf acc[DOT_TILES_MAX][DOT_COLUMNS])
{
    UNROLL
    for (int i = 0; i < k.tiles; i++) {
        const struct group_scales s = scales_of_group(k, g, i);
        UNROLL
        for (int c = 0; c < k.columns; c++)
            acc[i][c] = vf_fma(s.m, vf_set1(numbers_of(k, g, c)->scaled_sum), acc[i][c]);
    }
}

/* acc + m * scaled_sum + dot * (d * scale) */
SIMD void add_group(struct kind k, const struct group *g, vf acc[DOT_TILES_MAX][DOT_COLUMNS])
{
    vi sum[DOT_TILES_MAX][DOT_COLUMNS];
    if (has_offset(k.scales))
        add_offsets(k, g, acc);
    dot_lines(k, g, 0, sum);
    UNROLL
    for (int i = 0; i < k.tiles; i++) {
        const struct group_scales s = scales_of_group(k, g, i);
        UNROLL
        for (int c = 0; c < k.columns; c++) {
            vf d = vf_mul(s.d, vf_set1(numbers_of(k, g, c)->scale));
            acc[i][c] = vf_fma(vf_of_vi(sum[i][c]), d, acc[i][c]);
        }
    }
}

/* The exact sums of both groups of a pair of one column, whose nibbles share lines: each line is
 * loaded once, and twice as many sums are under way. */
SIMD void dot_pair(struct kind k, const struct group g[2], vi sum[2][DOT_TILES_MAX])
{
    UNROLL
    for (int i = 0; i < k.tiles; i++) {
        UNROLL
        for (int h = 0; h < 2; h++)
            sum[h][i] = column_start(k, &g[h], 0, i, 0);
    }
    UNROLL
    for (int j = 0; j < 8; j++) {
        UNROLL
        for (int i = 0; i < k.tiles; i++) {
            UNROLL
            for (int h = 0; h < 2; h++)
                sum[h][i] = vi_dot_add(sum[h][i], group_line(k, &g[h], i, j),
                                       vi_broadcast4(column_inputs(&g[h], 0, j)), false);
        }
    }
}

/* What add_group does for one column and the groups of a pair, one after the other. */
SIMD void add_pair(struct kind k, const struct group g[2], vf acc[DOT_TILES_MAX][DOT_COLUMNS])
{
    vi sum[2][DOT_TILES_MAX];
    dot_pair(k, g, sum);
    UNROLL
    for (int h = 0; h < 2; h++) {
        const vf scale = vf_set1(numbers_of(k, &g[h], 0)->scale);
        if (has_offset(k.scales))
            add_offsets(k, &g[h], acc);
        UNROLL
        for (int i = 0; i < k.tiles; i++) {
            vf d = vf_mul(scales_of_group(k, &g[h], i).d, scale);
            acc[i][0] = vf_fma(vf_of_vi(sum[h][i]), d, acc[i][0]);
        }
    }
}

/* acc + (upper dot * d2 + lower dot * d) * scale: the halves have scales of their own. */
SIMD void add_halves(struct kind k, const struct group *g, vf acc[DOT_TILES_MAX][DOT_COLUMNS])
{
    vi sum[DOT_TILES_MAX][DOT_COLUMNS];
    vf low[DOT_TILES_MAX][DOT_COLUMNS];
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
            acc[i][c] = vf_fma(both, vf_set1(numbers_of(k, g, c)->scale), acc[i][c]);
        }
    }
}

/* The lines that come FETCH_AHEAD bytes later: for each pair its share of a unit. */
SIMD void fetch_ahead(struct kind k, const struct group *g)
{
    const size_t pairs = (size_t)unit_inputs(k.scales) / (2 * GROUP);
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a unit of integers has a pair */
    const size_t share = ROUND_UP(unit_bytes(k.data, k.scales) / pairs, LINE_BYTES);
    const uint8_t *p = g->unit + g->pair * share + FETCH_AHEAD;
    for (int i = 0; i < k.tiles; i++, p += g->bytes)
        for (size_t at = 0; at < share; at += LINE_BYTES)
            __builtin_prefetch(p + at);
}

/* Where rows have one scale each: those of tile i. */
SIMD vf row_scales(const struct tile_job *job, int i)
{
    return vf_load((const float *)(const void *)(job->tile + (size_t)i * job->bytes));
}

/* k.columns columns of the block, from the first on. */
SIMD void dot_columns(struct kind k, const struct tile_job *job, int first)
{
    const size_t pairs = (size_t)unit_inputs(k.scales) / (2 * GROUP);
    const bool cold = k.tiles <= FETCH_TILES && job->cold && first == 0;
    struct group g = {.unit = job->tile + head_bytes(k.scales),
                      .bytes = job->bytes,
                      .record = job->inputs,
                      .column = first};
    vf acc[DOT_TILES_MAX][DOT_COLUMNS];
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
            if (DOT_PAIR && is_nibbles(k.data) && k.columns == 1) {
                struct group both[2] = {g, g};
                both[1].high = true;
                both[1].record += k.width * RECORD_INT8;
                g.record += 2 * k.width * RECORD_INT8;
                add_pair(k, both, acc);
                continue;
            }
            UNROLL
            for (int i = 0; i < 2; i++, g.record += k.width * RECORD_INT8) {
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
        for (int i = 0; i < k.tiles; i++) {
            if (k.scales == SCALES_ROW)
                acc[i][c] = vf_mul(acc[i][c], row_scales(job, i));
            vf_store(job->out + (i * k.width + first + c) * PACKED_ROWS, acc[i][c]);
        }
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

#define KIND(width, data, scales, tiles)                                                    \
    (struct kind)                                                                           \
    {                                                                                       \
        DATA_##data, SCALES_##scales, width, tiles, columns_of_kind(SCALES_##scales, width) \
    }
#define TILES_OF(width, data) DOT_TILES(width, DATA_##data != DATA_U4 && DATA_##data != DATA_S4)
#define KERNEL(width, name, data, scales)                                     \
    static void name##_##width(const struct tile_job *job)                    \
    {                                                                         \
        dot_tiles(KIND(width, data, scales, 1), job);                         \
    }                                                                         \
    static void name##_##width##_many(const struct tile_job *job)             \
    {                                                                         \
        if (TILES_OF(width, data) == 1)                                       \
            name##_##width(job);                                              \
        else                                                                  \
            dot_tiles(KIND(width, data, scales, TILES_OF(width, data)), job); \
    }
#define ENTRY(width, name, data) \
    TILE_KERNEL(name##_##width, name##_##width##_many, TILES_OF(width, data), 1),

#define LAYOUT(name, data, scales) EACH_WIDTH(KERNEL, name, data, scales)
#define FLOAT_LAYOUT(name, data, scales)
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT

const struct tile_kernel TILE_FN(int8_kernels)[][WIDTHS] = {
#define LAYOUT(name, data, scales) {EACH_WIDTH(ENTRY, name, data)},
#define FLOAT_LAYOUT(name, data, scales)
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT
};
