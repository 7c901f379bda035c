/* Gemma 1 to 4, text alone. */
#include "../arch.h"

extern const struct arch arch_gemma, arch_gemma2, arch_gemma3, arch_gemma4;

const struct arch arch_gemma = {
    .id = "gemma",
    .model_type = {"gemma"},
    .rope = ROPE_HALF,
    .activation = ACTIVATION_GELU_TANH,
    .root_embed = true,
    .norm_less_one = true,
};

const struct arch arch_gemma2 = {
    .id = "gemma2",
    .model_type = {"gemma2"},
    .rope = ROPE_HALF,
    .full_every = 2,
    .activation = ACTIVATION_GELU_TANH,
    .post_norm = true,
    .root_embed = true,
    .capped = true,
    .norm_less_one = true,
    .odd_layers = 46,
};

const struct arch arch_gemma3 = {
    .id = "gemma3",
    .model_type = {"gemma3_text"},
    .qk_norm = true,
    .rope = ROPE_HALF,
    .full_every = 6,
    .theta = 1000000,
    .near_theta = 10000,
    .activation = ACTIVATION_GELU_TANH,
    .post_norm = true,
    .root_embed = true,
    .norm_less_one = true,
    .odd_layers = 62,
};

/* The dense ones. */
const struct arch arch_gemma4 = {
    .id = "gemma4",
    .model_type = {"gemma4_text", "gemma4_unified_text"},
    .qk_norm = true,
    .v_norm = true,
    .rope = ROPE_HALF,
    .full_every = 6,
    .theta = 1000000,
    .near_theta = 10000,
    .waves = 0.25,
    .activation = ACTIVATION_GELU_TANH,
    .post_norm = true,
    .root_embed = true,
    .unscaled = true,
    .logits_capped = true,
    .has_kinds = true,
    .layer_factor = true,
};
