#include "gptq.h"

#include "jobs.h"
#include "product.h"

#include "../e4m3.h"
#include "../encode.h"
#include "../encode_fp8.h"
#include "../f16.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 64,  /* that a thread takes through all columns: a block of them stays in its cache */
    BLOCK = 128 /* columns whose errors are passed on to those behind them at once */
};

#define LEVELS    15.0f
#define INT8_MOST 127.0f
#define ROUNDER   0x1.8p23f /* rounds to the nearest integer, ties to even, below 2^22 */

/* Rows of a tile lie in columns here: [.][ROWS]. */
struct tile {
    float *w;       /* (K, ROWS) in the order of rounding */
    float *error;   /* (BLOCK, ROWS) */
    float *scale;   /* (groups, ROWS) */
    float *inverse; /* the same: 1 / scale, or 0 */
    float *zero;    /* the same; of int4 */
    uint16_t *half; /* the same; of int4 */
    uint8_t *q;     /* (K, ROWS) in the order of the matrix */
};

struct rounding {
    const struct gptq *g;
    const float *W;
    uint8_t *rows;
    float *counts; /* (K) what the square of an error counts, owned; see count_columns */
    int64_t N, K;
    int32_t group; /* values of a row that share a scale */
    bool is_int4;
    bool is_static; /* grids are of the weights as they were */
    struct tile tile[JOB_THREADS_MOST];
};

static int64_t column_of(const struct rounding *r, int64_t position)
{
    return r->g->factor->order ? r->g->factor->order[position] : position;
}

/* ---- Grids */

static void keep_grid(struct tile *t, int64_t group, int64_t row, struct int4_grid grid)
{
    const int64_t at = group * ROWS + row;
    t->scale[at] = grid.scale;
    t->inverse[at] = grid.scale != 0 ? 1 / grid.scale : 0;
    t->zero[at] = grid.zero;
    t->half[at] = grid.half;
}

/* Where a group begins in a row: of formats with a scale of the row all of it. */
static size_t group_offset(const struct rounding *r, int64_t group)
{
    return (size_t)group * (size_t)fmt_info[r->g->fmt].bytes;
}

/* Of a group as it lies in the matrix and in its row, where formats of 8 bits have their scale;
 * that of fp8 becomes the one that suits the errors that count. */
static struct int4_grid grid_of(const struct rounding *r, const float *w, const float *counts,
                                uint8_t *group)
{
    struct int4_grid grid = {0};
    if (r->is_int4)
        return int4_fit(w, counts, r->group, r->g->style);
    if (r->g->fmt == FMT_fp8) {
        grid.scale = fp8_fit(w, counts, r->K, encode_largest(w, r->K));
        memcpy(group, &grid.scale, sizeof grid.scale);
    }
    if (r->g->fmt == FMT_q8_0) {
        memcpy(&grid.half, group, sizeof grid.half);
        grid.scale = f16_to_float(grid.half);
    } else {
        memcpy(&grid.scale, group, sizeof grid.scale);
    }
    return grid;
}

static void find_static_grids(const struct rounding *r, struct tile *t, int64_t first, int64_t n)
{
    const size_t bytes = fmt_row_bytes(r->g->fmt, r->K);
    for (int64_t i = 0; i < n; i++) {
        const float *w = r->W + (first + i) * r->K;
        uint8_t *row = r->rows + (size_t)(first + i) * bytes;
        for (int64_t g = 0; g < r->K / r->group; g++)
            keep_grid(
                t, g, i,
                grid_of(r, w + g * r->group, r->counts + g * r->group, row + group_offset(r, g)));
    }
}

/* Of a group of n rows as they are now; column: its first. */
static void find_grids(const struct rounding *r, struct tile *t, int64_t column, int64_t n)
{
    float value[BLOCK];
    for (int64_t i = 0; i < n; i++) {
        for (int32_t k = 0; k < r->group; k++)
            value[k] = t->w[(column + k) * ROWS + i];
        keep_grid(t, column / r->group, i,
                  int4_fit(value, r->counts + column, r->group, r->g->style));
    }
}

/* ---- Columns */

/* A column of a tile, (ROWS) each. */
struct column {
    const float *w, *scale, *inverse, *zero;
    float *error;
    uint8_t *q;
    float share; /* of its error that others take: 1 / U[j][j] */
};

static void round_int4(const struct column *c)
{
    for (int i = 0; i < ROWS; i++) {
        float level = c->w[i] * c->inverse[i] + ROUNDER - ROUNDER + c->zero[i];
        level = level < 0 ? 0 : level;
        level = level > LEVELS ? LEVELS : level;
        c->q[i] = (uint8_t)(int32_t)level;
        c->error[i] = (c->w[i] - (level - c->zero[i]) * c->scale[i]) * c->share;
    }
}

static void round_int8(const struct column *c)
{
    for (int i = 0; i < ROWS; i++) {
        float level = c->w[i] * c->inverse[i];
        level = level < -INT8_MOST ? -INT8_MOST : level;
        level = level > INT8_MOST ? INT8_MOST : level;
        level = level + ROUNDER - ROUNDER;
        c->q[i] = (uint8_t)(int32_t)level;
        c->error[i] = (c->w[i] - level * c->scale[i]) * c->share;
    }
}

/* To nearest, ties to even, as e4m3_of_float; without a branch. */
static void round_e4m3(const struct column *c)
{
    const uint32_t most = float_bits(E4M3_MAX), least = float_bits(0x1p-6f);
    for (int i = 0; i < ROWS; i++) {
        const uint32_t bits = float_bits(c->w[i] * c->inverse[i]), sign = bits & 0x80000000u;
        uint32_t magnitude = bits & 0x7fffffffu;
        magnitude = magnitude > most ? most : magnitude;
        /* Twenty bits are cut off; below 2^-6 steps are of 2^-9, the last place of 2^14. */
        const uint32_t normal = (magnitude + 0x7ffffu + (magnitude >> 20 & 1u)) & 0xfff00000u;
        const float small = float_of_bits(magnitude) + 0x1p14f;
        const bool is_normal = magnitude >= least;
        const uint32_t code =
            is_normal ? (normal >> 20) - (120u << 3) : float_bits(small) - (141u << 23);
        const uint32_t number = is_normal ? normal : float_bits(small - 0x1p14f);
        c->q[i] = (uint8_t)(sign >> 24 | code);
        c->error[i] = (c->w[i] - float_of_bits(sign | number) * c->scale[i]) * c->share;
    }
}

/* Column j of the order: q and the error by U[j][j]; the error reaches the columns up to end. */
static void round_column(const struct rounding *r, struct tile *t, int64_t j, int64_t end)
{
    const float *U = r->g->factor->U + j * r->K;
    const int64_t column = column_of(r, j), grid = column / r->group * ROWS;
    float *error = t->error + j % BLOCK * ROWS;
    const struct column c = {.w = t->w + j * ROWS,
                             .scale = t->scale + grid,
                             .inverse = t->inverse + grid,
                             .zero = t->zero + grid,
                             .error = error,
                             .q = t->q + column * ROWS,
                             .share = 1 / U[j]};
    if (r->is_int4)
        round_int4(&c);
    else if (r->g->fmt == FMT_int8 || r->g->fmt == FMT_q8_0)
        round_int8(&c);
    else
        round_e4m3(&c);
    for (int64_t k = j + 1; k < end; k++) {
        const float part = U[k];
        float *other = t->w + k * ROWS;
        for (int i = 0; i < ROWS; i++)
            other[i] -= part * error[i];
    }
}

/* ---- Tiles */

/* Numbers of a group of row i: behind its scale, which is there unless the format is int4. */
static void write_group(const struct rounding *r, const struct tile *t, int64_t g, int64_t i,
                        uint8_t *out)
{
    const uint8_t *q = t->q + g * r->group * ROWS + i;
    const int64_t at = g * ROWS + i;
    const size_t scale = r->g->fmt == FMT_q8_0 ? sizeof(uint16_t) : sizeof(float);
    uint8_t level[BLOCK];
    if (r->is_int4) {
        for (int32_t k = 0; k < r->group; k++)
            level[k] = q[k * ROWS];
        int4_put(level, r->group, (struct int4_grid){t->scale[at], t->zero[at], t->half[at]}, out);
    } else {
        for (int32_t k = 0; k < r->group; k++)
            out[scale + (size_t)k] = q[k * ROWS];
    }
}

static void write_rows(const struct rounding *r, const struct tile *t, int64_t first, int64_t n)
{
    const size_t bytes = fmt_row_bytes(r->g->fmt, r->K);
    for (int64_t i = 0; i < n; i++)
        for (int64_t g = 0; g < r->K / r->group; g++)
            write_group(r, t, g, i, r->rows + (size_t)(first + i) * bytes + group_offset(r, g));
}

static void round_tile(void *arg, int64_t number, int32_t thread)
{
    struct rounding *r = arg;
    struct tile *t = &r->tile[thread];
    const int64_t first = number * ROWS, n = MIN(r->N - first, ROWS), K = r->K;
    const float *W = r->W + first * K;
    for (int64_t j = 0; j < K; j++)
        for (int64_t i = 0; i < ROWS; i++)
            t->w[j * ROWS + i] = i < n ? W[i * K + column_of(r, j)] : 0;
    if (r->is_static)
        find_static_grids(r, t, first, n);
    for (int64_t at = 0; at < K; at += BLOCK) {
        const int64_t end = MIN(K, at + BLOCK);
        for (int64_t j = at; j < end; j++) {
            if (!r->is_static && j % r->group == 0)
                find_grids(r, t, j, n);
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

/* What is lost in all is the sum of (error / U[j][j])^2. */
static bool count_columns(struct rounding *r)
{
    r->counts = malloc((size_t)r->K * sizeof *r->counts);
    for (int64_t j = 0; r->counts && j < r->K; j++) {
        const float share = 1 / r->g->factor->U[j * r->K + j];
        r->counts[column_of(r, j)] = share * share;
    }
    return r->counts != NULL;
}

int32_t gptq_round(const struct gptq *g, const float *W, int64_t N, uint8_t *rows, struct err *err)
{
    const int64_t tiles = (N + ROWS - 1) / ROWS;
    const int32_t threads = (int32_t)MIN(MIN(g->threads, JOB_THREADS_MOST), tiles);
    const int64_t K = g->factor->K;
    const bool is_int4 = g->fmt == FMT_int4_32 || g->fmt == FMT_int4_64 || g->fmt == FMT_int4_128;
    struct rounding r = {.g = g,
                         .W = W,
                         .rows = rows,
                         .N = N,
                         .K = K,
                         .group = fmt_info[g->fmt].head ? (int32_t)K : fmt_info[g->fmt].n,
                         .is_int4 = is_int4,
                         .is_static = !is_int4 || g->factor->order};
    int32_t rc = INFLIGHT_OK;
    if (!count_columns(&r))
        rc = err_set(err, INFLIGHT_E_NOMEM, "no memory for %lld columns", (long long)K);
    for (int32_t i = 0; i < threads && !rc; i++)
        if (!take_tile(&r.tile[i], K, r.group))
            rc = err_set(err, INFLIGHT_E_NOMEM, "no memory for %d rows of %lld values", ROWS,
                         (long long)K);
    if (!rc)
        jobs_run(threads, tiles, round_tile, &r);
    for (int32_t i = 0; i < threads; i++)
        free(r.tile[i].w);
    free(r.counts);
    return rc;
}

static double error_of(const struct gptq *g, const struct moments *m, const float *W, float *back,
                       int64_t N, const uint8_t *rows)
{
    const size_t bytes = fmt_row_bytes(g->fmt, m->K);
    for (int64_t r = 0; r < N; r++)
        fmt_decode_row(g->fmt, rows + (size_t)r * bytes, m->K, back + r * m->K);
    return moments_energy(m, W, back, N);
}

int32_t gptq_improve(const struct gptq *g, const struct moments *m, const float *W, float *back,
                     int64_t N, uint8_t *rows, struct err *err)
{
    const size_t bytes = (size_t)N * fmt_row_bytes(g->fmt, m->K);
    const double error = error_of(g, m, W, back, N, rows);
    uint8_t *nearest = malloc(bytes);
    if (!nearest)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %zu bytes of rows", bytes);
    memcpy(nearest, rows, bytes);
    int32_t rc = gptq_round(g, W, N, rows, err);
    if (!rc && !(error_of(g, m, W, back, N, rows) < error))
        memcpy(rows, nearest, bytes);
    free(nearest);
    return rc;
}

/* ---- The order */

struct sized {
    float size;
    int32_t number;
};

static int compare(const void *a, const void *b)
{
    const struct sized *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    return x->number < y->number ? -1 : 1;
}

int32_t gptq_order(const float *H, int32_t K, int32_t *order, struct err *err)
{
    struct sized *column = malloc((size_t)K * sizeof *column);
    if (!column)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the order of %d columns", K);
    for (int32_t i = 0; i < K; i++)
        column[i] = (struct sized){H[(int64_t)i * K + i], i};
    qsort(column, (size_t)K, sizeof *column, compare);
    for (int32_t i = 0; i < K; i++)
        order[i] = column[i].number;
    free(column);
    return INFLIGHT_OK;
}
