/* Llama 1 to 3.x and what is built like it under the same id in GGUF files: Mistral,
 * Yi, SmolLM, SmolLM2. */
#include "../arch.h"

extern const struct arch arch_llama;
const struct arch arch_llama = {
    .id = "llama",
    .model_type = {"llama", "mistral"},
};
