/* Tiles of integers times int8 inputs: units and columns in turn, each group by group_int8.h. One
 * function per layout and width, all made from dot_tiles. */
#include "group_int8.h"

/* Units of each tile that meet some columns in one go. */
struct span {
    int first, last;
    const uint8_t *lines; /* (tiles, SPAN_BYTES): theirs, if they are unpacked */
};

/* The lines that come `ahead` bytes later, of each tile or, past its end, of that which is done
 * after it: for each pair its share of a unit. */
SIMD void fetch_ahead(struct kind k, const struct tile_job *job, const struct group *g,
                      size_t ahead)
{
    const size_t pairs = (size_t)unit_inputs(k.scales) / (2 * GROUP);
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a unit of integers has a pair */
    const size_t share = ROUND_UP(unit_bytes(k.data, k.scales) / pairs, LINE_BYTES);
    const uint8_t *p = g->unit + g->pair * share + ahead;
    if (k.tiles > 1 && p >= job->tile + g->bytes)
        p += (size_t)(k.tiles - 1) * g->bytes;
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
            if (has_row_scale(k.scales))
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

/* A processor fetches ahead what is read in the order of its addresses. So the lines of a unit that
 * stand before others but are wanted after them are read when it is their turn, for nothing else:
 * more than one of scales, and all of upper bits. */
SIMD void read_lines(struct kind k, const struct group *g, size_t at, size_t n)
{
    for (int i = 0; i < k.tiles; i++)
        for (size_t line = 0; line < n; line++)
            (void)*(const volatile uint8_t *)(unit_of(g, i) + at + line * LINE_BYTES);
}

SIMD void read_scales(struct kind k, const struct group *g)
{
    const size_t n = (scales_bytes(k.scales) + LINE_BYTES - 1) / LINE_BYTES;
    if (n > 1)
        read_lines(k, g, 0, n);
}

SIMD void read_upper_bits(struct kind k, const struct group *g)
{
    if (!k.unpacked)
        read_lines(k, g, scales_bytes(k.scales) + g->pair * pair_bytes(k.data),
                   2 * (size_t)upper_bits(k.data));
}

/* Both groups of a pair. */
SIMD void dot_both(struct kind k, const struct group *g, vf acc[DOT_TILES_MAX][DOT_COLUMNS])
{
    struct group both[2] = {*g, *g};
    both[0].high = false;
    both[1].high = true;
    both[1].record += k.width * RECORD_INT8;
    if (has_halves(k.scales))
        add_pair_of_halves(k, both, acc);
    else
        add_pair(k, both, acc);
}

SIMD void dot_in_turn(struct kind k, const struct group *g, vf acc[DOT_TILES_MAX][DOT_COLUMNS])
{
    struct group one = *g;
    UNROLL
    for (int i = 0; i < 2; i++, one.record += k.width * RECORD_INT8) {
        one.high = i;
        if (has_halves(k.scales))
            add_halves(k, &one, acc);
        else
            add_group(k, &one, acc);
    }
}

/* A span of the tiles times k.columns columns of the block, from the first on. */
SIMD void dot_columns(struct kind k, const struct tile_job *job, struct span span, int first)
{
    const size_t pairs = (size_t)unit_inputs(k.scales) / (2 * GROUP);
    const size_t bytes = unit_bytes(k.data, k.scales);
    const size_t records = 2 * pairs * (size_t)k.width * RECORD_INT8; /* of a unit */
    const size_t ahead = k.tiles <= FETCH_TILES && first == 0 ? job->ahead : 0;
    const bool in_turn = k.columns == k.width; /* else lines are read several times */
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
        if (in_turn)
            read_scales(k, &g);
        for (g.pair = 0; g.pair < pairs; g.pair++) {
            if (in_turn)
                read_upper_bits(k, &g);
            if (ahead)
                fetch_ahead(k, job, &g, ahead);
            if (is_pair_at_once(k))
                dot_both(k, &g, acc);
            else
                dot_in_turn(k, &g, acc);
            g.record += 2 * k.width * RECORD_INT8;
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
    const int most = has_halves(scales) ? DOT_COLUMNS_K16 : DOT_COLUMNS;
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
#define TILES_OF(width, data, scales) DOT_TILES(width, DATA_##data, SCALES_##scales)
#define KERNEL(width, name, data, scales)                                             \
    static void name##_##width(const struct tile_job *job)                            \
    {                                                                                 \
        dot_tiles(KIND(width, data, scales, 1), job);                                 \
    }                                                                                 \
    static void name##_##width##_many(const struct tile_job *job)                     \
    {                                                                                 \
        if (TILES_OF(width, data, scales) == 1)                                       \
            name##_##width(job);                                                      \
        else                                                                          \
            dot_tiles(KIND(width, data, scales, TILES_OF(width, data, scales)), job); \
    }
#define ENTRY(width, name, data, scales)                                              \
    TILE_KERNEL(name##_##width, name##_##width##_many, TILES_OF(width, data, scales), \
                BLOCKS_OF(width, data)),

#define LAYOUT(name, data, scales) EACH_WIDTH(KERNEL, name, data, scales)
#define FLOAT_LAYOUT(name, data, scales)
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT

const struct tile_kernel TILE_FN(int8_kernels)[][WIDTHS] = {
#define LAYOUT(name, data, scales) {EACH_WIDTH(ENTRY, name, data, scales)},
#define FLOAT_LAYOUT(name, data, scales)
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT
};
