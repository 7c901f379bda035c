#include "encode.h"

#include "vectors.h"
#include "bf16.h"
#include "encode_fp8.h"
#include "encode_int4.h"
#include "q8_0.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define INT8_MOST    127.0f
#define Q8_0_LARGEST (127 * 65504.0f)

/* Rounds to the nearest integer, ties to even, below 2^22: the sum has no room for a fraction. */
#define ROUNDER 0x1.8p23f

bool encode_serves(enum fmt fmt)
{
    return fmt == FMT_fp8 || fmt == FMT_fp8_128 || fmt == FMT_int8 || fmt == FMT_q8_0 ||
           fmt == FMT_int4_32 || fmt == FMT_int4_64 || fmt == FMT_int4_128;
}

float encode_most(enum fmt fmt)
{
    bool is_half = fmt == FMT_int4_32 || fmt == FMT_int4_64 || fmt == FMT_int4_128;
    return is_half ? INT4_LARGEST : fmt == FMT_q8_0 ? Q8_0_LARGEST : FLT_MAX;
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

float encode_scale(float largest, float most)
{
    float scale = largest / most;
    if (largest > 0 && scale < FLT_MIN)
        scale = FLT_MIN;
    return isinf(scale * most) ? nextafterf(scale, 0) : scale;
}

/* ---- Integers of 8 bits */

static void round_int8(const float *value, int64_t n, float scale, uint8_t *out)
{
    const float inverse = scale > 0 ? 1 / scale : 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t q =
            (int32_t)float_bits(value[i] * inverse + ROUNDER) - (int32_t)float_bits(ROUNDER);
        q = q > 127 ? 127 : q;
        q = q < -127 ? -127 : q;
        out[i] = (uint8_t)q;
    }
}

static void encode_int8(const float *value, int64_t n, float largest, uint8_t *row)
{
    const float scale = encode_scale(largest, INT8_MOST);
    memcpy(row, &scale, sizeof scale);
    round_int8(value, n, scale, row + sizeof scale);
}

/* Below 2^-17 halves have at most seven bits, so that each is a bfloat16, too; one that is rounded
 * down would cut much off there. */
static uint16_t half_scale(float largest, bool is_bf16)
{
    float scale = largest / INT8_MOST;
    if (scale < 0x1p-17f)
        scale = ceilf(scale * 0x1p24f) * 0x1p-24f;
    else if (is_bf16)
        scale = float_of_bits((float_bits(scale) + 0xffffu) & 0xffff0000u);
    return f16_of_float(scale);
}

void encode_q8_0(const float *value, int64_t n, bool is_bf16, void *row)
{
    struct q8_0 *block = row;
    for (int64_t i = 0; i < n; i += 32, block++) {
        const uint16_t d = half_scale(encode_largest(value + i, 32), is_bf16);
        memcpy(&block->d, &d, sizeof d);
        round_int8(value + i, 32, f16_to_float(d), (uint8_t *)block->q);
    }
}

void encode_row(enum fmt fmt, const float *value, int64_t n, const float *largest, void *row)
{
    if (fmt == FMT_fp8)
        encode_fp8(value, n, fp8_fit(value, NULL, n, *largest), row);
    else if (fmt == FMT_fp8_128)
        encode_fp8_128(value, n, largest, row);
    else if (fmt == FMT_int8)
        encode_int8(value, n, *largest, row);
    else if (fmt == FMT_q8_0)
        encode_q8_0(value, n, false, row);
    else
        encode_int4(value, n, fmt_info[fmt].n, (struct int4_style){.is_symmetric = false}, row);
}
