/* Peaks of inputs, keys and values, and scales of smoothing, against numbers worked out by hand. */
#include "t.h"

#include "quant/encode.h"
#include "quant/quantize/heads.h"
#include "quant/quantize/moments.h"
#include "quant/quantize/smooth.h"

#include <math.h>
#include <string.h>

TEST(calibration_scales, the_largest_input_of_a_column_is_kept)
{
    struct moments m;
    struct err err = {0};
    const float x[6] = {1, -3, 0, -2, 2, 0}, y[3] = {-1.5f, 1, 0};
    CHECK_EQ(moments_init(&m, 3, 1, &err), INFLIGHT_OK);
    moments_add(&m, x, 2);
    moments_add(&m, y, 1);
    CHECK(m.largest[0] == 2 && m.largest[1] == 3 && m.largest[2] == 0);
    CHECK(moments_largest(&m) == 3);
    moments_clear(&m, 3);
    CHECK(moments_largest(&m) == 0);
    moments_release(&m);
}

TEST(calibration_scales, second_moments_may_be_of_the_first_tokens_alone)
{
    struct moments m;
    struct err err = {0};
    const float x[8] = {1, 2, 3, 4, 5, 60, NAN, 8};
    CHECK_EQ(moments_init(&m, 2, 1, &err), INFLIGHT_OK);
    m.limit = 2;
    moments_add(&m, x, 1);
    moments_add(&m, x + 2, 2);
    CHECK_EQ(moments_end(&m, &err), INFLIGHT_OK);
    CHECK(m.tokens == 3 && m.H[0] == 10 && m.H[1] == 14 && m.H[3] == 20);
    CHECK(m.largest[1] == 60 && m.magnitude[0] == 9);
    moments_add(&m, x + 6, 1);
    CHECK_EQ(moments_end(&m, &err), INFLIGHT_E_MODEL);
    CHECK(strstr(err.text, "input 0 is not finite"));
    moments_release(&m);
}

/* The largest of peak and of at most two heads of four values as attention keeps them. */
static float peak_of(const struct heads *h, const float *x, const float *turn, float peak)
{
    float y[8];
    heads_turn(h, x, turn, y);
    return values_peak(y, (int64_t)h->K * h->dim, peak);
}

/* Two heads of four values; angles of 90 and 180 degrees, and one that turns (3, 4) to (5, 0). */
TEST(calibration_scales, keys_are_measured_after_the_rotation)
{
    const float x[8] = {3, 1, 4, 1, 0, 0, 0, 0};
    const float turn[4] = {0.6f, 1, -0.8f, 0}; /* cosines, then sines */
    struct heads h = {.K = 2, .dim = 4, .rotary_dim = 4, .rope = ROPE_HALF};
    CHECK_NEAR(peak_of(&h, x, turn, 0), 5, 1e-6);
    CHECK_NEAR(peak_of(&h, x, NULL, 0), 4, 0);
    CHECK_NEAR(peak_of(&h, x, turn, 7), 7, 0);
    /* Pairs (3, 1) and (4, 1): 3 * 0.6 + 0.8, 0.6 - 2.4; 4, 1. */
    h.rope = ROPE_INTERLEAVED;
    CHECK_NEAR(peak_of(&h, x, turn, 0), 4, 1e-6);
    const float second[8] = {0, 0, 0, 0, 3, 4, 0, 0};
    CHECK_NEAR(peak_of(&h, second, turn, 0), 5, 1e-6);
}

TEST(calibration_scales, keys_are_normalised_before_the_rotation)
{
    /* The mean of squares of (1, -1, 3, 5) is 9. */
    const float x[4] = {1, -1, 3, 5}, weight[4] = {1, 1, 1, 6};
    struct heads h = {
        .K = 1, .dim = 4, .rotary_dim = 4, .rope = ROPE_HALF, .norm = weight, .eps = 0};
    CHECK_NEAR(peak_of(&h, x, NULL, 0), 10, 1e-6);
    h.eps = 16;
    CHECK_NEAR(peak_of(&h, x, NULL, 0), 6, 1e-6);
}

TEST(calibration_scales, keys_that_are_no_numbers_are_infinite)
{
    const float x[4] = {1, NAN, 3, 5}, y[2] = {-INFINITY, 2};
    const struct heads h = {.K = 1, .dim = 4, .rotary_dim = 4, .rope = ROPE_HALF};
    CHECK(isinf(peak_of(&h, x, NULL, 0)));
    CHECK(isinf(values_peak(y, 2, 0)));
    CHECK(isinf(values_peak(y + 1, 1, INFINITY)));
    CHECK_NEAR(values_peak(y + 1, 1, 0), 2, 0);
}

TEST(calibration_scales, smoothing_shares_out_what_is_large)
{
    const float inputs[4] = {8, 0.5f, 0, 2}, W[8] = {0.5f, 2, 1, 0, -0.25f, 1, -1, 0};
    float weights[4] = {0}, s[4];
    smooth_columns(W, 2, 4, weights);
    CHECK(weights[0] == 0.5f && weights[1] == 2 && weights[2] == 1 && weights[3] == 0);
    smooth_scales(inputs, weights, 4, 0.5f, s);
    CHECK_NEAR(s[0], 4, 1e-6);
    CHECK_NEAR(s[1], 0.5, 1e-7);
    CHECK_NEAR(s[2], sqrt(8e-5), 1e-6);
    CHECK_NEAR(s[3], sqrt(2 / 2e-5), 1e-3);
    smooth_scales(inputs, weights, 4, 1, s);
    CHECK(s[0] == 8 && s[1] == 0.5f);
    smooth_scales(inputs, weights, 4, 0, s);
    CHECK(s[0] == 2 && s[1] == 0.5f);
    const float none[2] = {0};
    smooth_scales(none, none, 2, 0.5f, s);
    CHECK(s[0] == 1 && s[1] == 1);
}

TEST(calibration_scales, smoothed_rows_are_those_of_scaled_weights)
{
    enum { N = 5, K = 70 };
    float W[N * K], s[K], t[N], back[N * K], scaled[K], value[K];
    struct packing p = {.fmt = FMT_int8, .N = N, .K = K};
    const size_t row = fmt_row_bytes(FMT_int8, K);
    uint8_t rows[N * (K + 4)], want[K + 4];
    for (int i = 0; i < N * K; i++)
        W[i] = sinf((float)(i * i));
    for (int i = 0; i < K; i++)
        s[i] = 1 + 0.1f * (float)i;
    for (int i = 0; i < N; i++)
        t[i] = 2 + (float)i;
    const struct smooth_matrix m = {
        .packing = &p, .W = W, .s = s, .t = t, .back = back, .rows = rows};
    smooth_round(&m, 2);
    for (int r = 0; r < N; r++) {
        for (int k = 0; k < K; k++)
            scaled[k] = W[r * K + k] * s[k] / t[r];
        const float largest = encode_largest(scaled, K);
        encode_row(FMT_int8, scaled, K, &largest, want);
        CHECK(memcmp(rows + (size_t)r * row, want, row) == 0);
        fmt_decode_row(FMT_int8, want, K, value);
        CHECK_NEAR(value[3], scaled[3], (double)largest / 250);
    }
}
