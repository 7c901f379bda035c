/* What sampling a row of logits costs when the head has taken notes of it: microseconds per
 * row, for two vocabularies and two shapes of distribution, and of a model that is named. Flat is
 * normal with deviation 2; peaked has 20 tokens above it that take nearly all of the
 * probability; a model's rows are those of a text, in the middle of which it has much to choose
 * from. 16 rows pass in turn, as in a step of 16 sequences. */
#include "../../plugin/base/rng.h"
#include "../../plugin/base/thread.h"
#include "../../plugin/logits.h"
#include "../../plugin/model/model.h"
#include "../../plugin/sample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 16, ROUNDS = 31, TOKENS_MOST = 256 };

enum { VOCABULARY_MAX = 128256 };

static const int32_t vocabulary[] = {49152, VOCABULARY_MAX};

static const struct {
    const char *name;
    struct sampling sampling;
} modes[] = {
    {"greedy", {.temperature = 0}},
    {"temperature 0.8", {.temperature = 0.8f}},
    {"top-p 0.95", {.temperature = 0.8f, .top_p = 0.95f}},
    {"top-p 0.5", {.temperature = 0.8f, .top_p = 0.5f}},
    {"top-p 0.05", {.temperature = 0.8f, .top_p = 0.05f}},
    {"top-k 40, top-p 0.95", {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f}},
    {"min-p 0.05", {.temperature = 0.8f, .min_p = 0.05f}},
};

static const char text[] =
    "The old harbour had been quiet for most of the winter, but on the first warm day of March the "
    "boats came back. Children ran along the wall to see who had caught the most, and the women "
    "who mended the nets sat in the sun and talked about the price of bread, the new doctor, and "
    "a letter that had come from the city. Nobody knew who had written it. It said only that a "
    "ship would arrive before the end of the month, that it would carry something of great value, "
    "and that whoever met it should bring a lantern, a rope and a clock that kept good time.";

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fill(float *logits, int32_t V, bool peaked)
{
    for (int32_t i = 0; i < ROWS * V; i++) {
        float a = rng_uniform(1, (uint64_t)i, 0), b = rng_uniform(2, (uint64_t)i, 0);
        logits[i] = 2 * sqrtf(-2 * logf(a + 1e-9f)) * cosf(6.2831853f * b);
    }
    for (int32_t i = 0; peaked && i < ROWS * 20; i++)
        logits[i % ROWS * V + i * 997 % V] = 20 - 0.5f * (float)(i / ROWS);
}

/* Microseconds of each row of one pass over all rows, at a position of its own: what is drawn says
 * how much is looked at. Sampling changes rows: it gets a copy. */
static void pass(const float *logits, float *copy, int32_t V, const struct sampling *sampling,
                 int round, uint64_t *scratch, double us[ROWS])
{
    static struct logit_block block[ROWS][VOCABULARY_MAX / LOGIT_BLOCK];
    struct sample_output output;
    struct logits notes;
    float scale = sample_scale(sampling, V);
    memcpy(copy, logits, (size_t)ROWS * (size_t)V * sizeof *copy);
    for (int32_t r = 0; r < ROWS; r++)
        logits_scan(&notes, copy + (size_t)r * (size_t)V, V, block[r], scale);
    for (int32_t r = 0; r < ROWS; r++) {
        struct sample_input input = {.logits = copy + (size_t)r * (size_t)V,
                                     .block = block[r],
                                     .scale = scale,
                                     .V = V,
                                     .sampling = sampling,
                                     .n_token = round * ROWS + r};
        uint64_t start = clock_ns();
        sample_row(&input, scratch, &output);
        us[r] = 1e-3 * (double)(clock_ns() - start);
    }
}

/* logits: (ROWS, V) */
static void measure(const char *name, const float *logits, int32_t V)
{
    float *copy = malloc((size_t)ROWS * (size_t)V * sizeof *copy);
    uint64_t *scratch = calloc(sample_scratch(V), sizeof *scratch);
    for (size_t m = 0; copy && scratch && m < COUNT_OF(modes); m++) {
        struct sampling sampling = modes[m].sampling;
        static double us[ROUNDS * ROWS];
        double sum = 0;
        sampling.logprobs = -1;
        sampling.repetition_penalty = 1;
        sampling.top_p = sampling.top_p > 0 ? sampling.top_p : 1;
        for (int round = 0; round < ROUNDS; round++)
            pass(logits, copy, V, &sampling, round, scratch, us + round * ROWS);
        qsort(us, COUNT_OF(us), sizeof *us, by_value);
        for (size_t i = 0; i < COUNT_OF(us); i++)
            sum += us[i] / COUNT_OF(us);
        printf("%6d logits, %-8s  %-22s %6.1f us a row; mean %.1f, 99 %% below %.1f\n", V, name,
               modes[m].name, us[COUNT_OF(us) / 2], sum, us[COUNT_OF(us) * 99 / 100]);
    }
    free(copy);
    free(scratch);
}

static void measure_shapes(int32_t V)
{
    float *logits = malloc((size_t)ROWS * (size_t)V * sizeof *logits);
    for (int peaked = 0; logits && peaked < 2; peaked++) {
        fill(logits, V, peaked);
        measure(peaked ? "peaked" : "flat", logits, V);
    }
    free(logits);
}

/* The last ROWS positions of the text. */
static int32_t measure_rows(struct model *m, struct err *err)
{
    static int32_t place[TOKENS_MOST], page[TOKENS_MOST];
    struct buf tokens;
    buf_init(&tokens, &mem_system);
    if (tokenizer_encode(model_tokenizer(m), (struct str){text, sizeof text - 1}, NULL, true,
                         &tokens, err))
        return err->code;
    const int32_t n = (int32_t)MIN(tokens.len / sizeof(int32_t), (size_t)TOKENS_MOST);
    struct batch_seq seq = {.first = 0, .n = n, .position = 0, .page = page};
    for (int32_t i = 0; i < n; i++)
        place[i] = page[i] = i;
    struct batch batch = {.T = n,
                          .S = 1,
                          .R = ROWS,
                          .token = (const int32_t *)(const void *)tokens.ptr,
                          .position = place,
                          .seq = &seq,
                          .row = place + n - ROWS};
    if (n < ROWS || model_forward(m, &batch))
        return err_set(err, INFLIGHT_E_INTERNAL, "no logits of %d tokens", n);
    measure("model", model_logits(m, 0), model_hparams(m)->V);
    buf_release(&tokens);
    return INFLIGHT_OK;
}

static int32_t measure_model(const char *path, struct err *err)
{
    struct model *m;
    const struct model_params params = {.path = path,
                                        .device = "cpu",
                                        .mem = &mem_system,
                                        .context = TOKENS_MOST,
                                        .threads = 1,
                                        .kv_tokens = TOKENS_MOST,
                                        .max_tokens = TOKENS_MOST,
                                        .max_rows = ROWS};
    if (model_open(&m, &params, err))
        return err->code;
    int32_t rc = model_load(m, NULL, NULL, err);
    if (!rc)
        rc = measure_rows(m, err);
    model_close(m);
    return rc;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    for (size_t v = 0; v < COUNT_OF(vocabulary); v++)
        measure_shapes(vocabulary[v]);
    for (int i = 1; i < argc; i++)
        if (measure_model(argv[i], &err)) {
            fprintf(stderr, "%s: %s\n", argv[i], err.text);
            return EXIT_FAILURE;
        }
    return EXIT_SUCCESS;
}
