/* The matrix of one expert of a folder that has all of them in one tensor. */
#include "matrix_finding.h"

#include <inttypes.h>
#include <string.h>

static int32_t check_dims(const struct finding *o, const struct tensor *t,
                          const int64_t want[TENSOR_DIMS])
{
    char shown[SHOWN_TEXT];
    if (memcmp(t->dim, want, sizeof t->dim) == 0)
        return INFLIGHT_OK;
    return err_set(o->err, INFLIGHT_E_MODEL,
                   "%s: tensor %s is %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64
                   ", want %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64,
                   finding_path(o, t), shown_text(t->name, shown), t->dim[3], t->dim[2], t->dim[1],
                   t->dim[0], want[3], want[2], want[1], want[0]);
}

static int32_t add_expert_table(const struct finding *o, const struct tensor *t,
                                struct matrix_place place)
{
    struct matrix *m = o->m;
    const int64_t want[TENSOR_DIMS] = {(int64_t)place.step * m->N, m->K, place.E, 1, 1};
    if (t->fmt != FMT_f32 && t->fmt != FMT_f16 && t->fmt != FMT_bf16)
        return finding_refuse_dtype(o, t, "F32, F16 or BF16");
    m->storage = (struct storage){.codes = CODES_NONE};
    m->part[PART_CODES] = t;
    m->fmt = t->fmt;
    m->is_across = true;
    m->table = place.e;
    m->n = (int32_t)want[0];
    m->first = place.first;
    m->bytes = t->bytes / (uint64_t)place.E / (uint64_t)place.step;
    finding_use(o, t);
    return check_dims(o, t, want);
}

static int32_t add_expert_blocks(const struct finding *o, const struct tensor *blocks,
                                 struct matrix_place place)
{
    struct matrix *m = o->m;
    const struct tensor *scales = finding_named(o, "_scales");
    const int64_t rows = (int64_t)place.step * m->N, groups = m->K / fmt_info[FMT_mxfp4].n;
    if (!scales)
        return err_set(o->err, INFLIGHT_E_MODEL, "tensor %.160s_scales is missing", o->module);
    if (blocks->dtype != DTYPE_U8 || scales->dtype != DTYPE_U8)
        return finding_refuse_dtype(o, blocks->dtype == DTYPE_U8 ? scales : blocks, "U8");
    if (m->K % fmt_info[FMT_mxfp4].n || rows * place.E > INT32_MAX)
        return err_set(o->err, INFLIGHT_E_UNSUPPORTED,
                       "%.160s: rows of %d columns are no whole blocks of MXFP4, or too many",
                       o->module, m->K);
    m->storage = (struct storage){.codes = CODES_MXFP4, .bits = 4};
    m->part[PART_CODES] = blocks;
    m->part[PART_SCALES] = scales;
    m->fmt = FMT_mxfp4;
    m->n = (int32_t)(rows * place.E);
    m->first = (int32_t)(rows * place.e) + place.first;
    m->bytes = (blocks->bytes + scales->bytes) / (uint64_t)place.E / (uint64_t)place.step;
    finding_use(o, blocks);
    finding_use(o, scales);
    return check_dims(o, blocks, (const int64_t[TENSOR_DIMS]){16, groups, rows, place.E, 1})
               ? o->err->code
               : check_dims(o, scales, (const int64_t[TENSOR_DIMS]){groups, rows, place.E, 1, 1});
}

int32_t matrix_find_expert(struct matrix *m, struct matrix_finder *f, const char *name,
                           struct matrix_place place, int32_t N, int32_t K, struct err *err)
{
    const struct finding o = finding_of(m, f, name, err);
    const struct tensor *blocks = finding_named(&o, "_blocks"), *table = finding_named(&o, "");
    *m = (struct matrix){.N = N, .K = K, .step = place.step};
    if (!blocks && !table)
        return err_set(err, INFLIGHT_E_MODEL, "tensor %.160s is missing", o.module);
    return blocks ? add_expert_blocks(&o, blocks, place) : add_expert_table(&o, table, place);
}
