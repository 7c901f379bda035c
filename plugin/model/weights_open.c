/* Finds the tensors that a model consists of by its row: tensor_rows.h says which. */
#include "weights.h"

#include "tensor_rows.h"
#include "weight_item.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What open passes down. */
struct opening {
    struct weights *w;
    struct matrix_finder finder;
    const struct tensors *tensors;
    const struct arch *arch;
    struct arena *arena;
    const char *root; /* of the family's names, or "" */
    bool has_bias;    /* q, k and v have one */
    bool has_qk_norm;
    bool has_experts; /* the layer */
    bool has_shared;  /* and one of them is met by all tokens */
    int32_t extent[EXTENT_COUNT];
    const struct hparams *h;
    int32_t l; /* layer at work */
};

/* Whether it is the biases of all experts, of whose matrices a folder may have one tensor. */
static bool is_expert_bias(const struct tensor_row *row)
{
    return row->kind == VECTOR && row->N == EXPERTS && row->K != ONE;
}

/* What the file calls a row's tensor. prefix: of a layer, or what stands before what is of none. */
static void name_of(const struct opening *o, const struct tensor_row *row, const char *prefix,
                    char name[ITEM_NAME])
{
    const struct arch_names *names = o->arch->names;
    const char *own = row->name[o->tensors->naming], *end = strrchr(row->name[0], '.');
    const size_t len = (size_t)(end - row->name[0]);
    for (const struct arch_name *n = names ? names->names : NULL; n && n->row; n++) {
        if (strlen(n->row) != len || memcmp(n->row, row->name[0], len) != 0)
            continue;
        const bool is_folder = o->tensors->naming == NAMING_HUGGING_FACE;
        const char *stem = is_folder ? n->folder : n->gguf;
        if (!stem)
            break;
        if (is_folder && (is_expert_bias(row) || row->need == IF_CHOICE_BIAS))
            end = "_bias";
        (void)snprintf(name, ITEM_NAME, "%s%s%s", prefix, stem, end);
        bool is_last = !n[1].row || strcmp(n[1].row, n->row) != 0;
        if (is_last || tensors_find(o->tensors, name))
            return;
    }
    (void)snprintf(name, ITEM_NAME, "%s%s", prefix, own);
}

/* Whether a vector is every other value of its tensor. */
static bool is_in_turn(const struct opening *o, const struct tensor_row *row)
{
    return o->tensors->naming == NAMING_HUGGING_FACE &&
           (row->need == IF_GATE_BIAS || row->need == IF_UP_BIAS);
}

static int32_t check_vector(const struct opening *o, const struct tensor_row *row,
                            const struct tensor *t, const char *name, struct err *err)
{
    const bool is_table = row->K != ONE;
    const int64_t n = o->extent[is_table ? row->K : row->N] * (is_in_turn(o, row) ? 2 : 1);
    const int64_t rows = is_table ? o->extent[row->N] : 1;
    if (!tensor_is(t, 1, rows, n))
        return err_set(err, INFLIGHT_E_MODEL, "tensor %s is %lld x %lld x %lld, want %lld x %lld",
                       name, (long long)t->dim[0], (long long)t->dim[1], (long long)t->dim[2],
                       (long long)n, (long long)rows);
    if (t->fmt != FMT_f32 && t->fmt != FMT_f16 && t->fmt != FMT_bf16)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "tensor %s is a vector of type %s: not served",
                       name, t->fmt < FMT_COUNT ? fmt_info[t->fmt].name : "none of F32, F16, BF16");
    return INFLIGHT_OK;
}

static int32_t add_vector(const struct opening *o, const struct tensor_row *row,
                          struct weight_item *item, struct err *err)
{
    const struct tensor *t = tensors_find(o->tensors, item->name);
    if (!t)
        return err_set(err, INFLIGHT_E_MODEL, "tensor %s is missing", item->name);
    if (check_vector(o, row, t, item->name, err))
        return err->code;
    o->finder.used[t - o->tensors->tensor] = true;
    item->tensor = t;
    item->file_bytes = t->bytes;
    item->bytes = (size_t)(t->dim[0] * t->dim[1]) * sizeof(float);
    if (o->tensors->naming == NAMING_GGUF)
        return INFLIGHT_OK;
    /* Vectors of such a family are of norms. */
    if (o->arch->norm_less_one && !strstr(row->name[NAMING_GGUF], ".bias"))
        item->values = ONE_MORE;
    if (o->arch->by_groups && row->N == QKV)
        item->values = BY_GROUPS;
    if (is_in_turn(o, row)) {
        item->values = row->need == IF_UP_BIAS ? ODD_ONES : EVEN_ONES;
        item->bytes /= 2;
        item->file_bytes /= 2;
    }
    return INFLIGHT_OK;
}

static int32_t add_matrix(struct opening *o, const struct tensor_row *row, struct weight_item *item,
                          struct err *err)
{
    const bool is_table = row == &embed_row || row == &own_rows[0];
    const char *class = is_table ? "Embedding" : "Linear";
    const bool is_folder = o->tensors->naming == NAMING_HUGGING_FACE;
    const bool is_paired = is_folder && o->arch->stacked;
    const bool is_second =
        row->need == SECOND_OF_FUSED || (is_paired && row->need == SECOND_OF_SHARED);
    const bool is_half =
        is_second || row->need == FIRST_OF_FUSED || (is_paired && row->need == FIRST_OF_SHARED);
    const bool is_across = is_folder && o->arch->across && row != &embed_row && row != &head_row;
    const int32_t N = o->extent[row->N], K = o->extent[row->K];
    const int32_t rc = is_across
                           ? matrix_find_across(&item->matrix, &o->finder, item->name, N, K, err)
                           : matrix_find(&item->matrix, &o->finder, item->name, class,
                                         is_half ? 2 * N : N, K, err);
    if (rc)
        return rc;
    if (is_folder && o->arch->by_groups && row->N == QKV &&
        matrix_ungroup(&item->matrix, o->extent[QD] / o->extent[KD], o->extent[DIM], err))
        return err_prefix(err, "tensor %s", item->name);
    if (is_half)
        item->matrix = matrix_rows(&item->matrix, is_second ? N : 0, N);
    item->fmt = item->matrix.fmt;
    item->file_bytes = item->matrix.bytes;
    item->stays =
        (row->need == IF_EXPERTS && row->N == EXPERTS) || row->K == OWNS || row->N == OWNS;
    if (row->K != OWNS) /* which is looked up alone */
        o->w->max_width = MAX(o->w->max_width, o->extent[row->K]);
    return INFLIGHT_OK;
}

/* Adds one tensor that must be there; base is the struct the row's offset counts in. */
static int32_t add(struct opening *o, const struct tensor_row *row, void *base, const char *prefix,
                   struct err *err)
{
    struct weight_item *item = &o->w->item[o->w->n_item];
    name_of(o, row, prefix, item->name);
    item->kind = row->kind;
    item->error = -1;
    item->factor = 1;
    item->target = (char *)base + row->offset;
    if (row->kind == MATRIX ? add_matrix(o, row, item, err) : add_vector(o, row, item, err))
        return err->code;
    o->w->file_bytes += item->file_bytes;
    o->w->n_item++;
    return INFLIGHT_OK;
}

/* What the bias that was added last makes of the layer's keys in the mean: where they do not turn,
 * itself. */
static void add_key_mean(struct opening *o, const struct hparams *h, int32_t l)
{
    struct weight_item *item = &o->w->item[o->w->n_item++];
    const struct weight_item *bias = item - 1;
    *item = *bias;
    (void)snprintf(item->name, sizeof item->name, "mean of %.55s", bias->name);
    item->target = &o->w->layer[l].k_mean;
    item->values = h->turns[l] ? MEAN_OF_TENSOR : OF_TENSOR;
    item->file_bytes = 0;
}

/* Whether the layer at work has keys and values of its own. */
static bool has_keys(const struct opening *o)
{
    return !hparams_is_shared(o->h, o->l);
}

static bool is_needed(const struct opening *o, enum need need)
{
    const struct arch *arch = o->arch;
    const bool has_fused_up = arch->fused || arch->fused_up;
    switch (need) {
    case IF_BIAS:
        return o->has_bias && !arch->fused;
    case IF_FUSED_BIAS:
        return o->has_bias && arch->fused;
    case IF_O_BIAS:
        return arch->o_bias;
    case IF_FFN_BIAS:
        return arch->ffn_bias;
    case IF_NORM_BIAS:
        return arch->norm_bias;
    case IF_QK_NORM:
        return o->has_qk_norm;
    case IF_K_NORM:
        return o->has_qk_norm && has_keys(o);
    case IF_WIDE_NORM:
        return arch->wide_norm;
    case IF_POST_NORM:
        return arch->post_norm;
    case IF_BOTH_NORMS:
        return arch->post_norm && !arch->bare;
    case UNLESS_BARE:
        return !arch->bare;
    case IF_OWN_NORM:
        return !arch->post_norm && !arch->one_norm;
    case IF_OWN_NORM_BIAS:
        return arch->norm_bias && !arch->one_norm;
    case IF_FUSED:
        return arch->fused;
    case FIRST_OF_FUSED:
    case SECOND_OF_FUSED:
        return has_fused_up && !arch->plain;
    case UNLESS_FUSED:
        return !arch->fused;
    case IF_KEYS:
        return !arch->fused && has_keys(o);
    case IF_VALUES:
        return !arch->fused && has_keys(o) && !(o->h->values_of_keys && !o->h->slides[o->l]);
    case IF_GATED:
        return !has_fused_up && !arch->plain && !o->has_experts;
    case UNLESS_GATED:
        return arch->plain;
    case IF_EXPERTS:
        return o->has_experts;
    case UNLESS_EXPERTS:
        return !o->has_experts;
    case IF_EXPERT_BIAS:
    case IF_GATE_BIAS:
    case IF_UP_BIAS:
        return o->has_experts && arch->expert_bias;
    case IF_CHOICE_BIAS:
        return o->has_experts && arch->choice_bias;
    case FIRST_OF_SHARED:
    case SECOND_OF_SHARED:
    case IF_SHARED:
        return o->has_shared;
    case IF_SHARED_GATE:
        return o->has_shared && arch->shared_gate;
    case IF_SINKS:
        return arch->sinks;
    case IF_OWN_EMBED:
        return o->h->P > 0;
    case IF_FACTOR:
        return arch->layer_factor;
    default:
        return true;
    }
}

/* The matrix of one expert, of a tensor that has all of them. */
static void add_of_one(struct opening *o, const struct matrix *m, const char *name, int32_t e,
                       struct weight *target)
{
    struct weight_item *item = &o->w->item[o->w->n_item++];
    *item = (struct weight_item){.kind = MATRIX,
                                 .error = -1,
                                 .target = target,
                                 .matrix = *m,
                                 .fmt = m->fmt,
                                 .file_bytes = m->bytes};
    (void)snprintf(item->name, sizeof item->name, "%.*s[%d]", ITEM_NAME - 16, name, e);
    o->w->file_bytes += item->file_bytes;
    o->w->max_width = MAX(o->w->max_width, m->K);
}

/* Of a GGUF file, or of a folder that has them so. */
static int32_t add_stack(struct opening *o, const struct tensor_row *row, const char *name,
                         struct weight *target, struct err *err)
{
    const int32_t E = o->extent[EXPERTS], N = o->extent[row->N];
    const bool is_half = o->tensors->naming == NAMING_HUGGING_FACE &&
                         row->offset != offsetof(struct layer, expert_down);
    const int32_t each = is_half ? 2 * N : N;
    const int32_t first = is_half && row->offset == offsetof(struct layer, expert_up) ? N : 0;
    struct matrix stack;
    if (matrix_find_stack(&stack, &o->finder, name, E, each, o->extent[row->K], err))
        return err->code;
    for (int32_t e = 0; e < E; e++) {
        const struct matrix m = matrix_rows(&stack, e * each + first, N);
        add_of_one(o, &m, name, e, &target[e]);
    }
    return INFLIGHT_OK;
}

/* Of a folder that has them so: rows of gate and up in turn. */
static int32_t add_in_turn(struct opening *o, const struct tensor_row *row, const char *name,
                           struct weight *target, struct err *err)
{
    struct matrix_place place = {.E = o->extent[EXPERTS],
                                 .first = row->offset == offsetof(struct layer, expert_up),
                                 .step =
                                     row->offset == offsetof(struct layer, expert_down) ? 1 : 2};
    for (place.e = 0; place.e < place.E; place.e++) {
        struct matrix m;
        if (matrix_find_expert(&m, &o->finder, name, place, o->extent[row->N], o->extent[row->K],
                               err))
            return err->code;
        add_of_one(o, &m, name, place.e, &target[place.e]);
    }
    return INFLIGHT_OK;
}

/* Of a folder, where each expert's is a tensor; name: with "%d" for its number. */
static int32_t add_expert(struct opening *o, const struct tensor_row *row, const char *name,
                          int32_t e, struct weight *target, struct err *err)
{
    struct weight_item *item = &o->w->item[o->w->n_item];
    const char *number = strstr(name, "%d");
    (void)snprintf(item->name, sizeof item->name, "%.*s%d%s", (int)(number - name), name, e,
                   number + 2);
    item->kind = MATRIX;
    item->error = -1;
    item->target = target;
    if (add_matrix(o, row, item, err))
        return err->code;
    o->w->file_bytes += item->file_bytes;
    o->w->n_item++;
    return INFLIGHT_OK;
}

static int32_t add_each(struct opening *o, const struct tensor_row *row, const char *name,
                        struct weight *target, struct err *err)
{
    for (int32_t e = 0; e < o->extent[EXPERTS]; e++)
        if (add_expert(o, row, name, e, &target[e], err))
            return err->code;
    return INFLIGHT_OK;
}

static int32_t add_experts(struct opening *o, struct layer *layer, const char *prefix,
                           struct err *err)
{
    const int32_t E = o->extent[EXPERTS];
    for (size_t i = 0; i < COUNT_OF(expert_rows); i++) {
        const struct tensor_row *row = &expert_rows[i];
        struct weight *target = arena_take_array(o->arena, (size_t)E, sizeof *target);
        char name[ITEM_NAME];
        if (!target)
            return err_set(err, INFLIGHT_E_NOMEM, "no memory for %d experts", E);
        *(struct weight **)(void *)((char *)layer + row->offset) = target;
        name_of(o, row, prefix, name);
        const bool is_stack = o->tensors->naming == NAMING_GGUF || o->arch->stacked;
        if ((is_stack             ? add_stack
             : strstr(name, "%d") ? add_each
                                  : add_in_turn)(o, row, name, target, err))
            return err->code;
    }
    return INFLIGHT_OK;
}

/* Scores that are all lower by the same are so for nothing if a sink is not. */
static bool has_key_mean(const struct opening *o)
{
    return !o->has_qk_norm && !o->arch->wide_norm && !o->arch->sinks;
}

#define PREFIX 40 /* bytes of what names of a layer begin with, at most */

static void prefix_of(const struct opening *o, int32_t l, char prefix[PREFIX])
{
    if (o->tensors->naming == NAMING_GGUF)
        (void)snprintf(prefix, PREFIX, "blk.%d.", l);
    else if (!o->arch->names)
        (void)snprintf(prefix, PREFIX, "model.layers.%d.", l);
    else
        (void)snprintf(prefix, PREFIX, "%s%s%d.", o->root, o->arch->names->layer, l);
}

/* Whether the first layer has the first row that is needed for that. */
static bool is_there(const struct opening *o, enum need need)
{
    char prefix[PREFIX], name[ITEM_NAME];
    prefix_of(o, 0, prefix);
    for (size_t i = 0; i < COUNT_OF(layer_rows); i++)
        if (layer_rows[i].need == need) {
            name_of(o, &layer_rows[i], prefix, name);
            return tensors_find(o->tensors, name) != NULL;
        }
    return false;
}

/* Whether q, k and v have a bias: of a family that may, where the first layer's query does. */
static bool find_bias(const struct opening *o)
{
    return o->arch->may_have_bias ? is_there(o, IF_BIAS) : o->arch->qkv_bias;
}

/* Whether heads are normalised: of a family that may be, what a folder says, or a file has. */
static bool find_norm(const struct opening *o, const struct hparams *h)
{
    if (!o->arch->may_have_norm)
        return o->arch->qk_norm;
    return o->tensors->naming == NAMING_GGUF ? is_there(o, IF_QK_NORM) : h->qk_norm;
}

/* Sizes of a layer's. */
static void enter_layer(struct opening *o, int32_t l)
{
    const struct hparams *h = o->h;
    const int32_t dim = hparams_dim(h, l), K = hparams_K(h, l);
    o->l = l;
    o->extent[F] = hparams_F(h, l);
    o->extent[DENSE_F] = o->arch->experts ? h->dense_F : hparams_F(h, l);
    o->extent[QD] = h->H * dim;
    o->extent[KD] = K * dim;
    o->extent[QKV] = (h->H + 2 * K) * dim;
    o->extent[DIM] = dim;
}

static int32_t add_layer(struct opening *o, const struct hparams *h, int32_t l, struct err *err)
{
    char prefix[PREFIX];
    enter_layer(o, l);
    prefix_of(o, l, prefix);
    o->has_experts = layer_has_experts(o->arch, h, l);
    o->has_shared = o->has_experts && h->shared_F;
    for (size_t i = 0; i < COUNT_OF(layer_rows); i++) {
        const struct tensor_row *row = &layer_rows[i];
        bool needed = is_needed(o, row->need);
        if (needed && add(o, row, &o->w->layer[l], prefix, err))
            return err->code;
        if (needed && row->offset == offsetof(struct layer, k_bias) && has_key_mean(o))
            add_key_mean(o, h, l);
    }
    return o->has_experts ? add_experts(o, &o->w->layer[l], prefix, err) : INFLIGHT_OK;
}

/* A bias or a norm that the row does not know would be missed in every result. */
static int32_t refuse_unused(const struct opening *o, struct err *err)
{
    for (uint64_t i = 0; i < o->tensors->n; i++) {
        struct str name = o->tensors->tensor[i].name;
        if (!o->finder.used[i] && !o->tensors->tensor[i].is_apart &&
            !weights_leave_out(o->h, o->tensors->naming, o->finder.scheme, name) &&
            !scheme_ignores(o->finder.scheme, name))
            return err_set(err, INFLIGHT_E_UNSUPPORTED,
                           "tensor %.*s is not one of architecture %s as it is served here",
                           (int)MIN(name.len, (size_t)64), name.ptr, o->arch->id);
    }
    return INFLIGHT_OK;
}

/* model.c reads them. */
static int32_t use_factors(struct opening *o, struct err *err)
{
    for (size_t i = 0; i < COUNT_OF(freqs_rows); i++) {
        const char *name = freqs_rows[i].name[o->tensors->naming];
        const struct tensor *t = name ? tensors_find(o->tensors, name) : NULL;
        if (name && !t && i == 0 && o->arch->waves > 0)
            return err_set(err, INFLIGHT_E_MODEL, "tensor %s is missing", name);
        if (!t || !is_needed(o, freqs_rows[i].need))
            continue;
        if (check_vector(o, &freqs_rows[i], t, name, err))
            return err->code;
        o->finder.used[t - o->tensors->tensor] = true;
    }
    return INFLIGHT_OK;
}

/* What is made of hparams is a vector of the device like any other. */
static void add_computed(struct weights *w, const char *name, enum values values,
                         const float **target, int32_t n)
{
    struct weight_item *item = &w->item[w->n_item++];
    (void)snprintf(item->name, sizeof item->name, "%s", name);
    item->kind = VECTOR;
    item->values = values;
    item->target = target;
    item->bytes = (size_t)n * sizeof(float);
}

/* Those that are of no layer, before and behind these. */
static int32_t add_front(struct opening *o, struct err *err)
{
    struct weights *w = o->w;
    if (add(o, &embed_row, w, o->root, err))
        return err->code;
    if (o->arch->positions == POSITIONS_LEARNED && add(o, &position_row, w, o->root, err))
        return err->code;
    for (size_t i = 0; o->arch->embed_norm && i < COUNT_OF(embed_norm_rows); i++)
        if (add(o, &embed_norm_rows[i], w, o->root, err))
            return err->code;
    for (size_t i = 0; o->h->P && i < COUNT_OF(own_rows); i++)
        if (add(o, &own_rows[i], w, o->root, err))
            return err->code;
    if (o->h->P) /* see plan.c */
        w->item[w->n_item - 1].factor = (float)sqrt(0.5);
    return INFLIGHT_OK;
}

static int32_t add_back(struct opening *o, const struct hparams *h, struct err *err)
{
    struct weights *w = o->w;
    char name[ITEM_NAME];
    for (size_t i = 0; i < COUNT_OF(norm_rows); i++) {
        if (!is_needed(o, norm_rows[i].need))
            continue;
        if (add(o, &norm_rows[i], w, o->root, err))
            return err->code;
        w->item[w->n_item - 1].factor = h->logit_scale;
    }
    name_of(o, &head_row, "", name);
    w->tied = !matrix_is_there(&o->finder, name);
    if (w->tied && h->untied)
        return err_set(err, INFLIGHT_E_MODEL,
                       "tensor %s is missing, and tie_word_embeddings is false", name);
    if (!w->tied && add(o, &head_row, w, "", err))
        return err->code;
    return o->arch->head_bias ? add(o, &head_bias_row, w, "", err) : INFLIGHT_OK;
}

static int32_t open_items(struct opening *o, const struct hparams *h, struct err *err)
{
    struct weights *w = o->w;
    if (add_front(o, err))
        return err->code;
    for (int32_t l = 0; l < h->L; l++)
        if (add_layer(o, h, l, err))
            return err->code;
    if (add_back(o, h, err) || use_factors(o, err) || refuse_unused(o, err))
        return err->code;
    if (o->arch->positions == POSITIONS_ROTARY)
        add_computed(w, "rotary frequencies", FREQUENCIES, &w->freq, h->rotary_dim / 2);
    if (h->turns_twice)
        add_computed(w, "rotary frequencies of near layers", NEAR_FREQUENCIES, &w->near_freq,
                     hparams_near_turned(h) / 2);
    if (o->arch->positions == POSITIONS_ALIBI)
        add_computed(w, "slopes", SLOPES, &w->slopes, h->H);
    return INFLIGHT_OK;
}

const struct arch *weights_arch(const struct hparams *h, const struct tensors *tensors)
{
    const struct arch *arch = arch_find(h->arch);
    const char *name = arch->twin ? arch->twin_tensor[tensors->naming] : NULL;
    return name && tensors_find(tensors, name) ? arch->twin : arch;
}

/* What names of the file begin with. */
static const char *find_root(struct opening *o)
{
    char name[ITEM_NAME];
    if (!o->arch->names || o->tensors->naming == NAMING_GGUF)
        return "";
    name_of(o, &embed_row, "", name);
    return matrix_is_there(&o->finder, name) ? "" : o->arch->names->root;
}

int32_t weights_open(struct weights *w, const struct tensors *tensors, const struct scheme *scheme,
                     const struct arch *arch, const struct hparams *h, struct arena *arena,
                     struct err *err)
{
    struct opening o = {
        .w = w,
        .finder = {.tensors = tensors,
                   .scheme = scheme,
                   .used = arena_take_array(arena, (size_t)tensors->n, sizeof(bool))},
        .tensors = tensors,
        .arch = arch,
        .arena = arena,
        .h = h,
        .extent = {[ONE] = 1,
                   [D] = h->D,
                   [SHARED_F] = h->shared_F,
                   [V] = h->V,
                   [HALF_ROTARY] = h->rotary_dim / 2,
                   [CONTEXT] = h->context,
                   [EXPERTS] = h->E,
                   [HEADS] = h->H,
                   [OWN] = h->P,
                   [OWNS] = h->L * h->P}};
    enter_layer(&o, 0);
    *w = (struct weights){.tensors = tensors};
    const size_t experts = arch->experts ? COUNT_OF(expert_rows) * (size_t)h->E : 0;
    size_t n = (size_t)h->L * (COUNT_OF(layer_rows) + 1 + experts) + 13;
    if (arch->experts && h->U < 1)
        return err_set(err, INFLIGHT_E_MODEL,
                       "the number of experts, or of those that a token meets, is missing");
    /* Or a small file could ask for a list of gigabytes. */
    if (arch->experts && tensors->n < (uint64_t)(h->L - h->dense) * COUNT_OF(expert_rows))
        return err_set(err, INFLIGHT_E_MODEL, "%llu tensors cannot be %d layers of %d experts",
                       (unsigned long long)tensors->n, h->L - h->dense, h->E);
    w->layer = arena_take_array(arena, (size_t)h->L, sizeof *w->layer);
    w->item = arena_take_array(arena, n, sizeof *w->item);
    if (!w->layer || !w->item || !o.finder.used)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the list of %zu tensors", n);
    buf_init(&o.finder.scratch, arena->mem);
    o.root = find_root(&o);
    o.has_bias = find_bias(&o);
    o.has_qk_norm = find_norm(&o, h);
    int32_t rc = open_items(&o, h, err);
    buf_release(&o.finder.scratch);
    return rc;
}
