/* AWQ's scales and grids, against what they are for: outputs that change less. */
#include "t.h"

#include "quant/quantize/awq.h"

#include <math.h>
#include <stdlib.h>

enum { K = 32, N = 16, TOKENS = 200 };

static uint32_t state = 1;

static float random_number(void)
{
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) * 0x1p-23f - 1;
}

/* Inputs of which column k is about size[k]. */
static void begin(struct moments *m, const float size[K])
{
    struct err err = {0};
    float x[K];
    CHECK_EQ(moments_init(m, K, 2, &err), 0);
    for (int t = 0; t < TOKENS; t++) {
        for (int k = 0; k < K; k++)
            x[k] = size[k] * random_number();
        moments_add(m, x, 1);
    }
    CHECK_EQ(moments_end(m, &err), 0);
}

/* Of N rows of one group each, with the scales undone, to back; the change of the outputs. */
static double round_all(const struct moments *m, const float *W, struct int4_style style,
                        const float *s, float *back)
{
    uint8_t rows[N * 32];
    const struct awq_matrix matrix = {
        .W = W, .back = back, .N = N, .fmt = FMT_int4_32, .style = style};
    awq_round(m, &matrix, s, NULL, rows);
    for (int r = 0; r < N; r++) {
        fmt_decode_row(FMT_int4_32, rows + (size_t)r * fmt_row_bytes(FMT_int4_32, K), K,
                       back + r * K);
        for (int k = 0; s && k < K; k++)
            back[r * K + k] /= s[k];
    }
    return moments_energy(m, W, back, N);
}

/* Eighths from -8 to 3 are most of the output, and what is larger on the other side, where a grid
 * has eight steps by itself, is hardly read. Rows of either sign. */
TEST(calibration_awq, the_eighth_step_goes_where_outputs_want_it)
{
    static const float row[] = {1 / 0.95f, -1.0f, -0.875f, 0.375f, -0.125f};
    const struct int4_style style = {.is_symmetric = true};
    struct moments m;
    float size[K] = {0.001f}, W[N * K] = {0}, back[N * K];
    for (size_t k = 1; k < COUNT_OF(row); k++)
        size[k] = 1;
    for (int r = 0; r < N; r++)
        for (size_t k = 0; k < COUNT_OF(row); k++)
            W[r * K + (int)k] = r % 2 ? row[k] : -row[k];
    begin(&m, size);
    (void)round_all(&m, W, style, NULL, back);
    for (int r = 0; r < N; r++)
        for (int k = 1; k < (int)COUNT_OF(row); k++)
            CHECK_NEAR(back[r * K + k], W[r * K + k], 0.002);
    moments_release(&m);
}

/* The same with grids over the whole range of what is scaled: what scales are chosen by. */
static double round_plainly(const struct moments *m, const float *W, struct int4_style style,
                            const float *s, float *back)
{
    float value[K];
    uint8_t q[K];
    for (int r = 0; r < N; r++) {
        for (int k = 0; k < K; k++)
            value[k] = W[r * K + k] * s[k];
        const struct int4_grid grid = int4_clip(value, K, 1, style);
        int4_round(value, K, grid, q);
        for (int k = 0; k < K; k++)
            back[r * K + k] = ((float)q[k] - grid.zero) * grid.scale / s[k];
    }
    return moments_energy(m, W, back, N);
}

/* Random weights and the scales that are chosen for them and these inputs. */
static void choose(struct moments *m, const float size[K], struct int4_style style, float W[N * K],
                   float s[K])
{
    float back[N * K];
    const struct awq_matrix matrix = {
        .W = W, .back = back, .N = N, .fmt = FMT_int4_32, .style = style};
    for (int i = 0; i < N * K; i++)
        W[i] = random_number();
    begin(m, size);
    awq_scales(m, m->magnitude, &matrix, 1, s);
}

/* A column with large inputs: more steps for it pay, with these grids and with better ones. */
TEST(calibration_awq, scales_make_outputs_nearer)
{
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        const struct int4_style style = {.is_symmetric = symmetric};
        struct moments m;
        float size[K], W[N * K], back[N * K], s[K], one[K];
        for (int k = 0; k < K; k++) {
            size[k] = k == 3 ? 30.0f : 1.0f;
            one[k] = 1;
        }
        choose(&m, size, style, W, s);
        for (int k = 0; k < K; k++)
            CHECK(isfinite(s[k]) && s[k] > 0 && (k == 3 || s[k] < s[3]));
        const double scaled = round_plainly(&m, W, style, s, back);
        CHECK(scaled < 0.3 * round_plainly(&m, W, style, one, back));
        CHECK(round_all(&m, W, style, s, back) < 0.9 * scaled);
        moments_release(&m);
    }
}

/* Columns that nothing comes through keep a scale that the others can live with. */
TEST(calibration_awq, columns_without_inputs_take_no_room)
{
    const struct int4_style style = {0};
    const float size[K] = {1, 2, 3, 4};
    struct moments m;
    float W[N * K], back[N * K], s[K];
    choose(&m, size, style, W, s);
    for (int k = 0; k < K; k++)
        CHECK(isfinite(s[k]) && s[k] > 1e-4f && s[k] < 1e4f);
    CHECK(isfinite(round_all(&m, W, style, s, back)));
    moments_release(&m);
}
