/* What files say about rotation, in all the ways they say it. The values themselves are
 * compared on whole models (tests/model/families.c). */
#include "plugin/model/arch.h"
#include "plugin/model/rope.h"

#include "gguf_image.h"
#include "t.h"

#include "../../kernels/ops.h"

#include <math.h>

#define DIM 8

struct number {
    const char *key; /* after "llama." */
    float value;
};

/* rope_read_gguf of a file with this type of scaling, or none, and these numbers. */
static int32_t read_rope(struct hparams *h, const char *type, const struct number *number, int n,
                         struct err *err)
{
    static struct image im;
    struct arena arena;
    struct gguf g;
    size_t need;
    *h = (struct hparams){.arch = "llama", .dim = DIM, .rotary_dim = DIM, .context = 4096};
    *err = (struct err){0};
    begin(&im, 3, 0, (uint64_t)n + (type != NULL));
    if (type) {
        put_key(&im, "llama.rope.scaling.type", GGUF_STRING);
        put_string(&im, type);
    }
    for (int i = 0; i < n; i++) {
        char key[64];
        snprintf(key, sizeof key, "llama.%s", number[i].key);
        put_key(&im, key, GGUF_F32);
        put(&im, &number[i].value, sizeof number[i].value);
    }
    put_data(&im, 32, 0);
    arena_init(&arena, &mem_system);
    CHECK_EQ(gguf_parse(&g, im.bytes, im.n, im.n, &arena, &need, err), 0);
    int32_t rc = rope_read_gguf(h, arch_find(h->arch), &g, err);
    arena_release(&arena);
    return rc;
}

/* Every frequency is that of base 10000 divided by factor. */
static void check_divided(const char *type, const struct number *number, int n, double factor)
{
    struct hparams h;
    struct err err;
    CHECK_EQ(read_rope(&h, type, number, n, &err), 0);
    for (int i = 0; i < DIM / 2; i++)
        CHECK_NEAR(h.freq[i], pow(10000, -2.0 * i / DIM) / factor, 1e-6 / factor);
    CHECK(h.rotary_scale == 1);
}

/* Against the plain sum: fast waves vanish, slow ones stay nearly as they are, by the scale of both
 * kinds of pairs. */
TEST(rope, the_mean_of_what_turns_is_that_of_its_places)
{
    static const float freq[DIM / 2] = {1, 0.01f, 1e-4f, 0};
    for (int kind = ROPE_INTERLEAVED; kind <= ROPE_HALF; kind++) {
        struct hparams h = {.K = 2, .dim = DIM, .rotary_dim = DIM, .context = 4096, .rope = kind};
        float x[2 * DIM], mean[2 * DIM];
        h.rotary_scale = 1.25f;
        memcpy(h.freq, freq, sizeof freq);
        for (int i = 0; i < 2 * DIM; i++)
            x[i] = mean[i] = (float)(i * i % 7 - 3);
        rope_mean(&h, mean);
        for (int i = 0; i < DIM; i++) { /* pairs of both heads */
            const int pair = i % (DIM / 2), first = i / (DIM / 2) * DIM;
            const int u = first + (kind == ROPE_HALF ? pair : 2 * pair);
            const int v = kind == ROPE_HALF ? u + DIM / 2 : u + 1;
            double want[2] = {0, 0};
            for (int p = 0; p < h.context; p++) {
                const double c = cos((double)freq[pair] * p), s = sin((double)freq[pair] * p);
                want[0] += 1.25 * ((double)x[u] * c - (double)x[v] * s) / h.context;
                want[1] += 1.25 * ((double)x[u] * s + (double)x[v] * c) / h.context;
            }
            CHECK_NEAR(mean[u], want[0], 1e-6);
            CHECK_NEAR(mean[v], want[1], 1e-6);
        }
    }
}

TEST(rope, a_file_that_says_nothing_has_base_ten_thousand)
{
    check_divided(NULL, NULL, 0, 1);
}

TEST(rope, a_linear_factor_divides_with_its_type_or_without)
{
    static const struct number factor[] = {{"rope.scaling.factor", 4}};
    check_divided("linear", factor, 1, 4);
    check_divided(NULL, factor, 1, 4);
    check_divided("none", factor, 1, 1);
}

TEST(rope, the_old_key_counts_unless_the_new_one_is_there)
{
    static const struct number both[] = {{"rope.scale_linear", 8}, {"rope.scaling.factor", 2}};
    check_divided(NULL, both, 1, 8);
    check_divided(NULL, both, 2, 2);
}

TEST(rope, a_factor_of_zero_is_none)
{
    static const struct number zero[] = {{"rope.scaling.factor", 0}};
    check_divided(NULL, zero, 1, 1);
    check_divided("linear", zero, 1, 1);
}

TEST(rope, yarn_keeps_fast_waves_and_stretches_slow_ones)
{
    static const struct number yarn[] = {{"rope.scaling.factor", 4},
                                         {"rope.scaling.original_context_length", 1024}};
    struct hparams h;
    struct err err;
    CHECK_EQ(read_rope(&h, "yarn", yarn, 2, &err), 0);
    CHECK_NEAR(h.freq[0], 1, 1e-7);
    CHECK_NEAR(h.freq[3], 1e-3 / 4, 1e-9);
    CHECK_NEAR(h.rotary_scale, 1 + 0.1 * log(4), 1e-6);
}

/* As in files of Ministral 3. */
TEST(rope, yarn_may_divide_what_it_multiplies_by_and_queries_grow)
{
    static const struct number yarn[] = {{"rope.scaling.factor", 4},
                                         {"rope.scaling.original_context_length", 1024},
                                         {"rope.scaling.yarn_log_multiplier", 1},
                                         {"attention.temperature_scale", 0.1f}};
    struct hparams h;
    struct err err;
    CHECK_EQ(read_rope(&h, "yarn", yarn, 3, &err), 0);
    CHECK_NEAR(h.rotary_scale, 1, 1e-7);
    CHECK(h.growth == 0 && h.context > 1024);
    CHECK_EQ(read_rope(&h, "yarn", yarn, 4, &err), 0);
    CHECK(h.growth == 0.1f && h.growth_from == 1024 && h.context > 1024);
}

TEST(rope, what_would_change_the_result_unseen_is_refused)
{
    static const char *const keys[] = {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor",
                                       "rope.scaling.yarn_ext_factor"};
    struct hparams h;
    struct err err;
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct number number = {keys[i], 1};
        CHECK_EQ(read_rope(&h, "yarn", &number, 1, &err), 0);
        number.value = 1.25f;
        CHECK_EQ(read_rope(&h, "yarn", &number, 1, &err), INFLIGHT_E_UNSUPPORTED);
    }
    CHECK_TEXT(err.text, "llama.rope.scaling.yarn_ext_factor is not 1: not served");
    CHECK_EQ(read_rope(&h, "longrope", NULL, 0, &err), INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, "llama.rope.scaling.type \"longrope\" is not served");
}

TEST(rope, numbers_out_of_range_are_refused)
{
    static const struct number bad[] = {
        {"rope.scaling.factor", 0.5f},         {"rope.scaling.factor", -1},
        {"rope.scaling.factor", NAN},          {"rope.freq_base", 1},
        {"rope.freq_base", INFINITY},          {"rope.scaling.original_context_length", 0},
        {"rope.scaling.yarn_beta_slow", 0},    {"rope.scaling.yarn_beta_slow", 33},
        {"rope.scaling.yarn_beta_fast", 1e7f}, {"rope.scaling.yarn_beta_fast", NAN},
    };
    struct hparams h;
    struct err err;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        CHECK_EQ(read_rope(&h, "yarn", &bad[i], 1, &err), INFLIGHT_E_MODEL);
}
