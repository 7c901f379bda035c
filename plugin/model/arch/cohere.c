/* Cohere's Command R and Aya, and Command R7B, of whose layers those that see a window turn and
 * those that see all do not. */
#include "../arch.h"

extern const struct arch arch_cohere, arch_cohere2;

#define COHERE                                                                         \
    .rope = ROPE_INTERLEAVED, .same_rope = true, .layer_norm = true, .parallel = true, \
    .one_norm = true, .logit_scale = 0.0625

const struct arch arch_cohere = {
    COHERE,
    .id = "command-r",
    .model_type = {"cohere"},
};

const struct arch arch_cohere2 = {
    COHERE, .id = "cohere2", .model_type = {"cohere2"}, .full_every = 4, .near_turns = true,
};
