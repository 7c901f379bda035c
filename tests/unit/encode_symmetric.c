/* Symmetric groups of 4 bits, whose integers reach eight steps below zero and seven above: their
 * scales have either sign. Beside the rules of others, as plain definitions. */
#include "t.h"

#include "quant/bf16.h"
#include "quant/encode.h"
#include "quant/encode_int4.h"
#include "quant/quant.h"

#include <math.h>

enum { MOST = 128, ROUNDS = 2000 };

static const struct int4_style fine = {.is_symmetric = true};
static const struct int4_style coarse = {.is_symmetric = true, .is_coarse = true};

static uint32_t state;

static float random_number(void)
{
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) * 0x1p-23f - 1;
}

/* About normal, as weights are. */
static void fill(float *value, int n, float size)
{
    for (int i = 0; i < n; i++) {
        float sum = 0;
        for (int j = 0; j < 8; j++)
            sum += random_number();
        value[i] = sum * size;
    }
}

struct group {
    float value[MOST], back[MOST];
    uint8_t made[3 + MOST / 2];
    int n;
};

static float scale_of(const struct group *g)
{
    uint16_t half;
    memcpy(&half, g->made, sizeof half);
    return f16_to_float(half);
}

static enum fmt format_of(int n)
{
    return n == 32 ? FMT_int4_32 : n == 64 ? FMT_int4_64 : FMT_int4_128;
}

static void encode(struct group *g, struct int4_style style)
{
    encode_int4(g->value, g->n, g->n, style, g->made);
    fmt_decode_row(format_of(g->n), g->made, g->n, g->back);
    CHECK_EQ(g->made[2], 8);
}

static double error_of(const struct group *g)
{
    double error = 0;
    for (int i = 0; i < g->n; i++)
        error += pow((double)g->back[i] - (double)g->value[i], 2);
    return error;
}

/* ---- Rules of others */

/* Q4_0: the value that is furthest from zero becomes -8. */
static double error_of_q4_0(const struct group *g)
{
    double furthest = 0, error = 0;
    for (int i = 0; i < g->n; i++)
        if (fabs((double)g->value[i]) > fabs(furthest))
            furthest = (double)g->value[i];
    const double scale = (double)f16_to_float(f16_of_float((float)(furthest / -8)));
    for (int i = 0; i < g->n; i++) {
        double q = fmin(floor((double)g->value[i] / (furthest / -8) + 8.5), 15);
        error += pow(scale * (q - 8) - (double)g->value[i], 2);
    }
    return error;
}

/* What integers bring the sum of squares down by, with the scale that fits them best, which the
 * scale becomes. Of floats, since the largest value may be in the middle between two integers. */
static double worth_of(const float *value, int n, float *scale)
{
    const float inverse = 1 / *scale;
    double product = 0, square = 0;
    for (int i = 0; i < n; i++) {
        const double step = fmin(fmax(nearbyint((double)(value[i] * inverse)), -8), 7);
        product += step * (double)value[i];
        square += step * step;
    }
    *scale = (float)(product / square);
    return product * product / square;
}

/* The search of encode.h among positive scales alone, whose ranges end half a step beyond the
 * integers on both sides. */
static double error_of_positive_scales(const struct group *g)
{
    const float largest = encode_largest(g->value, g->n), inverse = 1 / largest;
    float value[MOST], found = 0;
    double most = 0, error = 0;
    int best = 0;
    for (int i = 0; i < g->n; i++)
        value[i] = g->value[i] * inverse;
    for (int away = 4; away >= 1; away /= 2) {
        const bool is_first = away == 4;
        const int first = is_first ? 0 : best - away, last = is_first ? 20 : best + away;
        for (int clip = first; clip <= last; clip += is_first ? 4 : 2 * away) {
            float scale = 1 / 7.5f * (1 - (float)clip * 0.025f);
            const double worth = worth_of(value, g->n, &scale);
            if (clip < 0 || clip > 20 || worth <= most)
                continue;
            most = worth;
            found = scale;
            best = clip;
        }
    }
    found = f16_to_float(f16_of_float(found * largest));
    for (int i = 0; i < g->n; i++) {
        const double step = fmin(fmax(nearbyint((double)(g->value[i] / found)), -8), 7);
        error += pow(step * (double)found - (double)g->value[i], 2);
    }
    return error;
}

TEST(encode_symmetric, no_group_is_further_off_than_by_q4_0_or_by_positive_scales)
{
    static struct group g;
    state = 3;
    for (g.n = 32; g.n <= MOST; g.n *= 2) {
        double got = 0, q4_0 = 0, positive = 0;
        int negative = 0;
        for (int round = 0; round < ROUNDS; round++) {
            fill(g.value, g.n, 0.03f);
            encode(&g, fine);
            const double error = error_of(&g), by_q4_0 = error_of_q4_0(&g);
            const double by_positive = error_of_positive_scales(&g);
            CHECK(error <= by_q4_0 * 1.0001);
            CHECK(error <= by_positive * 1.0001);
            got += error;
            q4_0 += by_q4_0;
            positive += by_positive;
            negative += scale_of(&g) < 0;
        }
        printf("  groups of %d: error %.3f of Q4_0's, %.3f of that of positive scales\n", g.n,
               got / q4_0, got / positive);
        CHECK(got < 0.95 * q4_0);
        CHECK(got < 0.95 * positive);
        CHECK(negative > ROUNDS / 3 && negative < ROUNDS * 2 / 3);
    }
}

/* 0.25 times -8 .. 7, and -7 .. 8. */
TEST(encode_symmetric, the_largest_value_is_reached_on_either_side)
{
    static struct group g;
    const struct int4_style styles[] = {fine, coarse};
    for (g.n = 32; g.n <= MOST; g.n *= 2)
        for (int sign = -1; sign <= 1; sign += 2)
            for (size_t s = 0; s < 2; s++) {
                for (int i = 0; i < g.n; i++)
                    g.value[i] = (float)sign * 0.25f * (float)(i % 16 - 7);
                encode(&g, styles[s]);
                for (int i = 0; i < g.n; i++)
                    CHECK(g.back[i] == g.value[i]);
                CHECK(scale_of(&g) == (float)sign * -0.25f);
            }
}

TEST(encode_symmetric, the_sign_of_a_group_makes_no_difference)
{
    static struct group g, turned;
    state = 5;
    for (int round = 0; round < ROUNDS; round++) {
        g.n = turned.n = 32 << round % 3;
        fill(g.value, g.n, 1);
        for (int i = 0; i < g.n; i++)
            turned.value[i] = -g.value[i];
        encode(&g, fine);
        encode(&turned, fine);
        CHECK(error_of(&g) == error_of(&turned));
    }
}

/* Eight bits are left of a scale, and of its error half a unit of them: 2^-9 of eight steps. */
TEST(encode_symmetric, coarse_scales_of_either_sign_are_bfloat16)
{
    static struct group g;
    double got = 0, want = 0;
    state = 11;
    g.n = 32;
    for (int round = 0; round < ROUNDS; round++) {
        fill(g.value, g.n, 0.03f);
        encode(&g, fine);
        want += error_of(&g);
        encode(&g, coarse);
        got += error_of(&g);
        CHECK(bf16_to_float(bf16_of_float(scale_of(&g))) == scale_of(&g));
    }
    CHECK(got >= want && got < want * 1.01);
}

TEST(encode_symmetric, a_clip_has_part_of_the_largest_eight_steps_from_zero)
{
    static float value[32] = {[3] = 0.5f, [7] = -0.25f};
    uint8_t q[32];
    struct int4_grid grid = int4_clip(value, 32, 1, fine), other = int4_turned(grid);
    CHECK(grid.scale == -0.0625f && grid.zero == 8 && f16_to_float(grid.half) == grid.scale);
    int4_round(value, 32, grid, q);
    CHECK(q[3] == 0 && q[7] == 12 && q[0] == 8);
    CHECK(other.scale == 0.0625f && other.zero == 8 && f16_to_float(other.half) == other.scale);
    int4_round(value, 32, other, q);
    CHECK(q[3] == 15 && q[7] == 4 && q[0] == 8);
    CHECK(int4_clip(value, 32, 0.5f, fine).scale == -0.03125f);
    value[7] = -0.75f;
    CHECK(int4_clip(value, 32, 1, fine).scale == 0.09375f);
}

/* Zeros, what is below all halves, and the largest numbers there are. */
TEST(encode_symmetric, numbers_at_the_ends_stay_what_they_are)
{
    static struct group g;
    static const float size[] = {0, 1e-45f, 0x1p-26f, 0x1p-25f, 0x1p-22f, INT4_LARGEST};
    g.n = 32;
    for (size_t s = 0; s < sizeof size / sizeof *size; s++)
        for (int sign = -1; sign <= 1; sign += 2)
            for (int is_coarse = 0; is_coarse < 2; is_coarse++) {
                for (int i = 0; i < g.n; i++)
                    g.value[i] = i % 3 ? size[s] * (float)sign : -size[s] * (float)sign / 3;
                encode(&g, is_coarse ? coarse : fine);
                for (int i = 0; i < g.n; i++)
                    CHECK(fabsf(g.back[i] - g.value[i]) <= fmaxf(size[s] / 8, 0x1p-24f));
                CHECK(size[s] > 0 || scale_of(&g) == 0);
            }
}

/* FNV-1a of groups of each size and style, of the code without AVX2: processors that have it, and
 * others, give the same. */
TEST(encode_symmetric, the_same_values_give_the_same_bits_on_every_machine)
{
    static struct group g;
    static const uint32_t known[] = {507711537u,  2514479400u, 2936887111u,
                                     1686369286u, 3265425950u, 3012430273u};
    for (int i = 0; i < 6; i++) {
        uint32_t hash = 2166136261u;
        g.n = 32 << i % 3;
        state = 7;
        for (int round = 0; round < ROUNDS; round++) {
            fill(g.value, g.n, 1 + (float)round);
            encode(&g, i < 3 ? fine : coarse);
            for (int at = 0; at < 3 + g.n / 2; at++)
                hash = (hash ^ g.made[at]) * 16777619u;
        }
        CHECK_EQ(hash, known[i]);
    }
}
