/* softmax(q k^T) v of a few rows over one split of the keys, in tiles that fit the
 * registers: rows times pages for the scores, rows times runs of 16 dims for the values.
 * The shape of a tile changes only which chains run side by side. */
#include "attend.h"

#include <float.h>

/* How keys and values are kept and multiplied; constant wherever it is passed. */
struct kind {
    enum kv_type type;
    bool pairs; /* see attend_keys */
};

/* A tile of rows at work on one split. */
struct tile {
    const struct attend_keys *keys;
    const uint8_t *block[SPLIT_PAGES]; /* filled up to the end with pages that exist */
    int first_page, n_pages;           /* that a row sees: [first_page, n_pages) */
    const float *q;                    /* (rows, QUERY_RUN), of each run */
    int q_run;                         /* from one run to the next */
    float *weights;                    /* (rows, SPLIT), scores at first; keys->pairs: rows become
                                          bf16, as those of q are */
    int n_all;                         /* positions that every row sees, an even number */
    float *out;                        /* (rows, out_stride) */
    size_t out_stride;
};

/* Columns of a tile of so many rows: what the registers hold beside the operands. */
#define COLUMNS(rows) (4 * (rows) <= TILE_VECTORS ? 4 : 2 * (rows) <= TILE_VECTORS ? 2 : 1)
#define COLUMNS_MAX   4

/* The bits of E4M3 are the middle ones of a float, 2^120 too small. */
SIMD vf vf_load_e4m3_row(const uint8_t *p)
{
    vi code = vi_load_s8((const int8_t *)p);
    vi sign = vi_shl(vi_shr(code, 31), 31), rest = vi_shl(vi_and(code, vi_set1(0x7f)), 20);
    return vf_mul(vi_as_vf(vi_xor(sign, rest)), vf_set1(0x1p120f));
}

/* 16 numbers of row i of a block's keys or values, whose rows have so many numbers; bf16
 * keeps rows 2n and 2n + 1 in pairs. A line of pairs is loaded anew for each of its rows:
 * kept, it would take a register from the sums. */
SIMD vf row_at(enum kv_type type, const uint8_t *at, int width, int i)
{
    if (type == KV_INT8)
        return vf_of_vi(vi_load_s8((const int8_t *)at + i * width));
    if (type == KV_FP8)
        return vf_load_e4m3_row(at + i * width);
    if (type == KV_F32)
        return vf_load((const float *)(const void *)at + i * width);
    vi line = vi_load(unknown(at + (i & ~1) * width * 2));
    return i % 2 ? vf_bf16_odd(line) : vf_bf16_even(line);
}

/* The pair of numbers at place i, even, of a row of bf16. */
SIMD vi pair_at(const float *row, int i)
{
    int32_t pair;
    memcpy(&pair, (const uint16_t *)(const void *)row + i, sizeof pair);
    return vi_set1(pair);
}

/* Where the numbers of dims i and i + 1 are, i even, in a block. */
SIMD const uint8_t *key_at(enum kv_type type, const uint8_t *block, int i)
{
    return block + i * PAGE_TOKENS * (int)kv_type_bytes(type);
}

/* Where run c of 16 dims of positions j and j + 1 is, j even, in a block. */
SIMD const uint8_t *value_at(enum kv_type type, const struct kv_layout *layout,
                             const uint8_t *block, int j, int c)
{
    int run = type == KV_BF16 ? c * 2 * LANES : c * LANES;
    return block + layout->v + (j * layout->width + run) * (int)kv_type_bytes(type);
}

/* Pages are too short for the hardware to see a stream: the lines of the next pages are asked for
 * while these are worked on. Of keys, which are read in the order in which they stand, a few rows
 * alone wait; of values, a run of dims of each position, all do. */
#define FETCH_ROWS 4

/* Scores of the rows against pages first .. first + columns - 1. */
SIMD void score_pages(struct kind kind, const struct tile *tile, int rows, int columns, int first)
{
    const enum kv_type type = kind.type;
    const int dots = kind.pairs ? rows : 0, halves = kind.pairs ? 0 : 2;
    const uint8_t *const *block = tile->block + first;
    const uint8_t *const *next = block + (first + columns < SPLIT_PAGES ? columns : 0);
    vf sum[TILE_ROWS][COLUMNS_MAX];
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int c = 0; c < columns; c++)
        sum[r][c] = vf_zero();
    const float *q = tile->q;
    /* Before a run is as much as the columns before it would take. */
    const int next_run = tile->q_run - QUERY_RUN / (kind.pairs ? 2 : 1);
    for (int i = 0, end; i < tile->keys->dim; q += next_run) {
        end = MIN(tile->keys->dim, i + QUERY_RUN);
        for (; i < end; i += 2) {
            UNROLL
            for (int c = 0; c < columns; c++) {
                const uint8_t *at = key_at(type, block[c], i);
                if (rows <= FETCH_ROWS)
                    __builtin_prefetch(key_at(type, next[c], i));
                UNROLL
                for (int r = 0; r < dots; r++)
                    sum[r][c] = vf_dot_pairs(sum[r][c], vi_load(at), pair_at(q + r * QUERY_RUN, i));
                UNROLL
                for (int half = 0; half < halves; half++) {
                    vf key = row_at(type, at, PAGE_TOKENS, half);
                    UNROLL
                    for (int r = 0; r < rows; r++)
                        sum[r][c] = vf_add_times(sum[r][c], key, q + r * QUERY_RUN + i + half);
                }
            }
        }
    }
    float *scores = tile->weights + first * PAGE_TOKENS;
    UNROLL
    for (int c = 0; c < columns; c++) {
        vf scale = vf_set1(1.0f);
        if (kv_is_scaled(type))
            scale = vf_load((const float *)(const void *)(block[c] + tile->keys->layout.k_scale));
        UNROLL
        for (int r = 0; r < rows; r++)
            vf_store(scores + r * SPLIT + c * PAGE_TOKENS,
                     kv_is_scaled(type) ? vf_mul(sum[r][c], scale) : sum[r][c]);
    }
}

/* out of all rows, runs c0 .. c0 + columns - 1, over the first n_all positions. */
SIMD void add_values(struct kind kind, const struct tile *tile, int rows, int columns, int c0)
{
    const enum kv_type type = kind.type;
    const int dots = kind.pairs ? rows : 0, halves = kind.pairs ? 0 : 2;
    const struct kv_layout *layout = &tile->keys->layout;
    vf sum[TILE_ROWS][COLUMNS_MAX];
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int c = 0; c < columns; c++)
        sum[r][c] = vf_zero();
    for (int first = tile->first_page * PAGE_TOKENS; first < tile->n_all; first += PAGE_TOKENS) {
        int page = first / PAGE_TOKENS;
        const uint8_t *block = tile->block[page];
        const uint8_t *next = tile->block[MIN(page + 1, SPLIT_PAGES - 1)];
        const float *weights = tile->weights;
        int n = MIN(PAGE_TOKENS, tile->n_all - first);
        for (int j = 0; j < n; j += 2) {
            UNROLL
            for (int c = 0; c < columns; c++) {
                const uint8_t *at = value_at(type, layout, block, j, c0 + c);
                __builtin_prefetch(value_at(type, layout, next, j, c0 + c));
                UNROLL
                for (int r = 0; r < dots; r++)
                    sum[r][c] = vf_dot_pairs(sum[r][c], vi_load(at),
                                             pair_at(weights + r * SPLIT, first + j));
                UNROLL
                for (int half = 0; half < halves; half++) {
                    vf value = row_at(type, at, layout->width, half);
                    const float *weight = weights + first + j + half;
                    UNROLL
                    for (int r = 0; r < rows; r++)
                        sum[r][c] = vf_add_times(sum[r][c], value, weight + r * SPLIT);
                }
            }
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int c = 0; c < columns; c++)
        vf_store(tile->out + (size_t)r * tile->out_stride + (c0 + c) * LANES, sum[r][c]);
}

/* What one row sees beyond n_all: positions [n_all, count), in the last page of the split.
 * Values at or after count are not read: they may be anything. */
SIMD void add_last_values(struct kind kind, const struct tile *tile, int r, int count)
{
    const struct kv_layout *layout = &tile->keys->layout;
    const int first = (tile->n_pages - 1) * PAGE_TOKENS;
    const uint8_t *block = tile->block[tile->n_pages - 1];
    const float *weights = tile->weights + r * SPLIT;
    for (int c = 0; c < layout->width / LANES; c++) {
        float *out = tile->out + (size_t)r * tile->out_stride + c * LANES;
        vf sum = vf_load(out);
        for (int j = tile->n_all; j < count; j += 2) {
            const uint8_t *at = value_at(kind.type, layout, block, j - first, c);
            const int n = MIN(2, count - j);
            if (kind.pairs)
                sum = vf_dot_pairs(sum, n == 2 ? vi_load(at) : vi_and(vi_load(at), vi_set1(0xffff)),
                                   pair_at(weights, j));
            for (int half = 0; !kind.pairs && half < n; half++)
                sum = vf_add_times(sum, row_at(kind.type, at, layout->width, half),
                                   weights + j + half);
        }
        vf_store(out, sum);
    }
}

COPIED void score_rows(struct kind kind, const struct tile *tile, int rows)
{
    for (int p = tile->first_page / COLUMNS(rows) * COLUMNS(rows); p < tile->n_pages;
         p += COLUMNS(rows))
        score_pages(kind, tile, rows, COLUMNS(rows), p);
}

COPIED void value_rows(struct kind kind, const struct tile *tile, int rows)
{
    int runs = tile->keys->layout.width / LANES, c = 0;
    for (; c + COLUMNS(rows) <= runs; c += COLUMNS(rows))
        add_values(kind, tile, rows, COLUMNS(rows), c);
    for (; c < runs; c++)
        add_values(kind, tile, rows, 1, c);
}

/* Each number of rows and each kind has its own code. */
#define EACH_KIND(keys, function, ...)                                                 \
    do {                                                                               \
        if (DOT_PAIRS && (keys)->pairs)                                                \
            function((struct kind){.type = KV_BF16, .pairs = DOT_PAIRS}, __VA_ARGS__); \
        else if ((keys)->type == KV_BF16)                                              \
            function((struct kind){.type = KV_BF16}, __VA_ARGS__);                     \
        else if ((keys)->type == KV_INT8)                                              \
            function((struct kind){.type = KV_INT8}, __VA_ARGS__);                     \
        else if ((keys)->type == KV_FP8)                                               \
            function((struct kind){.type = KV_FP8}, __VA_ARGS__);                      \
        else                                                                           \
            function((struct kind){.type = KV_F32}, __VA_ARGS__);                      \
    } while (0)
#define TILE_FUNCTIONS(rows)                           \
    static void score_##rows(const struct tile *tile)  \
    {                                                  \
        EACH_KIND(tile->keys, score_rows, tile, rows); \
    }                                                  \
    static void value_##rows(const struct tile *tile)  \
    {                                                  \
        EACH_KIND(tile->keys, value_rows, tile, rows); \
    }
TILES(TILE_FUNCTIONS)
#undef TILE_FUNCTIONS

static const struct {
    int rows;
    void (*score)(const struct tile *tile);
    void (*value)(const struct tile *tile);
} tiles[] = {
#define TILE_ENTRY(rows) {rows, score_##rows, value_##rows},
    TILES(TILE_ENTRY)
#undef TILE_ENTRY
};

/* The first n of a page's numbers become x. */
static void fill_first(float *page, int n, vf x)
{
    vf_store(page, vf_first(x, vf_load(page), n));
}

/* The largest score of one row at positions [first, count); what else the pages of these have
 * becomes -FLT_MAX. */
static float largest_score(float *scores, int first, int count)
{
    int pages = (count + PAGE_TOKENS - 1) / PAGE_TOKENS, from = first / PAGE_TOKENS;
    float *last = scores + (pages - 1) * PAGE_TOKENS;
    vf most = vf_set1(-FLT_MAX);
    if (first >= count)
        return -FLT_MAX;
    vf_store(last, vf_first(vf_load(last), most, count - (pages - 1) * PAGE_TOKENS));
    if (first % PAGE_TOKENS)
        fill_first(scores + from * PAGE_TOKENS, first % PAGE_TOKENS, most);
    for (int p = from; p < pages; p++)
        most = vf_max(vf_load(scores + p * PAGE_TOKENS), most);
    return vf_largest(most);
}

/* Scores of one row become weights e^(score - largest), zero outside [first, count), from page
 * first_page on. Returns their sum. */
static float weigh(float *scores, int first_page, int first, int count, float largest)
{
    int pages = (count + PAGE_TOKENS - 1) / PAGE_TOKENS, from = first / PAGE_TOKENS;
    vf most = vf_set1(largest), sum = vf_zero();
    int32_t power[SPLIT];
    for (int p = first_page; p < MIN(from, SPLIT_PAGES); p++)
        vf_store(scores + p * PAGE_TOKENS, vf_zero());
    if (first >= count)
        return 0;
    for (int p = from; p < pages; p++) {
        vf x = vf_sub(vf_load(scores + p * PAGE_TOKENS), most);
        struct vf_exp_parts parts = vf_exp_begin(x);
        vf_store(scores + p * PAGE_TOKENS, parts.rest);
        vi_store(power + p * PAGE_TOKENS, parts.power);
    }
    for (int p = from; p < pages; p++) {
        vf rest = vf_load(scores + p * PAGE_TOKENS);
        vf weight = vf_exp_end(rest, vi_load(power + p * PAGE_TOKENS));
        vf_store(scores + p * PAGE_TOKENS, weight);
        sum = vf_add(sum, weight);
    }
    return vf_sum(sum);
}

/* What becomes of the scores of tile row r, row `row` of all, before they are weighed. */
static void adjust(const struct attend_rows *rows, const struct tile *tile, int split, int r,
                   int row)
{
    static const float count[LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    float slope = rows->slopes ? rows->slopes[row % rows->group] : 0;
    int position = rows->position + row / rows->group;
    for (int p = tile->first_page; p < tile->n_pages; p++) {
        float *at = tile->weights + r * SPLIT + p * PAGE_TOKENS;
        int distance = split * SPLIT + p * PAGE_TOKENS - position;
        vf s = vf_load(at);
        if (rows->cap > 0)
            s = vf_cap(s, rows->cap);
        if (rows->slopes)
            s = vf_fma(vf_set1(slope), vf_add(vf_load(count), vf_set1((float)distance)), s);
        vf_store(at, s);
    }
}

/* The scale of a value multiplies its weight. */
static void scale_weights(const struct tile *tile, int r)
{
    for (int p = tile->first_page; p < tile->n_pages; p++) {
        float *weights = tile->weights + r * SPLIT + p * PAGE_TOKENS;
        const uint8_t *scale = tile->block[p] + tile->keys->layout.v_scale;
        vf_store(weights, vf_mul(vf_load(weights), vf_load((const float *)(const void *)scale)));
    }
}

/* Positions of the split that row r sees. */
static int row_count(const struct attend_rows *rows, int split, int r)
{
    return MIN(rows->position + r / rows->group + 1 - split * SPLIT, SPLIT);
}

/* The first of them; count or beyond: there is none. */
static int row_first(const struct attend_rows *rows, int split, int r)
{
    return MAX(first_seen(rows->position + r / rows->group, rows->window) - split * SPLIT, 0);
}

/* Scores of n rows become weights. The rows meet twice, so that what one waits for, its largest
 * score and its last exponentials, passes while the next ones are computed. */
static void weigh_rows(const struct attend_rows *rows, int split, int r0, int n,
                       const struct tile *tile)
{
    float largest[TILE_ROWS];
    for (int r = 0; r < n; r++) {
        if (rows->cap > 0 || rows->slopes)
            adjust(rows, tile, split, r, r0 + r);
        largest[r] = largest_score(tile->weights + r * SPLIT, row_first(rows, split, r0 + r),
                                   row_count(rows, split, r0 + r));
    }
    for (int r = 0; r < n; r++) {
        float *extra = tile->out + (size_t)r * tile->out_stride + rows->keys.layout.width;
        extra[PARTIAL_MAX] = largest[r];
        extra[PARTIAL_SUM] =
            weigh(tile->weights + r * SPLIT, tile->first_page, row_first(rows, split, r0 + r),
                  row_count(rows, split, r0 + r), largest[r]);
        if (kv_is_scaled(rows->keys.type))
            scale_weights(tile, r);
        if (rows->keys.pairs)
            round_row(tile->weights + r * SPLIT, tile->first_page * PAGE_TOKENS,
                      tile->n_pages * PAGE_TOKENS);
    }
}

static void attend_tile(const struct attend_rows *rows, int split, int r0, int n, struct tile *tile)
{
    size_t i = 0;
    while (tiles[i].rows < n)
        i++;
    tiles[i].score(tile);
    weigh_rows(rows, split, r0, n, tile);
    tile->n_all = row_count(rows, split, r0) & ~1;
    tiles[i].value(tile);
    for (int r = 0; r < n; r++) {
        int count = row_count(rows, split, r0 + r);
        if (count == tile->n_all)
            continue;
        EACH_KIND(&rows->keys, add_last_values, tile, r, count);
    }
}

void ISA_FN(attend_split)(const struct attend_rows *rows, int split, float *weights, float *out)
{
    struct tile tile = {
        .keys = &rows->keys, .q_run = rows->run_rows * QUERY_RUN, .weights = weights};
    int last_count = row_count(rows, split, rows->n - 1);
    tile.first_page = row_first(rows, split, 0) / PAGE_TOKENS;
    tile.n_pages = (last_count + PAGE_TOKENS - 1) / PAGE_TOKENS;
    for (int p = 0; p < SPLIT_PAGES; p++)
        tile.block[p] =
            attend_block(&rows->keys, split * SPLIT + MIN(p, tile.n_pages - 1) * PAGE_TOKENS);
    tile.out_stride = partial_stride(&rows->keys.layout);
    for (int r = 0; r < rows->n; r += TILE_ROWS) {
        tile.q = rows->q + r * QUERY_RUN;
        tile.out = out + (size_t)r * tile.out_stride;
        attend_tile(rows, split, r, MIN(rows->n - r, TILE_ROWS), &tile);
    }
}

void ISA_FN(merge_partial)(const struct kv_layout *layout, float *into, const float *next)
{
    float *extra = into + layout->width;
    const float *next_extra = next + layout->width;
    if (next_extra[PARTIAL_SUM] <= 0)
        return;
    if (extra[PARTIAL_SUM] <= 0) {
        memcpy(into, next, ((size_t)layout->width + PARTIAL_SUM + 1) * sizeof *into);
        return;
    }
    float most = MAX(extra[PARTIAL_MAX], next_extra[PARTIAL_MAX]);
    vf old = vf_exp(vf_set1(extra[PARTIAL_MAX] - most));
    vf new = vf_exp(vf_set1(next_extra[PARTIAL_MAX] - most));
    for (int i = 0; i < layout->width; i += LANES)
        vf_store(into + i, vf_fma(vf_load(into + i), old, vf_mul(vf_load(next + i), new)));
    vf sum =
        vf_fma(vf_set1(extra[PARTIAL_SUM]), old, vf_mul(vf_set1(next_extra[PARTIAL_SUM]), new));
    float sums[LANES];
    vf_store(sums, sum);
    extra[PARTIAL_SUM] = sums[0];
    extra[PARTIAL_MAX] = most;
}
