#include "matrix_finding.h"
#include "matrix_tile.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What stands beside the codes, after the module's name. NULL: there is none. */
struct layout {
    const char *codes, *scales[2], *zeros, *groups, *shape, *inputs; /* scales: one of the two */
    const char *factor;                                              /* of all scales */
    enum dtype dtype;                                                /* of the codes */
    enum dtype scale_dtype; /* DTYPE_NONE: F32, F16 or BF16 */
};

static const struct layout layouts[CODES_COUNT] = {
    [CODES_NONE] = {.codes = "weight", .dtype = DTYPE_NONE},
    [CODES_E4M3] = {.codes = "weight",
                    .scales = {"weight_scale", "weight_scale_inv"},
                    .inputs = "pre_quant_scale",
                    .dtype = DTYPE_F8_E4M3},
    [CODES_I8] = {.codes = "weight",
                  .scales = {"weight_scale"},
                  .zeros = "weight_zero_point",
                  .inputs = "pre_quant_scale",
                  .dtype = DTYPE_I8},
    [CODES_PAIRS] = {.codes = "weight",
                     .scales = {"weight_scale"},
                     .inputs = "pre_quant_scale",
                     .dtype = DTYPE_U8},
    [CODES_PACKED] = {.codes = "weight_packed",
                      .scales = {"weight_scale"},
                      .zeros = "weight_zero_point",
                      .groups = "weight_g_idx",
                      .shape = "weight_shape",
                      .dtype = DTYPE_I32},
    [CODES_AWQ] = {.codes = "qweight", .scales = {"scales"}, .zeros = "qzeros", .dtype = DTYPE_I32},
    [CODES_GPTQ] = {.codes = "qweight",
                    .scales = {"scales"},
                    .zeros = "qzeros",
                    .groups = "g_idx",
                    .dtype = DTYPE_I32},
    [CODES_NVFP4] = {.codes = "weight",
                     .scales = {"weight_scale"},
                     .inputs = "pre_quant_scale",
                     .factor = "weight_scale_2",
                     .dtype = DTYPE_U8,
                     .scale_dtype = DTYPE_F8_E4M3},
    [CODES_NVFP4_PACKED] = {.codes = "weight_packed",
                            .scales = {"weight_scale"},
                            .factor = "weight_global_scale",
                            .dtype = DTYPE_U8,
                            .scale_dtype = DTYPE_F8_E4M3},
    [CODES_MXFP4_PACKED] = {.codes = "weight_packed",
                            .scales = {"weight_scale"},
                            .dtype = DTYPE_U8,
                            .scale_dtype = DTYPE_U8},
};

struct finding finding_of(struct matrix *m, struct matrix_finder *f, const char *name,
                          struct err *err)
{
    static const char end[] = ".weight";
    struct finding o = {.m = m, .f = f, .err = err};
    size_t len = strlen(name), end_len = sizeof end - 1;
    if (len > end_len && strcmp(name + len - end_len, end) == 0)
        len -= end_len;
    len = MIN(len, sizeof o.module - 1);
    memcpy(o.module, name, len);
    return o;
}

const char *finding_path(const struct finding *o, const struct tensor *t)
{
    return o->f->tensors->file[t->file].path;
}

const struct tensor *finding_named(const struct finding *o, const char *end)
{
    char name[2 * NAME_MOST];
    int n = snprintf(name, sizeof name, "%s%s", o->module, end);
    return n >= 0 && (size_t)n < sizeof name ? tensors_find(o->f->tensors, name) : NULL;
}

/* "<module>.<suffix>"; suffix NULL: there is none. */
static const struct tensor *find(const struct finding *o, const char *suffix)
{
    char end[NAME_MOST];
    (void)snprintf(end, sizeof end, ".%s", suffix ? suffix : "");
    return suffix ? finding_named(o, end) : NULL;
}

void finding_use(const struct finding *o, const struct tensor *t)
{
    o->f->used[t - o->f->tensors->tensor] = true;
}

/* ---- Shapes */

static int32_t refuse_shape(const struct finding *o, const struct tensor *t, int64_t rows,
                            int64_t columns)
{
    char shown[SHOWN_TEXT];
    return err_set(o->err, INFLIGHT_E_MODEL,
                   "%s: tensor %s is %" PRId64 " x %" PRId64 " x %" PRId64 ", want %" PRId64
                   " x %" PRId64,
                   finding_path(o, t), shown_text(t->name, shown), t->dim[2], t->dim[1], t->dim[0],
                   rows, columns);
}

/* Dimensions of 1 say nothing: (N, 1), (N) and (N, 1, 1) are the same scales. */
static bool is_shape(const struct tensor *t, int64_t rows, int64_t columns)
{
    const int64_t want[2] = {columns, rows};
    int at = 0;
    for (int i = 0; i < TENSOR_DIMS; i++) {
        if (t->dim[i] == 1)
            continue;
        while (at < 2 && want[at] == 1)
            at++;
        if (at == 2 || want[at++] != t->dim[i])
            return false;
    }
    while (at < 2 && want[at] == 1)
        at++;
    return at == 2;
}

static int32_t check_shape(const struct finding *o, const struct tensor *t, int64_t rows,
                           int64_t columns)
{
    return is_shape(t, rows, columns) ? INFLIGHT_OK : refuse_shape(o, t, rows, columns);
}

static int64_t ceil_div(int64_t n, int64_t by)
{
    return (n + by - 1) / by;
}

static int32_t check_codes(const struct finding *o, const struct tensor *t)
{
    const struct matrix *m = o->m;
    const int64_t N = m->n, K = m->K, bits = m->storage.bits;
    switch (m->storage.codes) {
    case CODES_PAIRS:
        return check_shape(o, t, ceil_div(N, 2), K);
    case CODES_PACKED:
        return check_shape(o, t, N, ceil_div(K * bits, 32));
    case CODES_AWQ:
        return check_shape(o, t, K, ceil_div(N, 8));
    case CODES_GPTQ:
        return check_shape(o, t, ceil_div(K * bits, 32), N);
    case CODES_NVFP4:
    case CODES_NVFP4_PACKED:
    case CODES_MXFP4_PACKED:
        return check_shape(o, t, N, K / 2);
    default:
        return check_shape(o, t, N, K);
    }
}

/* Scales, and zero points that stand like them. */
static int32_t check_grid(const struct finding *o, const struct tensor *t, int32_t bits)
{
    const struct storage *s = &o->m->storage;
    int64_t rows = s->rows ? ceil_div(o->m->n, s->rows) : 1;
    int64_t columns = s->columns ? ceil_div(o->m->K, s->columns) : 1;
    if (bits)
        rows = ceil_div(rows * bits, 32);
    bool is_transposed = s->codes == CODES_AWQ || s->codes == CODES_GPTQ;
    return is_transposed ? check_shape(o, t, columns, rows) : check_shape(o, t, rows, columns);
}

int32_t finding_refuse_dtype(const struct finding *o, const struct tensor *t, const char *want)
{
    char shown[SHOWN_TEXT];
    return err_set(o->err, INFLIGHT_E_MODEL, "%s: tensor %s is of type %s, want %s",
                   finding_path(o, t), shown_text(t->name, shown), dtype_name(t->dtype), want);
}

/* ---- Parts */

static int32_t refuse_missing(const struct finding *o, const char *suffix)
{
    return err_set(o->err, INFLIGHT_E_MODEL, "tensor %.160s.%s is missing, %s: quant_method is %s",
                   o->module, suffix, o->f->scheme->where, o->f->scheme->method);
}

static bool is_real(const struct tensor *t)
{
    return t->dtype == DTYPE_F32 || t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16;
}

static int32_t add_scales(const struct finding *o, const struct layout *layout)
{
    const struct tensor *t = find(o, layout->scales[0]);
    if (!t)
        t = find(o, layout->scales[1]);
    if (!t)
        return refuse_missing(o, layout->scales[0]);
    if (layout->scale_dtype != DTYPE_NONE && t->dtype != layout->scale_dtype)
        return finding_refuse_dtype(o, t, dtype_name(layout->scale_dtype));
    if (layout->scale_dtype == DTYPE_NONE && !is_real(t))
        return finding_refuse_dtype(o, t, "F32, F16 or BF16");
    o->m->part[PART_SCALES] = t;
    return check_grid(o, t, 0);
}

/* One number for all scales. */
static int32_t add_factor(const struct finding *o, const struct layout *layout)
{
    const struct tensor *t = find(o, layout->factor);
    float *factor = &o->m->factor;
    char shown[SHOWN_TEXT];
    if (!layout->factor)
        return INFLIGHT_OK;
    if (!t)
        return refuse_missing(o, layout->factor);
    if (t->dtype != DTYPE_F32)
        return finding_refuse_dtype(o, t, "F32");
    if (check_shape(o, t, 1, 1))
        return o->err->code;
    const void *data = tensors_view(o->f->tensors, t, &o->f->scratch, o->err);
    if (!data)
        return o->err->code;
    memcpy(factor, data, sizeof *factor);
    finding_use(o, t);
    if (!isfinite(*factor) || !(*factor > 0) || !isfinite(1 / *factor))
        return err_set(o->err, INFLIGHT_E_MODEL, "%s: tensor %s is %g, want a number above 0",
                       finding_path(o, t), shown_text(t->name, shown), (double)*factor);
    if (o->m->storage.codes == CODES_NVFP4_PACKED)
        *factor = 1 / *factor;
    return INFLIGHT_OK;
}

static int32_t add_inputs(const struct finding *o, const struct layout *layout)
{
    const struct tensor *t = find(o, layout->inputs);
    if (!t)
        return INFLIGHT_OK;
    if (!is_real(t))
        return finding_refuse_dtype(o, t, "F32, F16 or BF16");
    o->m->part[PART_INPUTS] = t;
    return check_shape(o, t, 1, o->m->K);
}

static int32_t add_zeros(const struct finding *o, const struct layout *layout)
{
    struct storage *s = &o->m->storage;
    const struct tensor *t = find(o, layout->zeros);
    if (!t)
        return s->zeros ? refuse_missing(o, layout->zeros) : INFLIGHT_OK;
    /* Symmetric files may have them nevertheless. */
    s->middle_zeros = s->middle_zeros || !s->zeros;
    bool may_be_bytes = s->codes == CODES_I8 || s->codes == CODES_PACKED;
    if (t->dtype != DTYPE_I32 && !(t->dtype == DTYPE_I8 && may_be_bytes))
        return finding_refuse_dtype(o, t, may_be_bytes ? "I32 or I8" : "I32");
    o->m->part[PART_ZEROS] = t;
    return check_grid(o, t, t->dtype == DTYPE_I32 ? s->bits : 0);
}

/* [N, K], which the codes do not say. */
static int32_t check_said_shape(const struct finding *o, const struct layout *layout)
{
    const struct tensor *t = find(o, layout->shape);
    int64_t size[2];
    if (!t)
        return INFLIGHT_OK;
    if (t->dtype != DTYPE_I64)
        return finding_refuse_dtype(o, t, "I64");
    if (check_shape(o, t, 1, 2))
        return o->err->code;
    const void *data = tensors_view(o->f->tensors, t, &o->f->scratch, o->err);
    if (!data)
        return o->err->code;
    memcpy(size, data, sizeof size);
    finding_use(o, t);
    if (size[0] != o->m->n || size[1] != o->m->K) {
        char shown[SHOWN_TEXT];
        return err_set(
            o->err, INFLIGHT_E_MODEL, "%s: tensor %s says %" PRId64 " x %" PRId64 ", want %d x %d",
            finding_path(o, t), shown_text(t->name, shown), size[0], size[1], o->m->n, o->m->K);
    }
    return INFLIGHT_OK;
}

/* Which group each column is of: where they stand in their order nothing is learnt from it. */
static int32_t add_groups(const struct finding *o, const struct layout *layout)
{
    struct matrix *m = o->m;
    const struct tensor *t = find(o, layout->groups);
    if (!t)
        return INFLIGHT_OK;
    finding_use(o, t);
    /* Empty: there is no order but the columns' own. */
    if (t->bytes == 0)
        return INFLIGHT_OK;
    if (t->dtype != DTYPE_I32)
        return finding_refuse_dtype(o, t, "I32");
    if (check_shape(o, t, 1, m->K))
        return o->err->code;
    const uint8_t *data = tensors_view(o->f->tensors, t, &o->f->scratch, o->err);
    if (!data)
        return o->err->code;
    const int32_t columns = m->storage.columns ? m->storage.columns : m->K;
    const int32_t groups = (int32_t)ceil_div(m->K, columns);
    for (int32_t k = 0; k < m->K; k++) {
        int32_t group;
        memcpy(&group, data + (size_t)k * sizeof group, sizeof group);
        if (group < 0 || group >= groups) {
            char shown[SHOWN_TEXT];
            return err_set(o->err, INFLIGHT_E_MODEL,
                           "%s: tensor %s: column %d is in group %d of %d", finding_path(o, t),
                           shown_text(t->name, shown), k, group, groups);
        }
        m->is_scattered = m->is_scattered || group != k / columns;
    }
    m->part[PART_GROUPS] = m->is_scattered ? t : NULL;
    return INFLIGHT_OK;
}

/* ---- Formats */

int32_t matrix_unit(const struct matrix *m)
{
    int32_t unit = TILE_COLUMNS;
    if (m->is_scattered)
        return 1;
    while (m->storage.columns % unit)
        unit /= 2;
    return unit;
}

/* The largest of 128, 64 and 32 values that divides both, or 0. */
static int32_t block_of(int32_t unit, int32_t K)
{
    for (int32_t n = 128; n >= 32; n /= 2)
        if (unit % n == 0 && K % n == 0)
            return n;
    return 0;
}

static enum fmt fmt_for(const struct matrix *m)
{
    const struct storage *s = &m->storage;
    const bool is_row = (s->columns == 0 || s->columns >= m->K) && !m->is_scattered;
    const int32_t block = block_of(is_row ? TILE_COLUMNS : matrix_unit(m), m->K);
    if (m->part[PART_INPUTS])
        return FMT_f16;
    if (s->codes == CODES_MXFP4_PACKED)
        return FMT_mxfp4;
    if (codes_are_e2m1(s->codes))
        return m->K % fmt_info[FMT_nvfp4].n ? FMT_f16 : FMT_nvfp4;
    if (s->codes == CODES_E4M3)
        return is_row ? FMT_fp8 : block == 128 ? FMT_fp8_128 : FMT_f16;
    if (s->bits == 8) {
        bool is_middle = !m->part[PART_ZEROS] || s->middle_zeros;
        return !is_middle ? FMT_f16 : is_row ? FMT_int8 : block ? FMT_q8_0 : FMT_f16;
    }
    if (block)
        return block == 128 ? FMT_int4_128 : block == 64 ? FMT_int4_64 : FMT_int4_32;
    return is_row ? FMT_int8 : FMT_f16;
}

/* ---- */

/* Its numbers, if it is not quantized. */
static const struct tensor *find_plain(const struct finding *o)
{
    const struct tensor *t = find(o, "weight");
    return t && t->fmt < FMT_COUNT ? t : NULL;
}

static int32_t add_plain(const struct finding *o, const struct tensor *t)
{
    struct matrix *m = o->m;
    m->storage = (struct storage){.codes = CODES_NONE};
    m->part[PART_CODES] = t;
    m->fmt = t->fmt;
    m->bytes = t->bytes;
    const int64_t rows = m->is_across ? m->K : m->n, columns = m->is_across ? m->n : m->K;
    finding_use(o, t);
    if (!tensor_is(t, 1, rows, columns))
        return refuse_shape(o, t, rows, columns);
    return INFLIGHT_OK;
}

/* A module without numbers that the scheme does not speak of. */
static int32_t refuse_left_alone(const struct finding *o)
{
    char shown[SHOWN_TEXT];
    const struct scheme *s = o->f->scheme;
    for (enum codes codes = 0; codes < CODES_COUNT; codes++) {
        const struct tensor *t = find(o, layouts[codes].codes);
        if (t)
            return err_set(o->err, INFLIGHT_E_MODEL,
                           "%s: tensor %s is of type %s, but %s does not say that it is quantized",
                           finding_path(o, t), shown_text(t->name, shown), dtype_name(t->dtype),
                           s->where ? s->where : "config.json");
    }
    return err_set(o->err, INFLIGHT_E_MODEL, "tensor %.160s.weight is missing", o->module);
}

/* What layouts ask of the shape itself. */
static int32_t check_units(const struct finding *o)
{
    const struct matrix *m = o->m;
    const enum codes codes = m->storage.codes;
    const int32_t rows = codes == CODES_AWQ ? 8 : codes == CODES_PAIRS ? 2 : 1;
    const int32_t columns = codes_are_e2m1(codes) ? m->storage.columns : 1;
    if (m->n % rows == 0 && m->K % columns == 0)
        return INFLIGHT_OK;
    return err_set(o->err, INFLIGHT_E_UNSUPPORTED,
                   "%.160s: %d %s are not served by quant_method %s: a multiple of %d is",
                   o->module, m->n % rows ? m->n : m->K, m->n % rows ? "rows" : "columns",
                   o->f->scheme->method, m->n % rows ? rows : columns);
}

static int32_t add_quantized(const struct finding *o)
{
    struct matrix *m = o->m;
    const struct layout *layout = &layouts[m->storage.codes];
    const struct tensor *t = find(o, layout->codes);
    m->factor = 1;
    if (!t)
        return refuse_missing(o, layout->codes);
    if (t->dtype != layout->dtype)
        return finding_refuse_dtype(o, t, dtype_name(layout->dtype));
    if (check_units(o))
        return o->err->code;
    m->part[PART_CODES] = t;
    if (check_codes(o, t) || add_scales(o, layout) || add_factor(o, layout) ||
        add_zeros(o, layout) || check_said_shape(o, layout) || add_groups(o, layout) ||
        add_inputs(o, layout))
        return o->err->code;
    m->fmt = fmt_for(m);
    for (int32_t i = 0; i < PART_COUNT; i++)
        if (m->part[i]) {
            finding_use(o, m->part[i]);
            m->bytes += m->part[i]->bytes;
        }
    return INFLIGHT_OK;
}

int32_t matrix_find(struct matrix *m, struct matrix_finder *f, const char *name, const char *class,
                    int32_t N, int32_t K, struct err *err)
{
    struct err unheard;
    const struct finding o = finding_of(m, f, name, err ? err : &unheard);
    *m = (struct matrix){.N = N, .n = N, .K = K};
    if (scheme_find(f->scheme, o.module, class, &m->storage, o.err))
        return o.err->code;
    const struct tensor *plain = find_plain(&o);
    if (plain)
        return add_plain(&o, plain);
    return m->storage.codes == CODES_NONE ? refuse_left_alone(&o) : add_quantized(&o);
}

int32_t matrix_find_across(struct matrix *m, struct matrix_finder *f, const char *name, int32_t N,
                           int32_t K, struct err *err)
{
    const struct finding o = finding_of(m, f, name, err);
    const struct tensor *plain = find_plain(&o);
    *m = (struct matrix){.N = N, .n = N, .K = K, .is_across = true};
    bool is_served =
        plain && (plain->fmt == FMT_f32 || plain->fmt == FMT_f16 || plain->fmt == FMT_bf16);
    if (!is_served)
        return err_set(err, plain ? INFLIGHT_E_UNSUPPORTED : INFLIGHT_E_MODEL,
                       "tensor %.160s.weight is %s", o.module,
                       plain ? "stored by columns and not of F32, F16 or BF16: not served"
                             : "missing");
    return add_plain(&o, plain);
}

int32_t matrix_find_stack(struct matrix *m, struct matrix_finder *f, const char *name, int32_t n,
                          int32_t N, int32_t K, struct err *err)
{
    const struct finding o = finding_of(m, f, name, err);
    const struct tensor *plain = find_plain(&o);
    char shown[SHOWN_TEXT];
    if (!plain)
        return err_set(err, INFLIGHT_E_MODEL, "tensor %.160s.weight is missing", o.module);
    *m = (struct matrix){.N = n * N,
                         .n = n * N,
                         .K = K,
                         .storage = {.codes = CODES_NONE},
                         .part = {[PART_CODES] = plain},
                         .fmt = plain->fmt,
                         .bytes = plain->bytes};
    finding_use(&o, plain);
    if (!tensor_is(plain, n, N, K))
        return err_set(err, INFLIGHT_E_MODEL,
                       "%s: tensor %s is %" PRId64 " x %" PRId64 " x %" PRId64
                       ", want %d x %d x %d",
                       finding_path(&o, plain), shown_text(plain->name, shown), plain->dim[2],
                       plain->dim[1], plain->dim[0], n, N, K);
    return INFLIGHT_OK;
}

bool matrix_is_there(struct matrix_finder *f, const char *name)
{
    const struct finding o = finding_of(NULL, f, name, NULL);
    for (enum codes codes = 0; codes < CODES_COUNT; codes++)
        if (find(&o, layouts[codes].codes))
            return true;
    return false;
}

int32_t matrix_ungroup(struct matrix *m, int32_t heads, int32_t dim, struct err *err)
{
    m->heads = heads;
    m->dim = dim;
    if (m->storage.codes != CODES_NONE && dim % TILE_ROWS_LEAST)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "quantized heads of %d rows are not served, multiples of %d are", dim,
                       TILE_ROWS_LEAST);
    return INFLIGHT_OK;
}

int32_t matrix_row(const struct matrix *m, int32_t i)
{
    if (!m->heads)
        return m->first + i * (m->step ? m->step : 1);
    const int32_t groups = m->N / ((m->heads + 2) * m->dim), head = i / m->dim;
    const int32_t key = head - m->heads * groups; /* negative: a query */
    const int32_t group = key < 0 ? head / m->heads : key % groups;
    const int32_t place = key < 0 ? head % m->heads : m->heads + key / groups;
    return (group * (m->heads + 2) + place) * m->dim + i % m->dim;
}

struct matrix matrix_rows(const struct matrix *m, int32_t first, int32_t n)
{
    struct matrix rows = *m;
    rows.first += first;
    rows.N = n;
    rows.bytes = m->bytes * (uint64_t)n / (uint64_t)m->N;
    return rows;
}
