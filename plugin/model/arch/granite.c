/* IBM's Granite 3 and 4, dense, and of experts, with one that all tokens meet and without: Llama
 * with multipliers. */
#include "../arch.h"

static const struct arch_name moe_names[] = {
    {"token_embd", NULL, "embed_tokens"},
    {"ffn_gate_inp", NULL, "block_sparse_moe.router.layer"},
    {"ffn_gate_exps", NULL, "block_sparse_moe.input_linear"},
    {"ffn_up_exps", NULL, "block_sparse_moe.input_linear"},
    {"ffn_down_exps", NULL, "block_sparse_moe.output_linear"},
    {"ffn_gate_shexp", NULL, "shared_mlp.input_linear"},
    {"ffn_up_shexp", NULL, "shared_mlp.input_linear"},
    {"ffn_down_shexp", NULL, "shared_mlp.output_linear"},
    {"output_norm", NULL, "norm"},
    {0},
};
static const struct arch_names granitemoe = {"model.", "layers.", moe_names};

extern const struct arch arch_granite, arch_granitemoe;

const struct arch arch_granite = {
    .id = "granite",
    .model_type = {"granite"},
    .multiplied = true,
};

const struct arch arch_granitemoe = {
    .id = "granitemoe",
    .model_type = {"granitemoe", "granitemoeshared"},
    .multiplied = true,
    .experts = true,
    .stacked = true,
    .shared = true,
    .names = &granitemoe,
};
