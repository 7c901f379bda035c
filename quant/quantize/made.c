/* Matrices while they are made. */
#include "half.h"

#include "../encode.h"

#include <math.h>
#include <stdlib.h>

static int32_t no_memory(struct err *err, const char *what)
{
    return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s", what);
}

void made_give(struct made *m)
{
    free(m->W);
    free(m->back);
    free(m->wanted);
    free(m->rows);
    m->W = m->back = m->wanted = NULL;
    m->rows = NULL;
}

bool slot_is_made(const struct calibration *c, int32_t slot)
{
    return c->made[slot].output != NULL;
}

int32_t made_read(struct calibration *c, int32_t slot, struct err *err)
{
    struct made *m = &c->made[slot];
    const struct packing *p = &m->output->packing;
    const struct tensor *t = m->output->from;
    const size_t row = fmt_row_bytes(t->fmt, p->K), n = (size_t)(p->N * p->K);
    const char *data = tensors_view(&c->layers.checkpoint->tensors, t, &c->layers.scratch, err);
    if (!data)
        return err->code;
    m->W = malloc(n * sizeof *m->W);
    m->back = malloc(n * sizeof *m->back);
    m->rows = malloc((size_t)p->N * fmt_row_bytes(p->fmt, p->K));
    if (!m->W || !m->back || !m->rows)
        return no_memory(err, m->output->module);
    for (int64_t r = 0; r < p->N; r++) {
        float *value = m->W + r * p->K;
        fmt_decode_row(t->fmt, data + (size_t)r * row, p->K, value);
        if (!(encode_largest(value, p->K) <= encode_most(p->fmt)))
            return err_set(err, INFLIGHT_E_MODEL,
                           "%s.weight has what is not a number, or is too large, in row %lld",
                           m->output->module, (long long)r);
    }
    tensors_done(&c->layers.checkpoint->tensors, t);
    return INFLIGHT_OK;
}

static double energy(const float *A, const float *B, int64_t n)
{
    double sum[4] = {0};
    for (int64_t i = 0; i < n; i++) {
        double off = (double)A[i] - (B ? (double)B[i] : 0);
        sum[i % 4] += off * off;
    }
    return sum[0] + sum[1] + sum[2] + sum[3];
}

static double relative(double error, double of)
{
    return of > 0 ? sqrt(error / of) : 0;
}

int32_t made_finish(struct calibration *c, int32_t slot, const struct moments *moments,
                    const float *s, const float *t, struct err *err)
{
    struct made *m = &c->made[slot];
    struct output *o = m->output;
    const struct packing *p = &o->packing;
    const size_t row = fmt_row_bytes(p->fmt, p->K);
    for (int64_t r = 0; r < p->N; r++) {
        float *back = m->back + r * p->K;
        fmt_decode_row(p->fmt, m->rows + (size_t)r * row, p->K, back);
        for (int64_t k = 0; k < p->K; k++)
            back[k] *= (t ? t[r] : 1) / (s ? s[k] : 1);
    }
    o->error = relative(energy(m->W, m->back, p->N * p->K), energy(m->W, NULL, p->N * p->K));
    if (moments->tokens)
        o->output_error = relative(moments_energy(moments, made_wanted(m), m->back, p->N),
                                   moments_energy(moments, m->W, NULL, p->N));
    m->packed = calloc(1, p->bytes);
    if (!m->packed)
        return no_memory(err, o->module);
    pack_rows(p, 0, p->N, m->rows, m->packed);
    o->made = m->packed;
    struct weight_source source = {
        .fmt = p->fmt, .N = (int32_t)p->N, .K = (int32_t)p->K, .data = m->rows};
    int32_t rc = layers_put(&c->layers, slot, &source, err);
    made_give(m);
    return rc;
}
