/* From a row to a program. For Llama with two layers the plan reads:
 *
 *   embed    x, rotary
 *   linear   qkv  = norm(x) [q k v]^T          layer 0
 *   attend   attn = attention(qkv)
 *   linear   x   += attn o^T
 *   linear   ffn  = silu(norm(x) gate^T) * norm(x) up^T
 *   linear   x   += ffn down^T
 *   ...                                        layer 1
 *   head     logits = norm(x) head^T
 *
 * Where what is added is normalised, too, each += is two steps:
 *
 *   linear   added = attn o^T
 *   add_norm x   += norm(added)
 *
 * and where both parts of a layer are of its input, both are computed before either is added:
 *
 *   linear   qkv  = norm(x) [q k v]^T
 *   attend   attn = attention(qkv)
 *   linear   ffn  = gelu(norm(x) up^T)
 *   linear   x   += attn o^T
 *   linear   x   += ffn down^T
 *
 * Where all heads of a token are normalised together, that is a step for queries and one for keys:
 *
 *   add_norm qkv  = norm(its queries), norm(its keys)
 *
 * Of experts, which are computed for the tokens that chose them, the last two steps are one:
 *
 *   experts  x   += shares of silu(norm(x) gate[e]^T) * norm(x) up[e]^T down[e]^T
 *
 * and where all tokens meet one of them, it is computed around these, since all are of one x:
 *
 *   linear   shared = silu(norm(x) gate^T) * norm(x) up^T
 *   gate     gated = shared / (1 + e^-(norm(x) g^T))       of Qwen 2 alone
 *   experts  x   += ...
 *   linear   x   += gated down^T
 *
 * Where layers have embeddings of their own, the plan begins with all of a token's, of P columns
 * each, which are, e the rows of their table and u what x gives,
 *
 *   (e sqrt(P) + norm(u / sqrt(D))) / sqrt(2)
 *
 * the norm of each layer's part by itself. A norm of u / sqrt(D) is one of u with D times eps, and
 * both factors of e are one, so that there are four steps, and three more in each layer:
 *
 *   embed    x, rotary
 *   embed    own = its rows sqrt(P / 2)
 *   linear   u   = x own_in^T
 *   add_norm own += norm(u), by weights over sqrt(2)
 *   ...
 *   linear   ffn = gelu(x own_gate^T) * own[l]
 *   linear   added = ffn own_out^T
 *   add_norm x  += norm(added)
 *
 * qkv and attn are alive together, ffn is not alive while they are but for that, so ffn shares
 * their memory, and u that of all of them. x, rotary and own live through the whole pass. */
#include "plan.h"

#include <math.h>

static int rotary_kinds(const struct arch *arch, const struct hparams *h)
{
    if (arch->positions != POSITIONS_ROTARY)
        return 0;
    return h->turns_twice ? 2 : 1;
}

/* Whether there is a step between what is computed and x. */
static bool has_added(const struct arch *arch)
{
    return arch->post_norm || arch->embed_norm;
}

/* Columns of a head, of layers of each of these. */
static int32_t width_of(const struct hparams *h, int kind)
{
    return kind && h->near_dim ? h->near_dim : h->dim;
}

/* The most that any layer has of what f says. */
static uint64_t most_of(const struct hparams *h, int32_t (*f)(const struct hparams *h, int32_t l))
{
    int32_t most = 0;
    for (int32_t l = 0; l < h->L; l++)
        most = MAX(most, f(h, l));
    return (uint64_t)most;
}

static int32_t q_width(const struct hparams *h, int32_t l)
{
    return h->H * hparams_dim(h, l);
}

/* Whether a layer's values are what its keys are before their norm. */
static bool has_values_of_keys(const struct hparams *h, int32_t l)
{
    return h->values_of_keys && !h->slides[l];
}

static int32_t qkv_width(const struct hparams *h, int32_t l)
{
    return q_width(h, l) + 2 * hparams_K(h, l) * hparams_dim(h, l);
}

/* What stands at *at, which moves behind it. */
static uint64_t place(uint64_t *at, uint64_t bytes)
{
    const uint64_t offset = *at;
    *at += ROUND_UP(bytes, (uint64_t)CACHE_LINE);
    return offset;
}

/* Where the feed-forward part has what it computes, from at on; returns where that ends. */
static uint64_t place_ffn(struct plan_buffers *b, const struct arch *arch, const struct hparams *h,
                          uint64_t at)
{
    const uint64_t T = (uint64_t)b->max_tokens, U = (uint64_t)h->U, E = (uint64_t)h->E;
    const uint64_t rows = (uint64_t)op_experts_rows(b->max_tokens, h->U, h->E);
    if (!arch->experts) {
        b->ffn = place(&at, T * MAX(most_of(h, hparams_F), (uint64_t)h->P) * sizeof(float));
        return at;
    }
    const uint64_t dense = h->dense ? T * (uint64_t)h->dense_F : 0;
    b->ffn = place(&at, MAX(rows * (uint64_t)h->F, dense) * sizeof(float));
    b->shared = b->gated = place(&at, T * (uint64_t)h->shared_F * sizeof(float));
    if (arch->shared_gate)
        b->gated = place(&at, T * (uint64_t)h->shared_F * sizeof(float));
    b->answer = place(&at, rows * (uint64_t)h->D * sizeof(float));
    b->scores = place(&at, T * E * sizeof(float));
    b->choice = place(&at, T * U * sizeof(struct expert_choice));
    b->slots = place(&at, (2 * E + 1 + rows) * sizeof(int32_t));
    return at;
}

void plan_measure(struct plan_buffers *b, const struct arch *arch, const struct hparams *h,
                  int32_t max_tokens, int32_t max_rows)
{
    uint64_t row = sizeof(float) * (uint64_t)max_tokens;
    uint64_t at = 0;
    *b = (struct plan_buffers){.max_tokens = max_tokens, .max_rows = max_rows};
    b->x = at;
    at += ROUND_UP(row * (uint64_t)h->D, CACHE_LINE);
    for (int i = 0; i < rotary_kinds(arch, h); i++) {
        b->rotary[i] = at;
        at += ROUND_UP(row * (uint64_t)width_of(h, i), CACHE_LINE);
    }
    b->added = at;
    at += has_added(arch) ? ROUND_UP(row * (uint64_t)h->D, CACHE_LINE) : 0;
    b->own = place(&at, row * (uint64_t)h->L * (uint64_t)h->P);

    uint64_t reused = at;
    b->qkv = at;
    at += ROUND_UP(row * most_of(h, qkv_width), CACHE_LINE);
    b->attn = at;
    at += ROUND_UP(row * most_of(h, q_width), CACHE_LINE);
    at = MAX(at, place_ffn(b, arch, h, h->parallel ? at : reused));
    b->own_in = reused;
    at = MAX(at, reused + ROUND_UP(row * (uint64_t)h->L * (uint64_t)h->P, (uint64_t)CACHE_LINE));

    uint64_t rows = (uint64_t)max_rows;
    b->logits = at;
    at += ROUND_UP(rows * (uint64_t)h->V * sizeof(float), (uint64_t)CACHE_LINE);
    b->block = at;
    at += ROUND_UP(rows * (uint64_t)logit_blocks(h->V) * sizeof(struct logit_block),
                   (uint64_t)CACHE_LINE);
    b->logits_bytes = at - b->logits;
    b->bytes = at;
}

/* What the emitting functions share. */
struct compiler {
    struct plan *plan;
    const struct arch *arch;
    const struct hparams *h;
    const struct weights *w;
    float *x, *rotary[ROTARY_KINDS], *qkv, *attn, *ffn, *added, *logits;
    struct logit_block *block;
    float *own, *own_in;
    float *scores, *answer, *shared, *gated;
    struct expert_choice *choice;
    int32_t *slots;
};

/* The next step; there is always room, compile counted before. */
static struct step *emit(struct compiler *c, enum op op)
{
    struct step *step = &c->plan->step[c->plan->len++];
    step->op = op;
    return step;
}

static int32_t norm_kind(const struct compiler *c)
{
    return c->arch->layer_norm ? NORM_LAYER : NORM_RMS;
}

static void emit_embed(struct compiler *c)
{
    const int kinds = rotary_kinds(c->arch, c->h);
    struct op_embed *op = &emit(c, OP_embed)->a.embed;
    *op = (struct op_embed){
        .x = c->arch->embed_norm ? c->added : c->x,
        .table = &c->w->embed,
        .position = c->w->position,
        .scale = c->h->embed_scale,
        .D = c->h->D,
    };
    if (kinds > 0)
        op->rotary[0] =
            (struct rotary_table){c->rotary[0], c->w->freq, c->h->rotary_scale, c->h->rotary_dim};
    if (kinds > 1)
        op->rotary[1] =
            (struct rotary_table){c->rotary[1], c->w->near_freq, 1, hparams_near_turned(c->h)};
    if (c->arch->embed_norm)
        emit(c, OP_add_norm)->a.add_norm = (struct op_add_norm){
            .x = c->x,
            .y = c->added,
            .norm = c->w->embed_norm,
            .norm_bias = c->w->embed_norm_bias,
            .norm_kind = norm_kind(c),
            .eps = c->h->eps,
            .D = c->h->D,
            .ld = c->h->D,
            .is_first = true,
        };
}

/* The embeddings of all layers. */
static void emit_own(struct compiler *c)
{
    const struct hparams *h = c->h;
    emit(c, OP_embed)->a.embed = (struct op_embed){
        .x = c->own,
        .table = &c->w->own_embed,
        .scale = sqrtf((float)h->P / 2),
        .D = h->L * h->P,
    };
    emit(c, OP_linear)->a.linear = (struct op_linear){
        .x = c->x,
        .y = c->own_in,
        .D = h->D,
        .ldy = h->L * h->P,
        .n_part = 1,
        .epilogue = EPILOGUE_STORE,
        .part = {{&c->w->own_in, NULL, 0}},
    };
    emit(c, OP_add_norm)->a.add_norm = (struct op_add_norm){
        .x = c->own,
        .y = c->own_in,
        .norm = c->w->own_norm,
        .eps = h->eps * (float)h->D,
        .D = h->P,
        .ld = h->L * h->P,
        .parts = h->L,
    };
}

static void emit_qkv(struct compiler *c, const struct layer *layer, int32_t l)
{
    const struct hparams *h = c->h;
    const bool has_values = !has_values_of_keys(h, l);
    int32_t q = q_width(h, l), k = hparams_K(h, l) * hparams_dim(h, l), n = 3;
    if (c->arch->fused || hparams_is_shared(h, l))
        n = 1;
    else if (!has_values)
        n = 2;
    emit(c, OP_linear)->a.linear = (struct op_linear){
        .x = c->x,
        .y = c->qkv,
        .norm = layer->attn_norm,
        .norm_bias = layer->attn_norm_bias,
        .norm_kind = norm_kind(c),
        .eps = h->eps,
        .D = h->D,
        .ldy = hparams_is_shared(h, l) ? q : q + k + (has_values ? k : 0),
        .n_part = n,
        .epilogue = EPILOGUE_STORE,
        .part = {{&layer->q, layer->q_bias, 0},
                 {&layer->k, layer->k_bias, q},
                 {&layer->v, layer->v_bias, q + k}},
    };
}

/* Heads from a column of qkv on, all together. */
static void emit_wide_norm(struct compiler *c, const float *norm, int32_t heads, int32_t column)
{
    const struct hparams *h = c->h;
    emit(c, OP_add_norm)->a.add_norm = (struct op_add_norm){
        .x = c->qkv + column,
        .y = c->qkv + column,
        .norm = norm,
        .eps = h->eps,
        .D = heads * h->dim,
        .ld = (h->H + 2 * h->K) * h->dim,
        .is_first = true,
    };
}

static void emit_attend(struct compiler *c, const struct layer *layer, int32_t l)
{
    const struct hparams *h = c->h;
    const bool is_near = h->slides[l] && h->turns_twice, is_shared = hparams_is_shared(h, l);
    const int32_t dim = hparams_dim(h, l),
                  turned = is_near ? hparams_near_turned(h) : h->rotary_dim;
    if (c->arch->wide_norm) {
        emit_wide_norm(c, layer->q_norm, h->H, 0);
        emit_wide_norm(c, layer->k_norm, h->K, h->H * h->dim);
    }
    emit(c, OP_attend)->a.attend = (struct op_attend){
        .qkv = c->qkv,
        .y = c->attn,
        .rotary = h->turns[l] ? c->rotary[is_near] : NULL,
        .q_norm = c->arch->wide_norm ? NULL : layer->q_norm,
        .k_norm = c->arch->wide_norm ? NULL : layer->k_norm,
        .k_mean = layer->k_mean,
        .eps = h->eps,
        .scale = h->scale,
        .layer = is_shared ? hparams_kv_layer(h, l) : l,
        .H = h->H,
        .K = hparams_K(h, l),
        .dim = dim,
        .shared = is_shared,
        .v_of_k = has_values_of_keys(h, l),
        .v_norm = c->arch->v_norm && !is_shared,
        .rope = h->rope,
        .rotary_dim = turned < dim ? turned : 0,
        .window = h->slides[l] ? h->window : 0,
        .cap = h->score_cap,
        .growth = h->growth,
        .growth_from = h->growth_from,
        .slopes = c->w->slopes,
        .sinks = layer->sinks,
    };
}

/* x += from weight^T, which is normalised first if there is a norm: the end of each half of a
 * layer. factor: (1) what comes of it comes times, or NULL, and only with a norm. */
static void emit_residual(struct compiler *c, const float *from, int32_t width,
                          const struct weight *weight, const float *bias, const float *norm,
                          const float *factor)
{
    emit(c, OP_linear)->a.linear = (struct op_linear){
        .x = from,
        .y = c->arch->post_norm ? c->added : c->x,
        .D = width,
        .ldy = c->h->D,
        .n_part = 1,
        .epilogue = c->arch->post_norm ? EPILOGUE_STORE : EPILOGUE_ADD,
        .part = {{weight, bias, 0}},
    };
    if (c->arch->post_norm)
        emit(c, OP_add_norm)->a.add_norm = (struct op_add_norm){
            .x = c->x,
            .y = c->added,
            .norm = norm,
            .eps = c->h->eps,
            .D = c->h->D,
            .ld = c->h->D,
            .factor = factor,
        };
}

/* What a layer's own embedding adds: its gate is of x as it is. */
static void emit_own_part(struct compiler *c, const struct layer *layer, int32_t l)
{
    const struct hparams *h = c->h;
    emit(c, OP_linear)->a.linear = (struct op_linear){
        .x = c->x,
        .y = c->ffn,
        .D = h->D,
        .ldy = h->P,
        .n_part = 1,
        .epilogue = EPILOGUE_GELU_TIMES,
        .part = {{&layer->own_gate, NULL, 0}},
        .factor = c->own + (size_t)l * (size_t)h->P,
        .ld_factor = h->L * h->P,
    };
    emit_residual(c, c->ffn, h->P, &layer->own_out, NULL, layer->own_post_norm, layer->factor);
}

/* The first half of the feed-forward part, with a gate or without, to y (T, F). */
static void emit_up(struct compiler *c, const struct layer *layer, float *y, int32_t F)
{
    static const int32_t plain[] = {
        [ACTIVATION_GELU_TANH] = EPILOGUE_GELU_TANH,
        [ACTIVATION_GELU] = EPILOGUE_GELU,
        [ACTIVATION_RELU2] = EPILOGUE_RELU2,
    };
    const bool is_gelu = c->h->activation == ACTIVATION_GELU_TANH;
    struct op_linear *op = &emit(c, OP_linear)->a.linear;
    *op = (struct op_linear){
        .x = c->x,
        .y = y,
        .norm = layer->ffn_norm ? layer->ffn_norm : layer->attn_norm,
        .norm_bias = layer->ffn_norm ? layer->ffn_norm_bias : layer->attn_norm_bias,
        .norm_kind = norm_kind(c),
        .eps = c->h->eps,
        .D = c->h->D,
        .ldy = F,
        .n_part = 2,
        .epilogue = is_gelu ? EPILOGUE_GLU_GELU : EPILOGUE_GLU_SILU,
        .part = {{&layer->gate, NULL, 0}, {&layer->up, layer->up_bias, 0}},
    };
    if (!c->arch->plain)
        return;
    op->n_part = 1;
    op->part[0] = op->part[1];
    op->epilogue = plain[c->h->activation];
}

static void emit_experts(struct compiler *c, const struct layer *layer)
{
    const struct hparams *h = c->h;
    emit(c, OP_experts)->a.experts = (struct op_experts){
        .x = c->x,
        .norm = layer->ffn_norm,
        .router = &layer->router,
        .gate = layer->expert_gate,
        .up = layer->expert_up,
        .down = layer->expert_down,
        .router_bias = layer->router_bias,
        .choice_bias = layer->choice_bias,
        .gate_bias = layer->expert_gate_bias,
        .up_bias = layer->expert_up_bias,
        .down_bias = layer->expert_down_bias,
        .scores = c->scores,
        .choice = c->choice,
        .first = c->slots,
        .count = c->slots + h->E + 1,
        .token = c->slots + 2 * h->E + 1,
        .hidden = c->ffn,
        .answer = c->answer,
        .eps = h->eps,
        .limit = h->glu_limit,
        .D = h->D,
        .F = h->F,
        .E = h->E,
        .U = h->U,
        .shares = h->shares,
        .factor = h->share_factor,
    };
}

/* All of it that is of experts, see above. */
static void emit_mixture(struct compiler *c, const struct layer *layer)
{
    const struct hparams *h = c->h;
    if (h->shared_F)
        emit_up(c, layer, c->shared, h->shared_F);
    if (layer->shared_gate)
        emit(c, OP_gate)->a.gate = (struct op_gate){
            .x = c->x,
            .norm = layer->ffn_norm,
            .gate = layer->shared_gate,
            .from = c->shared,
            .y = c->gated,
            .eps = h->eps,
            .D = h->D,
            .F = h->shared_F,
        };
    emit_experts(c, layer);
    if (h->shared_F)
        emit_residual(c, c->gated, h->shared_F, &layer->down, NULL, NULL, NULL);
}

static void emit_layer(struct compiler *c, int32_t l)
{
    const struct layer *layer = &c->w->layer[l];
    const int32_t F = c->arch->experts ? c->h->dense_F : hparams_F(c->h, l);
    emit_qkv(c, layer, l);
    emit_attend(c, layer, l);
    if (c->h->parallel)
        emit_up(c, layer, c->ffn, F);
    emit_residual(c, c->attn, q_width(c->h, l), &layer->o, layer->o_bias, layer->attn_post_norm,
                  NULL);
    if (layer_has_experts(c->arch, c->h, l)) {
        emit_mixture(c, layer);
        return;
    }
    if (!c->h->parallel)
        emit_up(c, layer, c->ffn, F);
    emit_residual(c, c->ffn, F, &layer->down, layer->down_bias, layer->ffn_post_norm,
                  c->h->P ? NULL : layer->factor);
    if (c->h->P)
        emit_own_part(c, layer, l);
}

static void emit_head(struct compiler *c)
{
    emit(c, OP_head)->a.head = (struct op_head){
        .x = c->x,
        .norm = c->w->norm,
        .norm_bias = c->w->norm_bias,
        .bias = c->w->head_bias,
        .norm_kind = norm_kind(c),
        .logits = c->logits,
        .block = c->block,
        .weight = &c->w->head,
        .eps = c->h->eps,
        .cap = c->h->logit_cap,
        .D = c->h->D,
        .V = c->h->V,
    };
}

#define STEPS_PER_LAYER 12 /* at most */
#define STEPS_BESIDE    6

int32_t plan_reserve(struct plan *plan, int32_t L, struct arena *arena, struct err *err)
{
    *plan = (struct plan){.cap = L * STEPS_PER_LAYER + STEPS_BESIDE};
    plan->step = arena_take_array(arena, (size_t)plan->cap, sizeof *plan->step);
    if (!plan->step)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a plan of %d steps", plan->cap);
    return INFLIGHT_OK;
}

static struct compiler begin(struct plan *plan, const struct plan_source *source)
{
    const struct plan_buffers *b = source->buffers;
    char *memory = source->memory;
    plan->len = 0;
    plan->logits = (float *)(void *)(memory + b->logits);
    plan->block = (struct logit_block *)(void *)(memory + b->block);
    return (struct compiler){
        .plan = plan,
        .arch = source->arch,
        .h = source->h,
        .w = source->w,
        .x = (float *)(void *)(memory + b->x),
        .rotary = {(float *)(void *)(memory + b->rotary[0]),
                   (float *)(void *)(memory + b->rotary[1])},
        .qkv = (float *)(void *)(memory + b->qkv),
        .attn = (float *)(void *)(memory + b->attn),
        .ffn = (float *)(void *)(memory + b->ffn),
        .added = (float *)(void *)(memory + b->added),
        .logits = plan->logits,
        .block = plan->block,
        .own = (float *)(void *)(memory + b->own),
        .own_in = (float *)(void *)(memory + b->own_in),
        .scores = (float *)(void *)(memory + b->scores),
        .answer = (float *)(void *)(memory + b->answer),
        .shared = (float *)(void *)(memory + b->shared),
        .gated = (float *)(void *)(memory + b->gated),
        .choice = (struct expert_choice *)(void *)(memory + b->choice),
        .slots = (int32_t *)(void *)(memory + b->slots),
    };
}

void plan_compile(struct plan *plan, const struct plan_source *source)
{
    struct compiler c = begin(plan, source);
    emit_embed(&c);
    if (source->h->P)
        emit_own(&c);
    for (int32_t l = 0; l < source->h->L; l++)
        emit_layer(&c, l);
    emit_head(&c);
}

void plan_compile_embed(struct plan *plan, const struct plan_source *source)
{
    struct compiler c = begin(plan, source);
    emit_embed(&c);
}

void plan_compile_layer(struct plan *plan, const struct plan_source *source, int32_t l)
{
    struct compiler c = begin(plan, source);
    emit_layer(&c, l);
    for (int32_t i = 0; i < plan->len; i++)
        if (plan->step[i].op == OP_attend)
            plan->step[i].a.attend.layer = 0;
}
