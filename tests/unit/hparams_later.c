/* config.json of families after Llama that have switches of their own: multipliers, layers that do
 * not turn, patterns of windows. */
#include "config_text.h"

#include <math.h>

#define COHERE  "\"model_type\": \"cohere\", \"layer_norm_eps\": 1e-5, " COMMON
#define COHERE2 "\"model_type\": \"cohere2\", \"layer_norm_eps\": 1e-5, " COMMON
#define EXAONE4 "\"model_type\": \"exaone4\", " COMMON
#define DOTS1                                                    \
    "\"model_type\": \"dots1\", \"moe_intermediate_size\": 32, " \
    "\"n_routed_experts\": 8, \"num_experts_per_tok\": 2, "      \
    "\"n_shared_experts\": 2, \"first_k_dense_replace\": 1, " COMMON
#define ERNIE                                                               \
    "\"model_type\": \"ernie4_5_moe\", \"moe_intermediate_size\": 32, "     \
    "\"moe_num_experts\": 8, \"moe_k\": 2, \"moe_num_shared_experts\": 2, " \
    "\"moe_layer_start_index\": 1, " COMMON
#define GLM4MOE                                                     \
    "\"model_type\": \"glm4_moe\", \"moe_intermediate_size\": 32, " \
    "\"n_routed_experts\": 8, \"num_experts_per_tok\": 2, "         \
    "\"n_shared_experts\": 2, \"first_k_dense_replace\": 1, " COMMON
#define GRANITE  "\"model_type\": \"granite\", " COMMON
#define NEMOTRON "\"model_type\": \"nemotron\", \"norm_eps\": 1e-3, " COMMON
#define EXPERTS  "\"num_experts\": 8, \"num_experts_per_tok\": 2, "
#define OLMOE    "\"model_type\": \"olmoe\", " EXPERTS COMMON
#define OLMO3    "\"model_type\": \"olmo3\", " COMMON
#define QWEN2MOE                                                     \
    "\"model_type\": \"qwen2_moe\", \"moe_intermediate_size\": 32, " \
    "\"shared_expert_intermediate_size\": 96, " EXPERTS COMMON
#define STABLELM "\"model_type\": \"stablelm\", \"layer_norm_eps\": 1e-5, " COMMON
#define STARCODER2                                                             \
    "\"model_type\": \"starcoder2\", \"norm_epsilon\": 1e-4, \"hidden_act\": " \
    "\"gelu_pytorch_tanh\", " COMMON

/* As the layers that turn, one digit each. */
static int32_t turns(void)
{
    int32_t digits = 0;
    for (int32_t l = 0; l < h.L; l++)
        digits = digits * 10 + h.turns[l];
    return digits;
}

TEST(hparams_later, multipliers_become_scales)
{
    accept(GRANITE, "");
    CHECK(h.embed_scale == 1 && h.logit_scale == 1 && h.scale == 1 && h.eps == 1e-5f);
    accept(GRANITE, "\"embedding_multiplier\": 12, \"residual_multiplier\": 0.25, "
                    "\"attention_multiplier\": 0.125, \"logits_scaling\": 8");
    CHECK(h.embed_scale == 48 && h.logit_scale == 0.125f && h.scale == 0.125f);
    CHECK_NEAR(h.eps, 16e-5, 1e-10);
    refuse(GRANITE, "\"residual_multiplier\": 0", INFLIGHT_E_MODEL,
           "config.json: a multiplier of embeddings, layers, scores or logits is 0, not in 1e-6 .. "
           "1e6");
    refuse(GRANITE, "\"logits_scaling\": \"8\"", INFLIGHT_E_MODEL,
           "config.json: a multiplier of embeddings, layers, scores or logits is nan, not in "
           "1e-6 .. 1e6");
    accept(COHERE, "\"logit_scale\": 0.5");
    CHECK(h.logit_scale == 0.5f && h.rope == ROPE_INTERLEAVED && h.parallel);
    accept(COHERE, "");
    CHECK(h.logit_scale == 0.0625f && h.scale == 0.25f);
    accept(LLAMA, "\"logit_scale\": 0.5, \"residual_multiplier\": 3");
    CHECK(h.logit_scale == 1 && h.embed_scale == 1);
}

TEST(hparams_later, layers_that_see_a_window_may_be_all_that_turn)
{
    accept(COHERE2, "\"sliding_window\": 64");
    CHECK(h.window == 64 && turns() == 11101);
    accept(COHERE2, "\"sliding_window\": 64, \"sliding_window_pattern\": 2");
    CHECK_EQ(turns(), 10101);
    refuse(COHERE2, "", INFLIGHT_E_MODEL,
           "config.json: sliding_window must be an integer of 1 and more");
    accept(EXAONE4, "\"sliding_window\": 64, \"sliding_window_pattern\": \"LG\"");
    CHECK(h.slides[0] && !h.slides[1] && turns() == 10101);
    accept(EXAONE4, "\"sliding_window\": null, \"sliding_window_pattern\": null");
    CHECK(h.window == 0 && !h.slides[0] && turns() == 11111);
    refuse(EXAONE4, "\"sliding_window\": 64, \"sliding_window_pattern\": \"\"", INFLIGHT_E_MODEL,
           "config.json: sliding_window_pattern must be an integer of 1 and more");
    accept(SMOLLM3, "");
    CHECK_EQ(turns(), 11101);
    accept(GPT2, "");
    CHECK_EQ(turns(), 0);
}

/* Those of OLMo 3 that see a window are not stretched. */
TEST(hparams_later, near_layers_may_turn_by_the_same_base_without_its_scaling)
{
#define STRETCHED "{\"rope_type\": \"linear\", \"factor\": 4.0}"
    accept(OLMO3, "\"sliding_window\": 64, \"rope_theta\": 5e5, \"rope_scaling\": " STRETCHED);
    CHECK(h.turns_twice && h.slides[0] && !h.slides[3] && turns() == 11111);
    CHECK_NEAR(h.near_freq[1], pow(5e5, -2.0 / 16), 1e-7);
    CHECK_NEAR(h.freq[1], pow(5e5, -2.0 / 16) / 4, 1e-7);
    accept(OLMO3, "\"model_type\": \"olmo2\", \"rope_theta\": 5e5");
    CHECK(!h.turns_twice && h.window == 0 && !h.slides[0]);
    CHECK_TEXT(h.arch, "olmo2");
#undef STRETCHED
}

TEST(hparams_later, parts_of_heads_turn_as_a_family_has_it)
{
    accept(NEMOTRON, "\"hidden_act\": \"relu2\"");
    CHECK(h.rotary_dim == 8 && h.activation == ACTIVATION_RELU2 && h.eps == 1e-3f);
    accept(STABLELM, "\"partial_rotary_factor\": 0.5");
    CHECK(h.rotary_dim == 8 && h.eps == 1e-5f);
    accept(STABLELM, "");
    CHECK_EQ(h.rotary_dim, 4);
}

TEST(hparams_later, starcoder_has_its_window_everywhere)
{
    accept(STARCODER2, "\"sliding_window\": 64");
    CHECK(h.window == 64 && h.slides[0] && h.slides[4] && h.eps == 1e-4f);
    CHECK_EQ(h.activation, ACTIVATION_GELU_TANH);
    refuse(STARCODER2, "\"use_bias\": false", INFLIGHT_E_UNSUPPORTED,
           "config.json: use_bias is false: not served");
}

TEST(hparams_later, switches_of_later_families_that_are_not_served_are_named)
{
    refuse(COHERE, "\"use_qk_norm\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: use_qk_norm is set: not served");
    refuse(STABLELM, "\"qk_layernorm\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: qk_layernorm is set: not served");
    refuse(STABLELM, "\"use_parallel_residual\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: use_parallel_residual is set: not served");
    refuse(OLMO3, "\"attention_bias\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: attention_bias is true: not served for olmo2");
    refuse(NEMOTRON, "\"mlp_bias\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: mlp_bias is set: not served");
    refuse(STABLELM, "\"layer_norm_eps\": null", INFLIGHT_E_MODEL,
           "config.json: layer_norm_epsilon is missing or not in 0 .. 1");
}

TEST(hparams_later, shares_of_olmoe_are_of_all_experts)
{
    accept(OLMOE, "\"clip_qkv\": null");
    CHECK(h.E == 8 && h.U == 2 && h.shares == SHARES_OF_ALL && h.share_factor == 1);
    accept(OLMOE, "\"norm_topk_prob\": true");
    CHECK_EQ(h.shares, SHARES_OF_CHOSEN);
    refuse(OLMOE, "\"clip_qkv\": 8.0", INFLIGHT_E_UNSUPPORTED,
           "config.json: clip_qkv is set: not served");
}

TEST(hparams_later, all_tokens_may_meet_one_expert)
{
    accept(QWEN2MOE, "\"norm_topk_prob\": false, \"use_sliding_window\": false");
    CHECK(h.F == 32 && h.shared_F == 96 && h.dense == 0 && h.shares == SHARES_OF_ALL);
    CHECK_TEXT(h.arch, "qwen2moe");
    accept(QWEN2MOE, "\"norm_topk_prob\": true, \"qkv_bias\": true");
    CHECK_EQ(h.shares, SHARES_OF_CHOSEN);
    accept(OLMOE, "\"shared_intermediate_size\": 0");
    CHECK_EQ(h.shared_F, 0);
    refuse(OLMOE, "\"shared_intermediate_size\": 32", INFLIGHT_E_UNSUPPORTED,
           "config.json: an expert that all tokens meet is not served for olmoe");
    refuse(QWEN2MOE, "\"use_sliding_window\": true, \"sliding_window\": 64", INFLIGHT_E_UNSUPPORTED,
           "config.json: use_sliding_window is true without layer_types: not served for qwen2moe");
    refuse(QWEN2MOE, "\"qkv_bias\": false", INFLIGHT_E_UNSUPPORTED,
           "config.json: qkv_bias is false: not served");
    refuse(QWEN2MOE, "\"mlp_only_layers\": [1]", INFLIGHT_E_UNSUPPORTED,
           "config.json: mlp_only_layers is not empty: not served");
    refuse(QWEN2MOE, "\"shared_expert_intermediate_size\": -1", INFLIGHT_E_MODEL,
           "config.json: shared_expert_intermediate_size must be an integer in 0 .. 1048576");
}

/* The multipliers of what layers add are of both. */
TEST(hparams_later, granite_with_an_expert_for_all_is_granite_of_experts)
{
    accept(GRANITE, "\"model_type\": \"granitemoeshared\", \"num_local_experts\": 8, "
                    "\"num_experts_per_tok\": 2, \"shared_intermediate_size\": 64");
    CHECK(h.E == 8 && h.F == 128 && h.shared_F == 64 && h.shares == SHARES_OF_CHOSEN);
    CHECK_TEXT(h.arch, "granitemoe");
}

TEST(hparams_later, glm_of_experts_has_others_in_its_first_layers)
{
    accept(GLM4MOE, "\"norm_topk_prob\": true, \"n_group\": 1, \"topk_group\": 1, "
                    "\"num_nextn_predict_layers\": 1, \"routed_scaling_factor\": 2.5");
    CHECK(h.L == 5 && h.ahead == 1 && h.dense == 1 && h.dense_F == 128 && h.F == 32);
    CHECK(h.E == 8 && h.U == 2 && h.shared_F == 64 && h.rotary_dim == 8 && !h.qk_norm);
    CHECK(h.shares == SHARES_OF_LOGISTIC && h.share_factor == 2.5f);
    accept(GLM4MOE, "\"use_qk_norm\": true, \"attention_bias\": true");
    CHECK(h.qk_norm && h.shares == SHARES_OF_LOGISTIC && h.share_factor == 1);
    accept(GLM4MOE, "\"norm_topk_prob\": false");
    CHECK_EQ(h.shares, SHARES_LOGISTIC);
    refuse(GLM4MOE, "\"n_group\": 8", INFLIGHT_E_UNSUPPORTED,
           "config.json: n_group is not 1: not served");
    refuse(GLM4MOE, "\"topk_group\": 4", INFLIGHT_E_UNSUPPORTED,
           "config.json: topk_group is not 1: not served");
    refuse(GLM4MOE, "\"routed_scaling_factor\": 0", INFLIGHT_E_MODEL,
           "config.json: routed_scaling_factor must be a number in 0.001 .. 1000");
    refuse(GLM4MOE, "\"first_k_dense_replace\": null", INFLIGHT_E_MODEL,
           "config.json: first_k_dense_replace is missing");
    refuse(GLM4MOE, "\"first_k_dense_replace\": 6", INFLIGHT_E_MODEL,
           "config.json: the first 6 of 5 layers cannot be no experts");
    refuse(OLMOE, "\"first_k_dense_replace\": 1", INFLIGHT_E_UNSUPPORTED,
           "config.json: the first 1 layers are no experts: not served for olmoe");
}

TEST(hparams_later, ernie_of_experts_has_them_in_all_layers_but_the_first)
{
    accept(ERNIE, "\"moe_layer_end_index\": -1, \"moe_layer_interval\": 1, \"use_bias\": false");
    CHECK(h.E == 8 && h.U == 2 && h.dense == 1 && h.dense_F == 128 && h.shared_F == 64);
    CHECK(h.shares == SHARES_OF_CHOSEN && h.share_factor == 1 && h.rope == ROPE_INTERLEAVED);
    accept(ERNIE, "\"moe_layer_end_index\": 4, \"moe_norm_min\": 1e-12");
    refuse(ERNIE, "\"moe_layer_end_index\": 3", INFLIGHT_E_UNSUPPORTED,
           "config.json: moe_layer_end_index is not that of the last layer: not served");
    refuse(ERNIE, "\"moe_layer_interval\": 2", INFLIGHT_E_UNSUPPORTED,
           "config.json: moe_layer_interval is not 1: not served");
    refuse(ERNIE, "\"moe_norm_min\": 0.1", INFLIGHT_E_UNSUPPORTED,
           "config.json: moe_norm_min is more than 1e-09: not served");
    refuse(ERNIE, "\"use_bias\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: use_bias is set: not served");
}

TEST(hparams_later, dots_has_a_window_from_a_layer_on_if_there_is_one)
{
    accept(DOTS1, "\"sliding_window\": null, \"routed_scaling_factor\": 2.5");
    CHECK(h.window == 0 && h.dense == 1 && h.F == 32 && h.shared_F == 64);
    CHECK(h.shares == SHARES_LOGISTIC && h.share_factor == 2.5f);
    accept(DOTS1, "\"sliding_window\": 64, \"max_window_layers\": 3, \"norm_topk_prob\": true");
    CHECK(h.window == 64 && !h.slides[2] && h.slides[3] && h.shares == SHARES_OF_LOGISTIC);
    refuse(DOTS1, "\"sliding_window\": 64", INFLIGHT_E_MODEL,
           "config.json: there is a window without layer_types or max_window_layers");
    refuse(DOTS1, "\"attention_bias\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: attention_bias is true: not served for dots1");
}

TEST(hparams_later, internlm_3_is_a_llama_without_biases)
{
    accept(LLAMA, "\"model_type\": \"internlm3\", \"bias\": false, \"qkv_bias\": false");
    CHECK_TEXT(h.arch, "llama");
    refuse(LLAMA, "\"model_type\": \"internlm3\", \"qkv_bias\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: qkv_bias is set: not served");
}

TEST(hparams_later, heads_that_are_normalised_together_come_in_fours)
{
    accept(OLMO3, "\"head_dim\": 6, \"num_key_value_heads\": 2");
    refuse(OLMO3, "\"head_dim\": 6, \"num_key_value_heads\": 1", INFLIGHT_E_UNSUPPORTED,
           "config.json: norms of 4 and of 1 heads of 6 columns are not served: multiples of 4 "
           "together are");
}

TEST(hparams_later, queries_of_ministral_3_grow)
{
#define YARN                                                                                \
    "\"rope_parameters\": {\"rope_type\": \"yarn\", \"rope_theta\": 1e6, \"factor\": 4.0, " \
    "\"original_max_position_embeddings\": 512, \"mscale\": 1.0, \"mscale_all_dim\": 1.0"
    accept(LLAMA, "\"model_type\": \"ministral3\", " YARN ", \"llama_4_scaling_beta\": 0.1}");
    CHECK(h.context == 2048 && h.rotary_scale == 1 && h.growth == 0.1f && h.growth_from == 512);
    accept(LLAMA, "\"model_type\": \"ministral3\", " YARN "}");
    CHECK(h.growth == 0);
    refuse(LLAMA, "\"model_type\": \"ministral3\", " YARN ", \"llama_4_scaling_beta\": -1}",
           INFLIGHT_E_MODEL,
           "config.json: growth of queries, or the context it begins at, of mistral3 out of range");
#undef YARN
}
