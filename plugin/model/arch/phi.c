/* Phi 3, 3.5 and 4, dense. */
#include "../arch.h"

extern const struct arch arch_phi3;
const struct arch arch_phi3 = {
    .id = "phi3",
    .model_type = {"phi3"},
    .rope = ROPE_HALF,
    .fused = true,
    .part_turns = true,
};
