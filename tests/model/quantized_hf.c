/* Folders of quantized weights, one for each way of storing matrices, beside folders of the same
 * weights as plain numbers (quantized_hf.py writes both): the logits are the same but for the order
 * in which kernels of a format add. Converted while they are loaded, both become the same bits. */
#include "device.h"
#include "direct.h"
#include "t.h"

#include "kernels/cpu/cpuid.h"

#include <math.h>
#include <stdlib.h>

enum { N_TOKENS = 40 };

/* Largest difference of a logit over their root mean square: as in families.c. */
#define BOUND 5e-5

static const struct {
    const char *name;
    enum fmt converted; /* another one than its matrices have */
} ways[] = {
    {"ct-fp8", FMT_int8},          {"ct-int8", FMT_fp8},        {"ct-w4a16", FMT_int8},
    {"ct-w4a16-asym", FMT_fp8},    {"ct-w8a16", FMT_int4_128},  {"fp8-block", FMT_int4_32},
    {"modelopt-fp8", FMT_fp8_128}, {"modelopt-int4", FMT_int8}, {"awq", FMT_fp8_128},
    {"gptq", FMT_fp8_128},         {"gptq-asym", FMT_int8},     {"gptq-int8", FMT_int4_64},
    {"gptq-desc-act", FMT_int8},   {"fp8-static", FMT_int8},
};

static const char *path_of(const char *name, const char *end)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "build/models/quantized-%s%s", name, end);
    return path;
}

static int32_t prompt(struct model *m, int32_t token[N_TOKENS])
{
    const int32_t V = model_hparams(m)->V;
    for (int32_t i = 0; i < N_TOKENS; i++)
        token[i] = (i * 7919 + 3) % V;
    return V;
}

/* All logits of the prompt, owned by the caller; NULL: skipped or failed. */
static float *logits_of(struct model *m)
{
    int32_t token[N_TOKENS];
    if (!m)
        return NULL;
    const size_t V = (size_t)prompt(m, token);
    float *logits = malloc(N_TOKENS * V * sizeof *logits);
    CHECK(direct_forward(m, token, N_TOKENS));
    for (int32_t i = 0; logits && i < N_TOKENS; i++)
        memcpy(logits + (size_t)i * V, model_logits(m, i), V * sizeof *logits);
    return logits;
}

static bool on_card(void)
{
    return strcmp(test_device(), "cuda") == 0;
}

/* Of got beside want, (n), as parts of want's root mean square. */
struct error {
    double most, mean; /* mean: root of the mean square */
};

static struct error error_of(const float *got, const float *want, size_t n)
{
    double most = 0, squares = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        double off = fabs((double)got[i] - (double)want[i]);
        most = off <= most ? most : off;
        squares += off * off;
        all += (double)want[i] * (double)want[i];
    }
    return (struct error){most / sqrt(all / (double)n), sqrt(squares / all)};
}

static void compare(size_t way, int32_t isa)
{
    const char *name = ways[way].name;
    struct model *m = direct_open_file(path_of(name, ""), isa, ACT_FLOAT, KV_F32);
    struct model *plain = direct_open_file(path_of(name, "-plain"), isa, ACT_FLOAT, KV_F32);
    float *got = logits_of(m), *want = logits_of(plain);
    if (got && want) {
        const struct error e = error_of(got, want, N_TOKENS * (size_t)model_hparams(m)->V);
        printf("  %-14s isa %d error %.1e\n", name, isa, e.most);
        if (!(e.most < BOUND))
            t_fail(__FILE__, __LINE__, "%s: error %.2e, bound %.0e", name, e.most, BOUND);
    }
    free(got);
    free(want);
    model_close(m);
    model_close(plain);
}

TEST(quantized_hf, logits_are_those_of_the_plain_numbers)
{
    if (on_card())
        t_skip("a card is compared below");
    for (size_t way = 0; way < COUNT_OF(ways) && !on_card(); way++)
        for (int32_t isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++)
            if (cpu_can((enum isa)isa))
                compare(way, isa);
}

/* A card's activations are bf16. So plain numbers differ there from the CPU's too, and quantized
 * ones by no more than what another order of sums makes of that. */
static void compare_on_card(const char *name)
{
    struct model *exact = direct_open_through(path_of(name, "-plain"), NULL);
    struct model *plain = direct_open_file(path_of(name, "-plain"), 0, ACT_INT8, KV_BF16);
    struct model *m = direct_open_file(path_of(name, ""), 0, ACT_INT8, KV_BF16);
    float *want = logits_of(exact), *usual = logits_of(plain), *got = logits_of(m);
    if (want && usual && got) {
        const size_t n = N_TOKENS * (size_t)model_hparams(m)->V;
        const double error = error_of(got, want, n).mean,
                     bound = 1.25 * error_of(usual, want, n).mean;
        printf("  %-14s cuda error %.1e, plain %.1e\n", name, error, bound / 1.25);
        if (!(error < bound) || !(bound < 0.05))
            t_fail(__FILE__, __LINE__, "%s: error %.2e, bound %.2e", name, error, bound);
    }
    free(want);
    free(usual);
    free(got);
    model_close(exact);
    model_close(plain);
    model_close(m);
}

TEST(quantized_hf, a_card_is_as_near_as_with_the_plain_numbers)
{
    if (!on_card())
        t_skip("TEST_DEVICE is not cuda");
    for (size_t way = 0; way < COUNT_OF(ways) && on_card(); way++)
        compare_on_card(ways[way].name);
}

/* By two threads. */
TEST(quantized_hf, converted_they_are_the_same_bits_as_the_plain_numbers)
{
    for (size_t way = 0; way < COUNT_OF(ways); way++) {
        const enum fmt fmt = ways[way].converted;
        const char *name = ways[way].name;
        struct model *m =
            direct_open_quantized(path_of(name, ""), fmt, false, ACT_FLOAT, 2, &mem_system);
        struct model *plain =
            direct_open_quantized(path_of(name, "-plain"), fmt, false, ACT_FLOAT, 2, &mem_system);
        float *got = logits_of(m), *want = logits_of(plain);
        if (got && want &&
            memcmp(got, want, N_TOKENS * (size_t)model_hparams(m)->V * sizeof *got) != 0)
            t_fail(__FILE__, __LINE__, "%s as %s: logits differ", name, fmt_info[fmt].name);
        free(got);
        free(want);
        model_close(m);
        model_close(plain);
    }
}

/* ---- A file whose scales of keys and values, which alone are read in pieces of this size, are
 * broken */

#define BROKEN_BYTES 256

static void *broken_open(void *user, const char *path, uint64_t *size)
{
    FILE *file = fopen(path, "rb");
    (void)user;
    if (!file)
        return NULL;
    (void)fseek(file, 0, SEEK_END);
    *size = (uint64_t)ftell(file);
    return file;
}

static int64_t broken_read(void *user, void *file, void *to, uint64_t n, uint64_t offset)
{
    (void)user;
    (void)fseek(file, (long)offset, SEEK_SET);
    int64_t got = (int64_t)fread(to, 1, (size_t)n, file);
    if (n == BROKEN_BYTES)
        memset(to, 0x7e, BROKEN_BYTES); /* no numbers, as halves */
    return got;
}

static void broken_close(void *user, void *file)
{
    (void)user;
    (void)fclose(file);
}

static void load_broken(enum fmt quantization)
{
    const inflight_io io = {.open = broken_open, .pread = broken_read, .close = broken_close};
    const struct model_params params = {.path = path_of("awq", ""),
                                        .io = &io,
                                        .device = "cpu",
                                        .mem = &mem_system,
                                        .quantization = (int32_t)quantization,
                                        .context = DIRECT_CONTEXT,
                                        .kv_tokens = DIRECT_CONTEXT,
                                        .max_tokens = DIRECT_MAX,
                                        .max_rows = DIRECT_MAX,
                                        .threads = 2};
    struct model *m;
    struct err err = {0};
    CHECK_EQ(model_open(&m, &params, &err), 0);
    CHECK_EQ(model_load(m, NULL, NULL, &err), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text,
               "tensor model.layers.0.self_attn.k_proj.weight: the scale of row 0, column "
               "0 is not a finite number");
    model_close(m);
}

TEST(quantized_hf, rows_that_cannot_be_made_end_loading_with_their_place)
{
    load_broken(FMT_f32);
    load_broken(FMT_int8);
}
