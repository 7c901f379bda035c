/* NVIDIA's Nemotron 3 and 4 and Minitron. */
#include "../arch.h"

extern const struct arch arch_nemotron;

const struct arch arch_nemotron = {
    .id = "nemotron",
    .model_type = {"nemotron"},
    .rope = ROPE_HALF,
    .part_turns = true,
    .part = 0.5,
    .activation = ACTIVATION_RELU2,
    .norm_less_one = true,
    .layer_norm = true,
    .norm_bias = true,
    .plain = true,
};
