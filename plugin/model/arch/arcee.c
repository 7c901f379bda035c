/* Arcee's AFM: Llama, but for a feed-forward part without a gate. */
#include "../arch.h"

extern const struct arch arch_arcee;

const struct arch arch_arcee = {
    .id = "arcee",
    .model_type = {"arcee"},
    .activation = ACTIVATION_RELU2,
    .plain = true,
};
