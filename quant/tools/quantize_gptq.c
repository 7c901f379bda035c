#include "quantize_gptq.h"

#include "quantize_jobs.h"
#include "quantize_product.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 64,  /* that a thread takes through all columns: a block of them stays in its cache */
    BLOCK = 128 /* columns whose errors are passed on to those behind them at once */
};

#define LEVELS  15.0f
#define ROUNDER 0x1.8p23f /* rounds to the nearest integer, ties to even, below 2^22 */

/* Rows of a tile lie in columns here: [.][ROWS]. */
struct tile {
    float *w;       /* (K, ROWS) in the order of rounding */
    float *error;   /* (BLOCK, ROWS) */
    float *scale;   /* (groups, ROWS) */
    float *inverse; /* the same: 1 / scale, or 0 */
    float *zero;    /* the same */
    uint16_t *half; /* the same */
    uint8_t *q;     /* (K, ROWS) in the order of the matrix */
};

struct rounding {
    const struct gptq *g;
    const float *W;
    uint8_t *rows;
    int64_t N, K;
    int32_t group;
    struct tile tile[JOB_THREADS_MOST];
};

static int64_t column_of(const struct rounding *r, int64_t position)
{
    return r->g->factor->order ? r->g->factor->order[position] : position;
}

static void keep_grid(struct tile *t, int64_t group, int64_t row, struct int4_grid grid)
{
    const int64_t at = group * ROWS + row;
    t->scale[at] = grid.scale;
    t->inverse[at] = grid.scale > 0 ? 1 / grid.scale : 0;
    t->zero[at] = grid.zero;
    t->half[at] = grid.half;
}

/* Of n rows, whose values begin at w with a distance between columns and one between rows. */
static void find_grids(const struct rounding *r, struct tile *t, int64_t group, const float *w,
                       int64_t column, int64_t row, int64_t n)
{
    float value[BLOCK];
    for (int64_t i = 0; i < n; i++) {
        for (int32_t k = 0; k < r->group; k++)
            value[k] = w[k * column + i * row];
        keep_grid(t, group, i, int4_fit(value, r->group, r->g->style));
    }
}

/* Column j of the order: q and the error by U[j][j]; the error reaches the columns up to end. */
static void round_column(const struct rounding *r, struct tile *t, int64_t j, int64_t end)
{
    const float *U = r->g->factor->U + j * r->K;
    const int64_t column = column_of(r, j), grid = column / r->group * ROWS;
    const float *scale = t->scale + grid, *inverse = t->inverse + grid, *zero = t->zero + grid;
    float *w = t->w + j * ROWS, *error = t->error + j % BLOCK * ROWS;
    uint8_t *q = t->q + column * ROWS;
    const float share = 1 / U[j];
    for (int i = 0; i < ROWS; i++) {
        float level = w[i] * inverse[i] + ROUNDER - ROUNDER + zero[i];
        level = level < 0 ? 0 : level;
        level = level > LEVELS ? LEVELS : level;
        q[i] = (uint8_t)(int32_t)level;
        error[i] = (w[i] - (level - zero[i]) * scale[i]) * share;
    }
    for (int64_t k = j + 1; k < end; k++) {
        const float part = U[k];
        float *other = t->w + k * ROWS;
        for (int i = 0; i < ROWS; i++)
            other[i] -= part * error[i];
    }
}

static void write_rows(const struct rounding *r, const struct tile *t, int64_t first, int64_t n)
{
    const size_t bytes = (size_t)fmt_info[r->g->fmt].bytes;
    uint8_t *out = r->rows + (size_t)first * fmt_row_bytes(r->g->fmt, r->K);
    uint8_t q[BLOCK];
    for (int64_t i = 0; i < n; i++)
        for (int64_t g = 0; g < r->K / r->group; g++, out += bytes) {
            const int64_t at = g * ROWS + i;
            for (int32_t k = 0; k < r->group; k++)
                q[k] = t->q[(g * r->group + k) * ROWS + i];
            int4_put(q, r->group, (struct int4_grid){t->scale[at], t->zero[at], t->half[at]}, out);
        }
}

static void round_tile(void *arg, int64_t number, int32_t thread)
{
    struct rounding *r = arg;
    struct tile *t = &r->tile[thread];
    const int64_t first = number * ROWS, n = MIN(r->N - first, ROWS), K = r->K;
    const float *W = r->W + first * K;
    const bool is_ordered = r->g->factor->order != NULL;
    for (int64_t j = 0; j < K; j++)
        for (int64_t i = 0; i < ROWS; i++)
            t->w[j * ROWS + i] = i < n ? W[i * K + column_of(r, j)] : 0;
    for (int64_t g = 0; is_ordered && g < K / r->group; g++)
        find_grids(r, t, g, W + g * r->group, 1, K, n);
    for (int64_t at = 0; at < K; at += BLOCK) {
        const int64_t end = MIN(K, at + BLOCK);
        for (int64_t j = at; j < end; j++) {
            if (!is_ordered && j % r->group == 0)
                find_grids(r, t, j / r->group, t->w + j * ROWS, ROWS, 1, n);
            round_column(r, t, j, end);
        }
        product_add(&(struct product){.c = t->w + end * ROWS,
                                      .a = r->g->factor->U + at * K + end,
                                      .b = t->error,
                                      .ldc = ROWS,
                                      .lda = K,
                                      .ldb = ROWS,
                                      .m = K - end,
                                      .n = ROWS,
                                      .k = end - at,
                                      .sign = -1});
    }
    write_rows(r, t, first, n);
}

/* One piece of memory each. */
static bool take_tile(struct tile *t, int64_t K, int32_t group)
{
    const size_t n = (size_t)K * ROWS, grids = n / (size_t)group;
    const size_t floats = n + BLOCK * ROWS + 3 * grids;
    t->w = calloc(1, floats * sizeof(float) + grids * sizeof(uint16_t) + n);
    if (!t->w)
        return false;
    t->error = t->w + n;
    t->scale = t->error + BLOCK * ROWS;
    t->inverse = t->scale + grids;
    t->zero = t->inverse + grids;
    t->half = (uint16_t *)(void *)(t->zero + grids);
    t->q = (uint8_t *)(t->half + grids);
    return true;
}

int32_t gptq_round(const struct gptq *g, const float *W, int64_t N, uint8_t *rows, struct err *err)
{
    const int64_t tiles = (N + ROWS - 1) / ROWS;
    const int32_t threads = (int32_t)MIN(MIN(g->threads, JOB_THREADS_MOST), tiles);
    struct rounding r = {
        .g = g, .W = W, .rows = rows, .N = N, .K = g->factor->K, .group = fmt_info[g->fmt].n};
    int32_t rc = INFLIGHT_OK;
    for (int32_t i = 0; i < threads && !rc; i++)
        if (!take_tile(&r.tile[i], r.K, r.group))
            rc = err_set(err, INFLIGHT_E_NOMEM, "no memory for %d rows of %lld values", ROWS,
                         (long long)r.K);
    if (!rc)
        jobs_run(threads, tiles, round_tile, &r);
    for (int32_t i = 0; i < threads; i++)
        free(r.tile[i].w);
    return rc;
}

struct column {
    float size;
    int32_t number;
};

static int compare(const void *a, const void *b)
{
    const struct column *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    return x->number < y->number ? -1 : 1;
}

int32_t gptq_order(const float *H, int32_t K, int32_t *order, struct err *err)
{
    struct column *column = malloc((size_t)K * sizeof *column);
    if (!column)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the order of %d columns", K);
    for (int32_t i = 0; i < K; i++)
        column[i] = (struct column){H[(int64_t)i * K + i], i};
    qsort(column, (size_t)K, sizeof *column, compare);
    for (int32_t i = 0; i < K; i++)
        order[i] = column[i].number;
    free(column);
    return INFLIGHT_OK;
}
