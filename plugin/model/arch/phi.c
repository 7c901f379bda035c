/* Phi 1 to 2, which are built like GPT-J, and Phi 3, 3.5 and 4, dense. */
#include "../arch.h"

static const struct arch_name names[] = {
    {"token_embd", NULL, "embed_tokens"},
    {"attn_norm", NULL, "input_layernorm"},
    {"attn_q", NULL, "self_attn.q_proj"},
    {"attn_k", NULL, "self_attn.k_proj"},
    {"attn_v", NULL, "self_attn.v_proj"},
    {"attn_output", NULL, "self_attn.dense"},
    {"ffn_up", NULL, "mlp.fc1"},
    {"ffn_down", NULL, "mlp.fc2"},
    {"output_norm", NULL, "final_layernorm"},
    {0},
};
static const struct arch_names phi2 = {"model.", "layers.", names};

extern const struct arch arch_phi2, arch_phi3;

const struct arch arch_phi2 = {
    .id = "phi2",
    .model_type = {"phi"},
    .qkv_bias = true,
    .rope = ROPE_HALF,
    .part_turns = true,
    .activation = ACTIVATION_GELU_TANH,
    .layer_norm = true,
    .norm_bias = true,
    .parallel = true,
    .one_norm = true,
    .plain = true,
    .o_bias = true,
    .ffn_bias = true,
    .head_bias = true,
    .names = &phi2,
};

const struct arch arch_phi3 = {
    .id = "phi3",
    .model_type = {"phi3"},
    .slides_all = true,
    .rope = ROPE_HALF,
    .fused = true,
    .part_turns = true,
};
