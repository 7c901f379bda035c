/* Layers of two kinds in config.json: heads of each, layers that share keys and values, embeddings
 * that layers have of their own. */
#include "config_text.h"

#include <math.h>

/* Five layers, of which the last sees all. */
#define GEMMA4                                                                                  \
    "\"model_type\": \"gemma4_text\", \"head_dim\": 16, \"num_key_value_heads\": 2, "           \
    "\"sliding_window\": 8, \"hidden_activation\": \"gelu_pytorch_tanh\", \"layer_types\": ["   \
    "\"sliding_attention\", \"full_attention\", \"sliding_attention\", \"sliding_attention\", " \
    "\"sliding_attention\"], " COMMON

/* As the kinds of layers, one digit each. */
static int32_t kinds(void)
{
    int32_t digits = 0;
    for (int32_t l = 0; l < h.L; l++)
        digits = digits * 10 + h.kv_kind[l];
    return digits;
}

TEST(hparams_kinds, heads_of_layers_that_see_all_are_of_another_shape)
{
    accept(GEMMA4, "");
    CHECK(h.dim == 512 && h.K == 2 && h.near_dim == 16 && h.near_K == 2 && h.n_shared == 0);
    CHECK(!h.slides[4] && h.slides[3] && kinds() == 10110);
    CHECK(h.scale == 1 && h.embed_scale == 8 && h.logit_cap == 0 && h.P == 0);
    accept(GEMMA4, "\"global_head_dim\": 32, \"num_global_key_value_heads\": 1, "
                   "\"final_logit_softcapping\": 30.0, \"query_pre_attn_scalar\": 4");
    CHECK(h.dim == 32 && h.K == 2 && !h.values_of_keys && h.logit_cap == 30 && h.scale == 1);
    accept(GEMMA4, "\"global_head_dim\": 32, \"num_global_key_value_heads\": 1, "
                   "\"attention_k_eq_v\": true, \"use_bidirectional_attention\": \"vision\"");
    CHECK(h.K == 1 && h.near_K == 2 && h.values_of_keys);
    CHECK(hparams_dim(&h, 0) == 16 && hparams_dim(&h, 1) == 32);
    CHECK(hparams_K(&h, 0) == 2 && hparams_K(&h, 1) == 1);
}

TEST(hparams_kinds, or_by_layer_as_newer_folders_say_it)
{
#define OWN "{\"head_dim\": 32, \"num_key_value_heads\": 1}"
    accept(GEMMA4, "\"per_layer_config\": {\"1\": " OWN ", \"4\": " OWN "}");
    CHECK(h.dim == 32 && h.K == 1 && h.near_dim == 16 && h.near_K == 2);
    accept(GEMMA4, "\"per_layer_config\": {}");
    CHECK(h.dim == 16 && h.K == 2);
    refuse(GEMMA4, "\"per_layer_config\": {\"1\": " OWN "}", INFLIGHT_E_UNSUPPORTED,
           "config.json: per_layer_config: layer 4 is not as the others of its kind: not served");
    refuse(GEMMA4, "\"per_layer_config\": {\"1\": " OWN ", \"3\": " OWN ", \"4\": " OWN "}",
           INFLIGHT_E_UNSUPPORTED,
           "config.json: per_layer_config: layer 3 is not as the others of its kind: not served");
    refuse(GEMMA4, "\"per_layer_config\": {\"1\": {\"rope\": 1}}", INFLIGHT_E_UNSUPPORTED,
           "config.json: per_layer_config: layer 1 has more of its own than head_dim and "
           "num_key_value_heads: not served");
    refuse(GEMMA4, "\"per_layer_config\": {\"1\": {\"head_dim\": 514}}", INFLIGHT_E_MODEL,
           "config.json: head_dim must be an integer in 2 .. 512");
#undef OWN
}

/* Each to the last one before the shared layers that is of its kind. */
TEST(hparams_kinds, the_last_layers_may_share_keys_and_values)
{
    accept(GEMMA4, "\"num_kv_shared_layers\": 2, \"use_double_wide_mlp\": true");
    CHECK(kinds() == 10122 && h.wide_F == 256);
    CHECK(hparams_kv_layer(&h, 0) == 0 && hparams_kv_layer(&h, 2) == 2);
    CHECK(hparams_kv_layer(&h, 3) == 2 && hparams_kv_layer(&h, 4) == 1);
    CHECK(hparams_F(&h, 2) == 128 && hparams_F(&h, 3) == 256);
    accept(GEMMA4, "\"num_kv_shared_layers\": 2");
    CHECK(hparams_F(&h, 3) == 128);
    refuse(GEMMA4, "\"num_kv_shared_layers\": 4", INFLIGHT_E_MODEL,
           "config.json: layer 1 shares keys and values, and none of its kind has any");
    refuse(GEMMA4, "\"num_kv_shared_layers\": 5", INFLIGHT_E_MODEL,
           "config.json: layer 0 shares keys and values, and none of its kind has any");
    refuse(GEMMA4, "\"num_kv_shared_layers\": 6", INFLIGHT_E_MODEL,
           "config.json: num_kv_shared_layers must be an integer in 0 .. 5");
}

TEST(hparams_kinds, layers_may_have_embeddings_of_their_own)
{
    accept(GEMMA4, "\"hidden_size_per_layer_input\": 24, \"vocab_size_per_layer_input\": 100");
    CHECK_EQ(h.P, 24);
    accept(GEMMA4, "\"hidden_size_per_layer_input\": 0, \"vocab_size_per_layer_input\": 90");
    CHECK_EQ(h.P, 0);
    refuse(GEMMA4, "\"hidden_size_per_layer_input\": 24, \"vocab_size_per_layer_input\": 90",
           INFLIGHT_E_UNSUPPORTED,
           "config.json: vocab_size_per_layer_input is 90, vocab_size 100: not served");
    refuse(GEMMA4, "\"hidden_size_per_layer_input\": -1", INFLIGHT_E_MODEL,
           "config.json: hidden_size_per_layer_input must be an integer in 0 .. 8192");
}

/* Of layers that see all a quarter of the waves turns, by a base of their own. */
TEST(hparams_kinds, a_part_of_the_waves_turns)
{
    accept(GEMMA4, "\"global_head_dim\": 32");
    CHECK(h.turns_twice && h.rotary_dim == 32 && hparams_near_turned(&h) == 16);
    CHECK_NEAR(h.freq[3], pow(1e6, -6.0 / 32), 1e-8);
    CHECK(h.freq[4] == 0 && h.freq[15] == 0);
    CHECK_NEAR(h.near_freq[7], pow(1e4, -14.0 / 16), 1e-8);
#define PART(more)                                                        \
    "\"global_head_dim\": 32, \"rope_parameters\": {\"full_attention\": " \
    "{\"rope_type\": \"proportional\", \"rope_theta\": 1e5" more          \
    "}, \"sliding_attention\": {\"rope_type\": \"default\", \"rope_theta\": 500.0}}"
    accept(GEMMA4, PART(", \"partial_rotary_factor\": 0.34, \"factor\": 8.0"));
    CHECK_NEAR(h.freq[4], pow(1e5, -8.0 / 32) / 8, 1e-8);
    CHECK(h.freq[5] == 0);
    CHECK_NEAR(h.near_freq[1], pow(500, -2.0 / 16), 1e-7);
    accept(GEMMA4, PART(""));
    CHECK(h.freq[15] > 0);
    refuse(GEMMA4, PART(", \"partial_rotary_factor\": 1.5"), INFLIGHT_E_MODEL,
           "config.json: rotary base, factor, original context or turns of gemma4 out of range");
#undef PART
}

TEST(hparams_kinds, what_is_not_served_is_named)
{
    refuse(GEMMA4, "\"enable_moe_block\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: enable_moe_block is set: experts beside the feed-forward part are not "
           "served");
    refuse(GEMMA4, "\"use_bidirectional_attention\": \"all\"", INFLIGHT_E_UNSUPPORTED,
           "config.json: use_bidirectional_attention is all: not served");
    refuse(GEMMA4, "\"attention_bias\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: attention_bias is true: not served for gemma4");
    refuse(GEMMA4, "\"attn_logit_softcapping\": 50.0", INFLIGHT_E_UNSUPPORTED,
           "config.json: attn_logit_softcapping is set: not served for gemma4");
    refuse(GEMMA4, "\"global_head_dim\": 33", INFLIGHT_E_MODEL,
           "config.json: head width 33 is not an even number in 2 .. 512");
    refuse(GEMMA4, "\"num_global_key_value_heads\": 3, \"attention_k_eq_v\": true",
           INFLIGHT_E_MODEL, "config.json: 4 query heads do not share 3 key/value heads");
}
