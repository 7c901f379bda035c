/* Which tensors a model consists of: their names, shapes, when they must be there, and where they
 * go. weights_open.c, which includes this alone, finds them. */
#pragma once

#include "weight_item.h"

#include <stddef.h>

/* Sizes a shape is made of; the index into a table filled from hparams. */
enum extent {
    ONE,
    D,
    F,       /* of experts each one's, and then of other layers DENSE_F */
    DENSE_F, /* where there are no experts the same */
    SHARED_F,
    V,
    QD,
    KD,
    QKV,
    DIM,
    HALF_ROTARY,
    CONTEXT,
    EXPERTS,
    HEADS,
    OWN, /* of a layer's own embedding, and of those of all layers */
    OWNS,
    EXTENT_COUNT
};

/* When a tensor must be there. */
enum need {
    ALWAYS,
    IF_BIAS,
    IF_FUSED_BIAS,
    IF_O_BIAS,
    IF_FFN_BIAS,
    IF_NORM_BIAS,
    IF_QK_NORM,
    IF_K_NORM, /* unless keys are another layer's */
    IF_WIDE_NORM,
    IF_POST_NORM,
    IF_BOTH_NORMS,
    UNLESS_BARE,
    IF_OWN_NORM, /* the feed-forward part's, by the second of two names */
    IF_OWN_NORM_BIAS,
    IF_FUSED,
    FIRST_OF_FUSED, /* the first half of the tensor's rows, N of them */
    SECOND_OF_FUSED,
    UNLESS_FUSED,
    IF_KEYS,   /* the same, and keys and values are not another layer's */
    IF_VALUES, /* the same, and values are not keys */
    IF_GATED,  /* and not fused */
    UNLESS_GATED,
    IF_EXPERTS,
    UNLESS_EXPERTS,
    IF_EXPERT_BIAS,
    IF_CHOICE_BIAS,
    IF_GATE_BIAS, /* of experts; in a folder that and the next are values of one tensor in turn */
    IF_UP_BIAS,
    FIRST_OF_SHARED, /* of the expert that all tokens meet; in folders of arch->stacked the two are
                        halves as those of fused ones */
    SECOND_OF_SHARED,
    IF_SHARED,
    IF_SHARED_GATE,
    IF_SINKS,
    IF_OWN_EMBED,
    IF_FACTOR
};

struct tensor_row {
    const char *name[2]; /* by enum naming; of a layer's after its prefix */
    size_t offset;       /* in struct layer */
    enum kind kind;
    enum extent N, K; /* matrix or table (N, K); vector (N) */
    enum need need;
};

/* clang-format off */
static const struct tensor_row layer_rows[] = {
    {{"attn_norm.weight", "input_layernorm.weight"},
     offsetof(struct layer, attn_norm), VECTOR, D, ONE, UNLESS_BARE},
    {{"attn_norm.bias", "input_layernorm.bias"},
     offsetof(struct layer, attn_norm_bias), VECTOR, D, ONE, IF_NORM_BIAS},
    {{"attn_q.weight", "self_attn.q_proj.weight"},
     offsetof(struct layer, q), MATRIX, QD, D, UNLESS_FUSED},
    {{"attn_k.weight", "self_attn.k_proj.weight"},
     offsetof(struct layer, k), MATRIX, KD, D, IF_KEYS},
    {{"attn_v.weight", "self_attn.v_proj.weight"},
     offsetof(struct layer, v), MATRIX, KD, D, IF_VALUES},
    {{"attn_qkv.weight", "self_attn.qkv_proj.weight"},
     offsetof(struct layer, q), MATRIX, QKV, D, IF_FUSED},
    {{"attn_q.bias", "self_attn.q_proj.bias"},
     offsetof(struct layer, q_bias), VECTOR, QD, ONE, IF_BIAS},
    {{"attn_k.bias", "self_attn.k_proj.bias"},
     offsetof(struct layer, k_bias), VECTOR, KD, ONE, IF_BIAS},
    {{"attn_v.bias", "self_attn.v_proj.bias"},
     offsetof(struct layer, v_bias), VECTOR, KD, ONE, IF_BIAS},
    {{"attn_qkv.bias", "self_attn.qkv_proj.bias"},
     offsetof(struct layer, q_bias), VECTOR, QKV, ONE, IF_FUSED_BIAS},
    {{"attn_q_norm.weight", "self_attn.q_norm.weight"},
     offsetof(struct layer, q_norm), VECTOR, DIM, ONE, IF_QK_NORM},
    {{"attn_k_norm.weight", "self_attn.k_norm.weight"},
     offsetof(struct layer, k_norm), VECTOR, DIM, ONE, IF_K_NORM},
    {{"attn_q_norm.weight", "self_attn.q_norm.weight"},
     offsetof(struct layer, q_norm), VECTOR, QD, ONE, IF_WIDE_NORM},
    {{"attn_k_norm.weight", "self_attn.k_norm.weight"},
     offsetof(struct layer, k_norm), VECTOR, KD, ONE, IF_WIDE_NORM},
    {{"attn_output.weight", "self_attn.o_proj.weight"},
     offsetof(struct layer, o), MATRIX, D, QD, ALWAYS},
    {{"attn_output.bias", "self_attn.o_proj.bias"},
     offsetof(struct layer, o_bias), VECTOR, D, ONE, IF_O_BIAS},
    {{"post_attention_norm.weight", "post_attention_layernorm.weight"},
     offsetof(struct layer, attn_post_norm), VECTOR, D, ONE, IF_POST_NORM},
    {{"ffn_norm.weight", "post_attention_layernorm.weight"},
     offsetof(struct layer, ffn_norm), VECTOR, D, ONE, IF_OWN_NORM},
    {{"ffn_norm.bias", "post_attention_layernorm.bias"},
     offsetof(struct layer, ffn_norm_bias), VECTOR, D, ONE, IF_OWN_NORM_BIAS},
    {{"ffn_norm.weight", "pre_feedforward_layernorm.weight"},
     offsetof(struct layer, ffn_norm), VECTOR, D, ONE, IF_BOTH_NORMS},
    {{"ffn_gate.weight", "mlp.gate_proj.weight"},
     offsetof(struct layer, gate), MATRIX, DENSE_F, D, IF_GATED},
    {{"ffn_up.weight", "mlp.up_proj.weight"},
     offsetof(struct layer, up), MATRIX, DENSE_F, D, IF_GATED},
    {{"ffn_up.weight", "mlp.gate_up_proj.weight"},
     offsetof(struct layer, gate), MATRIX, F, D, FIRST_OF_FUSED},
    {{"ffn_up.weight", "mlp.gate_up_proj.weight"},
     offsetof(struct layer, up), MATRIX, F, D, SECOND_OF_FUSED},
    {{"ffn_up.weight", "mlp.up_proj.weight"},
     offsetof(struct layer, up), MATRIX, F, D, UNLESS_GATED},
    {{"ffn_up.bias", "mlp.up_proj.bias"},
     offsetof(struct layer, up_bias), VECTOR, F, ONE, IF_FFN_BIAS},
    {{"ffn_down.weight", "mlp.down_proj.weight"},
     offsetof(struct layer, down), MATRIX, D, DENSE_F, UNLESS_EXPERTS},
    {{"ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight"},
     offsetof(struct layer, gate), MATRIX, SHARED_F, D, FIRST_OF_SHARED},
    {{"ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight"},
     offsetof(struct layer, up), MATRIX, SHARED_F, D, SECOND_OF_SHARED},
    {{"ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight"},
     offsetof(struct layer, down), MATRIX, D, SHARED_F, IF_SHARED},
    {{"ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight"},
     offsetof(struct layer, shared_gate), VECTOR, D, ONE, IF_SHARED_GATE},
    {{"ffn_gate_inp.weight", "mlp.gate.weight"},
     offsetof(struct layer, router), MATRIX, EXPERTS, D, IF_EXPERTS},
    {{"ffn_gate_inp.bias", "mlp.gate.bias"},
     offsetof(struct layer, router_bias), VECTOR, EXPERTS, ONE, IF_EXPERT_BIAS},
    {{"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"},
     offsetof(struct layer, choice_bias), VECTOR, EXPERTS, ONE, IF_CHOICE_BIAS},
    {{"ffn_gate_exps.bias"},
     offsetof(struct layer, expert_gate_bias), VECTOR, EXPERTS, F, IF_GATE_BIAS},
    {{"ffn_up_exps.bias"},
     offsetof(struct layer, expert_up_bias), VECTOR, EXPERTS, F, IF_UP_BIAS},
    {{"ffn_down_exps.bias"},
     offsetof(struct layer, expert_down_bias), VECTOR, EXPERTS, D, IF_EXPERT_BIAS},
    {{"attn_sinks.weight", "self_attn.sinks"},
     offsetof(struct layer, sinks), VECTOR, HEADS, ONE, IF_SINKS},
    {{"ffn_down.bias", "mlp.down_proj.bias"},
     offsetof(struct layer, down_bias), VECTOR, D, ONE, IF_FFN_BIAS},
    {{"post_ffw_norm.weight", "post_feedforward_layernorm.weight"},
     offsetof(struct layer, ffn_post_norm), VECTOR, D, ONE, IF_POST_NORM},
    {{"inp_gate.weight", "per_layer_input_gate.weight"},
     offsetof(struct layer, own_gate), MATRIX, OWN, D, IF_OWN_EMBED},
    {{"proj.weight", "per_layer_projection.weight"},
     offsetof(struct layer, own_out), MATRIX, D, OWN, IF_OWN_EMBED},
    {{"post_norm.weight", "post_per_layer_input_norm.weight"},
     offsetof(struct layer, own_post_norm), VECTOR, D, ONE, IF_OWN_EMBED},
    {{"layer_output_scale.weight", "layer_scalar"},
     offsetof(struct layer, factor), VECTOR, ONE, ONE, IF_FACTOR},
};

/* Of each expert, whose number stands for %d: in struct layer where an array of them is. */
static const struct tensor_row expert_rows[] = {
    {{"ffn_gate_exps.weight", "mlp.experts.%d.gate_proj.weight"},
     offsetof(struct layer, expert_gate), MATRIX, F, D, IF_EXPERTS},
    {{"ffn_up_exps.weight", "mlp.experts.%d.up_proj.weight"},
     offsetof(struct layer, expert_up), MATRIX, F, D, IF_EXPERTS},
    {{"ffn_down_exps.weight", "mlp.experts.%d.down_proj.weight"},
     offsetof(struct layer, expert_down), MATRIX, D, F, IF_EXPERTS},
};

static const struct tensor_row embed_row = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    offsetof(struct weights, embed), MATRIX, V, D, ALWAYS};
static const struct tensor_row head_row = {
    {"output.weight", "lm_head.weight"}, offsetof(struct weights, head), MATRIX, V, D, ALWAYS};
static const struct tensor_row head_bias_row = {
    {"output.bias", "lm_head.bias"}, offsetof(struct weights, head_bias), VECTOR, V, ONE, ALWAYS};
static const struct tensor_row norm_rows[] = {
    {{"output_norm.weight", "model.norm.weight"},
     offsetof(struct weights, norm), VECTOR, D, ONE, ALWAYS},
    {{"output_norm.bias", "model.norm.bias"},
     offsetof(struct weights, norm_bias), VECTOR, D, ONE, IF_NORM_BIAS},
};
static const struct tensor_row position_row = {
    {"position_embd.weight", "wpe.weight"},
    offsetof(struct weights, position), VECTOR, CONTEXT, D, ALWAYS};
static const struct tensor_row embed_norm_rows[] = {
    {{"token_embd_norm.weight", "word_embeddings_layernorm.weight"},
     offsetof(struct weights, embed_norm), VECTOR, D, ONE, ALWAYS},
    {{"token_embd_norm.bias", "word_embeddings_layernorm.bias"},
     offsetof(struct weights, embed_norm_bias), VECTOR, D, ONE, ALWAYS},
};
/* Embeddings that layers have of their own, all of a token in a row, and what its embedding adds to
 * them. */
static const struct tensor_row own_rows[] = {
    {{"per_layer_token_embd.weight", "model.embed_tokens_per_layer.weight"},
     offsetof(struct weights, own_embed), MATRIX, V, OWNS, IF_OWN_EMBED},
    {{"per_layer_model_proj.weight", "model.per_layer_model_projection.weight"},
     offsetof(struct weights, own_in), MATRIX, OWNS, D, IF_OWN_EMBED},
    {{"per_layer_proj_norm.weight", "model.per_layer_projection_norm.weight"},
     offsetof(struct weights, own_norm), VECTOR, OWN, ONE, IF_OWN_EMBED},
};
/* What the frequencies are divided by, of GGUF files. */
static const struct tensor_row freqs_rows[] = {
    {{"rope_freqs.weight"}, 0, VECTOR, HALF_ROTARY, ONE, ALWAYS},
    {{"rope_factors_short.weight"}, 0, VECTOR, HALF_ROTARY, ONE, IF_FUSED},
    {{"rope_factors_long.weight"}, 0, VECTOR, HALF_ROTARY, ONE, IF_FUSED},
};
/* clang-format on */
