/* config.json of Hugging Face folders: what is read of it, in the ways it has been written over the
 * years, and what is refused by its name. The rotary values are compared on whole models
 * (tests/model/families.c), and Llama 3's here with the tensor that GGUF files carry. */
#include "config_text.h"

#include "plugin/model/rope.h"

#include <math.h>

#define QWEN2   "\"model_type\": \"qwen2\", " COMMON
#define QWEN3   "\"model_type\": \"qwen3\", " COMMON
#define MISTRAL "\"model_type\": \"mistral\", " COMMON
#define PHI3    "\"model_type\": \"phi3\", " COMMON
#define GEMMA   "\"model_type\": \"gemma\", " COMMON
#define GEMMA2  "\"model_type\": \"gemma2\", \"sliding_window\": 300, " COMMON

#define GPTJ "\"rotary_dim\": 8, " GPT2 ", \"model_type\": \"gptj\""
#define NEOX "\"model_type\": \"gpt_neox\", \"layer_norm_eps\": 1e-5, \"rotary_pct\": 0.25, " COMMON
#define FALCON                                                                          \
    "\"model_type\": \"falcon\", \"layer_norm_epsilon\": 1e-5, \"multi_query\": true, " \
    "\"parallel_attn\": true, " COMMON
#define MPT                                                                          \
    "\"model_type\": \"mpt\", \"d_model\": 64, \"n_layers\": 5, \"n_heads\": 4, "    \
    "\"max_seq_len\": 512, \"vocab_size\": 100, \"attn_config\": {\"alibi\": true, " \
    "\"alibi_bias_max\": 16}"
#define BLOOM                                                                               \
    "\"model_type\": \"bloom\", \"n_embed\": 64, \"n_layer\": 5, \"num_attention_heads\": " \
    "4, \"vocab_size\": 100, \"layer_norm_epsilon\": 1e-5"
#define MIXTRAL \
    "\"model_type\": \"mixtral\", \"num_local_experts\": 8, \"num_experts_per_tok\": 2, " COMMON
#define QWEN3MOE                                                                        \
    "\"model_type\": \"qwen3_moe\", \"num_experts\": 128, \"num_experts_per_tok\": 8, " \
    "\"moe_intermediate_size\": 32, " COMMON
#define GPTOSS                                                                           \
    "\"model_type\": \"gpt_oss\", \"num_local_experts\": 32, \"experts_per_token\": 4, " \
    "\"attention_bias\": true, \"sliding_window\": 128, " COMMON
#define GEMMA3 "\"model_type\": \"gemma3_text\", \"sliding_window\": 300, " COMMON

TEST(hparams, a_llama_says_the_least)
{
    accept(LLAMA, "");
    CHECK_TEXT(h.arch, "llama");
    CHECK_TEXT(h.name, "small");
    CHECK(h.L == 5 && h.D == 64 && h.F == 128 && h.H == 4 && h.K == 4 && h.dim == 16);
    CHECK(h.V == 100 && h.context == 2048 && h.rope == ROPE_HALF && h.window == 0 && !h.untied);
    CHECK_NEAR(h.eps, 1e-5, 1e-12);
    CHECK_NEAR(h.freq[1], pow(10000, -2.0 / 16), 1e-7);
    CHECK(h.rotary_scale == 1 && h.scale == 0.25f && h.score_cap == 0 && h.logit_cap == 0);
}

TEST(hparams, every_number_is_read_where_it_is_given)
{
    accept(QWEN3, "\"num_key_value_heads\": 2, \"head_dim\": 32, \"tie_word_embeddings\": false, "
                  "\"rope_theta\": 1e6, \"torch_dtype\": \"bfloat16\", "
                  "\"architectures\": [\"Qwen3ForCausalLM\"], \"hidden_act\": \"silu\"");
    CHECK(h.K == 2 && h.dim == 32 && h.untied);
    CHECK_TEXT(h.arch, "qwen3");
    CHECK_NEAR(h.freq[1], pow(1e6, -2.0 / 32), 1e-7);
    accept(MISTRAL, "\"head_dim\": null, \"num_key_value_heads\": null");
    CHECK(h.K == 4 && h.dim == 16);
    CHECK_TEXT(h.arch, "mistral");
}

TEST(hparams, a_folder_gives_its_name)
{
    static const char *const names[][2] = {
        {"a/b", "b"},  {"b", "b"}, {"/x/b//", "b"}, {".", ""},
        {"../..", ""}, {"/", ""},  {"a/.b", ".b"},  {"", ""},
    };
    json_error_t at;
    json_t *config = json_loads("{" LLAMA "}", 0, &at);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct checkpoint c = {.folder = {.path = names[i][0]}, .config = config};
        CHECK_EQ(hparams_read(&h, &c, &err), 0);
        CHECK_TEXT(h.name, names[i][1]);
    }
    json_decref(config);
}

TEST(hparams, numbers_that_are_missing_or_out_of_range_are_named)
{
    refuse("\"model_type\": \"llama\"", "", INFLIGHT_E_MODEL,
           "config.json: num_hidden_layers is missing");
    refuse(LLAMA, "\"num_hidden_layers\": 1025", INFLIGHT_E_MODEL,
           "config.json: num_hidden_layers must be an integer in 1 .. 1024");
    refuse(LLAMA, "\"num_hidden_layers\": \"5\"", INFLIGHT_E_MODEL,
           "config.json: num_hidden_layers must be an integer in 1 .. 1024");
    refuse(LLAMA, "\"hidden_size\": 64.0", INFLIGHT_E_MODEL,
           "config.json: hidden_size must be an integer in 32 .. 131072");
    refuse(LLAMA, "\"num_key_value_heads\": 3", INFLIGHT_E_MODEL,
           "config.json: 4 query heads do not share 3 key/value heads");
    refuse(LLAMA, "\"head_dim\": 15", INFLIGHT_E_MODEL,
           "config.json: head width 15 is not an even number in 2 .. 512");
    refuse(LLAMA, "\"vocab_size\": 0", INFLIGHT_E_MODEL,
           "config.json: vocab_size must be an integer in 1 .. 16777216");
    refuse(LLAMA, "\"vocab_size\": 9223372036854775807", INFLIGHT_E_MODEL,
           "config.json: vocab_size must be an integer in 1 .. 16777216");
    refuse(LLAMA, "\"rms_norm_eps\": 0", INFLIGHT_E_MODEL,
           "config.json: rms_norm_eps is missing or not in 0 .. 1");
    refuse(LLAMA, "\"rms_norm_eps\": null", INFLIGHT_E_MODEL,
           "config.json: rms_norm_eps is missing or not in 0 .. 1");
}

TEST(hparams, families_that_are_not_served_are_named_first)
{
    refuse(COMMON, "", INFLIGHT_E_MODEL, "config.json: model_type is missing");
    refuse(COMMON, "\"model_type\": 7", INFLIGHT_E_MODEL, "config.json: model_type is missing");
    refuse("\"n_layer\": 12", "\"model_type\": \"t5\"", INFLIGHT_E_UNSUPPORTED,
           "config.json: model_type \"t5\" is not served");
    refuse(LLAMA, "\"architectures\": [\"LlamaForSequenceClassification\"]", INFLIGHT_E_UNSUPPORTED,
           "config.json: architectures: LlamaForSequenceClassification does not predict the next "
           "token: not served");
}

TEST(hparams, what_would_change_results_unseen_is_refused_by_its_key)
{
    refuse(LLAMA, "\"hidden_act\": \"gelu\"", INFLIGHT_E_UNSUPPORTED,
           "config.json: hidden_act \"gelu\" is not served, only silu is");
    refuse(LLAMA, "\"hidden_act\": 1", INFLIGHT_E_UNSUPPORTED,
           "config.json: hidden_act \"?\" is not served, only silu is");
    refuse(LLAMA, "\"attention_bias\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: attention_bias is true: not served for llama");
    accept(LLAMA, "\"attention_bias\": false, \"mlp_bias\": false, \"partial_rotary_factor\": 1.0");
    accept(QWEN2, "\"attention_bias\": true");
    refuse(LLAMA, "\"attention_bias\": 1", INFLIGHT_E_UNSUPPORTED,
           "config.json: attention_bias is true: not served for llama");
    refuse(LLAMA, "\"mlp_bias\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: mlp_bias is set: not served");
    refuse(LLAMA, "\"partial_rotary_factor\": 0.5", INFLIGHT_E_UNSUPPORTED,
           "config.json: partial_rotary_factor is not 1: not served for llama");
}

TEST(hparams, layers_without_rotation_must_be_those_of_the_row)
{
    accept(SMOLLM3, "\"no_rope_layers\": [1, 1, 1, 0, 1]");
    accept(SMOLLM3, "\"no_rope_layers\": null, \"no_rope_layer_interval\": 4");
    CHECK_NEAR(h.freq[1], pow(2e6, -2.0 / 16), 1e-7); /* the base where none is given */
    accept(LLAMA, "\"no_rope_layers\": [0]");         /* of no meaning there */
    refuse(SMOLLM3, "\"no_rope_layers\": [1, 1, 0, 1, 1]", INFLIGHT_E_UNSUPPORTED,
           "config.json: no_rope_layers[2] is not 1: of every 4 layers only the last is served "
           "without rotation");
    refuse(SMOLLM3, "\"no_rope_layers\": [1, 1]", INFLIGHT_E_MODEL,
           "config.json: no_rope_layers is not a list of 5 numbers");
    refuse(SMOLLM3, "\"no_rope_layer_interval\": 3", INFLIGHT_E_UNSUPPORTED,
           "config.json: no_rope_layer_interval is not 4: not served");
}

/* Which of the five layers slide, as digits. */
static int sliding(void)
{
    int digits = 0;
    for (int l = 0; l < 5; l++)
        digits = digits * 10 + h.slides[l];
    return digits;
}

TEST(hparams, a_window_is_on_the_layers_that_have_it)
{
    static const char qwen[] = "\"sliding_window\": 300, \"max_window_layers\": 2";
    char more[256];
    accept(MISTRAL, "\"sliding_window\": 4096");
    CHECK(h.window == 4096 && sliding() == 11111);
    accept(MISTRAL, "\"sliding_window\": null");
    CHECK(h.window == 0 && sliding() == 0);
    accept(LLAMA, "\"sliding_window\": 4096, \"use_sliding_window\": true");
    CHECK(sliding() == 0);
    accept(QWEN2, qwen);
    CHECK(sliding() == 0);
    snprintf(more, sizeof more, "%s, \"use_sliding_window\": true", qwen);
    accept(QWEN2, more);
    CHECK(h.window == 300 && sliding() == 111);
    snprintf(more, sizeof more,
             "%s, \"use_sliding_window\": true, \"layer_types\": [\"full_attention\", "
             "\"sliding_attention\", \"full_attention\", \"full_attention\", "
             "\"sliding_attention\"]",
             qwen);
    accept(QWEN3, more);
    CHECK(h.window == 300 && sliding() == 1001);
    snprintf(more, sizeof more, "%s, \"use_sliding_window\": true", qwen);
    accept(SMOLLM3, more);
    CHECK(h.window == 300 && sliding() == 10);
}

TEST(hparams, of_gemma_every_second_or_sixth_layer_sees_all)
{
    accept(GEMMA, "\"sliding_window\": 300");
    CHECK(h.window == 0 && sliding() == 0);
    accept(GEMMA2, "");
    CHECK(h.window == 300 && sliding() == 10101);
    accept(GEMMA3, "");
    CHECK(h.window == 300 && sliding() == 11111);
    accept(GEMMA3, "\"sliding_window_pattern\": 3");
    CHECK(sliding() == 11011);
    accept(GEMMA3, "\"sliding_window_pattern\": 3, \"layer_types\": [\"full_attention\", "
                   "\"sliding_attention\", \"full_attention\", \"full_attention\", "
                   "\"full_attention\"]");
    CHECK(sliding() == 1000);
    refuse(GEMMA3, "\"sliding_window\": null", INFLIGHT_E_MODEL,
           "config.json: sliding_window must be an integer of 1 and more");
    refuse(GEMMA3, "\"sliding_window_pattern\": 0", INFLIGHT_E_MODEL,
           "config.json: sliding_window_pattern must be an integer of 1 and more");
    refuse(GEMMA3, "\"layer_types\": [\"full_attention\"]", INFLIGHT_E_MODEL,
           "config.json: layer_types is not a list of 5 names");
}

TEST(hparams, gemma_says_how_scores_and_logits_are_scaled)
{
    accept(GEMMA2, "\"query_pre_attn_scalar\": 144, \"attn_logit_softcapping\": 50.0, "
                   "\"final_logit_softcapping\": 30");
    CHECK(h.score_cap == 50 && h.logit_cap == 30);
    CHECK_NEAR(h.scale, 1.0 / 12, 1e-8);
    accept(GEMMA3, "\"attn_logit_softcapping\": null, \"hidden_act\": \"gelu\", "
                   "\"hidden_activation\": \"gelu_pytorch_tanh\"");
    CHECK(h.scale == 0.25f && h.score_cap == 0 && h.logit_cap == 0);
    refuse(GEMMA3, "\"final_logit_softcapping\": 30.0", INFLIGHT_E_UNSUPPORTED,
           "config.json: final_logit_softcapping is set: not served for gemma3");
    refuse(GEMMA2, "\"attn_logit_softcapping\": -1", INFLIGHT_E_MODEL,
           "config.json: attn_logit_softcapping must be a number in 0.001 .. 1e6");
    refuse(GEMMA2, "\"query_pre_attn_scalar\": 0", INFLIGHT_E_MODEL,
           "config.json: query_pre_attn_scalar must be a number above 0");
    refuse(GEMMA, "\"hidden_activation\": \"relu\"", INFLIGHT_E_UNSUPPORTED,
           "config.json: hidden_activation \"relu\" is not served, only gelu_pytorch_tanh is");
    refuse(GEMMA3, "\"use_bidirectional_attention\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: use_bidirectional_attention is true: not served");
}

static void check_turns(double full, double near)
{
    CHECK_NEAR(h.freq[1], full * pow(1e6, -2.0 / 16), 1e-8);
    CHECK_NEAR(h.near_freq[1], pow(near, -2.0 / 16), 1e-7);
}

TEST(hparams, layers_with_a_window_turn_by_their_own_base)
{
    accept(GEMMA3, "");
    check_turns(1, 1e4);
    accept(GEMMA3, "\"rope_local_base_freq\": 5000.0, \"rope_theta\": 1e6, "
                   "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8.0}");
    check_turns(0.125, 5e3);
    accept(GEMMA3, "\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"linear\", "
                   "\"factor\": 8.0, \"rope_theta\": 1e6}, \"sliding_attention\": "
                   "{\"rope_type\": \"default\", \"rope_theta\": 5000.0}}");
    check_turns(0.125, 5e3);
    accept(GEMMA3, "\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1e6}}");
    check_turns(1, 1e4);
    refuse(GEMMA3,
           "\"rope_parameters\": {\"sliding_attention\": {\"rope_type\": \"linear\", "
           "\"factor\": 2.0}}",
           INFLIGHT_E_UNSUPPORTED,
           "config.json: rope_parameters: sliding_attention has a scaling: not served");
    refuse(GEMMA3, "\"rope_local_base_freq\": 0.5", INFLIGHT_E_MODEL,
           "config.json: rotary base of layers with a window out of range");
    refuse(GEMMA2, "\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1e6}}",
           INFLIGHT_E_UNSUPPORTED,
           "config.json: rope_parameters: one rotation for full_attention is not served");
}

TEST(hparams, a_window_that_is_not_understood_is_refused)
{
    refuse(MISTRAL, "\"sliding_window\": 0", INFLIGHT_E_MODEL,
           "config.json: sliding_window must be an integer of 1 and more");
    refuse(MISTRAL, "\"sliding_window\": [4096]", INFLIGHT_E_MODEL,
           "config.json: sliding_window must be an integer of 1 and more");
    refuse(QWEN2, "\"sliding_window\": 300, \"use_sliding_window\": true", INFLIGHT_E_MODEL,
           "config.json: there is a window without layer_types or max_window_layers");
    refuse(QWEN2, "\"sliding_window\": 3, \"use_sliding_window\": true, \"layer_types\": []",
           INFLIGHT_E_MODEL, "config.json: layer_types is not a list of 5 names");
    refuse(QWEN2,
           "\"sliding_window\": 3, \"use_sliding_window\": true, \"layer_types\": "
           "[\"chunked_attention\", 1, 1, 1, 1]",
           INFLIGHT_E_UNSUPPORTED,
           "config.json: layer_types[0] is neither full_attention nor sliding_attention");
}

TEST(hparams, rotation_is_read_in_both_generations)
{
    static const char *const same[] = {
        "\"rope_theta\": 500, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}",
        "\"rope_theta\": 500, \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 4.0}",
        "\"rope_parameters\": {\"rope_theta\": 500, \"rope_type\": \"linear\", \"factor\": 4}",
        "\"rope_theta\": 500, \"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 4}",
        ("\"rope_theta\": 1, \"rope_scaling\": null, \"rope_parameters\": {\"rope_theta\": 500, "
         "\"rope_type\": \"linear\", \"factor\": 4}"),
    };
    for (size_t i = 0; i < COUNT_OF(same); i++) {
        accept(LLAMA, same[i]);
        for (int j = 0; j < 8; j++)
            CHECK_NEAR(h.freq[j], pow(500, -2.0 * j / 16) / 4, 1e-7);
    }
    accept(LLAMA, "\"rope_scaling\": {\"rope_type\": \"dynamic\", \"factor\": 4}");
    CHECK_NEAR(h.freq[3], pow(10000, -6.0 / 16), 1e-7); /* within the trained context */
}

TEST(hparams, yarn_has_its_numbers)
{
#define YARN(more) "\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 4" more "}"
    float freq[8];
    accept(LLAMA, YARN(", \"original_max_position_embeddings\": 512"));
    CHECK_NEAR(h.rotary_scale, 1 + 0.1 * log(4), 1e-6);
    CHECK_NEAR(h.freq[0], 1, 1e-7);
    CHECK_NEAR(h.freq[7], pow(10000, -14.0 / 16) / 4, 1e-9);
    memcpy(freq, h.freq, sizeof freq);
    accept(LLAMA, "\"original_max_position_embeddings\": 512, " YARN(""));
    CHECK(memcmp(freq, h.freq, sizeof freq) == 0);
    accept(LLAMA, YARN("")); /* 2048 positions are the original ones */
    CHECK(memcmp(freq, h.freq, sizeof freq) != 0);
    accept(LLAMA, YARN(", \"attention_factor\": 1.25"));
    CHECK_NEAR(h.rotary_scale, 1.25, 1e-7);
    accept(LLAMA, YARN(", \"mscale\": 0.5, \"mscale_all_dim\": 2"));
    CHECK_NEAR(h.rotary_scale, (1 + 0.05 * log(4)) / (1 + 0.2 * log(4)), 1e-6);
    accept(LLAMA, YARN(", \"mscale\": 0.5"));
    CHECK_NEAR(h.rotary_scale, 1 + 0.1 * log(4), 1e-6);
}

/* From 32 turns to one: pairs 2.02 to 5.03 here, in whole pairs 2 to 6. */
TEST(hparams, yarn_may_ramp_between_pairs)
{
    double pi = acos(-1), low = 16 * log(2048 / (64 * pi)) / (2 * log(10000));
    double high = 16 * log(2048 / (2 * pi)) / (2 * log(10000));
    for (int whole = 0; whole < 2; whole++) {
        accept(LLAMA, whole ? YARN("") : YARN(", \"truncate\": false"));
        for (int i = 0; i < 8; i++) {
            double a = whole ? floor(low) : low, b = whole ? ceil(high) : high;
            double ramp = fmin(fmax((i - a) / (b - a), 0), 1), freq = pow(10000, -2.0 * i / 16);
            CHECK_NEAR(h.freq[i], freq / 4 * ramp + freq * (1 - ramp), 1e-7);
        }
    }
}

/* Llama 3.1 8B, by wavelengths as the writers of GGUF files compute rope_freqs.weight: pairs 0 to
 * 28 stay, and from 35 on all are divided by 8. */
TEST(hparams, llama3_factors_are_those_of_gguf_files)
{
    double pi = acos(-1);
    accept(LLAMA,
           "\"hidden_size\": 512, \"rope_theta\": 500000, \"rope_scaling\": {\"factor\": 8.0, "
           "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
           "\"original_max_position_embeddings\": 8192, \"rope_type\": \"llama3\"}");
    for (int i = 0; i < 64; i++) {
        double freq = pow(500000, -2.0 * i / 128), length = 2 * pi / freq, want = 1;
        if (length > 8192)
            want = 8;
        else if (length > 8192.0 / 4)
            want = 1 / ((1 - (8192 / length - 1) / 3) / 8 + (8192 / length - 1) / 3);
        CHECK_NEAR(freq / (double)h.freq[i], want, 1e-6 * want);
        CHECK((want == 1) == (i < 29) && (want == 8) == (i >= 35));
    }
    CHECK(h.rotary_scale == 1);
}

TEST(hparams, rotation_that_is_not_served_or_makes_no_sense_is_refused)
{
#define RANGE "config.json: rotary base, factor, original context or turns of llama out of range"
    static const char *const bad[] = {
        "\"rope_theta\": 0",
        "\"rope_theta\": \"10000\"",
        "\"rope_scaling\": {\"type\": \"linear\"}",
        "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0.5}",
        "\"rope_scaling\": {\"type\": \"linear\", \"factor\": [1]}",
        YARN(", \"beta_fast\": 1, \"beta_slow\": 2"),
        YARN(", \"attention_factor\": -1"),
        YARN(", \"original_max_position_embeddings\": 1e300"),
        ("\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, "
         "\"high_freq_factor\": 4}"),
        "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1}",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        refuse(LLAMA, bad[i], INFLIGHT_E_MODEL, RANGE);
    refuse(LLAMA, "\"rope_scaling\": []", INFLIGHT_E_MODEL,
           "config.json: rope_scaling is not an object");
    refuse(LLAMA, "\"rope_scaling\": {\"type\": \"ntk\"}", INFLIGHT_E_UNSUPPORTED,
           "config.json: rope_type \"ntk\" is not served");
    refuse(LLAMA, "\"rope_scaling\": {\"type\": 3}", INFLIGHT_E_UNSUPPORTED,
           "config.json: rope_type \"?\" is not served");
    refuse(LLAMA, "\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 5}}",
           INFLIGHT_E_UNSUPPORTED,
           "config.json: rope_parameters: one rotation for full_attention is not served");
    refuse(LLAMA, "\"rope_parameters\": {\"partial_rotary_factor\": 0.25}", INFLIGHT_E_UNSUPPORTED,
           "config.json: partial_rotary_factor is not 1: not served for llama");
}

#define LONG(more)                                                                      \
    "\"partial_rotary_factor\": 0.75, \"original_max_position_embeddings\": 512, "      \
    "\"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1, 1, 1, 2, 2, 2], " \
    "\"long_factor\": [1, 4, 8, 8, 8, 8" more "]}"

TEST(hparams, phi_turns_a_part_of_each_head_by_factors_for_two_lengths)
{
    for (int is_long = 0; is_long < 2; is_long++) {
        accept(PHI3, LONG(""));
        CHECK(h.rotary_dim == 12 && h.original == 512 && h.dim == 16);
        CHECK_NEAR(h.rotary_scale, sqrt(1 + log(4) / log(512)), 1e-6);
        rope_choose(&h, is_long ? 513 : 512);
        CHECK_NEAR(h.freq[1], pow(1e4, -2.0 / 12) / (is_long ? 4 : 1), 1e-7);
        CHECK_NEAR(h.freq[3], pow(1e4, -6.0 / 12) / (is_long ? 8 : 2), 1e-8);
        rope_choose(&h, 2048); /* once */
        CHECK_NEAR(h.freq[3], pow(1e4, -6.0 / 12) / (is_long ? 8 : 2), 1e-8);
    }
    accept(PHI3, "\"sliding_window\": 300");
    CHECK(h.rotary_dim == 16 && h.rotary_scale == 1 && h.window == 300 && sliding() == 11111);
    refuse(PHI3, LONG(", 8"), INFLIGHT_E_MODEL,
           "config.json: long_factor is not a list of 6 numbers");
    refuse(PHI3, "\"rope_scaling\": {\"type\": \"su\", \"short_factor\": [1, 1, 0, 1, 1, 1, 1, 1]}",
           INFLIGHT_E_MODEL, "config.json: short_factor[2] must be a number in 0.001 .. 1e6");
    refuse(PHI3, "\"partial_rotary_factor\": 0.7", INFLIGHT_E_MODEL,
           "config.json: partial_rotary_factor: of 16 columns an even number must turn");
    refuse(PHI3, "\"partial_rotary_factor\": -1", INFLIGHT_E_MODEL,
           "config.json: partial_rotary_factor: of 16 columns an even number must turn");
}

TEST(hparams, families_before_llama_have_words_of_their_own)
{
    accept(GPT2, "\"activation_function\": \"gelu_new\", \"n_inner\": null");
    CHECK(h.L == 5 && h.D == 64 && h.F == 256 && h.H == 4 && h.K == 4 && h.dim == 16);
    CHECK(h.context == 1024 && h.activation == ACTIVATION_GELU_TANH && !h.parallel);
    accept(GPT2, "\"n_inner\": 96, \"architectures\": [\"GPT2LMHeadModel\"]");
    CHECK_EQ(h.F, 96);
    accept(GPTJ, "");
    CHECK(h.rope == ROPE_INTERLEAVED && h.rotary_dim == 8 && h.parallel);
    accept(GPTJ, "\"rotary_dim\": null");
    CHECK_EQ(h.rotary_dim, 16);
    accept(NEOX, "\"hidden_act\": \"gelu\", \"rotary_emb_base\": 500");
    CHECK(h.rope == ROPE_HALF && h.rotary_dim == 4 && h.parallel);
    CHECK_EQ(h.activation, ACTIVATION_GELU);
    CHECK_NEAR(h.freq[1], 1 / sqrt(500), 1e-7);
    accept(NEOX, "\"use_parallel_residual\": false, \"hidden_act\": \"gelu_fast\"");
    CHECK(!h.parallel && h.activation == ACTIVATION_GELU_TANH);
    accept(BLOOM, "");
    CHECK(h.context == 2048 && h.F == 256);
    CHECK_NEAR(h.alibi_max, 8, 0);
    accept(MPT, "\"expansion_ratio\": 2");
    CHECK(h.context == 512 && h.F == 128);
    CHECK_NEAR(h.alibi_max, 16, 0);
    CHECK_NEAR(h.eps, 1e-5, 1e-12);
}

TEST(hparams, falcon_has_one_key_unless_it_is_of_the_new_kind)
{
    accept(FALCON, "\"num_kv_heads\": 4");
    CHECK(h.K == 1 && h.F == 128);
    accept(FALCON, "\"multi_query\": false");
    CHECK_EQ(h.K, 4);
    accept(FALCON, "\"new_decoder_architecture\": true, \"num_kv_heads\": 2");
    CHECK_EQ(h.K, 2);
    accept(FALCON, "\"model_type\": \"RefinedWeb\", \"n_head_kv\": 2, \"multi_query\": null");
    CHECK_EQ(h.K, 2);
    refuse(FALCON, "\"new_decoder_architecture\": true, \"num_kv_heads\": 3", INFLIGHT_E_MODEL,
           "config.json: 4 query heads do not share 3 key/value heads");
}

TEST(hparams, switches_of_old_families_that_are_not_served_are_named)
{
    refuse(GPT2, "\"scale_attn_by_inverse_layer_idx\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: scale_attn_by_inverse_layer_idx is set: not served");
    refuse(GPT2, "\"activation_function\": \"relu\"", INFLIGHT_E_UNSUPPORTED,
           "config.json: activation_function \"relu\" is not served");
    refuse(GPT2, "\"layer_norm_epsilon\": null", INFLIGHT_E_MODEL,
           "config.json: layer_norm_epsilon is missing or not in 0 .. 1");
    refuse(NEOX, "\"rotary_pct\": null", INFLIGHT_E_MODEL,
           "config.json: partial_rotary_factor: of 16 columns an even number must turn");
    refuse(NEOX, "\"attention_bias\": false", INFLIGHT_E_UNSUPPORTED,
           "config.json: attention_bias is false: not served");
    refuse(FALCON, "\"alibi\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: alibi is set: not served");
    refuse(FALCON, "\"parallel_attn\": false", INFLIGHT_E_UNSUPPORTED,
           "config.json: parallel_attn is false: not served");
    refuse(MPT, "\"attn_config\": {\"alibi\": false}", INFLIGHT_E_UNSUPPORTED,
           "config.json: attn_config: alibi is not on: not served");
    refuse(MPT, "\"attn_config\": {\"alibi\": true, \"clip_qkv\": 6}", INFLIGHT_E_UNSUPPORTED,
           "config.json: attn_config: clip_qkv is set: not served");
    refuse(MPT, "\"expansion_ratio\": 0.1", INFLIGHT_E_MODEL,
           "config.json: expansion_ratio times d_model must be an integer in 32 .. 1048576");
    refuse(MPT, "\"expansion_ratio\": \"four\"", INFLIGHT_E_MODEL,
           "config.json: expansion_ratio times d_model must be an integer in 32 .. 1048576");
    refuse(MPT, "\"attn_config\": {\"alibi\": true, \"alibi_bias_max\": 0}", INFLIGHT_E_MODEL,
           "config.json: attn_config: alibi_bias_max must be a number in 1 .. 64");
    refuse(BLOOM, "\"apply_residual_connection_post_layernorm\": true", INFLIGHT_E_UNSUPPORTED,
           "config.json: apply_residual_connection_post_layernorm is set: not served");
}

TEST(hparams, experts_are_counted)
{
    accept(MIXTRAL, "\"sliding_window\": 64");
    CHECK(h.E == 8 && h.U == 2 && h.F == 128 && h.shares == SHARES_OF_CHOSEN);
    CHECK(h.window == 64 && h.slides[0] && h.rope == ROPE_HALF);
    CHECK_TEXT(h.arch, "mixtral");
    accept(QWEN3MOE, "\"norm_topk_prob\": true, \"mlp_only_layers\": []");
    CHECK(h.E == 128 && h.U == 8 && h.F == 32 && h.shares == SHARES_OF_CHOSEN);
    accept(QWEN3MOE, "\"decoder_sparse_step\": 1, \"mlp_only_layers\": null");
    CHECK_EQ(h.shares, SHARES_OF_ALL);
    accept(GPTOSS, "\"swiglu_limit\": 5.5, \"swiglu_alpha\": 1.702");
    CHECK(h.E == 32 && h.U == 4 && h.F == 128 && h.shares == SHARES_OF_CHOSEN &&
          h.glu_limit == 5.5f);
    CHECK(h.window == 128 && h.slides[0] && !h.slides[1] && h.slides[2]);
    accept(GPTOSS, "\"layer_types\": [\"full_attention\", \"sliding_attention\", "
                   "\"full_attention\", \"full_attention\", \"full_attention\"]");
    CHECK(h.glu_limit == 7 && !h.slides[0] && h.slides[1] && !h.slides[2]);
    refuse(GPTOSS, "\"swiglu_alpha\": 1.5", INFLIGHT_E_UNSUPPORTED,
           "config.json: swiglu_alpha is not 1.702: not served");
    refuse(GPTOSS, "\"swiglu_limit\": 0", INFLIGHT_E_MODEL,
           "config.json: swiglu_limit must be a number in 0.001 .. 1e6");
    refuse(MIXTRAL, "\"num_experts_per_tok\": 9", INFLIGHT_E_MODEL,
           "config.json: a token meets 9 of 8 experts");
    refuse(MIXTRAL, "\"num_local_experts\": 1025", INFLIGHT_E_MODEL,
           "config.json: num_local_experts must be an integer in 0 .. 1024");
    refuse(QWEN3MOE, "\"decoder_sparse_step\": 2", INFLIGHT_E_UNSUPPORTED,
           "config.json: decoder_sparse_step is not 1: not served");
    refuse(QWEN3MOE, "\"mlp_only_layers\": [0]", INFLIGHT_E_UNSUPPORTED,
           "config.json: mlp_only_layers is not empty: not served");
}
