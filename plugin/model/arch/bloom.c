/* BLOOM and BLOOMZ. */
#include "../arch.h"

static const struct arch_name names[] = {
    {"token_embd", NULL, "word_embeddings"},
    {"token_embd_norm", NULL, "word_embeddings_layernorm"},
    {"attn_norm", NULL, "input_layernorm"},
    {"attn_qkv", NULL, "self_attention.query_key_value"},
    {"attn_output", NULL, "self_attention.dense"},
    {"ffn_norm", NULL, "post_attention_layernorm"},
    {"ffn_up", NULL, "mlp.dense_h_to_4h"},
    {"ffn_down", NULL, "mlp.dense_4h_to_h"},
    {"output_norm", NULL, "ln_f"},
    {0},
};
static const struct arch_names bloom = {"transformer.", "h.", names};

extern const struct arch arch_bloom;
const struct arch arch_bloom = {
    .id = "bloom",
    .model_type = {"bloom"},
    .qkv_bias = true,
    .fused = true,
    .by_groups = true,
    .activation = ACTIVATION_GELU_TANH,
    .positions = POSITIONS_ALIBI,
    .layer_norm = true,
    .norm_bias = true,
    .embed_norm = true,
    .plain = true,
    .o_bias = true,
    .ffn_bias = true,
    .names = &bloom,
};
