/* Numbers of E4M3. From one power of two to the next they are eight steps apart, so a value is off
 * by up to a sixteenth of itself just above a power of two and by half of that just below the next
 * one. A scale up to twice the least that holds a row costs it nothing at the top, since numbers go
 * on at the bottom, and decides where its many values of middle size come to lie. */
#include "encode_fp8.h"

#include "vectors.h"
#include "bf16.h"
#include "encode.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Those that the processor adds at once. */
typedef float lanes __attribute__((vector_size(32)));
typedef int32_t lane_bits __attribute__((vector_size(32)));

enum {
    LANES = 8,
    PHASES = 16,
    AT_ONCE = 4 /* phases: one waits for its sum while those of others are made */
};

/* A float rounded to its four highest bits: with half of the last of these added, what is below it
 * is cut off. Ties go away from zero, which is as far. */
#define HALF_STEP 0x80000
#define STEPS     ((int32_t)0xfff00000)

float fp8_whole_scale(float largest)
{
    return encode_scale(largest, E4M3_MAX);
}

/* ---- The search */

/* Adds for each inverse the squares that rounding leaves of values times it, times the weights if
 * there are any. What is below the least normal number counts as if numbers went on: it is a
 * 28672nd of the largest. */
INTO_BOTH void add_squares(const float *value, const float *weight, const float inverse[AT_ONCE],
                           lanes sum[AT_ONCE])
{
    lanes from, counts;
    memcpy(&from, value, sizeof from);
    if (weight)
        memcpy(&counts, weight, sizeof counts);
    for (int p = 0; p < AT_ONCE; p++) {
        const lanes x = from * inverse[p];
        const lanes off = x - (lanes)(((lane_bits)x + HALF_STEP) & STEPS);
        sum[p] += weight ? off * off * counts : off * off;
    }
}

INTO_BOTH void sum_squares(const float *value, const float *weight, int64_t n,
                           const float inverse[AT_ONCE], float square[AT_ONCE])
{
    const int64_t whole = n / LANES * LANES;
    const size_t rest = (size_t)(n - whole) * sizeof *value;
    float last[2][LANES] = {{0}};
    lanes sum[AT_ONCE] = {{0}};
    for (int64_t i = 0; i < whole; i += LANES)
        add_squares(value + i, weight ? weight + i : NULL, inverse, sum);
    memcpy(last[0], value + whole, rest);
    if (weight)
        memcpy(last[1], weight + whole, rest);
    add_squares(last[0], weight ? last[1] : NULL, inverse, sum);
    for (int p = 0; p < AT_ONCE; p++)
        square[p] = ((sum[p][0] + sum[p][4]) + (sum[p][1] + sum[p][5])) +
                    ((sum[p][2] + sum[p][6]) + (sum[p][3] + sum[p][7]));
}

AVX2 static void sum_squares_avx2(const float *value, const float *weight, int64_t n,
                                  const float inverse[AT_ONCE], float square[AT_ONCE])
{
    sum_squares(value, weight, n, inverse, square);
}

/* The least bfloat16 that is no less. */
static float bf16_from(float scale)
{
    return float_of_bits((float_bits(scale) + 0xffffu) & 0xffff0000u);
}

float fp8_fit(const float *value, const float *weight, int64_t n, float largest)
{
    const float whole = fp8_whole_scale(largest);
    const bool is_wide = has_avx2();
    float best = whole, least = INFINITY;
    /* Where twice or half of it is no normal number there is nothing to choose from. */
    if (!(whole >= 2 * FLT_MIN) || isinf(4 * largest))
        return whole;
    for (int phase = 0; phase < PHASES; phase += AT_ONCE) {
        float scale[AT_ONCE], inverse[AT_ONCE], square[AT_ONCE];
        for (int p = 0; p < AT_ONCE; p++) {
            scale[p] = bf16_from(whole * (1 + (float)(phase + p) / PHASES));
            inverse[p] = 1 / scale[p];
        }
        (is_wide ? sum_squares_avx2 : sum_squares)(value, weight, n, inverse, square);
        for (int p = 0; p < AT_ONCE; p++) {
            const float ratio = scale[p] / whole, error = square[p] * ratio * ratio;
            if (error < least) {
                least = error;
                best = scale[p];
            }
        }
    }
    return best;
}

/* ---- Rounding */

/* n values divided by the scale, to the nearest number, ties to even; from 448 on that. */
INTO_BOTH void e4m3_of(const float *value, int64_t n, float scale, uint8_t *out)
{
    const float inverse = scale > 0 ? 1 / scale : 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = float_bits(value[i] * inverse);
        uint32_t magnitude = bits & 0x7fffffffu;
        /* Twenty bits are cut off, and the exponent's bias is 120 less. */
        uint32_t normal = ((magnitude + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20) - (120u << 3);
        /* Below 2^-6 in steps of 2^-9, which are the last bit of numbers from 2^14 on. */
        uint32_t small = float_bits(float_of_bits(magnitude) + 0x1p14f) - (141u << 23);
        const uint32_t is_small = 0u - (magnitude < 0x3c800000u); /* all bits: no branch */
        uint32_t number = (small & is_small) | (normal & ~is_small);
        number = number < 0x7eu ? number : 0x7eu;
        out[i] = (uint8_t)(number | (bits >> 24 & 0x80u));
    }
}

AVX2 static void e4m3_avx2(const float *value, int64_t n, float scale, uint8_t *out)
{
    e4m3_of(value, n, scale, out);
}

static void encode_e4m3(const float *value, int64_t n, float scale, uint8_t *out)
{
    if (has_avx2())
        e4m3_avx2(value, n, scale, out);
    else
        e4m3_of(value, n, scale, out);
}

void encode_fp8(const float *value, int64_t n, float scale, uint8_t *row)
{
    memcpy(row, &scale, sizeof scale);
    encode_e4m3(value, n, scale, row + sizeof scale);
}

void encode_fp8_128(const float *value, int64_t n, const float *largest, struct fp8_128 *row)
{
    for (int64_t b = 0; b < n / ENCODE_BLOCK; b++) {
        const float scale = fp8_whole_scale(largest[b]);
        row[b].scale = scale;
        encode_e4m3(value + b * ENCODE_BLOCK, ENCODE_BLOCK, scale, row[b].bits);
    }
}
