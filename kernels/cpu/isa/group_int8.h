/* One group of 32 inputs, or a pair of groups, of some tiles of integers times some columns of int8
 * inputs: see layout.h for where its lines are and tile.h for the order of operations. Lines become
 * values, values exact sums, and sums are scaled and added to the chains of results. */
#pragma once

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

/* What is unpacked at once: a block of the largest formats, which stays in the first cache. */
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
    return has_nibbles(data) && upper_bits(data) == 0 && data != DATA_E2M1;
}

/* Whether zero points are taken off the lines, which become as they are of DATA_S8, rather than
 * off the sums: that pays where enough columns share a line. */
SIMD bool has_zeros_in_lines(struct kind k)
{
    return has_zeros(k.scales) && k.columns >= ZERO_COLUMNS;
}

/* Whether both groups of a pair, which share lines, are done at once. */
SIMD bool is_pair_at_once(struct kind k)
{
    return has_nibbles(k.data) && PAIR_AT_ONCE(k.width, k.data) && !has_zeros_in_lines(k);
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

/* Where the pair of groups is in tile i. */
SIMD const uint8_t *pair_of(struct kind k, const struct group *g, int i)
{
    return unit_of(g, i) + scales_bytes(k.scales) + g->pair * pair_bytes(k.data);
}

/* Where line j of a pair of nibbles is. */
SIMD const uint8_t *line_of_pair(struct kind k, const struct group *g, int i, int j)
{
    return pair_of(k, g, i) + line_offset(k.data, true, j);
}

/* The line that has the upper bits of line j of group h of a pair, if there are any. */
SIMD vi upper_of_pair(struct kind k, const struct group *g, int i, int h, int j)
{
    if (!upper_bits(k.data))
        return vi_zero();
    return vi_once(vi_load(pair_of(k, g, i) + upper_offset(k.data, h, j)));
}

/* Line j of the group in tile i. */
SIMD vi group_line(struct kind k, const struct group *g, int i, int j)
{
    if (k.unpacked)
        return vi_load(g->lines + (size_t)i * SPAN_BYTES +
                       ((2 * g->pair + g->high) * 8 + (size_t)j) * LINE_BYTES);
    const uint8_t *p = pair_of(k, g, i);
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
    return k.data == DATA_S4 || k.data == DATA_E2M1 || k.data == DATA_S5 || k.data == DATA_S6 ||
           has_zeros_in_lines(k) || (k.data == DATA_S8 && DOT_BIAS != 0);
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
    case DATA_E2M1:
        if (has_halves(k.scales)) /* those of S6 are for twice as much */
            return vi_set1((first ? n->bias_s6_high : n->bias_s6_low) / 2);
        return vi_add(vi_set1(n->bias_s4), vi_set1(n->bias_s4));
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
    case DATA_E2M1:
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

/* The exact sums of 4 or 8 lines, a half or all, from the first on. */
SIMD void dot_lines(struct kind k, const struct group *g, int first,
                    vi sum[DOT_TILES_MAX][DOT_COLUMNS])
{
    const int last = first + (has_halves(k.scales) ? 4 : 8);
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

/* Values of group h of a pair, of a line with the low four bits of both and one with its upper
 * bits. */
SIMD vi line_of_half(struct kind k, vi line, vi upper, int h, int j)
{
    if (is_nibbles(k.data))
        return h ? vi_high(line) : vi_low(line);
    if (k.data == DATA_E2M1)
        return vi_e2m1(vi_low(h ? vi_shr(line, 4) : line));
    return joined_line(k.data, line, upper, h, j);
}

/* Whether little is done with a line beside its products: one column of nibbles, whose groups do
 * not have two numbers each. Such a kernel waits for memory alone. */
SIMD bool is_lean(struct kind k)
{
    return k.columns == 1 && is_nibbles(k.data) && k.scales != SCALES_DM && k.scales != SCALES_Z32;
}

/* One more line of a run, or its first. Elsewhere each instruction that is saved lets the processor
 * look further ahead for loads. */
SIMD vi dot_line_of_pair(struct kind k, bool is_first, vi part, vi values, const int8_t *a)
{
    if (!is_lean(k))
        return is_first ? vi_dot_begin_four(part, values, a) : vi_dot_add_four(part, values, a);
    const vi four = vi_broadcast4(a);
    return is_first ? vi_dot_begin(part, values, four, false)
                    : vi_dot_add(part, values, four, false);
}

/* What dot_run does, of both groups of a pair, whose low four bits share lines: each is loaded
 * once, and twice as many sums are under way. */
SIMD void dot_run_of_pair(struct kind k, const struct group g[2], struct run run,
                          vi sum[2][DOT_TILES_MAX][DOT_COLUMNS])
{
    vi part[2][DOT_TILES_MAX][DOT_COLUMNS], upper[2][DOT_TILES_MAX];
    UNROLL
    for (int j = run.first; j < run.last; j++) {
        UNROLL
        for (int i = 0; i < k.tiles; i++) {
            const bool is_first = j == run.first;
            const vi line = vi_once(vi_load(line_of_pair(k, g, i, j)));
            UNROLL
            for (int h = 0; h < 2; h++) {
                if (is_first || j * upper_bits(k.data) % 8 == 0)
                    upper[h][i] = upper_of_pair(k, g, i, h, j);
                const vi values = line_of_half(k, line, upper[h][i], h, j);
                UNROLL
                for (int c = 0; c < k.columns; c++)
                    part[h][i][c] = dot_line_of_pair(
                        k, is_first,
                        is_first ? run_start(k, &g[h], run, sum[h][i][c], c) : part[h][i][c],
                        values, column_inputs(&g[h], c, j));
            }
        }
    }
    UNROLL
    for (int h = 0; h < 2; h++) {
        UNROLL
        for (int i = 0; i < k.tiles; i++) {
            UNROLL
            for (int c = 0; c < k.columns; c++)
                sum[h][i][c] = run_end(k, &g[h], run, sum[h][i][c], c, part[h][i][c]);
        }
    }
}

/* The exact sums of lines [first, last) of both groups of a pair. */
SIMD void dot_pair(struct kind k, const struct group g[2], int first, int last,
                   vi sum[2][DOT_TILES_MAX][DOT_COLUMNS])
{
    const int n = MIN(lines_of_run(k.data), last - first);
    UNROLL
    for (int j = first; j < last; j += n)
        dot_run_of_pair(k, g, (struct run){j, j + n, j > first}, sum);
}

/* What add_group does for the groups of a pair, one after the other. */
SIMD void add_pair(struct kind k, const struct group g[2], vf acc[DOT_TILES_MAX][DOT_COLUMNS])
{
    vi sum[2][DOT_TILES_MAX][DOT_COLUMNS];
    dot_pair(k, g, 0, 8, sum);
    UNROLL
    for (int h = 0; h < 2; h++) {
        if (has_offset(k.scales))
            add_offsets(k, &g[h], acc);
        UNROLL
        for (int i = 0; i < k.tiles; i++) {
            const struct group_scales s = scales_of_group(k, &g[h], i);
            const vf zeros = zeros_of_sums(k, &g[h], i);
            UNROLL
            for (int c = 0; c < k.columns; c++) {
                vf d = vf_mul(s.d, vf_set1(numbers_of(k, &g[h], c)->scale));
                acc[i][c] = vf_fma(value_of_sum(k, &g[h], sum[h][i][c], zeros, c), d, acc[i][c]);
            }
        }
    }
}

/* What add_halves does for them. */
SIMD void add_pair_of_halves(struct kind k, const struct group g[2],
                             vf acc[DOT_TILES_MAX][DOT_COLUMNS])
{
    vi sum[2][2][DOT_TILES_MAX][DOT_COLUMNS];
    dot_pair(k, g, 0, 4, sum[0]);
    dot_pair(k, g, 4, 8, sum[1]);
    UNROLL
    for (int h = 0; h < 2; h++) {
        UNROLL
        for (int i = 0; i < k.tiles; i++) {
            const struct group_scales s = scales_of_group(k, &g[h], i);
            UNROLL
            for (int c = 0; c < k.columns; c++) {
                const vf low = vf_mul(vf_of_vi(sum[0][h][i][c]), s.d);
                const vf both = vf_fma(vf_of_vi(sum[1][h][i][c]), s.d2, low);
                acc[i][c] = vf_fma(both, vf_set1(numbers_of(k, &g[h], c)->scale), acc[i][c]);
            }
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
