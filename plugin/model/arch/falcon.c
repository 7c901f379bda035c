/* Falcon 7B, and 40B to 180B, whose layers have two norms. */
#include "../arch.h"

static const struct arch_name names[] = {
    {"token_embd", NULL, "word_embeddings"},
    {"attn_norm", NULL, "input_layernorm"},
    {"attn_qkv", NULL, "self_attention.query_key_value"},
    {"attn_output", NULL, "self_attention.dense"},
    {"ffn_up", NULL, "mlp.dense_h_to_4h"},
    {"ffn_down", NULL, "mlp.dense_4h_to_h"},
    {"output_norm", NULL, "ln_f"},
    {0},
};
static const struct arch_name wide_names[] = {
    {"token_embd", NULL, "word_embeddings"},
    {"attn_norm", "attn_norm_2", "ln_attn"},
    {"attn_qkv", NULL, "self_attention.query_key_value"},
    {"attn_output", NULL, "self_attention.dense"},
    {"ffn_norm", "attn_norm", "ln_mlp"},
    {"ffn_up", NULL, "mlp.dense_h_to_4h"},
    {"ffn_down", NULL, "mlp.dense_4h_to_h"},
    {"output_norm", NULL, "ln_f"},
    {0},
};
static const struct arch_names falcon = {"transformer.", "h.", names};
static const struct arch_names wide = {"transformer.", "h.", wide_names};

#define FALCON                                                                                    \
    .id = "falcon", .model_type = {"falcon", "RefinedWebModel", "RefinedWeb"}, .rope = ROPE_HALF, \
    .fused = true, .by_groups = true, .activation = ACTIVATION_GELU, .layer_norm = true,          \
    .norm_bias = true, .parallel = true, .plain = true

static const struct arch arch_falcon_wide = {FALCON, .names = &wide};

extern const struct arch arch_falcon;
const struct arch arch_falcon = {
    FALCON,
    .one_norm = true,
    .names = &falcon,
    .twin = &arch_falcon_wide,
    .twin_tensor = {"blk.0.attn_norm_2.weight", "transformer.h.0.ln_attn.weight"},
};
