/* Samples that a model writes to be calibrated by, beside draws from one forward pass over each of
 * them, and those of a text. */
#include "direct.h"
#include "t.h"

#include "plugin/base/arena.h"
#include "plugin/base/rng.h"
#include "quant/quantize/samples.h"

#include <math.h>

#define FOLDER "build/models/family-%s-f32"

/* More than are written at once, of a length that is no number of pages. */
enum { N = 67, LENGTH = 37 };

struct written {
    struct arena arena;
    struct checkpoint checkpoint;
    struct samples samples;
    struct err err;
    char path[96];
};

static int32_t take(struct written *w, const char *family, const char *text, int32_t n,
                    int32_t length, int32_t threads)
{
    struct progress progress = {0};
    const struct samples_source source = {.checkpoint = &w->checkpoint,
                                          .text = text,
                                          .device = "cpu",
                                          .n = n,
                                          .length = length,
                                          .threads = threads,
                                          .progress = &progress,
                                          .is_quiet = true};
    *w = (struct written){0};
    snprintf(w->path, sizeof w->path, FOLDER, family);
    arena_init(&w->arena, &mem_system);
    return checkpoint_open(&w->checkpoint, w->path, NULL, &w->arena, &w->err)
               ? w->err.code
               : samples_take(&w->samples, &source, &w->arena, &w->err);
}

static void give(struct written *w)
{
    checkpoint_close(&w->checkpoint);
    arena_release(&w->arena);
}

static const int32_t *sample(const struct written *w, int32_t i)
{
    return w->samples.token + (int64_t)i * w->samples.length;
}

/* The first id whose probability and those before it are more than share. */
static int32_t draw(const float *logit, int32_t V, double share)
{
    double total = 0, before = 0;
    int32_t id = 0;
    for (int32_t i = 0; i < V; i++)
        total += exp((double)logit[i]);
    while (id < V - 1 && (before += exp((double)logit[id]) / total) <= share)
        id++;
    return id;
}

/* Tokens of a sample that are not what is drawn from the logits of one pass over it. */
static int32_t count_others(struct model *m, const int32_t *token, int32_t n, int32_t number)
{
    const int32_t V = model_hparams(m)->V;
    int32_t others = 0;
    CHECK(direct_forward(m, token, n));
    for (int32_t at = 1; at < n; at++)
        others += draw(model_logits(m, at - 1), V,
                       rng_uniform((uint64_t)number, (uint64_t)at, 0)) != token[at];
    return others;
}

static void check_family(const char *family)
{
    struct written w;
    CHECK_EQ(take(&w, family, NULL, N, LENGTH, 1), INFLIGHT_OK);
    struct model *m = direct_open_file(w.path, 0, ACT_FLOAT, KV_BF16);
    CHECK_EQ(w.samples.n, N);
    for (int32_t i = 0; i < N && m; i++) {
        CHECK_EQ(sample(&w, i)[0], tokenizer_bos(model_tokenizer(m)));
        CHECK_EQ(count_others(m, sample(&w, i), LENGTH, i), 0);
    }
    CHECK(memcmp(sample(&w, 0), sample(&w, 1), LENGTH * sizeof(int32_t)) != 0);
    model_close(m);
    give(&w);
}

TEST(samples, are_drawn_from_what_the_model_expects)
{
    check_family("qwen3");
    check_family("bloom");
    check_family("qwen3moe");
}

TEST(samples, do_not_depend_on_threads)
{
    struct written one, two;
    CHECK_EQ(take(&one, "gemma2", NULL, 5, LENGTH, 1), INFLIGHT_OK);
    CHECK_EQ(take(&two, "gemma2", NULL, 5, LENGTH, 2), INFLIGHT_OK);
    CHECK(memcmp(one.samples.token, two.samples.token, 5 * LENGTH * sizeof(int32_t)) == 0);
    give(&one);
    give(&two);
}

TEST(samples, of_fewer_are_from_all_over)
{
    static const int32_t expected[] = {0, 2, 4};
    struct written w;
    struct samples some;
    CHECK_EQ(take(&w, "qwen3", NULL, 7, LENGTH, 1), INFLIGHT_OK);
    CHECK_EQ(samples_some(&some, &w.samples, 3, &w.arena, &w.err), INFLIGHT_OK);
    CHECK_EQ(some.n, 3);
    for (int32_t i = 0; i < 3; i++)
        CHECK(memcmp(some.token + i * LENGTH, sample(&w, expected[i]), LENGTH * sizeof(int32_t)) ==
              0);
    CHECK_EQ(samples_some(&some, &w.samples, 8, &w.arena, &w.err), INFLIGHT_OK);
    CHECK_EQ(some.n, 7);
    CHECK(some.token == w.samples.token);
    give(&w);
}

TEST(samples, of_a_text_are_its_tokens)
{
    static char text[65536];
    struct written w;
    struct tokenizer *tokenizer = NULL;
    struct buf tokens;
    FILE *f = fopen("tests/text/constitution.txt", "rb");
    const size_t n = f ? fread(text, 1, sizeof text, f) : 0;
    CHECK(n > 0 && n < sizeof text);
    fclose(f);
    CHECK_EQ(take(&w, "qwen3", "tests/text/constitution.txt", 4, LENGTH, 1), INFLIGHT_OK);
    CHECK_EQ(w.samples.n, 4);
    buf_init(&tokens, &mem_system);
    CHECK_EQ(tokenizer_open_folder(&tokenizer, &w.checkpoint.folder, &w.arena, &w.err),
             INFLIGHT_OK);
    CHECK_EQ(tokenizer_encode(tokenizer, (struct str){text, n}, NULL, false, &tokens, &w.err),
             INFLIGHT_OK);
    const int32_t *token = (const int32_t *)(const void *)tokens.ptr;
    const int64_t there = (int64_t)(tokens.len / sizeof *token) / LENGTH;
    for (int32_t i = 0; i < 4; i++)
        CHECK(memcmp(sample(&w, i), token + i * there / 4 * LENGTH, LENGTH * sizeof *token) == 0);
    buf_release(&tokens);
    tokenizer_close(tokenizer);
    give(&w);
    CHECK_EQ(take(&w, "qwen3", "tests/text/none.txt", 4, LENGTH, 1), INFLIGHT_E_IO);
    CHECK(strstr(w.err.text, "tests/text/none.txt") != NULL);
    give(&w);
}

TEST(samples, are_no_longer_than_a_context)
{
    struct written w;
    CHECK_EQ(take(&w, "qwen3", NULL, 1, 2049, 1), INFLIGHT_E_ARG);
    CHECK_TEXT(w.err.text,
               "samples of 2049 tokens: build/models/family-qwen3-f32 has contexts of 2048");
    give(&w);
}
