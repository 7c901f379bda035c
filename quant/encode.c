#include "encode.h"

#include "avx2.h"
#include "encode_fp8.h"
#include "encode_int4.h"

#include <float.h>
#include <math.h>
#include <string.h>

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

float encode_scale(float largest, float most)
{
    float scale = largest / most;
    if (largest > 0 && scale < FLT_MIN)
        scale = FLT_MIN;
    return isinf(scale * most) ? nextafterf(scale, 0) : scale;
}

/* ---- Integers of 8 bits */

static void encode_int8(const float *value, int64_t n, float largest, uint8_t *row)
{
    float scale = encode_scale(largest, INT8_MOST);
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
        encode_fp8(value, n, fp8_fit(value, NULL, n, *largest), row);
    else if (fmt == FMT_fp8_128)
        encode_fp8_128(value, n, largest, row);
    else if (fmt == FMT_int8)
        encode_int8(value, n, *largest, row);
    else
        encode_int4(value, n, fmt_info[fmt].n, (struct int4_style){.is_symmetric = false}, row);
}
