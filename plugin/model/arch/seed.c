/* ByteDance's Seed-OSS. */
#include "../arch.h"

static const struct arch_name names[] = {
    {"token_embd", NULL, "embed_tokens"},
    {"ffn_norm", "post_attention_norm", "post_attention_layernorm"},
    {"output_norm", NULL, "norm"},
    {0},
};
static const struct arch_names seed = {"model.", "layers.", names};

extern const struct arch arch_seed_oss;

const struct arch arch_seed_oss = {
    .id = "seed_oss",
    .model_type = {"seed_oss"},
    .qkv_bias = true,
    .rope = ROPE_HALF,
    .names = &seed,
};
