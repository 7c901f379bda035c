/* SmolLM3. SmolLM and SmolLM2 are rows of llama.c. */
#include "../arch.h"

extern const struct arch arch_smollm3;
const struct arch arch_smollm3 = {
    .id = "smollm3",
    .model_type = {"smollm3"},
    .asks_window = true,
    .nope_every = 4,
    .theta = 2000000,
};
