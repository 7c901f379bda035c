/* EXAONE 4: what layers add is normalised, what they read is not. If layers see a window, those
 * that see all do not turn. */
#include "../arch.h"

extern const struct arch arch_exaone4;

const struct arch arch_exaone4 = {
    .id = "exaone4",
    .model_type = {"exaone4"},
    .qk_norm = true,
    .rope = ROPE_HALF,
    .near_turns = true,
    .full_every = 4,
    .may_slide = true,
    .post_norm = true,
    .bare = true,
};
