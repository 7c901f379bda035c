/* ERNIE 4.5, dense. */
#include "../arch.h"

extern const struct arch arch_ernie4_5;

const struct arch arch_ernie4_5 = {
    .id = "ernie4_5",
    .model_type = {"ernie4_5"},
    .rope = ROPE_INTERLEAVED,
    .same_rope = true,
    .theta = 500000,
};
