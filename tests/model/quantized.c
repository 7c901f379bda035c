/* A model whose matrices are converted while it is loaded, beside the same model as its file has
 * it: what its answers lose, that bits still depend on the tokens alone, and what memory it takes
 * on the way. */
#include "direct.h"
#include "t.h"

#include "kernels/backend.h"
#include "plugin/base/buf.h"

#include <jansson.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

static const char text[] =
    "The history of the lighthouse begins with fires that were lit on hills to guide sailors home. "
    "Because a fire on a hill could be seen from further away, people began to build platforms, "
    "and "
    "then towers, to raise the flames above the land. The most famous of these towers was built in "
    "Egypt, on the island of Pharos near the city of Alexandria, in the third century before "
    "Christ. It was more than one hundred metres tall, and for many centuries it was one of the "
    "tallest buildings in the world. In the eighteenth century engineers learned how to build on "
    "rocks in the open sea. They cut the stones so that each one locked into its neighbours, and "
    "the "
    "weight of the tower held them together against the waves. At the same time the lamps became "
    "better. Oil replaced coal, mirrors were placed behind the flame, and in 1822 a French "
    "physicist "
    "invented a lens made of many thin rings of glass, which could throw a beam of light to the "
    "horizon. Today most lighthouses need no keeper. Electric lamps are switched on by a sensor "
    "when "
    "the sun goes down, and ships find their way with signals from satellites.";

static struct {
    int32_t token[DIRECT_MAX];
    int32_t n, V;
    float *logits; /* (n, V) of the file's own matrices */
} reference;

/* Logarithms of the probabilities of one row. */
static void log_softmax(const float *logits, int32_t n, double *out)
{
    double most = -INFINITY, sum = 0;
    for (int32_t i = 0; i < n; i++)
        most = fmax(most, (double)logits[i]);
    for (int32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - most);
    for (int32_t i = 0; i < n; i++)
        out[i] = (double)logits[i] - most - log(sum);
}

static int32_t best_of(const float *logits, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* The passage's tokens and their logits without conversion; false: skipped or failed. */
static bool prepare(void)
{
    if (reference.logits)
        return true;
    struct model *m = direct_open_quantized(TEST_MODEL, FMT_f32, false, ACT_FLOAT, 2, &mem_system);
    if (!m)
        return false;
    struct buf tokens;
    struct err err = {0};
    buf_init(&tokens, &mem_system);
    int32_t rc = tokenizer_encode(model_tokenizer(m), (struct str){text, sizeof text - 1}, NULL,
                                  false, &tokens, &err);
    CHECK_EQ(rc, 0);
    reference.n = (int32_t)MIN(tokens.len / sizeof(int32_t), (size_t)DIRECT_MAX);
    memcpy(reference.token, tokens.ptr, (size_t)reference.n * sizeof(int32_t));
    buf_release(&tokens);
    reference.V = model_hparams(m)->V;
    size_t bytes = (size_t)reference.n * (size_t)reference.V * sizeof(float);
    bool done = direct_forward(m, reference.token, reference.n);
    CHECK(done);
    if (done) {
        reference.logits = malloc(bytes);
        memcpy(reference.logits, model_logits(m, 0), bytes);
    }
    model_close(m);
    return done;
}

struct loss {
    double divergence, agreement; /* mean of KL(file || converted); share of equal best tokens */
    double perplexity, before;    /* of the passage: converted, and as the file has it */
};

static bool measure_loss(struct model *m, struct loss *loss)
{
    const int32_t n = reference.n, V = reference.V;
    double *p = malloc((size_t)V * sizeof *p), *q = malloc((size_t)V * sizeof *q);
    bool done = direct_forward(m, reference.token, n);
    *loss = (struct loss){0};
    for (int32_t r = 0; done && r < n; r++) {
        const float *row = reference.logits + (size_t)r * (size_t)V, *got = model_logits(m, r);
        log_softmax(row, V, p);
        log_softmax(got, V, q);
        for (int32_t i = 0; i < V; i++)
            loss->divergence += exp(p[i]) * (p[i] - q[i]) / n;
        loss->agreement += (best_of(row, V) == best_of(got, V)) / (double)n;
        if (r + 1 < n) {
            loss->before -= p[reference.token[r + 1]] / (n - 1);
            loss->perplexity -= q[reference.token[r + 1]] / (n - 1);
        }
    }
    loss->before = exp(loss->before);
    loss->perplexity = exp(loss->perplexity);
    free(p);
    free(q);
    return done;
}

static void check_loss(enum fmt fmt, bool head, double divergence, double agreement)
{
    struct loss loss;
    if (!prepare())
        return;
    struct model *m = direct_open_quantized(TEST_MODEL, fmt, head, ACT_FLOAT, 2, &mem_system);
    if (!m)
        return;
    CHECK(measure_loss(m, &loss));
    printf("  %s%s: KL %.4f, best token the same %.1f%%, perplexity %.3f (file %.3f), %d tokens\n",
           fmt_info[fmt].name, head ? " with head" : "", loss.divergence, loss.agreement * 100,
           loss.perplexity, loss.before, reference.n);
    CHECK(loss.divergence < divergence);
    CHECK(loss.agreement > agreement);
    model_close(m);
}

TEST(quantized, eight_bits_hardly_change_an_answer)
{
    check_loss(FMT_int8, false, 0.01, 0.94);
    check_loss(FMT_q8_0, false, 0.002, 0.97);
    check_loss(FMT_fp8, false, 0.03, 0.90);
    check_loss(FMT_fp8_128, false, 0.03, 0.90);
}

/* The file's own matrices have 4 bits already, in groups of 32 with other steps, and the model is
 * small: that costs more here than it would a large one. */
TEST(quantized, four_bits_keep_it_sensible_and_smaller_groups_more_so)
{
    check_loss(FMT_int4_128, false, 0.45, 0.62);
    check_loss(FMT_int4_32, false, 0.32, 0.70);
}

TEST(quantized, the_head_can_be_converted_too)
{
    check_loss(FMT_int8, true, 0.01, 0.93);
    check_loss(FMT_int4_32, true, 0.42, 0.62);
}

/* One pass, and cut in three on another number of threads. */
TEST(quantized, logits_depend_on_the_tokens_alone)
{
    static const enum fmt fmt[] = {FMT_f32, FMT_fp8, FMT_fp8_128, FMT_int8, FMT_q8_0, FMT_int4_64};
    if (!prepare())
        return;
    const size_t bytes = (size_t)reference.V * sizeof(float);
    float *whole = malloc(40 * bytes);
    for (size_t i = 0; i < COUNT_OF(fmt); i++) {
        struct model *m =
            direct_open_quantized(TEST_MODEL, fmt[i], false, ACT_INT8, 1, &mem_system);
        if (!m)
            break;
        CHECK(direct_forward(m, reference.token, 40));
        memcpy(whole, model_logits(m, 0), 40 * bytes);
        model_close(m);
        m = direct_open_quantized(TEST_MODEL, fmt[i], false, ACT_INT8, 2, &mem_system);
        static const int32_t cut[] = {0, 1, 20, 40};
        for (size_t c = 0; m && c + 1 < COUNT_OF(cut); c++) {
            int32_t n = cut[c + 1] - cut[c];
            CHECK(direct_continue(m, reference.token + cut[c], cut[c], n));
            if (memcmp(whole + (size_t)cut[c] * (size_t)reference.V, model_logits(m, 0),
                       (size_t)n * bytes) != 0)
                t_fail(__FILE__, __LINE__, "%s: logits from position %d on differ",
                       fmt_info[fmt[i]].name, cut[c]);
        }
        model_close(m);
    }
    free(whole);
}

/* ---- What is said of it, and memory */

/* Counts what is taken and the most there ever was. */
static struct {
    _Atomic uint64_t now, most;
} counted;

static void *count_alloc(void *user, uint64_t bytes, uint64_t align)
{
    (void)user;
    uint64_t now = atomic_fetch_add(&counted.now, bytes) + bytes;
    if (now > counted.most)
        counted.most = now;
    return mem_system.alloc(mem_system.user, bytes, align);
}

static void count_release(void *user, void *ptr, uint64_t bytes)
{
    (void)user;
    counted.now -= bytes;
    mem_system.release(mem_system.user, ptr, bytes);
}

static const struct mem counting = {.alloc = count_alloc, .release = count_release};

TEST(quantized, memory_has_the_result_and_a_few_rows)
{
    static const enum fmt fmt[] = {FMT_fp8_128, FMT_int4_128};
    for (size_t i = 0; i < COUNT_OF(fmt); i++) {
        counted.now = counted.most = 0;
        struct model *m = direct_open_quantized(TEST_MODEL, fmt[i], false, ACT_INT8, 2, &counting);
        if (!m)
            return;
        uint64_t over = counted.most - counted.now;
        printf("  %s: %.2f MiB, and %.2f MiB more while it was loaded\n", fmt_info[fmt[i]].name,
               (double)counted.now / 0x1p20, (double)over / 0x1p20);
        CHECK(over < 2 << 20);
        model_close(m);
        CHECK_EQ(counted.now, 0);
    }
}

static json_t *describe(const struct model *m)
{
    struct buf out;
    buf_init(&out, &mem_system);
    model_describe(m, &out);
    json_t *root = json_loadb(out.ptr, out.len, 0, NULL);
    buf_release(&out);
    return root;
}

/* The test model's rows have 576 and 1536 values: no groups of 128 in the former. */
TEST(quantized, every_matrix_says_what_became_of_it)
{
    struct model *m =
        direct_open_quantized(TEST_MODEL, FMT_int4_128, true, ACT_INT8, 2, &mem_system);
    if (!m)
        return;
    json_t *root = describe(m), *all = json_object_get(root, "quantized"), *one;
    size_t i, groups[2] = {0, 0};
    uint64_t bytes = 0;
    CHECK_EQ(json_array_size(all), (size_t)model_hparams(m)->L * 7 + 1);
    json_array_foreach(all, i, one)
    {
        const char *to = json_string_value(json_object_get(one, "to"));
        double error = json_number_value(json_object_get(one, "relative_error"));
        CHECK(error > 0.001 && error < 0.2);
        groups[0] += strcmp(to, "int4_64") == 0;
        groups[1] += strcmp(to, "int4_128") == 0;
        bytes += (uint64_t)json_integer_value(json_object_get(one, "bytes"));
    }
    CHECK_EQ(groups[0], (size_t)model_hparams(m)->L * 6 + 1);
    CHECK_EQ(groups[1], (size_t)model_hparams(m)->L);
    CHECK(bytes < model_memory(m)->weights);
    json_decref(root);
    model_close(m);
}

TEST(quantized, a_model_that_is_not_converted_says_nothing_of_it)
{
    struct model *m = direct_open_quantized(TEST_MODEL, FMT_f32, false, ACT_INT8, 1, &mem_system);
    if (!m)
        return;
    json_t *root = describe(m);
    CHECK(root && !json_object_get(root, "quantized"));
    json_decref(root);
    model_close(m);
}
