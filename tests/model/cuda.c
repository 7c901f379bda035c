/* The test model on the CUDA back end, beside the CPU's of the same file. Without a driver
 * the tests are skipped; the simulated GPU is a driver too (tests/gpu). */
#include "direct.h"
#include "t.h"

#include "smollm2_logits.h"

#include <jansson.h>
#include <math.h>

#define ROW_TOKENS 128 /* most of a prompt and its continuation in greedy.json */

static const struct backend *cuda(void)
{
    struct err err = {0};
    const struct backend *backend = backend_find("cuda");
    if (!backend || backend->probe(&err)) {
        t_skip(backend ? err.text : "this build has no device cuda");
        return NULL;
    }
    return backend;
}

struct pair {
    struct model *cpu, *cuda;
};

/* The CPU's activations are float, so what is compared is what bf16 costs. */
static bool open_pair(struct pair *pair)
{
    *pair = (struct pair){0};
    if (!cuda())
        return false;
    pair->cpu = direct_open_on("cpu", ACT_FLOAT, KV_BF16);
    pair->cuda = pair->cpu ? direct_open_on("cuda", ACT_INT8, KV_BF16) : NULL;
    return pair->cuda;
}

static void close_pair(struct pair *pair)
{
    model_close(pair->cpu);
    model_close(pair->cuda);
}

/* || a - b || / || b ||, means removed: all logits of a row share an offset that no
 * probability depends on. */
static double relative_error(const float *a, const float *b, int32_t V)
{
    double mean_a = 0, mean_b = 0, error = 0, norm = 0;
    for (int32_t i = 0; i < V; i++) {
        mean_a += (double)a[i] / V;
        mean_b += (double)b[i] / V;
    }
    for (int32_t i = 0; i < V; i++) {
        double want = (double)b[i] - mean_b, off = (double)a[i] - mean_a - want;
        error += off * off;
        norm += want * want;
    }
    return sqrt(error / norm);
}

static int32_t argmax(const float *logits, int32_t V)
{
    int32_t best = 0;
    for (int32_t i = 1; i < V; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

TEST(cuda, logits_are_the_cpus_to_two_hundredths)
{
    static const struct {
        const int32_t *token;
        int32_t n;
    } prompt[] = {{smollm2_prompt_0, COUNT_OF(smollm2_prompt_0)},
                  {smollm2_prompt_1, COUNT_OF(smollm2_prompt_1)},
                  {smollm2_prompt_2, COUNT_OF(smollm2_prompt_2)}};
    struct pair pair;
    double squares = 0, most = 0;
    int32_t rows = 0;
    bool ran = open_pair(&pair);
    for (size_t i = 0; ran && i < COUNT_OF(prompt); i++) {
        ran = direct_forward(pair.cpu, prompt[i].token, prompt[i].n) &&
              direct_forward(pair.cuda, prompt[i].token, prompt[i].n);
        CHECK(ran);
        for (int32_t r = 0; ran && r < prompt[i].n; r++, rows++) {
            double error = relative_error(model_logits(pair.cuda, r), model_logits(pair.cpu, r),
                                          SMOLLM2_VOCABULARY);
            squares += error * error;
            most = fmax(most, error);
        }
    }
    if (rows) {
        printf("  relative error %.2e, at most %.2e in a row\n", sqrt(squares / rows), most);
        CHECK(sqrt(squares / rows) < 2e-2);
    }
    close_pair(&pair);
}

/* E4M3 matrices, which the CPU multiplies by floats. Rounding an activation to E4M3 errs by 2^-4 /
 * sqrt(3) of its power of two, evenly, which is 0.0265 of values spread over powers of two, and as
 * much of a product's outputs. On the way to a logit are four roundings a layer, 120 of the test
 * model; if each reached it whole, independent of the others, that were 0.0265 sqrt(120). Of cards
 * that multiply by bfloat16 it is 2^-5 of that. */
TEST(cuda, logits_of_e4m3_matrices_err_no_more_than_rounded_activations)
{
    const double most = 0.0265 * sqrt(4 * 30);
    struct pair pair = {0};
    double squares = 0;
    int32_t equal = 0, n = COUNT_OF(smollm2_prompt_2);
    if (!cuda())
        return;
    pair.cpu = direct_open_quantized_on("cpu", FMT_fp8, ACT_FLOAT);
    pair.cuda = pair.cpu ? direct_open_quantized_on("cuda", FMT_fp8, ACT_INT8) : NULL;
    if (pair.cuda && direct_forward(pair.cpu, smollm2_prompt_2, n) &&
        direct_forward(pair.cuda, smollm2_prompt_2, n)) {
        for (int32_t r = 0; r < n; r++) {
            const float *got = model_logits(pair.cuda, r), *want = model_logits(pair.cpu, r);
            const double error = relative_error(got, want, SMOLLM2_VOCABULARY);
            squares += error * error / n;
            equal += argmax(got, SMOLLM2_VOCABULARY) == argmax(want, SMOLLM2_VOCABULARY);
        }
        printf("  relative error %.2e, %.2e allowed; best token the same at %d of %d\n",
               sqrt(squares), most, equal, n);
        CHECK(sqrt(squares) < most);
    } else if (pair.cuda) {
        t_fail(__FILE__, __LINE__, "a forward pass failed");
    }
    close_pair(&pair);
}

/* A product for few tokens, one for many, attention over a prompt and of a single token are
 * different kernels: a row must not tell which of them computed it. */
TEST(cuda, chunks_of_a_prompt_leave_every_bit)
{
    static const int32_t cut[] = {1, 7, 57, 4, 1}; /* 70 tokens */
    static float whole[COUNT_OF(smollm2_prompt_2)][64];
    struct model *m = cuda() ? direct_open_on("cuda", ACT_INT8, KV_BF16) : NULL;
    if (!m)
        return;
    int32_t differ = 0, from = 0;
    CHECK(direct_forward(m, smollm2_prompt_2, COUNT_OF(smollm2_prompt_2)));
    for (size_t r = 0; r < COUNT_OF(whole); r++)
        memcpy(whole[r], model_logits(m, (int32_t)r) + 64 * r, sizeof whole[r]);
    for (size_t i = 0; i < COUNT_OF(cut); from += cut[i], i++) {
        CHECK(direct_continue(m, smollm2_prompt_2 + from, from, cut[i]));
        for (int32_t r = 0; r < cut[i]; r++)
            differ +=
                memcmp(whole[from + r], model_logits(m, r) + 64 * (from + r), sizeof whole[0]) != 0;
    }
    CHECK_EQ(from, COUNT_OF(smollm2_prompt_2));
    CHECK_EQ(differ, 0);
    model_close(m);
}

static int32_t read_ids(const json_t *row, const char *key, int32_t *out, int32_t room)
{
    const json_t *ids = json_object_get(row, key);
    int32_t n = MIN((int32_t)json_array_size(ids), room);
    for (int32_t i = 0; i < n; i++)
        out[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    return n;
}

/* Positions of a row's continuation at which both choose alike; where they do not, the CPU's
 * own logits of the two must stand close. */
static int32_t count_equal(struct pair *pair, const json_t *row, double tie, int32_t *n_choice)
{
    int32_t token[ROW_TOKENS], V = SMOLLM2_VOCABULARY, equal = 0;
    int32_t n_prompt = read_ids(row, "prompt_ids", token, ROW_TOKENS);
    int32_t n = read_ids(row, "ids", token + n_prompt, ROW_TOKENS - n_prompt);
    if (!direct_forward(pair->cpu, token, n_prompt + n - 1) ||
        !direct_forward(pair->cuda, token, n_prompt + n - 1)) {
        t_fail(__FILE__, __LINE__, "a forward pass failed");
        return 0;
    }
    for (int32_t i = n_prompt - 1; i < n_prompt + n - 1; i++) {
        const float *cpu = model_logits(pair->cpu, i), *gpu = model_logits(pair->cuda, i);
        int32_t want = argmax(cpu, V), got = argmax(gpu, V);
        equal += got == want;
        if (got != want && (double)(cpu[want] - cpu[got]) > tie)
            t_fail(__FILE__, __LINE__, "position %d: %d, the CPU %d, %.3f apart", i, got, want,
                   (double)(cpu[want] - cpu[got]));
    }
    *n_choice += n;
    return equal;
}

TEST(cuda, greedy_choices_are_the_cpus_or_ties)
{
    json_error_t error;
    json_t *root = json_load_file("tests/model/greedy.json", 0, &error);
    json_t *rows = json_object_get(root, "rows");
    struct pair pair;
    int32_t equal = 0, n = 0;
    CHECK_EQ(json_array_size(rows), 10);
    if (open_pair(&pair)) {
        for (size_t i = 0; i < json_array_size(rows); i++)
            equal += count_equal(&pair, json_array_get(rows, i), 0.1, &n);
        printf("  %d of %d choices are equal\n", equal, n);
        CHECK(equal * 100 >= n * 98);
    }
    close_pair(&pair);
    json_decref(root);
}
