/* Qwen 2, 2.5 and 3, and Qwen 3 of experts. */
#include "../arch.h"

extern const struct arch arch_qwen2, arch_qwen3, arch_qwen3moe;

const struct arch arch_qwen2 = {
    .id = "qwen2",
    .model_type = {"qwen2"},
    .asks_window = true,
    .qkv_bias = true,
    .rope = ROPE_HALF,
};

const struct arch arch_qwen3 = {
    .id = "qwen3",
    .model_type = {"qwen3"},
    .asks_window = true,
    .qk_norm = true,
    .rope = ROPE_HALF,
};

const struct arch arch_qwen3moe = {
    .id = "qwen3moe",
    .model_type = {"qwen3_moe"},
    .asks_window = true,
    .qk_norm = true,
    .rope = ROPE_HALF,
    .experts = true,
    .asks_shares = true,
};
