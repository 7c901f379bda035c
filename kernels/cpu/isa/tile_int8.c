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
    bool unpacked;    /* values of 5 and 6 bits become bytes first, once for all blocks */
};

/* Units of each tile that meet some columns in one go. */
struct span {
    int first, last;
    const uint8_t *lines; /* (tiles, SPAN_BYTES): theirs, if they are unpacked */
};

/* Of a span that is unpacked: one block of the largest formats, which stays in the first cache. */
#define SPAN_INPUTS 256
#define SPAN_BYTES  (SPAN_INPUTS * PACKED_ROWS)

/* One group of each tile, and the activations of some columns. */
struct group {
    const uint8_t *unit;   /* of the first tile */
    size_t bytes;          /* from one tile to the next */
    const uint8_t *lines;  /* of the unit, if it is unpacked */
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

SIMD const uint8_t *unit_of(const struct group *g, int i)
{
    return g->unit + (size_t)i * g->bytes;
}

/* Whether values are nibbles and nothing else: those of odd groups come times HIGH_SCALE. */
SIMD bool is_nibbles(enum data data)
{
    return has_nibbles(data) && upper_bits(data) == 0;
}

/* Whether zero points are taken off the lines, which become as they are of DATA_S8, rather than
 * off the sums: that pays where enough columns share a line. */
SIMD bool has_zeros_in_lines(struct kind k)
{
    return has_zeros(k.scales) && k.columns >= ZERO_COLUMNS;
}

/* The zero points of tile i. */
SIMD vi zeros_of_group(struct kind k, const struct group *g, int i)
{
    return vi_load_u8(unit_of(g, i) + zero_offset(k.scales, (int)(2 * g->pair + g->high), 0));
}

/* What makes the bytes of a line those of DATA_S8: none of them carries into the next. */
SIMD vi zeros_of_lines(struct kind k, const struct group *g, int i)
{
    const vi one = vi_sub(vi_set1(DOT_BIAS), zeros_of_group(k, g, i));
    const vi two = vi_or(one, vi_shl(one, 8));
    return vi_or(two, vi_shl(two, 16));
}

/* Where line j of a pair of nibbles is. */
SIMD const uint8_t *line_of_pair(struct kind k, const struct group *g, int i, int j)
{
    return g->unit + (size_t)i * g->bytes + scales_bytes(k.scales) + g->pair * pair_bytes(k.data) +
           line_offset(k.data, true, j);
}

/* Line j of the group in tile i. */
SIMD vi group_line(struct kind k, const struct group *g, int i, int j)
{
    if (k.unpacked)
        return vi_load(g->lines + (size_t)i * SPAN_BYTES +
                       ((2 * g->pair + g->high) * 8 + (size_t)j) * LINE_BYTES);
    const uint8_t *p =
        g->unit + (size_t)i * g->bytes + scales_bytes(k.scales) + g->pair * pair_bytes(k.data);
    if (has_zeros_in_lines(k))
        return vi_add(stored_line(k.data, p, g->high, j), zeros_of_lines(k, g, i));
    if (is_nibbles(k.data) && g->high)
        return vi_high(vi_load(line_of_pair(k, g, i, j)));
    return stored_line(k.data, p, g->high, j);
}

/* Whether values of the group come times 16. */
SIMD bool is_lifted(struct kind k, const struct group *g)
{
    return is_nibbles(k.data) && g->high && HIGH_SCALE == 16 && !has_zeros_in_lines(k);
}

/* Of tile i; what values come times is taken back, exactly. What groups share waits for the unit's
 * end. */
SIMD struct group_scales scales_of_group(struct kind k, const struct group *g, int i)
{
    struct group_scales s = {.d = vf_set1(1.0f)};
    if (!has_unit_scale(k.scales))
        s = group_scales(k.scales, unit_of(g, i), 2 * g->pair + g->high);
    if (is_lifted(k, g))
        s.d = vf_mul(s.d, vf_set1(1.0f / 16));
    return s;
}

/* Whether a sum of stored integers starts at something, to come out as that of the values. */
SIMD bool has_start(struct kind k)
{
    return k.data == DATA_S4 || k.data == DATA_S5 || k.data == DATA_S6 || has_zeros_in_lines(k) ||
           (k.data == DATA_S8 && DOT_BIAS != 0);
}

/* What that is for column c, of lines from the first on. */
SIMD vi column_start(struct kind k, const struct group *g, int first, int c)
{
    const struct column_numbers *n = numbers_of(k, g, c);
    if (has_zeros_in_lines(k))
        return vi_set1(n->bias_s8);
    switch (k.data) {
    case DATA_S4:
        return vi_set1(is_lifted(k, g) ? n->bias_s8 : n->bias_s4);
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
SIMD vi run_start(struct kind k, const struct group *g, struct run run, vi sum, int c)
{
    return run.before ? sum : column_start(k, g, run.first, c);
}

SIMD vi run_end(struct kind k, const struct group *g, struct run run, vi sum, int c, vi part)
{
    if (!run.before && !has_start(k))
        return vi_dot_end(part);
    return vi_dot_end_after(run_start(k, g, run, sum, c), part);
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
        vi line[DOT_TILES_MAX];
        UNROLL
        for (int i = 0; i < k.tiles; i++)
            line[i] = group_line(k, g, i, j);
        UNROLL
        for (int c = 0; c < k.columns; c++) {
            vi a = vi_broadcast4(column_inputs(g, c, j));
            UNROLL
            for (int i = 0; i < k.tiles; i++) {
                vi start = j > run.first ? part[i][c] : run_start(k, g, run, sum[i][c], c);
                part[i][c] = j > run.first
                                 ? vi_dot_add(start, line[i], a, is_signed_byte(k.data))
                                 : vi_dot_begin(start, line[i], a, is_signed_byte(k.data));
                if (at_once)
                    sum[i][c] = run_end(k, g, run, sum[i][c], c, part[i][c]);
            }
        }
    }
    if (at_once)
        return;
    UNROLL
    for (int c = 0; c < k.columns; c++) {
        UNROLL
        for (int i = 0; i < k.tiles; i++)
            sum[i][c] = run_end(k, g, run, sum[i][c], c, part[i][c]);
    }
}

/* Whether zero points are taken off the sums. */
SIMD bool has_zeros_in_sums(struct kind k)
{
    return has_zeros(k.scales) && !has_zeros_in_lines(k);
}

/* What takes the zero points of tile i off them, times a column's minus_sum. */
SIMD vf zeros_of_sums(struct kind k, const struct group *g, int i)
{
    if (!has_zeros_in_sums(k))
        return vf_zero();
    const vf zero = vf_of_vi(zeros_of_group(k, g, i));
    return is_lifted(k, g) ? vf_mul(zero, vf_set1(16)) : zero;
}

/* The sums of tile i in float, still exact: they and what is taken off them have 20 bits. */
SIMD vf value_of_sum(struct kind k, const struct group *g, vi sum, vf zeros, int c)
{
    const vf value = vf_of_vi(sum);
    if (!has_zeros_in_sums(k))
        return value;
    return vf_fma(zeros, vf_set1(numbers_of(k, g, c)->minus_sum), value);
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
        const vf zeros = zeros_of_sums(k, g, i);
        UNROLL
        for (int c = 0; c < k.columns; c++) {
            vf d = vf_mul(s.d, vf_set1(numbers_of(k, g, c)->scale));
            acc[i][c] = vf_fma(value_of_sum(k, g, sum[i][c], zeros, c), d, acc[i][c]);
        }
    }
}

/* The exact sums of both groups of a pair of one column, whose nibbles share lines: each line is
 * loaded once, and twice as many sums are under way. The fewer instructions a line takes, the more
 * lines are under way from memory. */
SIMD void dot_pair(struct kind k, const struct group g[2], vi sum[2][DOT_TILES_MAX])
{
    UNROLL
    for (int i = 0; i < k.tiles; i++) {
        UNROLL
        for (int h = 0; h < 2; h++)
            sum[h][i] = column_start(k, &g[h], 0, 0);
    }
    UNROLL
    for (int j = 0; j < 8; j++) {
        UNROLL
        for (int i = 0; i < k.tiles; i++) {
            const vi line = vi_once(vi_load(line_of_pair(k, g, i, j)));
            UNROLL
            for (int h = 0; h < 2; h++)
                sum[h][i] = vi_dot_add(sum[h][i], h ? vi_high(line) : vi_low(line),
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
            const vf zeros = zeros_of_sums(k, &g[h], i);
            acc[i][0] = vf_fma(value_of_sum(k, &g[h], sum[h][i], zeros, 0), d, acc[i][0]);
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

/* The lines that come `ahead` bytes later, of each tile: for each pair its share of a unit. */
SIMD void fetch_ahead(struct kind k, const struct group *g, size_t ahead)
{
    const size_t pairs = (size_t)unit_inputs(k.scales) / (2 * GROUP);
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a unit of integers has a pair */
    const size_t share = ROUND_UP(unit_bytes(k.data, k.scales) / pairs, LINE_BYTES);
    const uint8_t *p = g->unit + g->pair * share + ahead;
    for (int i = 0; i < k.tiles; i++, p += g->bytes)
        for (size_t at = 0; at < share; at += LINE_BYTES)
            __builtin_prefetch(p + at);
}

/* Where rows have one scale each: those of tile i. */
SIMD vf row_scales(const struct tile_job *job, int i)
{
    return vf_load((const float *)(const void *)(job->tile + (size_t)i * job->bytes));
}

SIMD void set_zero(struct kind k, vf acc[DOT_TILES_MAX][DOT_COLUMNS])
{
    UNROLL
    for (int c = 0; c < k.columns; c++) {
        UNROLL
        for (int i = 0; i < k.tiles; i++)
            acc[i][c] = vf_zero();
    }
}

/* Where the sums of tile i and column c of the block are. */
SIMD float *place_of(struct kind k, const struct tile_job *job, int i, int c)
{
    return job->out + (i * k.width + c) * PACKED_ROWS;
}

/* The sums of k.columns columns, from the first on, as the units before left them. */
SIMD void get_sums(struct kind k, const struct tile_job *job, int first,
                   vf acc[DOT_TILES_MAX][DOT_COLUMNS])
{
    UNROLL
    for (int i = 0; i < k.tiles; i++) {
        UNROLL
        for (int c = 0; c < k.columns; c++)
            acc[i][c] = vf_load(place_of(k, job, i, first + c));
    }
}

SIMD void put_sums(struct kind k, const struct tile_job *job, int first,
                   vf acc[DOT_TILES_MAX][DOT_COLUMNS])
{
    UNROLL
    for (int i = 0; i < k.tiles; i++) {
        UNROLL
        for (int c = 0; c < k.columns; c++) {
            if (k.scales == SCALES_ROW)
                acc[i][c] = vf_mul(acc[i][c], row_scales(job, i));
            vf_store(place_of(k, job, i, first + c), acc[i][c]);
        }
    }
}

/* The chains of a unit that has one scale are added to what is in their place. */
SIMD void put_unit(struct kind k, const struct tile_job *job, int first, const struct group *g,
                   vf chain[DOT_TILES_MAX][DOT_COLUMNS])
{
    UNROLL
    for (int i = 0; i < k.tiles; i++) {
        const struct group_scales s = group_scales(k.scales, unit_of(g, i), 0);
        UNROLL
        for (int c = 0; c < k.columns; c++) {
            float *out = place_of(k, job, i, first + c);
            vf_store(out, vf_fma(chain[i][c], s.d, vf_load(out)));
        }
    }
}

/* A span of the tiles times k.columns columns of the block, from the first on. */
SIMD void dot_columns(struct kind k, const struct tile_job *job, struct span span, int first)
{
    const size_t pairs = (size_t)unit_inputs(k.scales) / (2 * GROUP);
    const size_t bytes = unit_bytes(k.data, k.scales);
    const size_t records = 2 * pairs * (size_t)k.width * RECORD_INT8; /* of a unit */
    const size_t ahead = k.tiles <= FETCH_TILES && first == 0 ? job->ahead : 0;
    struct group g = {.unit = job->tile + head_bytes(k.scales) + (size_t)span.first * bytes,
                      .bytes = job->bytes,
                      .lines = span.lines,
                      .record = job->inputs + (size_t)span.first * records,
                      .column = first};
    vf acc[DOT_TILES_MAX][DOT_COLUMNS];
    if (span.first > 0)
        get_sums(k, job, first, acc);
    else
        set_zero(k, acc);
    if (has_unit_scale(k.scales))
        put_sums(k, job, first, acc);
    for (int n = span.first; n < span.last; n++, g.unit += bytes) {
        for (g.pair = 0; g.pair < pairs; g.pair++) {
            if (ahead)
                fetch_ahead(k, &g, ahead);
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
        if (has_unit_scale(k.scales)) {
            put_unit(k, job, first, &g, acc);
            set_zero(k, acc);
        }
        if (k.unpacked)
            g.lines += (size_t)unit_inputs(k.scales) * PACKED_ROWS;
    }
    if (!has_unit_scale(k.scales))
        put_sums(k, job, first, acc);
}

/* Columns of a block done at once: an even share for which there are registers. */
SIMD int columns_of_kind(enum scales scales, int width)
{
    const int most = scales == SCALES_K16 ? DOT_COLUMNS_K16 : DOT_COLUMNS;
    if (width <= most || width % most == 0)
        return width <= most ? width : most;
    return width % 3 == 0 && most >= 3 ? 3 : width % 2 == 0 ? 2 : 1;
}

/* The lines of a span, as bytes. */
SIMD void unpack_span(struct kind k, const struct tile_job *job, struct span span, uint8_t *lines)
{
    const size_t pairs = (size_t)unit_inputs(k.scales) / (2 * GROUP);
    const size_t bytes = unit_bytes(k.data, k.scales);
    for (int i = 0; i < k.tiles; i++) {
        const uint8_t *unit = job->tile + (size_t)i * job->bytes + (size_t)span.first * bytes;
        uint8_t *to = lines + (size_t)i * SPAN_BYTES;
        for (int n = span.first; n < span.last; n++, unit += bytes) {
            const uint8_t *pair = unit + scales_bytes(k.scales);
            for (size_t p = 0; p < pairs; p++, pair += pair_bytes(k.data)) {
                UNROLL
                for (int j = 0; j < 2 * 8; j++, to += LINE_BYTES)
                    vi_store(to, stored_line(k.data, pair, j / 8, j % 8));
            }
        }
    }
}

/* All blocks of the job meet a span before the next one is unpacked. */
SIMD void dot_unpacked(struct kind k, const struct tile_job *job)
{
    _Alignas(LINE_BYTES) uint8_t lines[DOT_TILES_MAX * SPAN_BYTES];
    const int units = tile_units(k.scales, job->K), step = SPAN_INPUTS / unit_inputs(k.scales);
    for (int unit = 0; unit < units; unit += step) {
        const struct span span = {unit, MIN(unit + step, units), lines};
        struct tile_job block = *job;
        unpack_span(k, job, span, lines);
        for (int b = 0; b < job->blocks; b++) {
            for (int first = 0; first < k.width; first += k.columns)
                dot_columns(k, &block, span, first);
            block.ahead = 0;
            block.inputs += job->block_bytes;
            block.out += k.tiles * k.width * PACKED_ROWS;
        }
    }
}

COPIED void dot_tiles(struct kind k, const struct tile_job *job)
{
    const struct span whole = {0, tile_units(k.scales, job->K), NULL};
    if (k.unpacked && job->blocks >= UNPACK_BLOCKS) {
        dot_unpacked(k, job);
        return;
    }
    k.unpacked = false;
    for (int first = 0; first < k.width; first += k.columns)
        dot_columns(k, job, whole, first);
}

/* Where a line meets columns in several goes, or may meet several blocks. */
#define UNPACKS(width, data)      \
    ((width) >= UNPACK_COLUMNS && \
     (DATA_##data == DATA_U5 || DATA_##data == DATA_S5 || DATA_##data == DATA_S6))
#define BLOCKS_OF(width, data) ((width) == BLOCK_COLUMNS && UNPACKS(width, data) ? BLOCKS_MAX : 1)
#define KIND(width, data, scales, tiles)                                                     \
    (struct kind)                                                                            \
    {                                                                                        \
        DATA_##data, SCALES_##scales, width, tiles, columns_of_kind(SCALES_##scales, width), \
            UNPACKS(width, data)                                                             \
    }
#define TILES_OF(width, data) DOT_TILES(width, DATA_##data == DATA_S8)
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
#define ENTRY(width, name, data)                                              \
    TILE_KERNEL(name##_##width, name##_##width##_many, TILES_OF(width, data), \
                BLOCKS_OF(width, data)),

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
