/* ERNIE 4.5, dense, and of experts behind the first layers (21B, 300B). */
#include "../arch.h"

static const struct arch_name moe_names[] = {
    {"token_embd", NULL, "embed_tokens"},
    {"exp_probs_b", NULL, "mlp.moe_statics.e_score_correction"},
    {"output_norm", NULL, "norm"},
    {0},
};
static const struct arch_names moe = {"model.", "layers.", moe_names};

extern const struct arch arch_ernie4_5, arch_ernie4_5_moe;

const struct arch arch_ernie4_5 = {
    .id = "ernie4_5",
    .model_type = {"ernie4_5"},
    .rope = ROPE_INTERLEAVED,
    .same_rope = true,
    .theta = 500000,
};

const struct arch arch_ernie4_5_moe = {
    .id = "ernie4_5-moe",
    .model_type = {"ernie4_5_moe"},
    .rope = ROPE_INTERLEAVED,
    .same_rope = true,
    .theta = 500000,
    .experts = true,
    .shared = true,
    .choice_bias = true,
    .dense_first = true,
    .ahead = true,
    .names = &moe,
};
