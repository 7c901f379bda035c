/* What sampling a row of logits costs when the head has taken notes of it: microseconds per
 * row, medians over rounds, for two vocabularies and two shapes of distribution. Flat is
 * normal with deviation 2; peaked has 20 tokens above it that take nearly all of the
 * probability, as after most prompts. 16 rows pass in turn, as in a step of 16 sequences. */
#include "../../plugin/base/rng.h"
#include "../../plugin/base/thread.h"
#include "../../plugin/logits.h"
#include "../../plugin/sample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 16, ROUNDS = 31 };

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

/* Microseconds per row of one pass over all rows, at a position of its own: what is drawn says
 * how much is looked at. Sampling changes rows: it gets a copy. */
static double pass(const float *logits, float *copy, int32_t V, const struct sampling *sampling,
                   int round, uint64_t *scratch)
{
    static struct logit_block block[ROWS][VOCABULARY_MAX / LOGIT_BLOCK];
    struct sample_output output;
    struct logits notes;
    float scale = sample_scale(sampling, V);
    memcpy(copy, logits, (size_t)ROWS * (size_t)V * sizeof *copy);
    for (int32_t r = 0; r < ROWS; r++)
        logits_scan(&notes, copy + (size_t)r * (size_t)V, V, block[r], scale);
    uint64_t start = clock_ns();
    for (int32_t r = 0; r < ROWS; r++) {
        struct sample_input input = {.logits = copy + (size_t)r * (size_t)V,
                                     .block = block[r],
                                     .scale = scale,
                                     .V = V,
                                     .sampling = sampling,
                                     .n_token = round * ROWS + r};
        sample_row(&input, scratch, &output);
    }
    return 1e-3 * (double)(clock_ns() - start) / ROWS;
}

int main(void)
{
    for (size_t v = 0; v < COUNT_OF(vocabulary); v++) {
        int32_t V = vocabulary[v];
        size_t bytes = (size_t)ROWS * (size_t)V * sizeof(float);
        float *logits = malloc(bytes), *copy = malloc(bytes);
        uint64_t *scratch = calloc(sample_scratch(V), sizeof *scratch);
        for (int peaked = 0; logits && copy && scratch && peaked < 2; peaked++) {
            fill(logits, V, peaked);
            for (size_t m = 0; m < COUNT_OF(modes); m++) {
                struct sampling sampling = modes[m].sampling;
                sampling.logprobs = -1;
                sampling.repetition_penalty = 1;
                sampling.top_p = sampling.top_p > 0 ? sampling.top_p : 1;
                double us[ROUNDS];
                for (int round = 0; round < ROUNDS; round++)
                    us[round] = pass(logits, copy, V, &sampling, round, scratch);
                qsort(us, ROUNDS, sizeof *us, by_value);
                printf("%6d logits, %-6s  %-22s %8.1f us [%.1f..%.1f]\n", V,
                       peaked ? "peaked" : "flat", modes[m].name, us[ROUNDS / 2], us[0],
                       us[ROUNDS - 1]);
            }
        }
        free(logits);
        free(copy);
        free(scratch);
    }
    return EXIT_SUCCESS;
}
