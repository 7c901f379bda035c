/* Tiles of codes -> rows of our formats. */
#include "matrix_tile.h"

#include "../../quant/e4m3.h"
#include "../../quant/f16.h"
#include "../../quant/mxfp4.h"
#include "../../quant/nvfp4.h"

#include <math.h>
#include <string.h>

#define HALF_MOST 65504.0f

static bool refuse(struct matrix_fault *fault, enum fault kind, const struct tile *t, int32_t r,
                   int32_t k, int32_t value)
{
    *fault = (struct matrix_fault){
        .kind = kind, .row = t->row + r, .column = t->column + k, .value = value};
    return false;
}

/* The scale of a unit of a row as a half. */
static bool half_of(const struct tile *t, int32_t r, int32_t k, uint16_t *half,
                    struct matrix_fault *fault)
{
    float scale = t->scale[k / t->unit][r];
    *half = f16_of_float(scale);
    if ((*half & 0x7fff) == 0x7c00)
        return refuse(fault, FAULT_LARGE, t, r, k, 0);
    return true;
}

/* ---- E4M3 */

static bool check_numbers(const struct tile *t, struct matrix_fault *fault)
{
    for (int32_t r = 0; r < t->rows; r++) {
        int found = 0;
        for (int32_t k = 0; k < t->columns; k++)
            found |= (t->code[r][k] & 0x7f) == 0x7f;
        for (int32_t k = 0; found && k < t->columns; k++)
            if ((t->code[r][k] & 0x7f) == 0x7f)
                return refuse(fault, FAULT_CODE, t, r, k, 0);
    }
    return true;
}

/* Of formats with a scale a row. */
static uint8_t *put_head(const struct tile *t, int32_t r, uint8_t *row)
{
    if (t->column == 0)
        memcpy(row, &t->scale[0][r], sizeof(float));
    return row + sizeof(float) + t->column;
}

static bool write_fp8(const struct tile *t, uint8_t *out, size_t row_bytes,
                      struct matrix_fault *fault)
{
    for (int32_t r = 0; r < t->rows; r++)
        memcpy(put_head(t, r, out + (size_t)r * row_bytes), t->code[r], (size_t)t->columns);
    return check_numbers(t, fault);
}

static bool write_fp8_128(const struct tile *t, uint8_t *out, size_t row_bytes,
                          struct matrix_fault *fault)
{
    const size_t bytes = (size_t)fmt_info[FMT_fp8_128].bytes;
    for (int32_t r = 0; r < t->rows; r++) {
        uint8_t *block = out + (size_t)r * row_bytes + (size_t)(t->column / 128) * bytes;
        for (int32_t k = 0; k < t->columns; k += 128, block += bytes) {
            memcpy(block, &t->scale[k / t->unit][r], sizeof(float));
            memcpy(block + sizeof(float), t->code[r] + k, 128);
        }
    }
    return check_numbers(t, fault);
}

/* ---- E2M1 */

/* Bytes of eight codes of 4 bits to four bytes, the even ones low. */
static inline uint32_t pack_eight(const uint8_t code[8])
{
    uint64_t w;
    memcpy(&w, code, sizeof w);
    w = (w | w >> 4) & 0x00ff00ff00ff00ffu;
    w = (w | w >> 8) & 0x0000ffff0000ffffu;
    return (uint32_t)(w | w >> 16);
}

/* Value j and value j + 16 share a byte. A scale is a power of two, 2^(e - 127). */
static void write_mxfp4(const struct tile *t, uint8_t *out, size_t row_bytes)
{
    for (int32_t r = 0; r < t->rows; r++) {
        struct mxfp4 *block = (struct mxfp4 *)(out + (size_t)r * row_bytes) + t->column / 32;
        for (int32_t k = 0; k < t->columns; k += 32, block++) {
            const uint8_t *code = t->code[r] + k;
            block->e = (uint8_t)(float_bits(t->scale[k / t->unit][r]) >> 23);
            for (int32_t j = 0; j < 16; j++)
                block->q[j] = (uint8_t)(code[j] | code[j + 16] << 4);
        }
    }
}

/* Scales are E4M3 numbers; of one below zero the numbers change their signs instead. */
static void write_nvfp4(const struct tile *t, uint8_t *out, size_t row_bytes)
{
    for (int32_t r = 0; r < t->rows; r++) {
        uint8_t *row = out + (size_t)r * row_bytes;
        struct nvfp4 *block = (struct nvfp4 *)(row + sizeof(float)) + t->column / 64;
        memcpy(row, &t->factor, sizeof(float));
        for (int32_t k = 0; k < t->columns; k += 64, block++)
            for (int32_t g = 0; g < 4; g++) {
                const uint8_t bits = e4m3_of_float(t->scale[(k + 16 * g) / t->unit][r]);
                const uint32_t signs = bits & 0x80 ? 0x88888888u : 0;
                block->scale[g] = bits & 0x7f;
                for (int32_t i = 0; i < 16; i += 8) {
                    const uint32_t four = pack_eight(t->code[r] + k + 16 * g + i) ^ signs;
                    memcpy(block->q + 8 * g + i / 2, &four, sizeof four);
                }
            }
    }
}

/* ---- Integers */

/* Bytes of a file can be what 4 bits cannot. */
static bool check_integers(const struct tile *t, struct matrix_fault *fault)
{
    for (int32_t r = 0; r < t->rows; r++)
        for (int32_t k = 0; k < t->columns; k++)
            if (t->code[r][k] > 15)
                return refuse(fault, FAULT_CODE, t, r, k, (int8_t)(t->code[r][k] - 8));
    return true;
}

/* Less the zero point: of 8 bits in the middle, or the difference might not be an int8. */
static bool put_integers(const struct tile *t, int32_t bits, int32_t r, int32_t k, int32_t n,
                         uint8_t *out, struct matrix_fault *fault)
{
    const int zero = t->zero[k / t->unit][r];
    if (bits == 8 && zero != 128)
        return refuse(fault, FAULT_MIDDLE, t, r, k, zero);
    for (int32_t i = 0; i < n; i++)
        out[i] = (uint8_t)(t->code[r][k + i] - zero);
    return true;
}

static bool write_int8(const struct tile *t, int32_t bits, uint8_t *out, size_t row_bytes,
                       struct matrix_fault *fault)
{
    for (int32_t r = 0; r < t->rows; r++)
        if (!put_integers(t, bits, r, 0, t->columns, put_head(t, r, out + (size_t)r * row_bytes),
                          fault))
            return false;
    return true;
}

static bool write_q8_0(const struct tile *t, uint8_t *out, size_t row_bytes,
                       struct matrix_fault *fault)
{
    const size_t bytes = (size_t)fmt_info[FMT_q8_0].bytes;
    for (int32_t r = 0; r < t->rows; r++) {
        uint8_t *block = out + (size_t)r * row_bytes + (size_t)(t->column / 32) * bytes;
        for (int32_t k = 0; k < t->columns; k += 32, block += bytes) {
            uint16_t half;
            if (!half_of(t, r, k, &half, fault) ||
                !put_integers(t, 8, r, k, 32, block + sizeof half, fault))
                return false;
            memcpy(block, &half, sizeof half);
        }
    }
    return true;
}

static bool write_int4(const struct tile *t, enum fmt fmt, uint8_t *out, size_t row_bytes,
                       struct matrix_fault *fault)
{
    const int32_t n = fmt_info[fmt].n;
    const size_t bytes = (size_t)fmt_info[fmt].bytes;
    for (int32_t r = 0; r < t->rows; r++) {
        uint8_t *block = out + (size_t)r * row_bytes + (size_t)(t->column / n) * bytes;
        for (int32_t k = 0; k < t->columns; k += n, block += bytes) {
            const uint8_t *code = t->code[r] + k;
            uint16_t half;
            if (!half_of(t, r, k, &half, fault))
                return false;
            memcpy(block, &half, sizeof half);
            block[2] = t->zero[k / t->unit][r];
            for (int32_t i = 0; i < n; i += 8) {
                uint32_t four = pack_eight(code + i);
                memcpy(block + 3 + i / 2, &four, sizeof four);
            }
        }
    }
    return true;
}

/* ---- What has no format of its own */

/* f16_of_float of what is at most HALF_MOST, without branches. */
static inline uint16_t half_near(float value)
{
    uint32_t bits = float_bits(value), magnitude = bits & 0x7fffffffu;
    uint32_t normal = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    /* Below 2^-14 in steps of 2^-24, which are the last bit of numbers from 1/2 on. */
    uint32_t small = float_bits(float_of_bits(magnitude) + 0.5f) - float_bits(0.5f);
    return (uint16_t)(bits >> 16 & 0x8000u) | (uint16_t)(magnitude < 0x38800000u ? small : normal);
}

/* scale * number of each; returns the bits of the largest magnitude, which are those of no number
 * if one is none. */
static uint32_t put_halves(const float *scale, const float *number, int32_t n, uint16_t *out)
{
    uint32_t most = 0;
    for (int32_t k = 0; k < n; k++) {
        const float value = scale[k] * number[k];
        const uint32_t magnitude = float_bits(value) & 0x7fffffffu;
        out[k] = half_near(value);
        most = magnitude > most ? magnitude : most;
    }
    return most;
}

/* Of a code, before it is scaled. */
static inline float number_of(enum codes codes, int code, int zero)
{
    if (codes == CODES_E4M3)
        return e4m3_to_float((uint8_t)code);
    return codes_are_e2m1(codes) ? 0.5f * (float)e2m1_twice(code) : (float)(code - zero);
}

static bool write_f16(const struct tile *t, enum codes codes, uint8_t *out, size_t row_bytes,
                      struct matrix_fault *fault)
{
    const int shift = __builtin_ctz((unsigned)t->unit); /* a power of two */
    for (int32_t r = 0; r < t->rows; r++) {
        float scale[TILE_COLUMNS], number[TILE_COLUMNS];
        uint16_t half[TILE_COLUMNS];
        for (int32_t k = 0; k < t->columns; k++) {
            const int32_t unit = k >> shift;
            scale[k] = t->scale[unit][r] * t->input[k] * t->factor;
            number[k] = number_of(codes, t->code[r][k], t->zero[unit][r]);
        }
        const uint32_t most = put_halves(scale, number, t->columns, half);
        for (int32_t k = 0; most > float_bits(HALF_MOST) && k < t->columns; k++)
            if (!(fabsf(scale[k] * number[k]) <= HALF_MOST))
                return refuse(fault, isnan(number[k]) ? FAULT_CODE : FAULT_LARGE, t, r, k, 0);
        memcpy(out + (size_t)r * row_bytes + (size_t)t->column * sizeof *half, half,
               (size_t)t->columns * sizeof *half);
    }
    return true;
}

bool tile_write(const struct tile *t, const struct storage *s, enum fmt fmt, uint8_t *out,
                size_t row_bytes, struct matrix_fault *fault)
{
    if (s->codes == CODES_I8 && s->bits == 4 && !check_integers(t, fault))
        return false;
    switch (fmt) {
    case FMT_fp8:
        return write_fp8(t, out, row_bytes, fault);
    case FMT_fp8_128:
        return write_fp8_128(t, out, row_bytes, fault);
    case FMT_int8:
        return write_int8(t, s->bits, out, row_bytes, fault);
    case FMT_q8_0:
        return write_q8_0(t, out, row_bytes, fault);
    case FMT_f16:
        return write_f16(t, s->codes, out, row_bytes, fault);
    case FMT_mxfp4:
        write_mxfp4(t, out, row_bytes);
        return true;
    case FMT_nvfp4:
        write_nvfp4(t, out, row_bytes);
        return true;
    default:
        return write_int4(t, fmt, out, row_bytes, fault);
    }
}
