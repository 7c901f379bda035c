/* MPT. */
#include "../arch.h"

static const struct arch_name names[] = {
    {"token_embd", NULL, "wte"},
    {"attn_norm", NULL, "norm_1"},
    {"attn_qkv", NULL, "attn.Wqkv"},
    {"attn_output", NULL, "attn.out_proj"},
    {"ffn_norm", NULL, "norm_2"},
    {"ffn_up", NULL, "ffn.up_proj"},
    {"ffn_down", NULL, "ffn.down_proj"},
    {"output_norm", NULL, "norm_f"},
    {0},
};
static const struct arch_names mpt = {"transformer.", "blocks.", names};

extern const struct arch arch_mpt;
const struct arch arch_mpt = {
    .id = "mpt",
    .model_type = {"mpt"},
    .eps = 1e-5,
    .fused = true,
    .activation = ACTIVATION_GELU,
    .positions = POSITIONS_ALIBI,
    .layer_norm = true,
    .plain = true,
    .names = &mpt,
};
