/* AI2's OLMo 2, and 3, whose layers see a window but for every fourth; GGUF files call both by one
 * name. What layers add is normalised, what they read is not. */
#include "../arch.h"

extern const struct arch arch_olmo2;

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
