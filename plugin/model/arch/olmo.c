/* AI2's OLMo 2, and 3, whose layers see a window but for every fourth; GGUF files call both by one
 * name. What layers add is normalised, what they read is not. OLMoE, of experts, is built like
 * Llama but for the norms of heads. */
#include "../arch.h"

extern const struct arch arch_olmo2, arch_olmoe;

const struct arch arch_olmo2 = {
    .id = "olmo2",
    .model_type = {"olmo2", "olmo3"},
    .wide_norm = true,
    .rope = ROPE_HALF,
    .full_every = 4,
    .may_slide = true,
    .near_unscaled = true,
    .post_norm = true,
    .bare = true,
};

const struct arch arch_olmoe = {
    .id = "olmoe",
    .model_type = {"olmoe"},
    .wide_norm = true,
    .rope = ROPE_HALF,
    .experts = true,
    .shares = SHARES_OF_ALL,
    .asks_shares = true,
};
