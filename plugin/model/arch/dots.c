/* rednote's dots.llm1: experts behind the first layers, as in GLM-4.5. */
#include "../arch.h"

extern const struct arch arch_dots1;

const struct arch arch_dots1 = {
    .id = "dots1",
    .model_type = {"dots1"},
    .may_slide = true,
    .qk_norm = true,
    .rope = ROPE_HALF,
    .experts = true,
    .shares = SHARES_LOGISTIC,
    .asks_shares = true,
    .shared = true,
    .choice_bias = true,
    .dense_first = true,
};
