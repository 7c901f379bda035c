/* A plan as text: what a row became, for golden tests and for reading. */
#include "plan.h"

#include "../base/buf.h"

#include <string.h>

/* Names of the activation buffers by offset; qkv and ffn share one, told apart by use. */
static const char *buffer_name(const struct plan_source *s, const float *p, bool ffn)
{
    uint64_t at = (uint64_t)((const char *)p - (const char *)s->memory);
    const struct plan_buffers *b = s->buffers;
    if (at == b->x)
        return "x";
    if (at == b->attn)
        return "attn";
    if ((s->arch->post_norm || s->arch->embed_norm) && at == b->added)
        return "added";
    if (s->h->P && at >= b->own && at < b->qkv)
        return "own";
    if (s->h->parallel && at == b->ffn)
        return "ffn";
    if (s->h->shared_F && at == b->shared)
        return "shared";
    if (s->h->shared_F && at == b->gated)
        return "gated";
    if (at == b->logits)
        return "logits";
    return ffn ? "ffn" : "qkv";
}

static void dump_embed(const struct op_embed *op, const struct plan_source *s, struct buf *out)
{
    buf_format(out, "%s (T %d)", buffer_name(s, op->x, false), op->D);
    if (op->rotary[0].out)
        buf_format(out, ", rotary (T 2 %d)", op->rotary[0].dim / 2);
    buf_format(out, " = %s", weights_name(s->w, op->table));
    if (op->position)
        buf_format(out, " + %s", weights_name(s->w, op->position));
    if (op->scale != 1)
        buf_format(out, " * %g", (double)op->scale);
    if (op->rotary[0].out && op->rotary[0].scale != 1)
        buf_put_text(out, ", scaled");
    if (op->rotary[1].out)
        buf_put_text(out, ", and rotary of near layers");
}

static void dump_add_norm(const struct op_add_norm *op, const struct plan_source *s,
                          struct buf *out)
{
    buf_format(out, "%s (T %d) %s %s(%s, %s)", buffer_name(s, op->x, false), op->D,
               op->is_first ? "=" : "+=", op->norm_kind == NORM_LAYER ? "layer norm" : "norm",
               op->parts ? "own_in" : buffer_name(s, op->y, false), weights_name(s->w, op->norm));
    if (op->parts)
        buf_format(out, " of each of %d parts", op->parts);
    if (op->factor)
        buf_format(out, ", times %s", weights_name(s->w, op->factor));
}

/* Where it is of a layer with an embedding of its own, whose gate is in the memory of ffn. */
static const char *input_name(const struct op_linear *op, const struct plan_source *s)
{
    const struct hparams *h = s->h;
    const int32_t F = s->arch->experts ? h->dense_F : h->F;
    return buffer_name(s, op->x, op->D == F || op->D == h->wide_F || op->D == h->P);
}

static void dump_linear(const struct op_linear *op, const struct plan_source *s, struct buf *out)
{
    static const char *const sign[] = {
        [EPILOGUE_STORE] = "=",
        [EPILOGUE_ADD] = "+=",
        [EPILOGUE_GELU] = "= gelu",
        [EPILOGUE_GELU_TANH] = "= gelu tanh",
        [EPILOGUE_GELU_TIMES] = "= own * gelu tanh",
        [EPILOGUE_RELU2] = "= squared relu",
        [EPILOGUE_GLU_CLAMPED] = "= clamped *",
        [EPILOGUE_GLU_SILU] = "= silu *",
        [EPILOGUE_GLU_GELU] = "= gelu tanh *",
    };
    bool is_ffn = op->epilogue > EPILOGUE_ADD;
    const bool is_own_in = op->part[0].weight == &s->w->own_in; /* in the memory of qkv */
    buf_format(out, "%s (T %d) %s ", is_own_in ? "own_in" : buffer_name(s, op->y, is_ffn), op->ldy,
               sign[op->epilogue]);
    if (op->norm)
        buf_format(out, "%s(x, %s)", op->norm_kind == NORM_LAYER ? "layer norm" : "norm",
                   weights_name(s->w, op->norm));
    else
        buf_put_text(out, input_name(op, s));
    for (int32_t i = 0; i < op->n_part; i++) {
        const struct linear_part *part = &op->part[i];
        buf_format(out, " | %s (%d %d)", weights_name(s->w, part->weight), part->weight->N,
                   part->weight->K);
        if (part->bias)
            buf_format(out, " + %s", weights_name(s->w, part->bias));
        if (part->column)
            buf_format(out, " at %d", part->column);
    }
}

static void dump_attend(const struct op_attend *op, const struct plan_source *s, struct buf *out)
{
    static const char *const rope[] = {"interleaved", "half"};
    buf_format(out, "attn (T %d) = layer %d, %d heads over %d, rotary %s", op->H * op->dim,
               op->layer, op->H, op->K, op->rotary ? rope[op->rope] : "none");
    if (op->rotary && s->h->turns_twice && op->window)
        buf_put_text(out, " of near layers");
    if (op->rotary_dim)
        buf_format(out, " of %d columns", op->rotary_dim);
    if (op->shared)
        buf_put_text(out, ", shared");
    if (op->v_norm)
        buf_format(out, ", %s normalised", op->v_of_k ? "keys for values" : "values");
    if (op->window)
        buf_format(out, ", window %d", op->window);
    if (op->cap > 0)
        buf_format(out, ", capped at %g", (double)op->cap);
    if (op->growth > 0)
        buf_format(out, ", growing by %g from %d on", (double)op->growth, op->growth_from);
    if (op->slopes)
        buf_format(out, ", %s", weights_name(s->w, op->slopes));
    if (op->sinks)
        buf_format(out, ", %s", weights_name(s->w, op->sinks));
    if (op->k_mean)
        buf_format(out, ", less %s", weights_name(s->w, op->k_mean));
    if (op->q_norm)
        buf_format(out, ", %s", weights_name(s->w, op->q_norm));
    if (op->k_norm)
        buf_format(out, ", %s", weights_name(s->w, op->k_norm));
}

static void dump_experts(const struct op_experts *op, const struct plan_source *s, struct buf *out)
{
    static const char *const shares[] = {
        [SHARES_OF_CHOSEN] = "shares",
        [SHARES_OF_ALL] = "shares of all",
        [SHARES_LOGISTIC] = "logistic shares",
        [SHARES_OF_LOGISTIC] = "shares of logistic ones",
    };
    buf_format(out, "x (T %d) += %s of %d of %d experts of norm(x, %s) | %s (%d %d)", op->D,
               shares[op->shares], op->U, op->E, weights_name(s->w, op->norm),
               weights_name(s->w, op->router), op->router->N, op->router->K);
    if (op->router_bias)
        buf_format(out, " + %s", weights_name(s->w, op->router_bias));
    if (op->choice_bias)
        buf_format(out, ", chosen with %s", weights_name(s->w, op->choice_bias));
    if (op->factor != 1)
        buf_format(out, ", times %g", (double)op->factor);
    const struct weight *const part[] = {op->gate, op->up, op->down};
    const float *const bias[] = {op->gate_bias, op->up_bias, op->down_bias};
    for (size_t i = 0; i < COUNT_OF(part); i++) {
        buf_format(out, " | %s (%d %d)", weights_name(s->w, part[i]), part[i]->N, part[i]->K);
        if (bias[i])
            buf_format(out, " + %s", weights_name(s->w, bias[i]));
    }
    if (op->limit > 0)
        buf_format(out, ", clamped at %g", (double)op->limit);
}

static void dump_gate(const struct op_gate *op, const struct plan_source *s, struct buf *out)
{
    buf_format(out, "%s (T %d) = %s / (1 + e^-norm(x, %s) %s)", buffer_name(s, op->y, false), op->F,
               buffer_name(s, op->from, false), weights_name(s->w, op->norm),
               weights_name(s->w, op->gate));
}

static void dump_head(const struct op_head *op, const struct plan_source *s, struct buf *out)
{
    buf_format(out, "logits (R %d) = %s(x, %s) | %s (%d %d)", op->V,
               op->norm_kind == NORM_LAYER ? "layer norm" : "norm", weights_name(s->w, op->norm),
               weights_name(s->w, op->weight), op->weight->N, op->weight->K);
    if (op->bias)
        buf_format(out, " + %s", weights_name(s->w, op->bias));
    if (op->cap > 0)
        buf_format(out, ", capped at %g", (double)op->cap);
}

void plan_dump(const struct plan *plan, const struct plan_source *source, struct buf *out)
{
    static const char *const name[] = {
#define OP(name, doc) #name,
#include "../../kernels/ops.def"
#undef OP
    };
    for (int32_t i = 0; i < plan->len; i++) {
        const struct step *step = &plan->step[i];
        buf_format(out, strlen(name[step->op]) < 7 ? "%-7s" : "%s ", name[step->op]);
        switch (step->op) {
#define OP(name, doc)                            \
    case OP_##name:                              \
        dump_##name(&step->a.name, source, out); \
        break;
#include "../../kernels/ops.def"
#undef OP
        case OP_COUNT:
            break;
        }
        buf_put_char(out, '\n');
    }
}
