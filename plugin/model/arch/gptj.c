/* GPT-J. */
#include "../arch.h"

static const struct arch_name names[] = {
    {"token_embd", NULL, "wte"},     {"attn_norm", NULL, "ln_1"},
    {"attn_q", NULL, "attn.q_proj"}, {"attn_k", NULL, "attn.k_proj"},
    {"attn_v", NULL, "attn.v_proj"}, {"attn_output", NULL, "attn.out_proj"},
    {"ffn_up", NULL, "mlp.fc_in"},   {"ffn_down", NULL, "mlp.fc_out"},
    {"output_norm", NULL, "ln_f"},   {0},
};
static const struct arch_names gptj = {"transformer.", "h.", names};

extern const struct arch arch_gptj;
const struct arch arch_gptj = {
    .id = "gptj",
    .model_type = {"gptj"},
    .rope = ROPE_INTERLEAVED,
    .same_rope = true,
    .part_turns = true,
    .activation = ACTIVATION_GELU_TANH,
    .layer_norm = true,
    .norm_bias = true,
    .parallel = true,
    .one_norm = true,
    .plain = true,
    .ffn_bias = true,
    .head_bias = true,
    .names = &gptj,
};
