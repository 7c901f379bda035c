/* Cases of operations over matrices: linear, head with notes, embed. */
#include "card.h"

#include "../../kernels/cuda/layout.h"
#include "../../plugin/base/base.h"
#include "../op/matrix.h"

#include <stdio.h>

extern const struct backend backend_cuda;

#define LAYERS 64 /* as many launches as the longest sequence here */

static const enum fmt fmts[] = {FMT_q4_1, FMT_q8_0, FMT_q4_k,    FMT_q6_k,
                                FMT_bf16, FMT_fp8,  FMT_int4_128};

struct shape {
    const char *name;
    int32_t K, n_part, N[3];
    int32_t epilogue; /* enum epilogue */
    bool normed;
};

static const struct shape products[] = {
    {"8b.qkv", 4096, 3, {4096, 1024, 1024}, EPILOGUE_STORE, true},
    {"8b.o", 4096, 1, {4096}, EPILOGUE_ADD, false},
    {"8b.gate_up", 4096, 2, {14336, 14336}, EPILOGUE_GLU_SILU, true},
    {"8b.down", 14336, 1, {4096}, EPILOGUE_ADD, false},
    {"smol.qkv", 576, 3, {576, 192, 192}, EPILOGUE_STORE, true},
    {"smol.o", 576, 1, {576}, EPILOGUE_ADD, false},
    {"smol.gate_up", 576, 2, {1536, 1536}, EPILOGUE_GLU_SILU, true},
    {"smol.down", 1536, 1, {576}, EPILOGUE_ADD, false},
};
static const struct shape small_products[] = {
    {"small.qkv", 256, 3, {64, 32, 32}, EPILOGUE_STORE, true},
    {"small.down", 512, 1, {64}, EPILOGUE_ADD, false},
};
static const struct shape heads[] = {{"8b.head", 4096, 1, {128256}, EPILOGUE_STORE, true},
                                     {"smol.head", 576, 1, {49152}, EPILOGUE_STORE, true}};
static const struct shape small_heads[] = {{"small.head", 256, 1, {1024}, EPILOGUE_STORE, true}};

static const int tokens[] = {1, 2, 4, 8, 16, 32, 64, 128, 512, 2048};
static const int many_tokens[] = {256, 384, 512, 1024, 2048, 4096};
static const int rows[] = {1, 2, 4, 8, 16, 32, 64, 128};
static const int few_tokens[] = {1, 3};
static const int few_many_tokens[] = {256, 400};

/* A shape in one format on the card: copies of its matrices, one behind the other. */
struct matrices {
    const struct shape *shape;
    struct weight weight[3]; /* of the first copy */
    uint8_t *data;
    size_t copy_bytes, bytes;
    int n_copies;
    float *x, *y, *norm, *freq, *rotary;
    struct logit_block *block;
    size_t x_bytes, y_bytes, block_bytes;
    int32_t ldy;
};

/* The numbers of one strip of 64 rows again and again: speed does not depend on them. */
static void take_matrices(struct card *card, struct matrices *m, enum fmt fmt)
{
    const struct shape *shape = m->shape;
    struct matrix some;
    m->copy_bytes = 0;
    for (int i = 0; i < shape->n_part; i++) {
        m->weight[i] = (struct weight){.N = shape->N[i], .K = shape->K, .fmt = fmt};
        m->weight[i].bytes = cuda_packed_bytes(fmt, shape->N[i], shape->K);
        m->copy_bytes += m->weight[i].bytes;
    }
    m->n_copies = (int)(card->cold / m->copy_bytes) + 1;
    m->bytes = (size_t)m->n_copies * m->copy_bytes;
    m->data = card_take(card, m->bytes);
    matrix_init_values(&some, fmt, 64, shape->K, false);
    size_t some_bytes = cuda_packed_bytes(fmt, 64, shape->K);
    struct weight packed = {.data = m->data, .bytes = some_bytes};
    struct err err = {0};
    if (backend_cuda.pack(card->device, &some.source, &packed, &err)) {
        (void)fprintf(stderr, "%s\n", err.text);
        exit(EXIT_FAILURE);
    }
    card_repeat(card, m->data, some_bytes, m->bytes);
    for (int i = 0; i < shape->n_part; i++)
        m->weight[i].layout = packed.layout;
    matrix_release(&some);
}

static void take_vectors(struct card *card, struct matrices *m, int T)
{
    const struct shape *shape = m->shape;
    m->ldy = shape->epilogue == EPILOGUE_GLU_SILU ? shape->N[0]
                                                  : shape->N[0] + shape->N[1] + shape->N[2];
    m->x_bytes = (size_t)T * (size_t)shape->K * sizeof(float);
    m->y_bytes = (size_t)T * (size_t)m->ldy * sizeof(float);
    m->block_bytes = (size_t)T * (size_t)logit_blocks(m->ldy) * sizeof *m->block;
    m->x = card_numbers(card, m->x_bytes);
    m->y = card_numbers(card, m->y_bytes);
    m->block = (void *)card_numbers(card, m->block_bytes);
    m->norm = card_numbers(card, (size_t)shape->K * sizeof(float));
    m->freq = card_numbers(card, 64 * sizeof(float));
    m->rotary = card_numbers(card, (size_t)T * 128 * sizeof(float));
}

static void give_all(struct card *card, struct matrices *m, int T)
{
    card_give(card, m->data, m->bytes);
    card_give(card, m->x, m->x_bytes);
    card_give(card, m->y, m->y_bytes);
    card_give(card, m->block, m->block_bytes);
    card_give(card, m->norm, (size_t)m->shape->K * sizeof(float));
    card_give(card, m->freq, 64 * sizeof(float));
    card_give(card, m->rotary, (size_t)T * 128 * sizeof(float));
}

/* The matrices of copy i. */
static void place(const struct matrices *m, int i, struct weight weight[3])
{
    const uint8_t *at = m->data + (size_t)(i % m->n_copies) * m->copy_bytes;
    for (int p = 0; p < m->shape->n_part; p++) {
        weight[p] = m->weight[p];
        weight[p].data = at;
        at += weight[p].bytes;
    }
}

static int linear_body(struct lane *lane, const struct card_case *c, int i)
{
    const struct matrices *m = c->arg;
    const struct shape *shape = m->shape;
    struct weight weight[3];
    struct op_linear op = {.x = m->x,
                           .y = m->y,
                           .norm = shape->normed ? m->norm : NULL,
                           .eps = 1e-5f,
                           .D = shape->K,
                           .ldy = m->ldy,
                           .n_part = shape->n_part,
                           .epilogue = shape->epilogue};
    int32_t column = 0;
    place(m, i, weight);
    for (int p = 0; p < shape->n_part; p++) {
        op.part[p] = (struct linear_part){.weight = &weight[p], .column = column};
        column += shape->epilogue == EPILOGUE_GLU_SILU ? 0 : shape->N[p];
    }
    return backend_cuda.linear(lane, &op, &c->batch);
}

static int head_body(struct lane *lane, const struct card_case *c, int i)
{
    const struct matrices *m = c->arg;
    struct weight weight[3];
    place(m, i, weight);
    const struct op_head op = {.x = m->x,
                               .norm = m->norm,
                               .logits = m->y,
                               .block = m->block,
                               .weight = &weight[0],
                               .eps = 1e-5f,
                               .D = m->shape->K,
                               .V = m->shape->N[0]};
    return backend_cuda.head(lane, &op, &c->batch);
}

static int embed_body(struct lane *lane, const struct card_case *c, int i)
{
    const struct matrices *m = c->arg;
    struct weight weight[3];
    place(m, i, weight);
    const struct op_embed op = {
        .x = m->x,
        .table = &weight[0],
        .scale = 1,
        .rotary = {{.out = m->rotary, .freq = m->freq, .scale = 1, .dim = 128}},
        .D = m->shape->K};
    return backend_cuda.embed(lane, &op, &c->batch);
}

/* Input and output of T tokens once, beside the weights. An embedding reads rows of its own. */
static struct card_case case_of(const struct matrices *m, const char *operation, int T)
{
    struct card_case c = {.operation = operation, .shape = m->shape->name, .T = T, .arg = m};
    double weights = 0;
    for (int i = 0; i < m->shape->n_part; i++)
        weights += (double)m->shape->N[i] * m->shape->K;
    c.fmt = fmt_info[m->weight[0].fmt].name;
    c.is_sequence = T <= 128;
    c.bytes = (double)m->copy_bytes + (double)T * (m->shape->K + m->ldy) * (double)sizeof(float);
    if (m->shape->epilogue == EPILOGUE_ADD)
        c.bytes += (double)T * m->ldy * (double)sizeof(float);
    c.flops = 2.0 * weights * T;
    return c;
}

static void measure(struct card *card, struct matrices *m, const char *operation, int T)
{
    struct card_case c = case_of(m, operation, T);
    c.batch = card_batch(T, c.is_sequence, 0, strcmp(operation, "head") == 0 ? T : 0);
    c.body = strcmp(operation, "head") == 0    ? head_body
             : strcmp(operation, "embed") == 0 ? embed_body
                                               : linear_body;
    if (c.body == embed_body) {
        c.bytes = (double)T * m->shape->K *
                  (sizeof(float) + (double)m->copy_bytes / m->shape->N[0] / m->shape->K);
        c.flops = 0;
    }
    card_measure(card, &c);
    card_batch_free(&c.batch);
}

/* All numbers of tokens that are wanted of one shape in one format. */
static void measure_shape(struct card *card, const struct shape *shape, enum fmt fmt,
                          const char *operation, const int *T, size_t n)
{
    struct matrices m = {.shape = shape};
    bool any = false;
    if (shape->K % fmt_info[fmt].n)
        return;
    for (size_t i = 0; i < n; i++)
        any |= card_wants(card, operation, fmt_info[fmt].name, shape->name, T[i]);
    if (!any)
        return;
    take_matrices(card, &m, fmt);
    take_vectors(card, &m, T[n - 1]);
    for (size_t i = 0; i < n; i++)
        if (card_wants(card, operation, fmt_info[fmt].name, shape->name, T[i]))
            measure(card, &m, operation, T[i]);
    give_all(card, &m, T[n - 1]);
}

/* What is measured of an operation: all shapes with all numbers of tokens, the last the most. */
struct list {
    const struct shape *shape;
    size_t n_shapes;
    const int *T;
    size_t n;
};
#define LIST(shapes, numbers) \
    ((struct list){(shapes), COUNT_OF(shapes), (numbers), COUNT_OF(numbers)})

static void measure_list(struct card *card, const char *operation, struct list list)
{
    const int most = list.T[list.n - 1];
    const struct device_config config = {.threads = 1,
                                         .max_tokens = most,
                                         .max_rows = most,
                                         .max_context = PAGE_TOKENS * 256,
                                         .max_width = card->options.is_small ? 512 : 14336,
                                         .L = LAYERS,
                                         .H = 1,
                                         .K = 1,
                                         .dim = 64,
                                         .kv_type = KV_BF16,
                                         .kv_pages = most,
                                         .cublaslt = card->options.cublaslt};
    if (!card_wants(card, operation, NULL, NULL, -1))
        return;
    card_open(card, &config);
    for (size_t s = 0; s < list.n_shapes; s++)
        for (size_t f = 0; f < COUNT_OF(fmts); f++)
            measure_shape(card, &list.shape[s], fmts[f], operation, list.T, list.n);
    card_close(card);
}

void card_products(struct card *card)
{
    const bool small = card->options.is_small;
    if (card->options.cublaslt)
        measure_list(card, "linear",
                     small ? LIST(small_products, few_many_tokens) : LIST(products, many_tokens));
    else
        measure_list(card, "linear",
                     small ? LIST(small_products, few_tokens) : LIST(products, tokens));
}

void card_heads(struct card *card)
{
    measure_list(card, "head",
                 card->options.is_small ? LIST(small_heads, few_tokens) : LIST(heads, rows));
}

void card_embeds(struct card *card)
{
    measure_list(card, "embed",
                 card->options.is_small ? LIST(small_heads, few_tokens) : LIST(heads, tokens));
}
