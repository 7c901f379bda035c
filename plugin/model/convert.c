#include "convert.h"

#include <math.h>
#include <string.h>

#define ROWS 16 /* at once: they stay in a core's cache until they are packed */

/* What one thread has for itself. */
struct convert_worker {
    float *value, *back; /* (max_width) a row of the file, and as it is read back */
    float *largest;      /* (max_width / ENCODE_BLOCK, rounded up), of the block of rows */
    uint8_t *row;        /* (step rows) made */
    const uint8_t *from; /* rows of a source that makes them, (from_n) from from_first on */
    int32_t from_first, from_n;
    double error, square; /* sums over the rows it has made */
};

enum fmt convert_fmt(enum fmt fmt, int64_t K)
{
    if (fmt == FMT_int4_128 && K % 128)
        fmt = FMT_int4_64;
    if (fmt == FMT_int4_64 && K % 64)
        fmt = FMT_int4_32;
    if ((fmt == FMT_int4_32 || fmt == FMT_q8_0) && K % 32)
        return FMT_int8;
    return fmt == FMT_fp8_128 && K % ENCODE_BLOCK ? FMT_fp8 : fmt;
}

int32_t convert_open(struct converter *c, enum fmt fmt, int32_t threads, int32_t max_width,
                     const struct mem *mem, struct err *err)
{
    const size_t width = ROUND_UP((size_t)max_width, (size_t)ENCODE_BLOCK);
    *c = (struct converter){.mem = mem, .step = fmt == FMT_fp8_128 ? ENCODE_BLOCK : ROWS};
    /* In floats; beside a byte a value a row has at most a float, or a half for each 32 values. */
    const size_t blocks = ROUND_UP(width / ENCODE_BLOCK + 1, (size_t)16);
    const size_t rows = (size_t)c->step * (width / sizeof(float) + 2 * blocks);
    const size_t each = 2 * width + blocks + rows;
    c->bytes = (size_t)threads * each * sizeof(float);
    c->n = threads;
    c->worker = mem_take_zeroed(mem, (size_t)threads * sizeof *c->worker, CACHE_LINE);
    c->memory = c->worker ? mem_take(mem, c->bytes, CACHE_LINE) : NULL;
    if (!c->memory) {
        char text[BYTES_TEXT];
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s of rows that are converted",
                       bytes_text(c->bytes, text));
    }
    for (int32_t i = 0; i < threads; i++) {
        float *at = c->memory + (size_t)i * each;
        c->worker[i] = (struct convert_worker){.value = at,
                                               .back = at + width,
                                               .largest = at + 2 * width,
                                               .row = (uint8_t *)(at + 2 * width + blocks)};
    }
    return INFLIGHT_OK;
}

void convert_close(struct converter *c)
{
    if (c->memory)
        mem_give(c->mem, c->memory, c->bytes);
    if (c->worker)
        mem_give(c->mem, c->worker, (size_t)c->n * sizeof *c->worker);
    *c = (struct converter){0};
}

/* A row of the source, which makes as many at once as it can, always from a multiple of that on.
 * NULL: it cannot. */
static const uint8_t *row_of(const struct converter *c, struct convert_worker *w, int32_t row)
{
    const struct weight_source *from = &c->from;
    const size_t bytes = fmt_row_bytes(from->fmt, from->K);
    if (from->data)
        return (const uint8_t *)from->data + (size_t)row * bytes;
    if (row < w->from_first || row - w->from_first >= w->from_n) {
        w->from_first = row - row % from->step;
        w->from_n = MIN(from->step, from->N - w->from_first);
        w->from = from->make(from->maker, (int)(w - c->worker), w->from_first, w->from_n);
        w->from_n = w->from ? w->from_n : 0;
    }
    return w->from ? w->from + (size_t)(row - w->from_first) * bytes : NULL;
}

static bool read_row(const struct converter *c, struct convert_worker *w, int32_t row)
{
    const uint8_t *from = row_of(c, w, row);
    if (from)
        fmt_decode_row(c->from.fmt, from, c->from.K, w->value);
    return from != NULL;
}

/* The largest magnitudes of the block of rows that a row is in, for each 128 columns. */
static bool measure_block(const struct converter *c, struct convert_worker *w, int32_t row)
{
    const int32_t first = row - row % ENCODE_BLOCK, n = c->from.K / ENCODE_BLOCK;
    const int32_t last = MIN(first + ENCODE_BLOCK, c->from.N);
    memset(w->largest, 0, (size_t)n * sizeof *w->largest);
    for (int32_t r = first; r < last; r++) {
        if (!read_row(c, w, r))
            return false;
        for (int32_t b = 0; b < n; b++) {
            float largest = encode_largest(w->value + b * ENCODE_BLOCK, ENCODE_BLOCK);
            w->largest[b] = MAX(w->largest[b], largest);
        }
    }
    return true;
}

/* In four sums each, which the processor adds at once. */
static void add_error(struct convert_worker *w, const float *back, int32_t n)
{
    double error[4] = {0}, square[4] = {0};
    int32_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int j = 0; j < 4; j++) {
            double value = (double)w->value[i + j], off = (double)back[i + j] - value;
            error[j] += off * off;
            square[j] += value * value;
        }
    for (; i < n; i++) {
        double value = (double)w->value[i], off = (double)back[i] - value;
        error[0] += off * off;
        square[0] += value * value;
    }
    w->error += error[0] + error[1] + error[2] + error[3];
    w->square += square[0] + square[1] + square[2] + square[3];
}

static const void *make_rows(void *maker, int worker, int32_t first, int32_t n)
{
    const struct converter *c = maker;
    struct convert_worker *w = &c->worker[worker];
    const size_t bytes = fmt_row_bytes(c->to, c->from.K);
    uint8_t *out = w->row;
    for (int32_t row = first; row < first + n; row++, out += bytes) {
        float largest;
        bool is_new_block = c->to == FMT_fp8_128 && (row == first || row % ENCODE_BLOCK == 0);
        if ((is_new_block && !measure_block(c, w, row)) || !read_row(c, w, row))
            return NULL;
        largest = encode_largest(w->value, c->from.K);
        if (!(largest <= encode_most(c->to)))
            return NULL;
        encode_row(c->to, w->value, c->from.K, c->to == FMT_fp8_128 ? w->largest : &largest, out);
        fmt_decode_row(c->to, out, c->from.K, w->back);
        add_error(w, w->back, c->from.K);
    }
    return w->row;
}

struct weight_source convert_begin(struct converter *c, const struct weight_source *from,
                                   enum fmt to)
{
    c->from = *from;
    c->to = to;
    for (int32_t i = 0; i < c->n; i++) {
        c->worker[i].error = c->worker[i].square = 0;
        c->worker[i].from_n = 0;
    }
    return (struct weight_source){
        .fmt = to, .N = from->N, .K = from->K, .make = make_rows, .maker = c, .step = c->step};
}

double convert_error(const struct converter *c)
{
    double error = 0, square = 0;
    for (int32_t i = 0; i < c->n; i++) {
        error += c->worker[i].error;
        square += c->worker[i].square;
    }
    return square > 0 ? sqrt(error / square) : 0;
}

int32_t convert_explain(struct converter *c, struct err *err)
{
    const float *value = c->worker[0].value;
    const float most = encode_most(c->to);
    for (int32_t row = 0; row < c->from.N && read_row(c, &c->worker[0], row); row++)
        for (int32_t i = 0; i < c->from.K; i++)
            if (!isfinite(value[i]))
                return err_set(err, INFLIGHT_E_MODEL,
                               "row %d, column %d is not a finite number: it cannot become %s", row,
                               i, fmt_info[c->to].name);
            else if (!(fabsf(value[i]) <= most))
                return err_set(err, INFLIGHT_E_MODEL,
                               "row %d, column %d is %g: %s holds at most %g", row, i,
                               (double)value[i], fmt_info[c->to].name, (double)most);
    return err->code;
}
