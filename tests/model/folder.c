/* Hugging Face folders against GGUF files of the same weights, and against themselves opened in
 * other ways. That both are right is up to families.c. */
#include "direct.h"
#include "t.h"

#include "plugin/model/arch.h"

#include <math.h>

#define N_TOKENS     40
#define N_VOCABULARY 352

static const char *const families[] = {
    "gemma",     "gemma2", "gemma3",     "llama3", "llama-linear", "mistral", "phi3",
    "phi3-long", "qwen2",  "qwen2-yarn", "qwen3",  "qwen3-yarn",   "smollm3"};
static const char *const formats[] = {"f32", "f16", "bf16"};

/* The logits of N_TOKENS tokens; false: the test has been skipped or failed. */
static bool run(struct model *m, float logits[N_TOKENS][N_VOCABULARY])
{
    int32_t token[N_TOKENS];
    for (int32_t i = 0; i < N_TOKENS; i++)
        token[i] = (i * 97 + 31) % N_VOCABULARY;
    bool ran = m && model_hparams(m)->V == N_VOCABULARY && direct_forward(m, token, N_TOKENS);
    for (int32_t i = 0; ran && i < N_TOKENS; i++)
        memcpy(logits[i], model_logits(m, i), N_VOCABULARY * sizeof(float));
    if (m && !ran)
        t_fail(__FILE__, __LINE__, "the forward pass failed");
    return ran;
}

static bool run_path(const char *path, const inflight_io *io, float logits[N_TOKENS][N_VOCABULARY])
{
    struct model *m = direct_open_through(path, io);
    bool ran = run(m, logits);
    model_close(m);
    return ran;
}

static double largest_difference(float a[N_TOKENS][N_VOCABULARY], float b[N_TOKENS][N_VOCABULARY])
{
    double most = 0;
    for (int32_t i = 0; i < N_TOKENS; i++)
        for (int32_t j = 0; j < N_VOCABULARY; j++)
            most = fmax(most, fabs((double)a[i][j] - (double)b[i][j]));
    return most;
}

/* The numbers of both, but for how rows are ordered and what they are called. A GGUF file does not
 * tell Mistral from Llama. */
static void compare_numbers(const struct hparams *file, const struct hparams *folder)
{
    const bool is_mistral = strcmp(folder->arch, "mistral") == 0;
    CHECK_TEXT(is_mistral ? "llama" : folder->arch, file->arch);
    CHECK(file->L == folder->L && file->D == folder->D && file->F == folder->F &&
          file->H == folder->H && file->K == folder->K && file->dim == folder->dim &&
          file->V == folder->V && file->context == folder->context &&
          file->rotary_dim == folder->rotary_dim);
    CHECK(file->eps == folder->eps && file->rotary_scale == folder->rotary_scale);
    CHECK(memcmp(file->freq, folder->freq, sizeof file->freq) == 0);
    CHECK(memcmp(file->near_freq, folder->near_freq, sizeof file->near_freq) == 0);
    CHECK(file->scale == folder->scale && file->score_cap == folder->score_cap &&
          file->logit_cap == folder->logit_cap);
    CHECK(file->window == folder->window &&
          memcmp(file->slides, folder->slides, sizeof file->slides) == 0);
    CHECK_EQ(folder->rope, ROPE_HALF);
}

/* Rows in the same order: the same bits. Llama's are in another one in GGUF files, so that the
 * products of a query with a key are added up in another order. */
static void compare(const char *family, const char *format)
{
    static float logits[2][N_TOKENS][N_VOCABULARY];
    struct model *m[2];
    char path[2][128];
    snprintf(path[0], sizeof path[0], "build/models/family-%s-%s.gguf", family, format);
    snprintf(path[1], sizeof path[1], "build/models/family-%s-%s", family, format);
    for (int i = 0; i < 2; i++)
        m[i] = direct_open_through(path[i], NULL);
    if (run(m[0], logits[0]) && run(m[1], logits[1])) {
        const struct hparams *file = model_hparams(m[0]), *folder = model_hparams(m[1]);
        compare_numbers(file, folder);
        CHECK_TEXT(folder->name, path[1] + strlen("build/models/"));
        double off = largest_difference(logits[0], logits[1]);
        if (file->rope == ROPE_HALF ? off != 0 : off > 2e-4)
            t_fail(__FILE__, __LINE__, "%s %s: logits differ by up to %g", family, format, off);
    }
    model_close(m[0]);
    model_close(m[1]);
}

TEST(folder, is_the_model_that_the_file_is)
{
    for (size_t i = 0; i < COUNT_OF(families); i++)
        for (size_t j = 0; j < COUNT_OF(formats); j++)
            compare(families[i], formats[j]);
}

/* ---- Behind hooks */

static int n_open, n_reads;

static void *hook_open(void *user, const char *path, uint64_t *size)
{
    (void)user;
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) || ftell(f) < 0 || ftell(f) > INT32_MAX) {
        if (f)
            fclose(f); /* a folder */
        return NULL;
    }
    *size = (uint64_t)ftell(f);
    n_open++;
    return f;
}

static int64_t hook_pread(void *user, void *file, void *dst, uint64_t n, uint64_t offset)
{
    (void)user;
    n_reads++;
    return fseek(file, (long)offset, SEEK_SET) ? -1 : (int64_t)fread(dst, 1, n, file);
}

static void hook_close(void *user, void *file)
{
    (void)user;
    n_open--;
    fclose(file);
}

TEST(folder, gives_the_same_bits_behind_hooks_and_in_shards)
{
    static float logits[2][N_TOKENS][N_VOCABULARY];
    const inflight_io io = {.open = hook_open, .pread = hook_pread, .close = hook_close};
    n_open = n_reads = 0;
    if (run_path("build/models/family-qwen2-bf16", NULL, logits[0]) &&
        run_path("build/models/family-qwen2-bf16/", &io, logits[1])) {
        CHECK(memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
        CHECK(n_reads > 40); /* each tensor is read by itself */
        CHECK_EQ(n_open, 0);
    }
}

/* ---- A window */

/* Positions below 16 see all there is with it and without. */
TEST(folder, a_window_changes_what_is_beyond_it_alone)
{
    static float logits[2][N_TOKENS][N_VOCABULARY];
    if (!run_path("build/models/family-mistral-f32", NULL, logits[0]) ||
        !run_path("build/models/family-mistral-window", NULL, logits[1]))
        return;
    for (int32_t i = 0; i < N_TOKENS; i++) {
        double most = 0;
        for (int32_t j = 0; j < N_VOCABULARY; j++)
            most = fmax(most, fabs((double)logits[0][i][j] - (double)logits[1][i][j]));
        if (i < 16 ? most != 0 : most < 0.01)
            t_fail(__FILE__, __LINE__, "position %d: logits differ by up to %g", i, most);
    }
}

/* ---- A text model in one that also sees */

TEST(folder, of_a_model_that_sees_has_a_text_model)
{
    static float logits[2][N_TOKENS][N_VOCABULARY];
    static const char *const names[][2] = {{"gemma3", "\"text_of\": \"gemma3\""},
                                           {"gemma4-e2b", "\"text_of\": \"gemma4\""},
                                           {"qwen3", "\"text_of\": \"qwen3_vl\""}};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char path[2][128];
        snprintf(path[0], sizeof path[0], "build/models/family-%s-f32", names[i][0]);
        snprintf(path[1], sizeof path[1], "build/models/family-%s-seeing", names[i][0]);
        struct model *m = direct_open_through(path[1], NULL);
        struct buf out;
        buf_init(&out, &mem_system);
        if (run_path(path[0], NULL, logits[0]) && run(m, logits[1])) {
            CHECK(memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
            model_describe(m, &out);
            buf_put_char(&out, '\0');
            CHECK(strstr(out.ptr, names[i][1]));
        }
        buf_release(&out);
        model_close(m);
    }
}

TEST(folder, describes_itself)
{
    struct model *m = direct_open_through("build/models/family-qwen2-bf16", NULL);
    struct buf out;
    buf_init(&out, &mem_system);
    if (m) {
        model_describe(m, &out);
        buf_put_char(&out, '\0');
        CHECK(strstr(out.ptr, "{\"architecture\": \"qwen2\", \"name\": \"family-qwen2-bf16\", "));
        CHECK(strstr(out.ptr, "\"files\": 3, \"tensors\": 38, "));
    }
    buf_release(&out);
    model_close(m);
}
