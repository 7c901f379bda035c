/* What keys and values are rounded for, against its plain definition. */
#include "t.h"

#include "quant/quantize/attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { T = 150, HEADS = 6, GROUPS = 2, DIM = 8, ROW = (HEADS + 2 * GROUPS) * DIM, D = 12 };

static uint32_t state = 1;

static void fill(float *x, int n, float size)
{
    for (int i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = size * ((float)(state >> 8) * 0x1p-23f - 1);
    }
}

static const float slopes[HEADS] = {0.5f, 0.25f, 0.1f, 0, 1, 0.01f};
static const float sinks[HEADS] = {0, 1, -1, 3, 0.5f, 2};

static const struct attention_rule rules[] = {{.scale = 0.6f},
                                              {.scale = 0.6f, .growth = 0.7f, .growth_from = 9},
                                              {.scale = 0.6f, .window = 7},
                                              {.scale = 0.6f, .cap = 1.5f},
                                              {.scale = 0.6f, .slopes = slopes},
                                              {.scale = 0.6f, .sinks = sinks},
                                              {0.6f, 1.5f, 0.7f, 9, 70, slopes, sinks}};

/* p (T) of query i of head h: struct op_attend has the formula. */
static void plain(const struct attention_rule *rule, const float *rows, int H, int K, int h, int i,
                  double *p)
{
    const int row = (H + 2 * K) * DIM;
    double sum = rule->sinks ? exp((double)rule->sinks[h]) : 0;
    for (int j = 0; j < T; j++) {
        double s = 0;
        for (int d = 0; d < DIM; d++)
            s += (double)rows[i * row + h * DIM + d] *
                 (double)rows[j * row + (H + h / (H / K)) * DIM + d];
        s *= (double)rule->scale;
        if (rule->growth > 0)
            s *= 1 + (double)rule->growth * log(1 + floor((double)i / rule->growth_from));
        if (rule->cap > 0)
            s = (double)rule->cap * tanh(s / (double)rule->cap);
        if (rule->slopes)
            s += (double)rule->slopes[h] * (j - i);
        p[j] = j > i || (rule->window && j <= i - rule->window) ? 0 : exp(s);
        sum += p[j];
    }
    for (int j = 0; j < T; j++)
        p[j] /= sum;
}

static struct attention begin(int H, int K, int threads, int n)
{
    struct err err = {0};
    struct attention a = {.T = T, .H = H, .K = K, .dim = DIM, .threads = threads, .n = n};
    CHECK_EQ(attention_init(&a, D, &err), INFLIGHT_OK);
    return a;
}

static struct qkv see(const float *rows, int H, int K)
{
    return (struct qkv){rows, rows + H * DIM, rows + (H + K) * DIM, (H + 2 * K) * DIM};
}

TEST(calibration_attention, of_one_head_values_are_seen_with_its_weights)
{
    float rows[T * 3 * DIM], X[T * D], Y[T * D];
    struct attention a = begin(1, 1, 2, 1);
    fill(rows, T * 3 * DIM, 2);
    fill(X, T * D, 1);
    for (size_t r = 0; r < COUNT_OF(rules); r++) {
        const struct qkv x = see(rows, 1, 1);
        int turned = 0;
        attention_weigh(&a, &rules[r], &x, 0);
        memcpy(Y, X, sizeof Y);
        attention_see(&a, ATTENDED_VALUES, 0, Y, D);
        for (int i = 0; i < T; i++) {
            double p[T], want[D] = {0}, same = 0, other = 0;
            plain(&rules[r], rows, 1, 1, 0, i, p);
            for (int d = 0; d < D; d++) {
                for (int j = 0; j < T; j++)
                    want[d] += p[j] * (double)X[j * D + d];
                same = fmax(same, fabs((double)Y[i * D + d] - want[d]));
                other = fmax(other, fabs((double)Y[i * D + d] + want[d]));
            }
            CHECK(fmin(same, other) < 1e-5);
            turned += other < same;
        }
        CHECK(turned > T / 3 && turned < 2 * T / 3);
    }
    attention_release(&a);
}

TEST(calibration_attention, keys_count_by_what_queries_make_of_them)
{
    static float rows[T * ROW], X[T * D];
    struct attention a = begin(HEADS, GROUPS, 3, 2);
    fill(rows, T * ROW, 2);
    for (size_t r = 0; r < COUNT_OF(rules); r++) {
        const struct qkv x = see(rows, HEADS, GROUPS);
        double w[T] = {0};
        for (int h = 0; h < HEADS; h++)
            for (int i = 0; i < T; i++) {
                double p[T], square = 0;
                plain(&rules[r], rows, HEADS, GROUPS, h, i, p);
                for (int d = 0; d < DIM; d++)
                    square += pow((double)rows[i * ROW + h * DIM + d], 2);
                for (int j = 0; j < T; j++)
                    w[j] += square * pow(p[j] * (1 - p[j]), 2);
            }
        attention_weigh(&a, &rules[r], &x, 1);
        fill(X, T * D, 1);
        float Y[T * D];
        memcpy(Y, X, sizeof Y);
        attention_see(&a, ATTENDED_KEYS, 1, Y, D);
        for (int i = 0; i < T * D; i++)
            CHECK_NEAR(Y[i], sqrt(w[i / D]) * (double)X[i], 1e-5 * (1 + sqrt(w[i / D])));
    }
    attention_release(&a);
}

/* sum (D, D) += X^T X. */
static void add_moments(const float *X, double *sum)
{
    for (int i = 0; i < T; i++)
        for (int c = 0; c < D; c++)
            for (int d = 0; d < D; d++)
                sum[c * D + d] += (double)X[i * D + c] * (double)X[i * D + d];
}

/* The same rows as many samples, whose signs differ. */
TEST(calibration_attention, in_the_mean_heads_have_nothing_in_common)
{
    enum { SAMPLES = 400 };
    static float rows[T * ROW], X[T * D], Y[T * D];
    double got[D * D] = {0}, want[D * D] = {0}, together[D * D] = {0}, off = 0, far = 0, size = 0;
    struct attention a = begin(HEADS, GROUPS, 2, SAMPLES);
    const struct qkv x = see(rows, HEADS, GROUPS);
    static double sum[T * D];
    fill(rows, T * ROW, 1);
    fill(X, T * D, 1);
    for (int i = 0; i < T; i++)
        X[i * D] += 1; /* so that heads have something in common */
    for (int h = 0; h < HEADS; h++) {
        for (int i = 0; i < T; i++) {
            double p[T];
            plain(&rules[0], rows, HEADS, GROUPS, h, i, p);
            for (int d = 0; d < D; d++) {
                double y = 0;
                for (int j = 0; j < T; j++)
                    y += p[j] * (double)X[j * D + d];
                Y[i * D + d] = (float)y;
                sum[i * D + d] += y;
            }
        }
        add_moments(Y, want);
    }
    for (int i = 0; i < T * D; i++)
        Y[i] = (float)sum[i];
    add_moments(Y, together);
    for (int i = 0; i < SAMPLES; i++) {
        attention_weigh(&a, &rules[0], &x, i);
        memcpy(Y, X, sizeof Y);
        attention_see(&a, ATTENDED_VALUES, i, Y, D);
        add_moments(Y, got);
    }
    for (int i = 0; i < D * D; i++) {
        off += pow(got[i] / SAMPLES - want[i], 2);
        far += pow(together[i] - want[i], 2);
        size += pow(want[i], 2);
    }
    CHECK(sqrt(off / size) < 0.02);
    CHECK(sqrt(far / size) > 1);
    attention_release(&a);
}

TEST(calibration_attention, no_bit_depends_on_threads)
{
    static float rows[T * ROW], X[T * D], Y[2][T * D];
    fill(rows, T * ROW, 2);
    fill(X, T * D, 1);
    for (int i = 0; i < 2; i++) {
        struct attention a = begin(HEADS, GROUPS, 1 + 4 * i, 1);
        const struct qkv x = see(rows, HEADS, GROUPS);
        attention_weigh(&a, &rules[5], &x, 0);
        memcpy(Y[i], X, sizeof X);
        attention_see(&a, ATTENDED_VALUES, 0, Y[i], D);
        attention_see(&a, ATTENDED_KEYS, 0, Y[i], D);
        attention_release(&a);
    }
    CHECK(memcmp(Y[0], Y[1], sizeof X) == 0);
}

TEST(calibration_attention, memory_that_is_missing_is_an_error)
{
    struct err err = {0};
    struct attention a = {.T = 1 << 28, .H = 1, .K = 1, .dim = 8, .threads = 1, .n = 1 << 20};
    CHECK_EQ(attention_init(&a, 1 << 20, &err), INFLIGHT_E_NOMEM);
    CHECK(strstr(err.text, "no memory for attention over 268435456 tokens"));
    attention_release(&a);
}
