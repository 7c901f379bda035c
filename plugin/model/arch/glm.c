/* GLM-4 of April 2025: 9B, 32B and Z1; GLM-4.5 and 4.6, of experts behind the first layers. */
#include "../arch.h"

static const struct arch_name names[] = {
    {"token_embd", NULL, "embed_tokens"},
    {"post_attention_norm", NULL, "post_self_attn_layernorm"},
    {"ffn_norm", NULL, "post_attention_layernorm"},
    {"post_ffw_norm", NULL, "post_mlp_layernorm"},
    {"output_norm", NULL, "norm"},
    {0},
};
static const struct arch_names glm4 = {"model.", "layers.", names};

static const struct arch_name moe_names[] = {
    {"token_embd", NULL, "embed_tokens"},
    {"ffn_norm", "post_attention_norm", "post_attention_layernorm"},
    {"output_norm", NULL, "norm"},
    {0},
};
static const struct arch_names glm4moe = {"model.", "layers.", moe_names};

extern const struct arch arch_glm4, arch_glm4moe;

const struct arch arch_glm4 = {
    .id = "glm4",
    .model_type = {"glm4"},
    .may_have_bias = true,
    .rope = ROPE_INTERLEAVED,
    .same_rope = true,
    .fused_up = true,
    .part_turns = true,
    .part = 0.5,
    .post_norm = true,
    .names = &glm4,
};

const struct arch arch_glm4moe = {
    .id = "glm4moe",
    .model_type = {"glm4_moe"},
    .may_have_bias = true,
    .may_have_norm = true,
    .rope = ROPE_HALF,
    .part_turns = true,
    .part = 0.5,
    .experts = true,
    .shares = SHARES_OF_LOGISTIC,
    .asks_shares = true,
    .shared = true,
    .choice_bias = true,
    .dense_first = true,
    .ahead = true,
    .names = &glm4moe,
};
