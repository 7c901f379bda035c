/* Llama 1 to 3.x and what is built like it: under the same id in GGUF files InternLM3, Yi, SmolLM,
 * SmolLM2, Mistral, and Mixtral, whose feed-forward parts are experts; Ministral 3 under its
 * own. */
#include "../arch.h"

static const struct arch_name mixtral_names[] = {
    {"token_embd", NULL, "embed_tokens"},
    {"ffn_gate_inp", NULL, "block_sparse_moe.gate"},
    {"ffn_gate_exps", NULL, "block_sparse_moe.experts.%d.w1"},
    {"ffn_up_exps", NULL, "block_sparse_moe.experts.%d.w3"},
    {"ffn_down_exps", NULL, "block_sparse_moe.experts.%d.w2"},
    {"output_norm", NULL, "norm"},
    {0},
};
static const struct arch_names mixtral = {"model.", "layers.", mixtral_names};

extern const struct arch arch_llama, arch_ministral3, arch_mistral, arch_mixtral;

/* In GGUF files Mistral Small 3 has its name, too. */
const struct arch arch_ministral3 = {
    .id = "mistral3",
    .model_type = {"ministral3"},
};

/* Of folders, as the next one; GGUF files do not tell it from Llama. */
const struct arch arch_mistral = {
    .id = "mistral",
    .model_type = {"mistral"},
    .slides_all = true,
};

/* A GGUF file has the rotation of Llama's. */
const struct arch arch_mixtral = {
    .id = "mixtral",
    .model_type = {"mixtral"},
    .slides_all = true,
    .rope = ROPE_HALF,
    .experts = true,
    .names = &mixtral,
};

const struct arch arch_llama = {
    .id = "llama",
    .model_type = {"llama", "internlm3"},
    .twin = &arch_mixtral,
    .twin_tensor = {"blk.0.ffn_gate_inp.weight", "model.layers.0.block_sparse_moe.gate.weight"},
};
