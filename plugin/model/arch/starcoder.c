/* StarCoder2. */
#include "../arch.h"

static const struct arch_name names[] = {
    {"token_embd", NULL, "embed_tokens"},
    {"ffn_up", NULL, "mlp.c_fc"},
    {"ffn_down", NULL, "mlp.c_proj"},
    {"output_norm", NULL, "norm"},
    {0},
};
static const struct arch_names starcoder2 = {"model.", "layers.", names};

extern const struct arch arch_starcoder2;

const struct arch arch_starcoder2 = {
    .id = "starcoder2",
    .model_type = {"starcoder2"},
    .slides_all = true,
    .qkv_bias = true,
    .rope = ROPE_HALF,
    .activation = ACTIVATION_GELU_TANH,
    .layer_norm = true,
    .norm_bias = true,
    .plain = true,
    .o_bias = true,
    .ffn_bias = true,
    .names = &starcoder2,
};
