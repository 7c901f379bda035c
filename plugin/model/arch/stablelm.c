/* StableLM 3B and StableLM 2 1.6B. */
#include "../arch.h"

extern const struct arch arch_stablelm;

const struct arch arch_stablelm = {
    .id = "stablelm",
    .model_type = {"stablelm"},
    .may_have_bias = true,
    .rope = ROPE_HALF,
    .part_turns = true,
    .part = 0.25,
    .layer_norm = true,
    .norm_bias = true,
};
