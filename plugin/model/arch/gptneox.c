/* GPT-NeoX: Pythia, Dolly, StableLM of 2023. */
#include "../arch.h"

static const struct arch_name names[] = {
    {"token_embd", NULL, "embed_in"},
    {"attn_norm", NULL, "input_layernorm"},
    {"attn_qkv", NULL, "attention.query_key_value"},
    {"attn_output", NULL, "attention.dense"},
    {"ffn_norm", NULL, "post_attention_layernorm"},
    {"ffn_up", NULL, "mlp.dense_h_to_4h"},
    {"ffn_down", NULL, "mlp.dense_4h_to_h"},
    {"output_norm", NULL, "final_layer_norm"},
    {"output", NULL, "embed_out"},
    {"output", NULL, "lm_head"}, /* since transformers 5 */
    {0},
};
static const struct arch_names gptneox = {"gpt_neox.", "layers.", names};

extern const struct arch arch_gptneox;
const struct arch arch_gptneox = {
    .id = "gptneox",
    .model_type = {"gpt_neox"},
    .qkv_bias = true,
    .rope = ROPE_HALF,
    .fused = true,
    .by_groups = true,
    .part_turns = true,
    .activation = ACTIVATION_GELU,
    .layer_norm = true,
    .norm_bias = true,
    .parallel = true,
    .plain = true,
    .o_bias = true,
    .ffn_bias = true,
    .names = &gptneox,
};
