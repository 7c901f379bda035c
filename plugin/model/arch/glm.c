/* GLM-4 of April 2025: 9B, 32B and Z1. */
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

extern const struct arch arch_glm4;

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
