/* The numbers of GGUF files: those that families differ in, and what is refused by its key. The
 * values of rotation are compared on whole models (tests/model/families.c). */
#include "t.h"

#include "kernels/ops.h"
#include "plugin/model/hparams.h"

#include "gguf_image.h"

#include <math.h>

static struct err err;
static struct hparams h;

static void put_key_f32(struct image *im, const char *key, float v)
{
    put_key(im, key, GGUF_F32);
    put(im, &v, sizeof v);
}

/* A model of L layers, heads of 16 and inputs of 96; keys that are 0 are left out. */
struct numbers {
    const char *arch;
    uint32_t L, window, rotary;
    float score_cap, logit_cap;
};

static bool lists_widths; /* of the feed-forward part, which is not among these then */

static void put_numbers(struct image *im, const struct numbers *f)
{
    const struct {
        const char *name;
        uint32_t value;
    } numbers[] = {{"block_count", f->L},
                   {"embedding_length", 96},
                   {"feed_forward_length", lists_widths ? 0 : 128},
                   {"context_length", 2048},
                   {"attention.head_count", 4},
                   {"attention.key_length", 16},
                   {"attention.sliding_window", f->window},
                   {"rope.dimension_count", f->rotary}};
    char key[96];
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        snprintf(key, sizeof key, "%s.%s", f->arch, numbers[i].name);
        if (numbers[i].value)
            put_key_u32(im, key, numbers[i].value);
    }
    snprintf(key, sizeof key, "%s.attn_logit_softcapping", f->arch);
    if (f->score_cap != 0)
        put_key_f32(im, key, f->score_cap);
    snprintf(key, sizeof key, "%s.final_logit_softcapping", f->arch);
    if (f->logit_cap != 0)
        put_key_f32(im, key, f->logit_cap);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", f->arch);
    put_key_f32(im, key, 1e-6f);
}

/* more: puts n_more other keys, or NULL. */
static int32_t read_with(struct numbers f, void (*more)(struct image *im), int n_more)
{
    static struct image im;
    struct arena arena;
    struct checkpoint c = {0};
    size_t need;
    const uint64_t n = (uint64_t)(8 + (f.L != 0) + (f.window != 0) + (f.rotary != 0) +
                                  (f.score_cap != 0) + (f.logit_cap != 0) - lists_widths + n_more);
    begin(&im, 3, 0, n);
    put_key(&im, "general.architecture", GGUF_STRING);
    put_string(&im, f.arch);
    put_numbers(&im, &f);
    if (more)
        more(&im);
    put_key_array(&im, "tokenizer.ggml.tokens", GGUF_STRING, 2);
    put_string(&im, "a");
    put_string(&im, "b");
    put_data(&im, 32, 0);
    arena_init(&arena, &mem_system);
    err = (struct err){0};
    CHECK_EQ(gguf_parse(&c.gguf, im.bytes, im.n, im.n, &arena, &need, &err), 0);
    int32_t rc = err.code ? err.code : hparams_read(&h, &c, &err);
    CHECK_EQ(err.code, rc);
    arena_release(&arena);
    return rc;
}

static int32_t read_file(struct numbers f)
{
    return read_with(f, NULL, 0);
}

static void refuse(struct numbers f, const char *text)
{
    CHECK_EQ(read_file(f), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, text);
}

TEST(hparams_gguf, gemma_has_its_windows_caps_and_scales)
{
    CHECK_EQ(read_file((struct numbers){.arch = "gemma", .L = 3}), 0);
    CHECK(h.V == 2 && h.window == 0 && h.scale == 0.25f && h.score_cap == 0 && h.logit_cap == 0);
    CHECK_EQ(read_file((struct numbers){"gemma2", 3, 100, 0, 50, 30}), 0);
    CHECK(h.window == 100 && h.slides[0] && !h.slides[1] && h.slides[2]);
    CHECK(h.score_cap == 50 && h.logit_cap == 30 && h.scale == 0.25f);
    CHECK_EQ(read_file((struct numbers){"gemma3", 7, 100, 0, 0, 0}), 0);
    CHECK(h.slides[0] && h.slides[4] && !h.slides[5] && h.slides[6] && h.score_cap == 0);
    CHECK_NEAR(h.freq[1], pow(1e4, -2.0 / 16), 1e-7); /* as the file has no base */
    CHECK_NEAR(h.near_freq[1], pow(1e4, -2.0 / 16), 1e-7);
}

TEST(hparams_gguf, phi_may_turn_a_part_of_each_head)
{
    CHECK_EQ(read_file((struct numbers){.arch = "phi3", .L = 3, .rotary = 12}), 0);
    CHECK(h.rotary_dim == 12 && h.dim == 16 && h.window == 0);
    CHECK_NEAR(h.freq[1], pow(1e4, -2.0 / 12), 1e-7);
    CHECK_EQ(read_file((struct numbers){.arch = "phi3", .L = 3, .window = 100}), 0);
    CHECK(h.rotary_dim == 16 && h.window == 100 && h.slides[0] && h.slides[2]);
    refuse((struct numbers){.arch = "phi3", .L = 3, .rotary = 5},
           "phi3.rope.dimension_count must be an even number in 2 .. 16");
    CHECK_EQ(read_file((struct numbers){.arch = "llama", .L = 3, .rotary = 12}),
             INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, "llama.rope.dimension_count is 12 of 16: partial rotation is not served "
                         "for llama");
}

/* By the width of inputs over heads, 24, in place of that of a head. */
TEST(hparams_gguf, of_gemma_27b_scores_have_another_scale)
{
    CHECK_EQ(read_file((struct numbers){"gemma2", 46, 100, 0, 50, 30}), 0);
    CHECK_NEAR(h.scale, 1 / sqrt(24), 1e-7);
    CHECK_EQ(read_file((struct numbers){"gemma3", 62, 100, 0, 0, 0}), 0);
    CHECK_NEAR(h.scale, 1 / sqrt(24), 1e-7);
    CHECK_EQ(read_file((struct numbers){"gemma2", 62, 100, 0, 50, 30}), 0);
    CHECK(h.scale == 0.25f);
}

TEST(hparams_gguf, what_gemma_needs_must_be_there)
{
    refuse((struct numbers){"gemma", 0, 0, 0, 0, 0}, "gemma.block_count is missing");
    refuse((struct numbers){"gemma2", 3, 0, 0, 50, 30},
           "gemma2.attention.sliding_window is missing or not an integer of 1 and more");
    refuse((struct numbers){"gemma2", 3, 100, 0, 0, 30},
           "gemma2.attn_logit_softcapping is missing or not in 0.001 .. 1e6");
    refuse((struct numbers){"gemma2", 3, 100, 0, 50, -1},
           "gemma2.final_logit_softcapping is missing or not in 0.001 .. 1e6");
}

static void put_switches(struct image *im)
{
    static const uint8_t slides[] = {0, 1, 1, 0, 1};
    put_key_array(im, "olmo2.attention.sliding_window_pattern", GGUF_BOOL, sizeof slides);
    put(im, slides, sizeof slides);
}

static void put_every_second(struct image *im)
{
    put_key_u32(im, "exaone4.attention.sliding_window_pattern", 2);
}

static void put_none(struct image *im)
{
    put_key_u32(im, "exaone4.attention.sliding_window_pattern", 0);
}

TEST(hparams_gguf, a_file_may_say_which_layers_see_the_window)
{
    CHECK_EQ(read_with((struct numbers){.arch = "olmo2", .L = 5, .window = 100}, put_switches, 1),
             0);
    CHECK(!h.slides[0] && h.slides[1] && h.slides[2] && !h.slides[3] && h.slides[4]);
    CHECK(h.turns_twice && h.turns[0] && h.turns[1]);
    CHECK_EQ(
        read_with((struct numbers){.arch = "exaone4", .L = 4, .window = 100}, put_every_second, 1),
        0);
    CHECK(h.slides[0] && !h.slides[1] && h.slides[2] && !h.slides[3]);
    CHECK(h.turns[0] && !h.turns[1]);
    CHECK_EQ(read_file((struct numbers){.arch = "exaone4", .L = 4}), 0);
    CHECK(h.window == 0 && !h.slides[0] && h.turns[0] && h.turns[3]);
    CHECK_EQ(read_with((struct numbers){.arch = "olmo2", .L = 4, .window = 100}, put_switches, 1),
             INFLIGHT_E_MODEL);
    CHECK_TEXT(
        err.text,
        "olmo2.attention.sliding_window_pattern is neither 4 switches nor an integer above 0");
    CHECK_EQ(read_with((struct numbers){.arch = "exaone4", .L = 4, .window = 100}, put_none, 1),
             INFLIGHT_E_MODEL);
    CHECK_TEXT(
        err.text,
        "exaone4.attention.sliding_window_pattern is neither 4 switches nor an integer above 0");
}

static void put_multipliers(struct image *im)
{
    put_key_f32(im, "granite.embedding_scale", 12);
    put_key_f32(im, "granite.residual_scale", 0.25f);
    put_key_f32(im, "granite.attention.scale", 0.125f);
    put_key_f32(im, "granite.logit_scale", 8);
}

static void put_no_logits(struct image *im)
{
    put_key_f32(im, "granite.logit_scale", 0);
}

TEST(hparams_gguf, multipliers_become_scales)
{
    CHECK_EQ(read_with((struct numbers){.arch = "granite", .L = 3}, put_multipliers, 4), 0);
    CHECK(h.embed_scale == 48 && h.logit_scale == 0.125f && h.scale == 0.125f);
    CHECK_NEAR(h.eps, 16e-6, 1e-10);
    CHECK_EQ(read_file((struct numbers){.arch = "granite", .L = 3}), 0);
    CHECK(h.embed_scale == 1 && h.logit_scale == 1 && h.scale == 0.25f);
    CHECK_EQ(read_with((struct numbers){.arch = "granite", .L = 3}, put_no_logits, 1),
             INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text,
               "a multiplier of embeddings, layers, scores or logits is inf, not in 1e-6 .. 1e6");
}

static void put_factors(struct image *im, float attention)
{
    put_key(im, "olmo2.rope.scaling.type", GGUF_STRING);
    put_string(im, "yarn");
    put_key_f32(im, "olmo2.rope.scaling.factor", 8);
    put_key_f32(im, "olmo2.rope.scaling.yarn_attn_factor", attention);
}

static void put_own(struct image *im)
{
    put_factors(im, 1.2079442f);
}

static void put_another(struct image *im)
{
    put_factors(im, 1.3f);
}

TEST(hparams_gguf, yarn_may_say_what_it_multiplies_by_anyway)
{
    CHECK_EQ(read_with((struct numbers){.arch = "olmo2", .L = 3}, put_own, 3), 0);
    CHECK_NEAR(h.rotary_scale, 1.2079442, 1e-6);
    CHECK_EQ(read_with((struct numbers){.arch = "olmo2", .L = 3}, put_another, 3),
             INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, "olmo2.rope.scaling.yarn_attn_factor is not 1: not served");
}

/* What files say of experts: a key after "<arch>.", and its value. */
struct said {
    const char *key;
    uint32_t value;
};

static const char *of_arch;
static struct said said[8];

static void put_said(struct image *im)
{
    char key[96];
    for (size_t i = 0; i < COUNT_OF(said) && said[i].key; i++) {
        snprintf(key, sizeof key, "%s.%s", of_arch, said[i].key);
        put_key_u32(im, key, said[i].value);
    }
}

/* Beside 8 experts, of which a token meets 2. */
static int32_t read_experts(const char *arch, const struct said *more, int n_more)
{
    memset(said, 0, sizeof said);
    said[0] = (struct said){"expert_count", 8};
    said[1] = (struct said){"expert_used_count", 2};
    for (int i = 0; i < n_more; i++)
        said[2 + i] = more[i];
    of_arch = arch;
    return read_with((struct numbers){.arch = arch, .L = 5}, put_said, 2 + n_more);
}

#define EXPERTS(arch, ...)                                 \
    read_experts(arch, (const struct said[]){__VA_ARGS__}, \
                 (int)(sizeof((const struct said[]){__VA_ARGS__}) / sizeof(struct said)))

TEST(hparams_gguf, layers_and_shares_of_glm_are_those_of_the_file)
{
    CHECK_EQ(EXPERTS("glm4moe", {"expert_feed_forward_length", 32}, {"expert_shared_count", 2},
                     {"leading_dense_block_count", 1}, {"nextn_predict_layers", 1},
                     {"expert_weights_scale", 2}),
             0);
    CHECK(h.L == 4 && h.ahead == 1 && h.dense == 1 && h.dense_F == 128);
    CHECK(h.F == 32 && h.shared_F == 64 && h.shares == SHARES_OF_LOGISTIC && h.share_factor == 2);
    CHECK_EQ(EXPERTS("glm4moe", {"leading_dense_block_count", 0}, {"expert_gating_func", 2}), 0);
    CHECK(h.L == 5 && h.dense == 0 && h.F == 128 && h.shared_F == 0 && h.share_factor == 1);
    CHECK_EQ(EXPERTS("glm4moe", {"leading_dense_block_count", 5}, {"nextn_predict_layers", 1}),
             INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "the first 5 of 4 layers cannot be no experts");
    CHECK_EQ(EXPERTS("glm4moe", {"leading_dense_block_count", 0}, {"nextn_predict_layers", 5}),
             INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "5 layers predict tokens further ahead, and there are no others");
    CHECK_EQ(EXPERTS("glm4moe", {"expert_shared_count", 1}), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "glm4moe.leading_dense_block_count is missing");
}

TEST(hparams_gguf, experts_that_are_not_served_are_refused_by_their_key)
{
    CHECK_EQ(EXPERTS("glm4moe", {"leading_dense_block_count", 0}, {"expert_gating_func", 1}),
             INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, "glm4moe.expert_gating_func is 1: not served for glm4moe");
    CHECK_EQ(EXPERTS("qwen3moe", {"expert_gating_func", 2}), INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, "qwen3moe.expert_gating_func is 2: not served for qwen3moe");
    CHECK_EQ(EXPERTS("qwen3moe", {"expert_gating_func", 1}, {"expert_group_count", 1}), 0);
    CHECK_EQ(EXPERTS("glm4moe", {"leading_dense_block_count", 0}, {"expert_group_count", 4}),
             INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, "glm4moe.expert_group_count is 4: not served");
    CHECK_EQ(EXPERTS("glm4moe", {"leading_dense_block_count", 0}, {"expert_weights_scale", 2000}),
             INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "glm4moe.expert_weights_scale must be a number in 0.001 .. 1000");
    CHECK_EQ(
        EXPERTS("ernie4_5-moe", {"leading_dense_block_count", 1}, {"interleave_moe_layer_step", 2}),
        INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, "ernie4_5-moe.interleave_moe_layer_step is 2: not served");
    CHECK_EQ(EXPERTS("qwen3moe", {"leading_dense_block_count", 1}), INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, "the first 1 layers are no experts: not served for qwen3moe");
    CHECK_EQ(EXPERTS("qwen3moe", {"expert_shared_count", 1}), INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, "an expert that all tokens meet is not served for qwen3moe");
}
static void put_list(struct image *im, const char *key, const uint32_t *list, uint32_t n)
{
    put_key_array(im, key, GGUF_U32, n);
    put(im, list, n * sizeof *list);
}

static void put_near(struct image *im)
{
    put_key_u32(im, "gemma4.attention.key_length_swa", 8);
    put_key_u32(im, "gemma4.attention.value_length_swa", 8);
    put_key_u32(im, "gemma4.rope.dimension_count_swa", 8);
}

/* As a converter writes those of layers that differ. */
static void put_kinds(struct image *im)
{
    static const uint8_t slides[] = {1, 0, 1, 1, 0};
    static const uint32_t heads[] = {4, 2, 4, 4, 2}, widths[] = {128, 128, 128, 256, 256};
    put_near(im);
    put_key_u32(im, "gemma4.attention.shared_kv_layers", 2);
    put_key_u32(im, "gemma4.embedding_length_per_layer_input", 24);
    put_key_array(im, "gemma4.attention.sliding_window_pattern", GGUF_BOOL, sizeof slides);
    put(im, slides, sizeof slides);
    put_list(im, "gemma4.attention.head_count_kv", heads, 5);
    put_list(im, "gemma4.feed_forward_length", widths, 5);
}

static void put_odd_heads(struct image *im)
{
    static const uint32_t heads[] = {4, 2, 4, 4, 1};
    put_list(im, "gemma4.attention.head_count_kv", heads, 5);
}

static void put_few_heads(struct image *im)
{
    static const uint32_t heads[] = {4, 2, 4, 4};
    put_list(im, "gemma4.attention.head_count_kv", heads, 4);
}

static void put_wide_values(struct image *im)
{
    put_key_u32(im, "gemma4.attention.key_length_swa", 8);
    put_key_u32(im, "gemma4.attention.value_length_swa", 16);
}

static void put_experts(struct image *im)
{
    put_key_u32(im, "gemma4.expert_count", 128);
}

TEST(hparams_gguf, layers_may_be_of_two_kinds)
{
    const struct numbers gemma4 = {.arch = "gemma4", .L = 5, .window = 64, .logit_cap = 30};
    lists_widths = true;
    CHECK_EQ(read_with(gemma4, put_kinds, 8), 0);
    lists_widths = false;
    CHECK(h.dim == 16 && h.near_dim == 8 && h.K == 2 && h.near_K == 4 && h.P == 24);
    CHECK(h.F == 128 && h.wide_F == 256 && h.n_shared == 2 && h.values_of_keys);
    CHECK(h.slides[0] && !h.slides[1] && !h.slides[4] && h.scale == 1 && h.logit_cap == 30);
    CHECK(hparams_kv_layer(&h, 3) == 2 && hparams_kv_layer(&h, 4) == 1 && h.window == 64);
    CHECK_EQ(read_file((struct numbers){.arch = "gemma4", .L = 6, .window = 64}), 0);
    CHECK(h.near_dim == 16 && h.near_K == 4 && h.n_shared == 0 && h.logit_cap == 0);
    CHECK(h.slides[4] && !h.slides[5] && hparams_F(&h, 5) == 128 && h.P == 0);
    CHECK_NEAR(h.near_freq[1], pow(1e4, -2.0 / 16), 1e-7);
}

TEST(hparams_gguf, kinds_of_layers_that_are_not_served_are_named)
{
    const struct numbers gemma4 = {.arch = "gemma4", .L = 5, .window = 64};
    const struct {
        void (*put)(struct image *im);
        int n;
        int32_t code;
        const char *text;
    } bad[] = {
        {put_odd_heads, 1, INFLIGHT_E_UNSUPPORTED,
         "gemma4.attention.head_count_kv: layer 1 is not as the others of its kind: not served"},
        {put_few_heads, 1, INFLIGHT_E_MODEL,
         "gemma4.attention.head_count_kv is not a list of 5 integers"},
        {put_wide_values, 2, INFLIGHT_E_UNSUPPORTED,
         "gemma4.attention.value_length_swa is 16, keys have 8: not served"},
        {put_experts, 1, INFLIGHT_E_UNSUPPORTED,
         "gemma4.expert_count is 128: experts beside the feed-forward part are not served"}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK_EQ(read_with(gemma4, bad[i].put, bad[i].n), bad[i].code);
        CHECK_TEXT(err.text, bad[i].text);
    }
}
