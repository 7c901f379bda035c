/* Every architecture row on a small random model, against Hugging Face's own code in double
 * precision (families.json; families.py made it, families_gguf.py and families_hf.py write the
 * models, which are the same but for the order of rows that files of Llama have). An
 * error is the largest difference of a logit over the root mean square of the logits: the
 * reference's own float32 is off by up to 1.7e-5. On a card activations are bf16 and there is
 * one set of kernels; what depends on more than that is left to the CPU. */
#include "device.h"
#include "direct.h"
#include "t.h"

#include "kernels/cpu/cpuid.h"
#include "plugin/model/arch.h"

#include <jansson.h>
#include <math.h>

#define N_PROMPT 40
#define N_GREEDY 24
#define N_KEPT   8 /* logits per position */

static const struct {
    const char *name, *grain; /* of the file or folder; of its row in families.json */
} formats[] = {{"f32.gguf", "fine"},    {"f16.gguf", "coarse"},   {"bf16.gguf", "coarse"},
               {"q8_0.gguf", "coarse"}, {"bf16", "coarse"},       {"f16", "coarse"},
               {"f32", "fine"},         {"mxfp4.gguf", "coarse"}, {"mxfp4", "coarse"}};
#define FOLDER 4 /* the first of them that is one */
#define MXFP4  7 /* the first of those that gpt-oss alone has, all of them experts' */

static const char *const isa_names[ISA_COUNT] = {"", "plain", "avx2", "avx512", "avx512bf16"};

static bool on_card(void)
{
    return strcmp(test_device(), "cuda") == 0;
}

/* The most exact cache that the device has. */
static int32_t exact_kv(void)
{
    return on_card() ? KV_BF16 : KV_F32;
}

static const char *kernels_name(int32_t isa)
{
    return on_card() ? "cuda" : isa_names[isa];
}

/* What is known of one family with the weights of one format. */
struct known {
    const char *family, *format;
    int32_t token[N_PROMPT + N_GREEDY]; /* the prompt and what follows */
    double kept[N_PROMPT][N_KEPT];
    double margin; /* of the closest choice among what follows */
    int32_t V;
};

static int32_t kept_id(const struct known *known, int32_t position, int32_t j)
{
    return (53 * position + 44 * j) % known->V;
}

static bool read_tokens(const json_t *list, size_t n, int32_t *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return json_array_size(list) == n;
}

static bool read_known(struct known *known, const json_t *root, const json_t *row, size_t format)
{
    const json_t *grain = json_object_get(row, formats[format].grain);
    const json_t *kept = json_object_get(grain, "kept");
    known->family = json_string_value(json_object_get(row, "name"));
    known->format = formats[format].name;
    known->V = (int32_t)json_integer_value(json_object_get(root, "vocabulary"));
    known->margin = json_number_value(json_object_get(grain, "margin"));
    for (size_t p = 0; p < N_PROMPT; p++)
        for (size_t j = 0; j < N_KEPT; j++)
            known->kept[p][j] = json_number_value(json_array_get(json_array_get(kept, p), j));
    return known->family && known->V > 0 && json_array_size(kept) == N_PROMPT &&
           read_tokens(json_object_get(root, "prompt"), N_PROMPT, known->token) &&
           read_tokens(json_object_get(grain, "greedy"), N_GREEDY, known->token + N_PROMPT);
}

static struct model *open_family(const struct known *known, int32_t isa, int32_t activations,
                                 int32_t kv_type)
{
    char path[128];
    snprintf(path, sizeof path, "build/models/family-%s-%s", known->family, known->format);
    struct model *m = direct_open_file(path, isa, activations, kv_type);
    if (m)
        CHECK_EQ(model_hparams(m)->V, known->V);
    return m;
}

/* Of the rows that the last pass left, the first of them at position from. */
static double largest_error(struct model *m, const struct known *known, int32_t from, int32_t n)
{
    double most = 0, squares = 0;
    for (int32_t p = 0; p < N_PROMPT; p++)
        for (int32_t j = 0; j < N_KEPT; j++)
            squares += known->kept[p][j] * known->kept[p][j] / (N_PROMPT * N_KEPT);
    for (int32_t i = 0; i < n; i++)
        for (int32_t j = 0; j < N_KEPT; j++) {
            double got = (double)model_logits(m, i)[kept_id(known, from + i, j)];
            double off = fabs(got - known->kept[from + i][j]);
            if (!(off <= most))
                most = off;
        }
    return most / sqrt(squares);
}

static bool has_format(const struct known *known, size_t format)
{
    return format < MXFP4 || strcmp(known->family, "gptoss") == 0;
}

static const json_t *name_of(const json_t *rows, size_t i)
{
    return json_object_get(json_array_get(rows, i), "name");
}

/* Calls what for each family, format and instruction set of this machine. */
static void for_each(void (*what)(const struct known *known, int32_t isa))
{
    static struct known known;
    json_error_t error;
    json_t *root = json_load_file("tests/model/families.json", 0, &error);
    json_t *rows = json_object_get(root, "families");
    CHECK(json_array_size(rows) >= 8);
    for (size_t i = 0; i < json_array_size(rows); i++)
        for (size_t format = 0; format < COUNT_OF(formats); format++) {
            /* How a folder is read does not depend on the device. */
            if (on_card() && format > FOLDER && format < MXFP4)
                continue;
            if (on_card() && strncmp(json_string_value(name_of(rows, i)), "gemma4", 6) == 0)
                continue; /* which are refused there: tests/unit/backends.c */
            if (!read_known(&known, root, json_array_get(rows, i), format)) {
                t_fail(__FILE__, __LINE__, "families.json, row %zu is not as expected", i);
                continue;
            }
            for (int32_t isa = ISA_ID_PLAIN; isa < (on_card() ? ISA_ID_PLAIN + 1 : ISA_COUNT);
                 isa++)
                if (cpu_can((enum isa)isa) && has_format(&known, format))
                    what(&known, isa);
        }
    json_decref(root);
}

static void check_error(const struct known *known, int32_t isa, double error, double bound)
{
    printf("  %-12s %-9s %-10s error %.1e\n", known->family, known->format, kernels_name(isa),
           error);
    if (!(error < bound))
        t_fail(__FILE__, __LINE__, "%s %s %s: error %.2e, bound %.0e", known->family, known->format,
               kernels_name(isa), error, bound);
}

static bool row_seen[64]; /* by its place in arch_list */

static void see_row(const struct known *known, int32_t isa)
{
    const bool is_one =
        strcmp(known->format, "f32.gguf") == 0 || strcmp(known->format, "bf16") == 0;
    if (isa != ISA_ID_PLAIN || !is_one)
        return;
    struct model *m = open_family(known, isa, ACT_FLOAT, exact_kv());
    for (size_t i = 0; m && arch_list[i] && i < COUNT_OF(row_seen); i++)
        row_seen[i] |= strcmp(model_hparams(m)->arch, arch_list[i]->id) == 0;
    model_close(m);
}

TEST(families, every_architecture_row_has_a_model_here)
{
    for_each(see_row);
    for (size_t i = 0; arch_list[i] && i < COUNT_OF(row_seen); i++)
        if (!row_seen[i] && !(on_card() && arch_list[i]->has_kinds))
            t_fail(__FILE__, __LINE__, "no family of families_gguf.py is of architecture %s",
                   arch_list[i]->id);
}

static void check_exact(const struct known *known, int32_t isa)
{
    struct model *m = open_family(known, isa, ACT_FLOAT, exact_kv());
    if (!m)
        return;
    CHECK(direct_forward(m, known->token, N_PROMPT));
    check_error(known, isa, largest_error(m, known, 0, N_PROMPT), 5e-5);
    model_close(m);
}

TEST(families, every_logit_is_hugging_faces_with_float_activations)
{
    if (on_card()) {
        t_skip("activations are bf16 here");
        return;
    }
    for_each(check_exact);
}

/* As the engine runs by default, on a card with every format. llama.cpp is 0.05 to 0.21 off on
 * these files; a switch that is not heeded moves logits by more than they are large. */
static void check_default(const struct known *known, int32_t isa)
{
    if (!on_card() && strcmp(known->format, "q8_0.gguf") != 0)
        return;
    struct model *m = open_family(known, isa, ACT_INT8, KV_BF16);
    if (!m)
        return;
    CHECK(direct_forward(m, known->token, N_PROMPT));
    check_error(known, isa, largest_error(m, known, 0, N_PROMPT), 0.3);
    model_close(m);
}

TEST(families, default_activations_stay_near)
{
    for_each(check_default);
}

/* int8 moves logits by 0.02 to 0.10 here and fp8 by 0.11 to 0.54, beside bf16 activations of a card
 * by up to 0.19 and 0.59; those of qwen2-far by 0.9 and 1.8 if its keys were kept as they are. */
static void check_cache(const struct known *known, int32_t isa)
{
    static const struct {
        int32_t type;
        double bound;
    } caches[] = {{KV_INT8, 0.3}, {KV_FP8, 0.8}};
    for (size_t i = 0; i < COUNT_OF(caches) && strcmp(known->format, "f32.gguf") == 0; i++) {
        struct model *m = open_family(known, isa, ACT_FLOAT, caches[i].type);
        if (!m)
            return;
        CHECK(direct_forward(m, known->token, N_PROMPT));
        check_error(known, isa, largest_error(m, known, 0, N_PROMPT), caches[i].bound);
        model_close(m);
    }
}

TEST(families, caches_of_8_bits_stay_near)
{
    for_each(check_cache);
}

/* Converted to int8 while they are loaded; what 4 bits do to random numbers says nothing. */
static void check_converted(const struct known *known, int32_t isa)
{
    char path[128];
    if (isa != ISA_ID_PLAIN || strncmp(known->format, "f32", 3) != 0)
        return;
    snprintf(path, sizeof path, "build/models/family-%s-%s", known->family, known->format);
    struct model *m = direct_open_quantized(path, FMT_int8, false, ACT_FLOAT, 1, &mem_system);
    if (!m)
        return;
    CHECK(direct_forward(m, known->token, N_PROMPT));
    const double error = largest_error(m, known, 0, N_PROMPT);
    CHECK(error > 1e-3);
    check_error(known, isa, error, 0.3);
    model_close(m);
}

TEST(families, matrices_converted_at_load_stay_near)
{
    if (on_card()) {
        t_skip("it is the host that converts");
        return;
    }
    for_each(check_converted);
}

/* One pass over the prompt, and pieces of 7: the same bits. */
static void check_chunks(const struct known *known, int32_t isa)
{
    static float whole[N_PROMPT][4096];
    struct model *m = open_family(known, isa, ACT_FLOAT, exact_kv());
    if (!m)
        return;
    size_t bytes = (size_t)known->V * sizeof(float);
    int32_t differ = 0;
    CHECK(bytes <= sizeof whole[0]);
    CHECK(direct_forward(m, known->token, N_PROMPT));
    for (int32_t p = 0; p < N_PROMPT; p++)
        memcpy(whole[p], model_logits(m, p), MIN(bytes, sizeof whole[p]));
    for (int32_t from = 0; from < N_PROMPT; from += 7) {
        int32_t n = MIN(7, N_PROMPT - from);
        CHECK(direct_continue(m, known->token + from, from, n));
        for (int32_t i = 0; i < n; i++)
            differ += memcmp(whole[from + i], model_logits(m, i), bytes) != 0;
    }
    if (differ)
        t_fail(__FILE__, __LINE__, "%s %s %s: %d rows differ", known->family, known->format,
               kernels_name(isa), differ);
    model_close(m);
}

TEST(families, a_prompt_in_chunks_gives_the_same_bits)
{
    for_each(check_chunks);
}

static int32_t argmax(const float *logits, int32_t V)
{
    int32_t best = 0;
    for (int32_t i = 1; i < V; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* The prompt in one pass, then token by token. No choice of the reference is closer than
 * the bound on the error of two logits, so all must agree. */
static void check_greedy(const struct known *known, int32_t isa)
{
    struct model *m = open_family(known, isa, ACT_FLOAT, KV_F32);
    if (!m)
        return;
    CHECK(known->margin > 2e-4);
    int32_t agree = 0;
    bool ran = direct_forward(m, known->token, N_PROMPT);
    int32_t best = argmax(model_logits(m, N_PROMPT - 1), known->V);
    for (int32_t i = 0; ran && i < N_GREEDY; i++) {
        agree += best == known->token[N_PROMPT + i];
        ran = direct_continue(m, &best, N_PROMPT + i, 1);
        best = argmax(model_logits(m, 0), known->V);
    }
    CHECK(ran);
    if (agree != N_GREEDY)
        t_fail(__FILE__, __LINE__, "%s %s %s: %d of %d tokens agree", known->family, known->format,
               isa_names[isa], agree, N_GREEDY);
    model_close(m);
}

TEST(families, greedy_continuation_is_hugging_faces)
{
    if (on_card()) {
        t_skip("choices here are closer than bf16 tells apart");
        return;
    }
    for_each(check_greedy);
}
