#include "encode.h"

#include "avx2.h"
#include "e4m3.h"
#include "encode_int4.h"
#include "fp8_128.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define FP8_MOST  448.0f
#define INT8_MOST 127.0f

/* Rounds to the nearest integer, ties to even, below 2^22: the sum has no room for a fraction. */
#define ROUNDER 0x1.8p23f

bool encode_serves(enum fmt fmt)
{
    return fmt == FMT_fp8 || fmt == FMT_fp8_128 || fmt == FMT_int8 || fmt == FMT_int4_32 ||
           fmt == FMT_int4_64 || fmt == FMT_int4_128;
}

float encode_most(enum fmt fmt)
{
    bool is_half = fmt == FMT_int4_32 || fmt == FMT_int4_64 || fmt == FMT_int4_128;
    return is_half ? INT4_LARGEST : FLT_MAX;
}

/* Magnitudes are ordered like their bits, and what is not a number is above all. */
INTO_BOTH float largest_of(const float *value, int64_t n)
{
    int32_t most = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t magnitude = (int32_t)(float_bits(value[i]) & 0x7fffffffu);
        most = magnitude > most ? magnitude : most;
    }
    return float_of_bits((uint32_t)most);
}

AVX2 static float largest_avx2(const float *value, int64_t n)
{
    return largest_of(value, n);
}

float encode_largest(const float *value, int64_t n)
{
    return has_avx2() ? largest_avx2(value, n) : largest_of(value, n);
}

/* So that largest is most times the scale. Never so small that its inverse overflows or that a
 * device takes it for zero, nor so large that most times it overflows. */
static float scale_of(float largest, float most)
{
    float scale = largest / most;
    if (largest > 0 && scale < FLT_MIN)
        scale = FLT_MIN;
    return isinf(scale * most) ? nextafterf(scale, 0) : scale;
}

/* ---- E4M3 */

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

static void encode_fp8(const float *value, int64_t n, float largest, uint8_t *row)
{
    float scale = scale_of(largest, FP8_MOST);
    memcpy(row, &scale, sizeof scale);
    encode_e4m3(value, n, scale, row + sizeof scale);
}

static void encode_fp8_128(const float *value, int64_t n, const float *largest, struct fp8_128 *row)
{
    for (int64_t b = 0; b < n / ENCODE_BLOCK; b++) {
        row[b].scale = scale_of(largest[b], FP8_MOST);
        encode_e4m3(value + b * ENCODE_BLOCK, ENCODE_BLOCK, row[b].scale, row[b].bits);
    }
}

/* ---- Integers of 8 bits */

static void encode_int8(const float *value, int64_t n, float largest, uint8_t *row)
{
    float scale = scale_of(largest, INT8_MOST);
    const float inverse = scale > 0 ? 1 / scale : 0;
    memcpy(row, &scale, sizeof scale);
    for (int64_t i = 0; i < n; i++) {
        int32_t q =
            (int32_t)float_bits(value[i] * inverse + ROUNDER) - (int32_t)float_bits(ROUNDER);
        q = q > 127 ? 127 : q;
        q = q < -127 ? -127 : q;
        row[sizeof scale + (size_t)i] = (uint8_t)q;
    }
}

void encode_row(enum fmt fmt, const float *value, int64_t n, const float *largest, void *row)
{
    if (fmt == FMT_fp8)
        encode_fp8(value, n, *largest, row);
    else if (fmt == FMT_fp8_128)
        encode_fp8_128(value, n, largest, row);
    else if (fmt == FMT_int8)
        encode_int8(value, n, *largest, row);
    else
        encode_int4(value, n, fmt_info[fmt].n, (struct int4_style){.is_symmetric = false}, row);
}
