/* GPT-2. */
#include "../arch.h"

static const struct arch_name names[] = {
    {"token_embd", NULL, "wte"},          {"position_embd", NULL, "wpe"},
    {"attn_norm", NULL, "ln_1"},          {"attn_qkv", NULL, "attn.c_attn"},
    {"attn_output", NULL, "attn.c_proj"}, {"ffn_norm", NULL, "ln_2"},
    {"ffn_up", NULL, "mlp.c_fc"},         {"ffn_down", NULL, "mlp.c_proj"},
    {"output_norm", NULL, "ln_f"},        {0},
};
static const struct arch_names gpt2 = {"transformer.", "h.", names};

extern const struct arch arch_gpt2;
const struct arch arch_gpt2 = {
    .id = "gpt2",
    .model_type = {"gpt2"},
    .qkv_bias = true,
    .fused = true,
    .across = true,
    .activation = ACTIVATION_GELU_TANH,
    .positions = POSITIONS_LEARNED,
    .layer_norm = true,
    .norm_bias = true,
    .plain = true,
    .o_bias = true,
    .ffn_bias = true,
    .names = &gpt2,
};
