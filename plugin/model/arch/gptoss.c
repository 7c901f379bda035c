/* gpt-oss: experts with biases, whose gates are clamped; every other layer sees a window, and what
 * a head attends to shares its weight with a sink. */
#include "../arch.h"

static const struct arch_name names[] = {
    {"token_embd", NULL, "embed_tokens"},
    {"ffn_norm", "post_attention_norm", "post_attention_layernorm"},
    {"ffn_gate_inp", NULL, "mlp.router"},
    {"ffn_gate_exps", NULL, "mlp.experts.gate_up_proj"},
    {"ffn_up_exps", NULL, "mlp.experts.gate_up_proj"},
    {"ffn_down_exps", NULL, "mlp.experts.down_proj"},
    {"output_norm", NULL, "norm"},
    {0},
};
static const struct arch_names gptoss = {"model.", "layers.", names};

extern const struct arch arch_gptoss;

const struct arch arch_gptoss = {
    .id = "gpt-oss",
    .model_type = {"gpt_oss"},
    .qkv_bias = true,
    .o_bias = true,
    .rope = ROPE_HALF,
    .theta = 150000,
    .full_every = 2,
    .ramp_fractions = true,
    .sinks = true,
    .experts = true,
    .expert_bias = true,
    .glu_limit = 7,
    .names = &gptoss,
};
