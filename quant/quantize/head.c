#include "head.h"

#include "gptq.h"
#include "nearest.h"

#include "../encode.h"

#include <math.h>
#include <stdlib.h>

enum { PIECE = 32 * PACK_ROWS }; /* rows of the head at once */

static int32_t no_memory(const struct output *o, struct err *err)
{
    return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s", o->module);
}

static int32_t observe_head(struct calibration *c, struct moments *m, struct err *err)
{
    const int64_t D = c->layers.h.D, length = c->samples.length;
    for (int64_t i = 0; i < c->samples.n; i++) {
        layers_normalise(&c->layers, c->x + i * length * D, NORM, c->X);
        moments_add(m, c->X, c->samples.length);
    }
    return moments_end(m, err);
}

/* What the pieces share. */
struct head {
    struct output *o;
    const struct moments *moments;
    const struct gptq *gptq; /* NULL: each number to the nearest */
    int32_t threads;
    float *W, *back; /* (PIECE, K) */
    uint8_t *rows;
    double error, square, output_error, output_square;
};

static int32_t read_piece(const struct head *h, const uint8_t *data, int64_t first, int64_t n,
                          struct err *err)
{
    const struct packing *p = &h->o->packing;
    const enum fmt fmt = h->o->from->fmt;
    for (int64_t r = 0; r < n; r++) {
        float *value = h->W + r * p->K;
        fmt_decode_row(fmt, data + (size_t)(first + r) * fmt_row_bytes(fmt, p->K), p->K, value);
        if (!(encode_largest(value, p->K) <= encode_most(p->fmt)))
            return err_set(err, INFLIGHT_E_MODEL,
                           "%s.weight has what is not a number, or is too large, in row %lld",
                           h->o->module, (long long)(first + r));
    }
    return INFLIGHT_OK;
}

static void add_errors(struct head *h, int64_t n)
{
    const int64_t K = h->o->packing.K;
    for (int64_t i = 0; i < n * K; i++) {
        const double value = (double)h->W[i], off = value - (double)h->back[i];
        h->error += off * off;
        h->square += value * value;
    }
    h->output_error += moments_energy(h->moments, h->W, h->back, n);
    h->output_square += moments_energy(h->moments, h->W, NULL, n);
}

static int32_t make_piece(struct head *h, const uint8_t *data, int64_t first, int64_t n,
                          uint8_t *packed, struct err *err)
{
    struct packing piece = h->o->packing;
    const size_t row = fmt_row_bytes(piece.fmt, piece.K);
    piece.N = n;
    if (read_piece(h, data, first, n, err))
        return err->code;
    nearest_matrix(&piece, h->W, h->threads, h->rows);
    if (h->gptq && gptq_improve(h->gptq, h->moments, h->W, h->back, n, h->rows, err))
        return err_prefix(err, "%s", h->o->module);
    for (int64_t r = 0; r < n; r++)
        fmt_decode_row(piece.fmt, h->rows + (size_t)r * row, piece.K, h->back + r * piece.K);
    add_errors(h, n);
    pack_rows(&h->o->packing, first, n, h->rows, packed);
    return INFLIGHT_OK;
}

static int32_t make_pieces(struct calibration *c, struct head *h, struct err *err)
{
    struct output *o = h->o;
    const struct packing *p = &o->packing;
    const size_t floats = (size_t)(MIN(p->N, PIECE) * p->K);
    const uint8_t *data =
        tensors_view(&c->layers.checkpoint->tensors, o->from, &c->layers.scratch, err);
    if (!data)
        return err->code;
    h->W = malloc(floats * sizeof *h->W);
    h->back = malloc(floats * sizeof *h->back);
    h->rows = malloc((size_t)MIN(p->N, PIECE) * fmt_row_bytes(p->fmt, p->K));
    c->head = calloc(1, p->bytes);
    int32_t rc = h->W && h->back && h->rows && c->head ? INFLIGHT_OK : no_memory(o, err);
    for (int64_t first = 0; first < p->N && !rc; first += PIECE)
        rc = make_piece(h, data, first, MIN(p->N - first, PIECE), c->head, err);
    free(h->W);
    free(h->back);
    free(h->rows);
    tensors_done(&c->layers.checkpoint->tensors, o->from);
    o->made = rc ? NULL : c->head;
    o->error = h->square > 0 ? sqrt(h->error / h->square) : 0;
    o->output_error = h->output_square > 0 ? sqrt(h->output_error / h->output_square) : 0;
    return rc;
}

int32_t head_make(struct calibration *c, struct output *o, struct err *err)
{
    struct moments moments = {0};
    struct factor factor = {0};
    const bool is_gptq = c->source->params->method == METHOD_GPTQ;
    const struct gptq gptq = {.factor = &factor,
                              .fmt = o->packing.fmt,
                              .style = {o->packing.is_symmetric, o->packing.is_bf16},
                              .threads = c->source->threads};
    struct head h = {
        .o = o, .moments = &moments, .gptq = is_gptq ? &gptq : NULL, .threads = c->source->threads};
    int32_t rc = moments_init(&moments, c->layers.h.D, c->source->threads, err);
    if (!rc && observe_head(c, &moments, err))
        rc = err_prefix(err, "%s", o->module);
    if (!rc && is_gptq)
        rc = half_factor(c, &factor, &moments, o->module, err);
    if (!rc)
        rc = make_pieces(c, &h, err);
    factor_release(&factor);
    moments_release(&moments);
    return rc;
}
