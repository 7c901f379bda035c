/* Weights of layers on the device. Which tensors they are made of, and how, is what weights_open.c
 * has found. */
#include "layers_device.h"

#include <stdlib.h>
#include <string.h>

/* In struct layer, then in struct weights. */
static const size_t vector_at[VECTORS] = {
    [ATTN_NORM] = offsetof(struct layer, attn_norm),
    [ATTN_NORM_BIAS] = offsetof(struct layer, attn_norm_bias),
    [FFN_NORM] = offsetof(struct layer, ffn_norm),
    [FFN_NORM_BIAS] = offsetof(struct layer, ffn_norm_bias),
    [ATTN_POST_NORM] = offsetof(struct layer, attn_post_norm),
    [FFN_POST_NORM] = offsetof(struct layer, ffn_post_norm),
    [Q_BIAS] = offsetof(struct layer, q_bias),
    [K_BIAS] = offsetof(struct layer, k_bias),
    [V_BIAS] = offsetof(struct layer, v_bias),
    [O_BIAS] = offsetof(struct layer, o_bias),
    [UP_BIAS] = offsetof(struct layer, up_bias),
    [DOWN_BIAS] = offsetof(struct layer, down_bias),
    [Q_NORM] = offsetof(struct layer, q_norm),
    [K_NORM] = offsetof(struct layer, k_norm),
    [SINKS] = offsetof(struct layer, sinks),
    [SHARED_GATE] = offsetof(struct layer, shared_gate),
    [ROUTER_BIAS] = offsetof(struct layer, router_bias),
    [CHOICE_BIAS] = offsetof(struct layer, choice_bias),
    [EXPERT_GATE_BIAS] = offsetof(struct layer, expert_gate_bias),
    [EXPERT_UP_BIAS] = offsetof(struct layer, expert_up_bias),
    [EXPERT_DOWN_BIAS] = offsetof(struct layer, expert_down_bias),
    [NORM] = offsetof(struct weights, norm),
    [NORM_BIAS] = offsetof(struct weights, norm_bias),
    [EMBED_NORM] = offsetof(struct weights, embed_norm),
    [EMBED_NORM_BIAS] = offsetof(struct weights, embed_norm_bias),
    [POSITION] = offsetof(struct weights, position),
    [SLOPE] = offsetof(struct weights, slopes),
    [FREQ] = offsetof(struct weights, freq),
    [NEAR_FREQ] = offsetof(struct weights, near_freq),
};

static const float **vector_place(const struct layers *l, enum vector vector)
{
    char *base = (char *)(vector < LAYER_VECTORS ? (void *)&l->weights.layer[l->number]
                                                 : (void *)&l->weights);
    return (const float **)(void *)(base + vector_at[vector]);
}

/* Numbers of a vector in the order of its tensor and in the layer's: value i of the latter is value
 * vector_row of the former. */
static int32_t vector_row(const struct layers *l, const struct weight_item *item, int32_t i)
{
    const int32_t n = (int32_t)(item->bytes / sizeof(float));
    const struct matrix rows = {.N = n, .heads = l->h.H / l->h.K, .dim = l->h.dim};
    return item->values == BY_GROUPS ? matrix_row(&rows, i) : i;
}

/* In the order of the layer. */
static int32_t write_vector(struct layers *l, enum vector vector, const float *value,
                            struct err *err)
{
    struct held *held = &l->vector[vector];
    if (layers_write(l, held->memory, value, held->item->bytes, err))
        return err->code;
    *vector_place(l, vector) = held->memory;
    return INFLIGHT_OK;
}

static float *room(struct layers *l, const struct weight_item *item, struct err *err)
{
    l->rows.len = 0;
    float *value = (float *)(void *)buf_room(&l->rows, item->bytes);
    if (!value)
        (void)layers_no_memory(err, item->bytes);
    return value;
}

int32_t layers_set(struct layers *l, enum vector vector, const float *value, struct err *err)
{
    const struct held *held = &l->vector[vector];
    const struct weight_item *item = held->item;
    float *ordered = room(l, item, err);
    if (!ordered)
        return err->code;
    memmove(held->value, value, item->bytes);
    for (int32_t i = 0; i < (int32_t)(item->bytes / sizeof *ordered); i++)
        ordered[i] = held->value[vector_row(l, item, i)];
    return write_vector(l, vector, ordered, err);
}

static int32_t load_vector(struct layers *l, enum vector vector, const struct weight_item *item,
                           struct err *err)
{
    struct held *held = &l->vector[vector];
    held->item = item;
    held->tensor = item->tensor;
    float *value = room(l, item, err);
    if (!value || loader_vector(&l->loader, item, value, err) ||
        layers_reserve(l, held, item->bytes, err))
        return err->code;
    free(held->value);
    held->value = malloc(item->bytes);
    if (!held->value)
        return layers_no_memory(err, item->bytes);
    for (int32_t i = 0; i < (int32_t)(item->bytes / sizeof *value); i++)
        held->value[vector_row(l, item, i)] = value[i];
    return write_vector(l, vector, value, err);
}

/* Loads vectors first .. end - 1 that an item is for. */
static int32_t load_if_vector(struct layers *l, const struct weight_item *item, int first, int end,
                              struct err *err)
{
    for (int v = first; v < end && item->kind == VECTOR; v++)
        if (item->target == (void *)vector_place(l, (enum vector)v))
            return load_vector(l, (enum vector)v, item, err);
    return INFLIGHT_OK;
}

int32_t layers_load(struct layers *l, struct err *err)
{
    for (int32_t i = 0; i < l->weights.n_item; i++)
        if (load_if_vector(l, &l->weights.item[i], LAYER_VECTORS, VECTORS, err))
            return err->code;
    return INFLIGHT_OK;
}

/* ---- Matrices */

static const struct tensor *tensor_of(const struct weight_item *item)
{
    return item ? item->matrix.part[PART_CODES] : NULL;
}

/* The place of an item among the E of an array; E: it is of none of them. */
static int32_t place_among(const struct weight *array, int32_t E, const void *target)
{
    const uintptr_t first = (uintptr_t)array, at = (uintptr_t)target;
    return at >= first && at < first + (uintptr_t)E * sizeof *array
               ? (int32_t)((at - first) / sizeof *array)
               : E;
}

/* -1: it is none of the layer. */
static int32_t slot_of(const struct layers *l, const void *target)
{
    const struct layer *layer = &l->weights.layer[l->number];
    const struct weight *const plain[SLOTS] = {&layer->q,    &layer->k,     &layer->v,
                                               &layer->o,    &layer->gate,  &layer->up,
                                               &layer->down, &layer->router};
    const struct weight *const experts[] = {layer->expert_gate, layer->expert_up,
                                            layer->expert_down};
    for (int32_t slot = 0; slot < SLOTS; slot++)
        if (target == plain[slot])
            return slot;
    for (int i = 0; i < 3 && layers_has_experts(l); i++) {
        const int32_t e = place_among(experts[i], l->h.E, target);
        if (e < l->h.E)
            return expert_slot((enum slot)(SLOT_GATE + i), e);
    }
    return -1;
}

/* Whether a matrix is made of the tensor of one before it: of those that are no experts', or of the
 * first of these. */
static bool is_of_another(const struct layers *l, int32_t slot)
{
    const struct tensor *tensor = tensor_of(l->matrix[slot].item);
    for (int32_t i = 0; i < MIN(slot, SLOTS + 3); i++)
        if (tensor_of(l->matrix[i].item) == tensor)
            return true;
    return false;
}

static void find_matrices(struct layers *l)
{
    for (int32_t i = 0; i < l->n_matrices; i++) {
        l->matrix[i].item = NULL;
        l->matrix[i].tensor = NULL;
    }
    for (int32_t i = 0; i < l->weights.n_item; i++) {
        const struct weight_item *item = &l->weights.item[i];
        const int32_t slot = item->kind == MATRIX ? slot_of(l, item->target) : -1;
        if (slot >= 0)
            l->matrix[slot].item = item;
    }
    for (int32_t i = 0; i < l->n_matrices; i++)
        l->matrix[i].tensor = is_of_another(l, i) ? NULL : tensor_of(l->matrix[i].item);
}

int32_t layers_enter(struct layers *l, int32_t number, struct err *err)
{
    const struct plan_source source = layers_source(l);
    l->number = number;
    find_matrices(l);
    for (int i = 0; i < LAYER_VECTORS; i++)
        l->vector[i].item = NULL;
    for (int32_t i = 0; i < l->weights.n_item; i++)
        if (load_if_vector(l, &l->weights.item[i], 0, LAYER_VECTORS, err))
            return err->code;
    plan_compile_layer(&l->plan, &source, number);
    return layers_put_own(l, SLOT_ROUTER, err);
}

int32_t layers_row(const struct layers *l, int32_t slot, int32_t i)
{
    return matrix_row(&l->matrix[slot].item->matrix, i);
}

struct part_rows layers_part(const struct layers *l, enum slot of)
{
    const int32_t q = l->h.H * l->h.dim, k = l->h.K * l->h.dim;
    const int32_t n = of == SLOT_Q ? q : k;
    if (!l->arch->fused)
        return (struct part_rows){(int32_t)of, 0, n};
    return (struct part_rows){SLOT_Q, of == SLOT_Q ? 0 : of == SLOT_K ? q : q + k, n};
}

/* Rows of a tensor in the order of a matrix that is made of it. */
static int32_t put_rows(struct layers *l, struct held *held, const struct weight_source *source,
                        struct err *err)
{
    const struct matrix *m = &held->item->matrix;
    const size_t row = fmt_row_bytes(source->fmt, source->K);
    const char *from = source->data;
    struct weight_source rows = {.fmt = source->fmt, .N = m->N, .K = m->K};
    rows.data = from + (size_t)m->first * row;
    if (m->heads) {
        l->rows.len = 0;
        char *ordered = buf_room(&l->rows, (size_t)m->N * row);
        if (!ordered)
            return layers_no_memory(err, (size_t)m->N * row);
        for (int32_t i = 0; i < m->N; i++)
            memcpy(ordered + (size_t)i * row, from + (size_t)matrix_row(m, i) * row, row);
        rows.data = ordered;
    }
    return layers_pack(l, held, &rows, held->item->target, err);
}

int32_t layers_put(struct layers *l, int32_t slot, const struct weight_source *source,
                   struct err *err)
{
    const struct tensor *tensor = l->matrix[slot].tensor;
    for (int32_t i = 0; i < l->n_matrices && tensor; i++)
        if (tensor_of(l->matrix[i].item) == tensor && put_rows(l, &l->matrix[i], source, err))
            return err->code;
    return INFLIGHT_OK;
}

static int32_t put_own(struct layers *l, struct held *held, struct err *err)
{
    struct weight_source rows;
    int32_t rc = loader_rows(&l->loader, held->item, &rows, err);
    if (!rc && layers_pack(l, held, &rows, held->item->target, err)) {
        (void)loader_explain(&l->loader, held->item, err);
        rc = err->code;
    }
    loader_done(&l->loader);
    return rc ? err_prefix(err, "tensor %s", held->item->name) : INFLIGHT_OK;
}

int32_t layers_put_own(struct layers *l, int32_t slot, struct err *err)
{
    const struct tensor *tensor = l->matrix[slot].tensor;
    for (int32_t i = 0; i < l->n_matrices && tensor; i++)
        if (tensor_of(l->matrix[i].item) == tensor && put_own(l, &l->matrix[i], err))
            return err->code;
    return INFLIGHT_OK;
}

/* The tokens' rows as a table of their own: row t is that of token t. */
static int32_t put_tokens(struct layers *l, const int32_t *token, struct held *held,
                          struct err *err)
{
    const struct weight_item *item = l->weights.item;
    while (item->target != &l->weights.embed)
        item++;
    const struct tensor *t = tensor_of(item);
    const size_t row = fmt_row_bytes(t->fmt, t->dim[0]), bytes = (size_t)l->length * row;
    const char *table = tensors_view(&l->checkpoint->tensors, t, &l->scratch, err);
    if (!table)
        return err->code;
    l->rows.len = 0;
    char *rows = buf_room(&l->rows, bytes);
    if (!rows)
        return layers_no_memory(err, bytes);
    for (int32_t i = 0; i < l->length; i++)
        memcpy(rows + (size_t)i * row, table + (size_t)token[i] * row, row);
    tensors_done(&l->checkpoint->tensors, t);
    struct weight_source matrix = {.fmt = t->fmt, .N = l->length, .K = l->h.D, .data = rows};
    return layers_pack(l, held, &matrix, &l->weights.embed, err);
}

int32_t layers_embed(struct layers *l, const int32_t *token, float *x, struct err *err)
{
    const struct plan_source source = layers_source(l);
    struct held held = {0};
    int32_t rc = put_tokens(l, token, &held, err);
    if (!rc) {
        plan_compile_embed(&l->plan, &source);
        rc = layers_run_plan(l, &l->plan, err);
    }
    if (!rc)
        rc = layers_read(l, x, l->buffers.x, layers_x_bytes(l), err);
    layers_give(l, &held);
    return rc;
}
