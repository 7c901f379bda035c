/* Qwen 2, 2.5 and 3, and of experts: 1.5 and 2, whose tokens all meet one of them, and 3. */
#include "../arch.h"

static const struct arch_name qwen2moe_names[] = {
    {"token_embd", NULL, "embed_tokens"},
    {"ffn_gate_shexp", NULL, "mlp.shared_expert.gate_proj"},
    {"ffn_up_shexp", NULL, "mlp.shared_expert.up_proj"},
    {"ffn_down_shexp", NULL, "mlp.shared_expert.down_proj"},
    {"output_norm", NULL, "norm"},
    {0},
};
static const struct arch_names qwen2moe = {"model.", "layers.", qwen2moe_names};

extern const struct arch arch_qwen2, arch_qwen2moe, arch_qwen3, arch_qwen3moe;

const struct arch arch_qwen2 = {
    .id = "qwen2",
    .model_type = {"qwen2"},
    .asks_window = true,
    .qkv_bias = true,
    .rope = ROPE_HALF,
};

const struct arch arch_qwen2moe = {
    .id = "qwen2moe",
    .model_type = {"qwen2_moe"},
    .asks_window = true,
    .names_slides = true,
    .qkv_bias = true,
    .rope = ROPE_HALF,
    .experts = true,
    .shares = SHARES_OF_ALL,
    .asks_shares = true,
    .shared = true,
    .shared_gate = true,
    .names = &qwen2moe,
};

const struct arch arch_qwen3 = {
    .id = "qwen3",
    .model_type = {"qwen3"},
    .asks_window = true,
    .qk_norm = true,
    .rope = ROPE_HALF,
};

const struct arch arch_qwen3moe = {
    .id = "qwen3moe",
    .model_type = {"qwen3_moe"},
    .asks_window = true,
    .qk_norm = true,
    .rope = ROPE_HALF,
    .experts = true,
    .asks_shares = true,
};
