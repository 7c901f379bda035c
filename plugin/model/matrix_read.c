/* Rows of a matrix for the threads that pack it: tile by tile from the file's tensors into memory
 * of the thread. */
#include "matrix_tile.h"

#include "../../quant/bf16.h"
#include "../../quant/e4m3.h"
#include "../../quant/f16.h"
#include "../../quant/mxfp4.h"

#include <math.h>
#include <string.h>

/* Rows that are made at once take about as much, so that they stay in a core's cache until they are
 * packed. */
#define ROWS_BYTES ((size_t)1 << 20)

/* What one thread has for itself. */
struct matrix_worker {
    struct tile tile;
    struct matrix_fault fault;
};

/* ---- Scales and zero points */

static float float_at(enum dtype dtype, const uint8_t *data, int64_t i)
{
    uint16_t half;
    float value;
    if (dtype == DTYPE_F32) {
        memcpy(&value, data + i * (int64_t)sizeof value, sizeof value);
        return value;
    }
    if (dtype == DTYPE_F8_E4M3)
        return e4m3_to_float(data[i]);
    if (dtype == DTYPE_U8)
        return e8m0_to_float(data[i]);
    memcpy(&half, data + i * (int64_t)sizeof half, sizeof half);
    return dtype == DTYPE_F16 ? f16_to_float(half) : bf16_to_float(half);
}

/* Groups of columns, in the file's order, of the rows that share scales. */
static int32_t group_count(const struct matrix *m)
{
    const int32_t columns = m->storage.columns;
    return columns ? (m->K + columns - 1) / columns : 1;
}

static int32_t group_of(const struct matrix_reader *r, int32_t column)
{
    int32_t group;
    if (!r->m.is_scattered)
        return r->m.storage.columns ? column / r->m.storage.columns : 0;
    memcpy(&group, r->part[PART_GROUPS] + (size_t)column * sizeof group, sizeof group);
    return group;
}

/* The row of scales that a row has. */
static inline int32_t scale_row(const struct storage *s, int32_t row)
{
    return s->rows == 1 ? row : s->rows ? row / s->rows : 0;
}

static bool is_transposed(enum codes codes)
{
    return codes == CODES_AWQ || codes == CODES_GPTQ;
}

static bool fault_at(struct matrix_fault *fault, enum fault kind, const struct tile *t, int32_t r,
                     int32_t unit, int32_t value)
{
    *fault = (struct matrix_fault){
        .kind = kind, .row = t->row + r, .column = t->column + unit * t->unit, .value = value};
    return false;
}

/* Of a group, of each of the tile's rows. False: one is not a finite number. */
static bool read_scales(const struct matrix_reader *r, struct tile *t, int32_t unit, int32_t group,
                        struct matrix_fault *fault)
{
    const struct matrix *m = &r->m;
    const enum dtype dtype = m->part[PART_SCALES]->dtype;
    const bool across = is_transposed(m->storage.codes);
    const int64_t groups = group_count(m), first = across ? (int64_t)group * m->n : group;
    for (int32_t i = 0; i < t->rows; i++) {
        const int32_t row = scale_row(&m->storage, t->row + i);
        t->scale[unit][i] =
            float_at(dtype, r->part[PART_SCALES], first + row * (across ? 1 : groups));
        if (!isfinite(t->scale[unit][i]))
            return fault_at(fault, FAULT_SCALE, t, i, unit, 0);
    }
    return true;
}

/* What the one was taken from was the word: a zero point of 0 has borrowed from the next. */
static uint32_t zeros_word(const struct matrix_reader *r, int64_t at)
{
    const struct storage *s = &r->m.storage;
    uint32_t word;
    memcpy(&word, r->part[PART_ZEROS] + at * (int64_t)sizeof word, sizeof word);
    return word + (!s->zeros_less_one ? 0u : s->bits == 8 ? 0x01010101u : 0x11111111u);
}

/* Words along N, one of them for as many rows. */
static void read_zeros_across(const struct matrix_reader *r, uint8_t *zero, int32_t first,
                              int32_t n, int32_t group)
{
    static const int32_t awq[8] = {0, 16, 4, 20, 8, 24, 12, 28}; /* bit of a row's field */
    const int32_t bits = r->m.storage.bits, each = 32 / bits;
    const int64_t from = (int64_t)group * ((r->m.n + each - 1) / each);
    const uint32_t mask = (1u << bits) - 1;
    const bool is_awq = r->m.storage.codes == CODES_AWQ;
    for (int32_t row = first; row < first + n;) {
        const uint32_t word = zeros_word(r, from + row / each);
        for (int32_t i = row % each; i < each && row < first + n; i++, row++)
            zero[row - first] = (uint8_t)(word >> (is_awq ? awq[i] : i * bits) & mask);
    }
}

/* Of a row and a group that stand like scales, raised like the codes; outside of their range if the
 * file's is. */
static int zero_at(const struct matrix_reader *r, int32_t row, int32_t group)
{
    const int32_t bits = r->m.storage.bits, each = 32 / bits;
    const int64_t groups = group_count(&r->m);
    if (r->m.part[PART_ZEROS]->dtype == DTYPE_I8)
        return (int8_t)r->part[PART_ZEROS][row * groups + group] + (1 << (bits - 1));
    const uint32_t word = zeros_word(r, row / each * groups + group);
    return (int)(word >> row % each * bits & ((1u << bits) - 1));
}

static bool read_zeros(const struct matrix_reader *r, struct tile *t, int32_t unit, int32_t group,
                       struct matrix_fault *fault)
{
    const struct storage *s = &r->m.storage;
    const int32_t most = (1 << s->bits) - 1;
    if (!r->m.part[PART_ZEROS]) {
        memset(t->zero[unit], (most + 1) / 2, (size_t)t->rows);
        return true;
    }
    if (is_transposed(s->codes)) {
        read_zeros_across(r, t->zero[unit], t->row, t->rows, group);
        return true;
    }
    for (int32_t i = 0; i < t->rows; i++) {
        const int zero = zero_at(r, scale_row(s, t->row + i), group);
        t->zero[unit][i] = (uint8_t)zero;
        if (zero < 0 || zero > most)
            return fault_at(fault, FAULT_ZERO, t, i, unit, zero);
    }
    return true;
}

/* ---- Rows */

static bool read_unit(const struct matrix_reader *r, struct tile *t, int32_t unit, int32_t group,
                      struct matrix_fault *fault)
{
    const enum codes codes = r->m.storage.codes;
    const bool is_float = codes == CODES_E4M3 || codes_are_e2m1(codes);
    return read_scales(r, t, unit, group, fault) &&
           (is_float || read_zeros(r, t, unit, group, fault));
}

static void copy_unit(struct tile *t, int32_t unit, int32_t from)
{
    memcpy(t->scale[unit], t->scale[from], (size_t)t->rows * sizeof t->scale[0][0]);
    memcpy(t->zero[unit], t->zero[from], (size_t)t->rows);
}

/* The factors of the tile's columns. False: one is not a finite number. */
static bool read_inputs(const struct matrix_reader *r, struct tile *t, struct matrix_fault *fault)
{
    const struct tensor *inputs = r->m.part[PART_INPUTS];
    for (int32_t k = 0; k < t->columns; k++) {
        t->input[k] = inputs ? float_at(inputs->dtype, r->part[PART_INPUTS], t->column + k) : 1.0f;
        if (!isfinite(t->input[k])) {
            *fault =
                (struct matrix_fault){.kind = FAULT_INPUT, .row = t->row, .column = t->column + k};
            return false;
        }
    }
    return true;
}

static bool read_tile(const struct matrix_reader *r, struct tile *t, struct matrix_fault *fault)
{
    const int32_t units = (t->columns + t->unit - 1) / t->unit;
    struct {
        int32_t group, unit; /* unit: one past the last that was of the group; 0: none */
    } seen[TILE_COLUMNS] = {{0}};
    tile_read_codes(&r->m.storage, r->part[PART_CODES], r->m.n, r->m.K, t);
    for (int32_t unit = 0; unit < units; unit++) {
        const int32_t group = group_of(r, t->column + unit * t->unit);
        const int32_t slot = group % TILE_COLUMNS, before = seen[slot].unit - 1;
        if (before >= 0 && seen[slot].group == group)
            copy_unit(t, unit, before);
        else if (!read_unit(r, t, unit, group, fault))
            return false;
        seen[slot].group = group;
        seen[slot].unit = unit + 1;
    }
    return read_inputs(r, t, fault);
}

static const void *make_rows(void *maker, int worker, int32_t first, int32_t n)
{
    const struct matrix_reader *r = maker;
    const struct matrix *m = &r->m;
    struct matrix_worker *w = &r->worker[worker];
    struct tile *t = &w->tile;
    uint8_t *out = r->memory + (size_t)worker * r->each;
    const size_t row_bytes = fmt_row_bytes(m->fmt, m->K);
    t->row = matrix_row(m, first);
    t->rows = n;
    t->unit = matrix_unit(m);
    t->factor = m->factor;
    for (t->column = 0; t->column < m->K; t->column += TILE_COLUMNS) {
        t->columns = MIN(TILE_COLUMNS, m->K - t->column);
        if (!read_tile(r, t, &w->fault) ||
            !tile_write(t, &m->storage, m->fmt, out, row_bytes, &w->fault))
            return NULL;
    }
    return out;
}

/* ---- Plain numbers whose rows do not stand one after the other */

/* Row i of n numbers of a few bytes to column i of the rows that are made. */
static void copy_columns(const uint8_t *from, size_t stride, const int32_t *row, int32_t n,
                         int32_t K, size_t each, uint8_t *out)
{
    for (int32_t k = 0; k < K; k++, from += stride)
        for (int32_t i = 0; i < n; i++)
            memcpy(out + ((size_t)i * (size_t)K + (size_t)k) * each, from + (size_t)row[i] * each,
                   each);
}

static const void *gather_rows(void *maker, int worker, int32_t first, int32_t n)
{
    const struct matrix_reader *r = maker;
    const struct matrix *m = &r->m;
    const size_t row_bytes = fmt_row_bytes(m->fmt, m->K);
    const size_t each = row_bytes / (size_t)m->K;
    uint8_t *out = r->memory + (size_t)worker * r->each;
    int32_t row[TILE_ROWS_LEAST];
    for (int32_t i = 0; i < n; i++) {
        row[i] = matrix_row(m, first + i);
        if (!m->is_across)
            memcpy(out + (size_t)i * row_bytes, r->part[PART_CODES] + (size_t)row[i] * row_bytes,
                   row_bytes);
    }
    if (m->is_across)
        copy_columns(r->part[PART_CODES], (size_t)m->n * each, row, n, m->K, each, out);
    return out;
}

/* ---- MXFP4 */

/* Value j and value j + 16 share a byte here, neighbours do in the file. */
static void write_block(const uint8_t *pairs, uint8_t e, struct mxfp4 *block)
{
    block->e = e;
    for (int j = 0; j < 16; j += 2) {
        const uint8_t low = pairs[j / 2], high = pairs[8 + j / 2];
        block->q[j] = (uint8_t)((low & 15) | high << 4);
        block->q[j + 1] = (uint8_t)(low >> 4 | (high & 0xf0));
    }
}

static const void *make_mxfp4(void *maker, int worker, int32_t first, int32_t n)
{
    const struct matrix_reader *r = maker;
    const struct matrix *m = &r->m;
    const int32_t groups = m->K / fmt_info[FMT_mxfp4].n;
    uint8_t *out = r->memory + (size_t)worker * r->each;
    struct mxfp4 *block = (struct mxfp4 *)out;
    for (int32_t i = 0; i < n; i++) {
        const int32_t row = matrix_row(m, first + i);
        const size_t at = (size_t)(row - m->first) * (size_t)groups;
        const uint8_t *e = r->part[PART_SCALES] + at;
        for (int32_t g = 0; g < groups; g++, block++) {
            write_block(r->part[PART_CODES] + (at + (size_t)g) * 16, e[g], block);
            if (e[g] == 255) {
                r->worker[worker].fault = (struct matrix_fault){
                    .kind = FAULT_SCALE, .row = row, .column = g * fmt_info[FMT_mxfp4].n};
                return NULL;
            }
        }
    }
    return out;
}

/* ---- A matrix */

void matrix_reader_init(struct matrix_reader *r, int32_t threads, const struct mem *mem)
{
    *r = (struct matrix_reader){.mem = mem, .n = threads};
    for (int32_t i = 0; i < PART_COUNT; i++)
        buf_init(&r->scratch[i], mem);
}

void matrix_reader_close(struct matrix_reader *r)
{
    if (r->worker)
        mem_give(r->mem, r->worker, (size_t)r->n * sizeof *r->worker);
    if (r->memory)
        mem_give(r->mem, r->memory, (size_t)r->n * r->each);
    for (int32_t i = 0; i < PART_COUNT; i++)
        buf_release(&r->scratch[i]);
    *r = (struct matrix_reader){0};
}

/* Workers, and room for the rows of each of them. */
static int32_t take_workers(struct matrix_reader *r, size_t each, struct err *err)
{
    const size_t n = (size_t)r->n;
    char text[BYTES_TEXT];
    each = ROUND_UP(each, (size_t)CACHE_LINE);
    if (!r->worker)
        r->worker = mem_take(r->mem, n * sizeof *r->worker, CACHE_LINE);
    if (each > r->each && r->memory)
        mem_give(r->mem, r->memory, n * r->each);
    if (each > r->each) {
        r->memory = mem_take(r->mem, n * each, CACHE_LINE);
        r->each = r->memory ? each : 0;
    }
    if (!r->worker || !r->memory)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s of rows that are made",
                       bytes_text(n * (each + sizeof *r->worker), text));
    for (int32_t i = 0; i < r->n; i++)
        r->worker[i].fault.kind = FAULT_NONE;
    return INFLIGHT_OK;
}

/* Of codes that have K first as many as share the file's cache lines, of others as few as there
 * may be. */
static int32_t step_of(const struct matrix *m)
{
    const size_t most = ROWS_BYTES / fmt_row_bytes(m->fmt, m->K);
    if (!is_transposed(m->storage.codes) || m->heads || most < TILE_ROWS_LEAST)
        return TILE_ROWS_LEAST;
    return most < TILE_ROWS ? (int32_t)most / 16 * 16 : TILE_ROWS;
}

/* Whether it is read row by row, and rows before and behind it are of no interest. */
static bool is_direct(const struct matrix *m)
{
    return m->storage.codes == CODES_NONE && !m->is_across && !m->heads;
}

/* What is wanted of a tensor that others share, such as one of all experts: behind a read hook
 * nothing else is read. */
static struct tensor piece_of(const struct matrix *m, enum matrix_part part)
{
    struct tensor piece = *m->part[part];
    const uint64_t row = fmt_row_bytes(m->fmt, m->K);
    uint64_t at = 0, bytes = piece.bytes;
    if (is_direct(m)) {
        at = (uint64_t)m->first * row;
        bytes = (uint64_t)m->N * row;
    } else if (m->is_across) {
        bytes = (uint64_t)m->n * row;
        at = (uint64_t)m->table * bytes;
    } else if (m->storage.codes == CODES_MXFP4) {
        const uint64_t each = piece.bytes / (uint64_t)m->n;
        at = (uint64_t)m->first * each;
        bytes = ((uint64_t)(m->N - 1) * (uint64_t)m->step + 1) * each;
    }
    piece.offset += at;
    piece.bytes = bytes;
    return piece;
}

int32_t matrix_begin(struct matrix_reader *r, const struct tensors *tensors, const struct matrix *m,
                     struct weight_source *rows, struct err *err)
{
    const size_t row_bytes = fmt_row_bytes(m->fmt, m->K);
    r->m = *m;
    for (int32_t i = 0; i < PART_COUNT; i++) {
        r->part[i] = NULL;
        if (!m->part[i])
            continue;
        r->piece[i] = piece_of(m, (enum matrix_part)i);
        r->part[i] = tensors_view(tensors, &r->piece[i], &r->scratch[i], err);
        if (!r->part[i])
            return err->code;
    }
    *rows = (struct weight_source){.fmt = m->fmt, .N = m->N, .K = m->K};
    if (is_direct(m)) {
        rows->data = r->part[PART_CODES];
        return INFLIGHT_OK;
    }
    rows->step = step_of(m);
    rows->make = m->storage.codes == CODES_NONE    ? gather_rows
                 : m->storage.codes == CODES_MXFP4 ? make_mxfp4
                                                   : make_rows;
    rows->maker = r;
    return take_workers(r, (size_t)rows->step * row_bytes, err);
}

int32_t matrix_explain(const struct matrix_reader *r, struct err *err)
{
    const struct matrix_fault *first = NULL;
    for (int32_t i = 0; r->m.storage.codes != CODES_NONE && i < r->n; i++) {
        const struct matrix_fault *fault = &r->worker[i].fault;
        if (fault->kind != FAULT_NONE && (!first || fault->row < first->row))
            first = fault;
    }
    if (!first)
        return err->code;
    const int32_t half = 1 << (r->m.storage.bits - 1);
    switch (first->kind) {
    case FAULT_SCALE:
        return err_set(err, INFLIGHT_E_MODEL,
                       "the scale of row %d, column %d is not a finite number", first->row,
                       first->column);
    case FAULT_INPUT:
        return err_set(err, INFLIGHT_E_MODEL, "the scale of input %d is not a finite number",
                       first->column);
    case FAULT_LARGE:
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "row %d, column %d is more than %s holds, 65504", first->row, first->column,
                       fmt_info[r->m.fmt].name);
    case FAULT_ZERO:
        return err_set(err, INFLIGHT_E_MODEL,
                       "the zero point of row %d, column %d is %d, want %d to %d", first->row,
                       first->column, first->value - half, -half, half - 1);
    case FAULT_MIDDLE:
        return err_set(
            err, INFLIGHT_E_UNSUPPORTED,
            "the zero point of row %d, column %d is %d above the middle, which is served alone",
            first->row, first->column, first->value - half);
    default:
        break;
    }
    if (r->m.storage.codes == CODES_E4M3)
        return err_set(err, INFLIGHT_E_MODEL, "row %d, column %d is not a number", first->row,
                       first->column);
    return err_set(err, INFLIGHT_E_MODEL, "row %d, column %d is %d: %d bits hold %d to %d",
                   first->row, first->column, first->value, r->m.storage.bits, -half, half - 1);
}

void matrix_end(struct matrix_reader *r, const struct tensors *tensors)
{
    for (int32_t i = 0; i < PART_COUNT; i++)
        if (r->m.part[i])
            tensors_done(tensors, &r->piece[i]);
}
