/* Between the files of attention: attend.c cuts a step into units of work, rotary.c brings
 * queries and keys to their positions, append.c writes pages, softmax.c computes a unit.
 *
 * The keys of a sequence are taken in splits of 256 positions, always cut at the same
 * places. A split gives one partial result per query: the largest score, the sum of the
 * weights and the weighted values. Partials are merged from the first split to the last.
 * Inside a split each score, each sum and each output is one chain of operations in the
 * order of dims or positions. So a result depends on the query, its keys and their
 * positions alone, however the work was cut and whoever did it. */
#pragma once

#include "../kv.h"
#include "isa.h"

#define SPLIT       256 /* positions */
#define SPLIT_PAGES (SPLIT / PAGE_TOKENS)

/* Queries of wider heads stand in runs of so many columns: the first of all rows, then the second
 * of all. */
#define QUERY_RUN 256

/* A partial result: width weighted values, then these. */
#define PARTIAL_MAX   0 /* largest score */
#define PARTIAL_SUM   1 /* of the weights, e^(score - largest) */
#define PARTIAL_EXTRA 16

/* One head's pages of one sequence. */
struct attend_keys {
    enum kv_type type;
    struct kv_layout layout;
    int dim;
    bool pairs; /* bf16 where an instruction multiplies pairs of it: queries and weights are too */
    const int32_t *page;
    uint8_t *base; /* the block of page 0 */
    size_t stride; /* from one page's block to the next one's */
};

/* Queries against one key/value head: the heads of its group for consecutive tokens, token
 * by token. All tokens lie in one page, so all rows see the same splits and pages. */
struct attend_rows {
    struct attend_keys keys;
    const float *q;      /* (runs, run_rows, QUERY_RUN) rotated and scaled; readable up to
                            ROWS_UP(n). keys.pairs: rows are bf16, where they begin is the same */
    int run_rows;        /* rows that there is room for */
    int n, group;        /* rows, and how many of them share a position */
    int position;        /* of the first row */
    int window;          /* positions that a row sees; 0: all */
    float cap;           /* of scores, or 0 */
    const float *slopes; /* (group) or NULL */
};

/* Floats [first, end) of a row, in whole vectors, as bf16 where those of a row of bf16 that begins
 * with it are: what is written there was read before. */
SIMD void round_row(float *row, int first, int end)
{
    uint16_t *to = (uint16_t *)(void *)row;
    for (int i = first; i < end; i += LANES)
        vf_store_bf16(to + i, vf_load(row + i));
}

/* Rows are worked on in tiles, the last of which may be filled up with unused rows. */
#define ROWS_UP(n) ROUND_UP(n, TILE_ROWS)

static inline uint8_t *attend_block(const struct attend_keys *keys, int position)
{
    return keys->base + (size_t)keys->page[position / PAGE_TOKENS] * keys->stride;
}

static inline size_t partial_stride(const struct kv_layout *layout)
{
    return (size_t)layout->width + PARTIAL_EXTRA;
}

/* The first position that a row at `position` sees. */
static inline int first_seen(int position, int window)
{
    return window && position >= window ? position - window + 1 : 0;
}

/* out = x / sqrt(mean(x^2) + eps) * weight (n); weight NULL: 1. May be x. */
void ISA_FN(normalize)(const float *x, const float *weight, float eps, int n, float *out);

/* out = x normalized by weight (NULL: as it is), rotated, times scale, less mean; (dim). May not be
 * x. */
struct rotary {
    const float *angles; /* (2, turned/2) cos, sin of one token; NULL: no rotation */
    const float *mean;   /* (dim) or NULL: 0 */
    enum rope_kind kind;
    int dim, turned; /* the first columns of a head turn */
    float eps, scale;
};
void ISA_FN(rotate)(const struct rotary *rotary, const float *x, const float *weight, float *out);

/* Writes one position's key and value. */
void ISA_FN(append)(const struct attend_keys *keys, int position, const float *k, const float *v);

/* Partial results of the rows over one split, (ROWS_UP(n), partial_stride) in out. weights
 * is scratch, (TILE_ROWS, SPLIT). */
void ISA_FN(attend_split)(const struct attend_rows *rows, int split, float *weights, float *out);

/* into = into followed by next. One of a row that saw no position changes nothing. */
void ISA_FN(merge_partial)(const struct kv_layout *layout, float *into, const float *next);
