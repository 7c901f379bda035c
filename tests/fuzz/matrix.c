/* Any bytes as a quantization_config and the tensors of one matrix: the text up to the first zero
 * byte, then N, K, which tensors are there, which of them has another shape, and what they hold.
 * What is refused is refused with a message; of what is found all rows are made, from tensors of
 * which each is a block of memory of its own. A config of mxfp4 goes to one expert of several. */
#include "plugin/model/matrix.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at, *end;
};

static uint8_t next_byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static const struct {
    const char *name;
    enum dtype dtype;
    int32_t bytes;
} names[] = {
    {"a.b.weight", DTYPE_F8_E4M3, 1},
    {"a.b.weight", DTYPE_I8, 1},
    {"a.b.weight", DTYPE_U8, 1},
    {"a.b.weight_packed", DTYPE_I32, 4},
    {"a.b.weight_scale", DTYPE_F32, 4},
    {"a.b.weight_scale_inv", DTYPE_BF16, 2},
    {"a.b.weight_zero_point", DTYPE_I32, 4},
    {"a.b.weight_zero_point", DTYPE_I8, 1},
    {"a.b.weight_g_idx", DTYPE_I32, 4},
    {"a.b.weight_shape", DTYPE_I64, 8},
    {"a.b.qweight", DTYPE_I32, 4},
    {"a.b.qzeros", DTYPE_I32, 4},
    {"a.b.scales", DTYPE_F16, 2},
    {"a.b.g_idx", DTYPE_I32, 4},
    {"a.b.weight_packed", DTYPE_U8, 1},
    {"a.b.weight_scale", DTYPE_F8_E4M3, 1},
    {"a.b.weight_scale", DTYPE_U8, 1},
    {"a.b.weight_scale_2", DTYPE_F32, 4},
    {"a.b.weight_global_scale", DTYPE_F32, 4},
};

enum { NAMES = COUNT_OF(names) };

struct model {
    struct tensors tensors;
    struct tensor tensor[NAMES];
    struct file file[NAMES];
    void *block[NAMES];
    int32_t N, K;
};

/* Rows and columns of a tensor as the scheme wants it. */
static void shape_of(const struct storage *s, const struct model *m, size_t i, int64_t shape[2])
{
    const int64_t N = m->N, K = m->K, each = s->bits == 4 ? 8 : 4;
    const int64_t rows = s->rows ? (N + s->rows - 1) / s->rows : 1;
    const int64_t columns = s->columns ? (K + s->columns - 1) / s->columns : 1;
    const int64_t words = (N + each - 1) / each;
    const bool awq = s->codes == CODES_AWQ, pairs = codes_are_e2m1(s->codes);
    const int64_t shapes[NAMES][2] = {
        {N, K},
        {N, K},
        {pairs ? N : (N + 1) / 2, pairs ? (K + 1) / 2 : K},
        {N, (K + each - 1) / each},
        {rows, columns},
        {rows, columns},
        {(rows + each - 1) / each, columns},
        {rows, columns},
        {1, K},
        {1, 2},
        {awq ? K : (K + each - 1) / each, awq ? words : N},
        {columns, words},
        {columns, N},
        {1, K},
        {N, (K + 1) / 2},
        {rows, columns},
        {rows, columns},
        {1, 1},
        {1, 1},
    };
    shape[0] = shapes[i][0];
    shape[1] = shapes[i][1];
}

static void add_tensor(struct model *m, size_t i, const int64_t shape[2], struct input *in)
{
    const uint64_t n = m->tensors.n;
    const size_t bytes = (size_t)(shape[0] * shape[1]) * (size_t)names[i].bytes;
    uint8_t *block = calloc(1, bytes);
    const size_t here = MIN(bytes, (size_t)(in->end - in->at));
    if (!block)
        abort();
    memcpy(block, in->at, here);
    /* What is there in the text is found again in what follows. */
    for (size_t at = here; here > 0 && at < bytes; at++)
        block[at] = block[at - here];
    if (names[i].dtype == DTYPE_I64 && bytes == 16)
        memcpy(block, (const int64_t[2]){m->N, m->K}, bytes);
    m->block[n] = block;
    m->file[n] = (struct file){.bytes = bytes, .map = block, .path = "model"};
    m->tensor[n] = (struct tensor){.name = {names[i].name, strlen(names[i].name)},
                                   .fmt = FMT_COUNT,
                                   .dtype = names[i].dtype,
                                   .file = (int32_t)n,
                                   .dim = {shape[1], shape[0], 1, 1, 1},
                                   .bytes = bytes};
    m->tensors.n++;
}

static void make_tensors(struct model *m, const struct storage *s, struct input *in)
{
    m->N = next_byte(in) % 40 + 1;
    m->K = next_byte(in) * 3 + 1;
    if (next_byte(in) & 1)
        m->K = (m->K + 63) / 64 * 64;
    uint32_t there = (uint32_t)next_byte(in) << 8 | next_byte(in);
    const size_t other = next_byte(in);
    const int64_t rows = next_byte(in), columns = next_byte(in);
    there |= (uint32_t)next_byte(in) << 16;
    for (size_t i = 0; i < NAMES; i++) {
        int64_t shape[2];
        shape_of(s, m, i, shape);
        if (i == other) {
            shape[0] = rows + 1;
            shape[1] = columns + 1;
        }
        if (there >> i & 1)
            add_tensor(m, i, shape, in);
    }
}

/* Keeps the compiler from dropping the reads. */
static volatile double sink;

static void read_rows(const struct model *model, const struct matrix *m)
{
    struct matrix_reader reader;
    struct weight_source source, rows;
    struct err err = {0};
    float *value = malloc((size_t)m->K * sizeof *value);
    matrix_reader_init(&reader, 2, &mem_system);
    if (!value || matrix_begin(&reader, &model->tensors, m, &source, &err))
        abort();
    for (int32_t first = 0; first < m->N; first += 16) {
        const int32_t n = MIN(16, m->N - first);
        if (!weight_source_rows(&source, first / 16 % 2, first, n, &rows)) {
            if (!matrix_explain(&reader, &err) || !err.text[0])
                abort();
            break;
        }
        for (int32_t r = 0; r < n; r++) {
            const size_t bytes = fmt_row_bytes(m->fmt, m->K);
            fmt_decode_row(m->fmt, (const uint8_t *)rows.data + (size_t)r * bytes, m->K, value);
            sink += (double)value[m->K - 1];
        }
    }
    matrix_end(&reader, &model->tensors);
    matrix_reader_close(&reader);
    free(value);
}

/* The matrix, or with a place that of an expert, and then its tensors are given back. */
static void read_found(struct model *model, const struct scheme *scheme,
                       const struct matrix_place *place, struct arena *arena)
{
    static const char name[] = "a.b.weight";
    struct err err = {0};
    struct matrix m;
    bool used[NAMES] = {0};
    struct matrix_finder f = {.tensors = &model->tensors, .scheme = scheme, .used = used};
    buf_init(&f.scratch, &mem_system);
    /* Two of one name are refused where the tensors are read. */
    if (!tensors_index(&model->tensors, arena, NULL)) {
        if (place ? matrix_find_expert(&m, &f, name, *place, model->N, model->K, &err)
                  : matrix_find(&m, &f, name, "Linear", model->N, model->K, &err)) {
            if (!err.text[0])
                abort();
        } else {
            read_rows(model, &m);
        }
    }
    buf_release(&f.scratch);
    for (uint64_t i = 0; i < model->tensors.n; i++)
        free(model->block[i]);
}

static void read_matrix(const struct scheme *scheme, struct arena *arena, struct input *in)
{
    struct model model = {.N = 0};
    struct err err = {0};
    struct storage storage;
    if (scheme_find(scheme, "a.b", "Linear", &storage, &err)) {
        if (!err.text[0])
            abort();
        return;
    }
    model.tensors = (struct tensors){.tensor = model.tensor, .file = model.file};
    make_tensors(&model, &storage, in);
    read_found(&model, scheme, NULL, arena);
}

/* A tensor of those of experts, of which a dimension may be another. */
static void add_of_experts(struct model *m, const char *name, enum dtype dtype,
                           const int64_t dim[TENSOR_DIMS], struct input *in)
{
    struct tensor *t = &m->tensor[m->tensors.n];
    const uint8_t change = next_byte(in);
    const int64_t shape[2] = {1, dim[0] * dim[1] * dim[2] * dim[3] * dim[4]};
    size_t i = 0;
    while (names[i].dtype != dtype)
        i++;
    if (change & 0x80) /* it is not there */
        return;
    add_tensor(m, i, shape, in);
    t->name = (struct str){name, strlen(name)};
    t->fmt = dtype == DTYPE_F32 ? FMT_f32 : FMT_COUNT;
    memcpy(t->dim, dim, sizeof t->dim);
    if (change & 0x40)
        t->dim[change & 3] = change >> 2 & 15;
}

static void read_expert(const struct scheme *scheme, struct arena *arena, struct input *in)
{
    struct model model = {.N = 0};
    model.tensors = (struct tensors){.tensor = model.tensor, .file = model.file};
    model.N = next_byte(in) % 20 + 1;
    model.K = (next_byte(in) % 4 + 1) * 32;
    const uint8_t kind = next_byte(in);
    struct matrix_place place = {.E = kind % 4 + 1, .step = kind / 4 % 2 + 1};
    place.e = kind / 8 % place.E;
    place.first = kind / 32 % place.step;
    const int64_t rows = (int64_t)place.step * model.N, groups = model.K / 32;
    if (kind & 0x80) {
        add_of_experts(&model, "a.b", DTYPE_F32,
                       (const int64_t[TENSOR_DIMS]){rows, model.K, place.E, 1, 1}, in);
    } else {
        add_of_experts(&model, "a.b_blocks", DTYPE_U8,
                       (const int64_t[TENSOR_DIMS]){16, groups, rows, place.E, 1}, in);
        add_of_experts(&model, "a.b_scales", DTYPE_U8,
                       (const int64_t[TENSOR_DIMS]){groups, rows, place.E, 1, 1}, in);
    }
    read_found(&model, scheme, &place, arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    const size_t n = zero ? (size_t)(zero - data) : size;
    struct input in = {data + MIN(n + 1, size), data + size};
    struct scheme scheme;
    struct arena arena;
    struct err err = {0};
    json_t *object = n ? json_loadb((const char *)data, n, JSON_DECODE_ANY, NULL) : NULL;
    if (!object)
        return 0;
    arena_init(&arena, &mem_system);
    if (!scheme_parse(&scheme, object, "config.json", &arena, &err))
        (strcmp(scheme.method, "mxfp4") == 0 ? read_expert : read_matrix)(&scheme, &arena, &in);
    else if (!err.code || !err.text[0])
        abort();
    scheme_close(&scheme);
    json_decref(object);
    arena_release(&arena);
    return 0;
}
