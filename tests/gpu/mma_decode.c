/* Elements of mma fragments as floats. A narrow float is put in the place of a float's leading
 * bits and multiplied by the difference of the exponents' biases, which is exact and right for
 * subnormals too; infinities and not-a-numbers get their exponent afterwards. Loops without
 * branches over all elements of a register, which the compiler turns into vector instructions. */
#include "mma.h"

#include <string.h>

/* Parts of a register of 32 bits, read in place: after a copy of other width the processor would
 * wait for its stores. */
typedef uint16_t __attribute__((may_alias)) halves;
typedef uint8_t __attribute__((may_alias)) bytes;
typedef int8_t __attribute__((may_alias)) signed_bytes;

static inline float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline uint32_t all_ones_if(bool condition)
{
    return 0u - (uint32_t)condition;
}

/* 1 sign bit, 5 exponent bits (bias 15), 10 mantissa bits, as in IEEE 754. */
static inline float float_of_half(uint32_t half)
{
    uint32_t low = half & 0x7fff;
    uint32_t bits = bits_of(float_of(low << 13) * 0x1p112f);
    bits |= all_ones_if(low >= 0x7c00) & 0x7f800000;
    return float_of(bits | (half & 0x8000) << 16);
}

/* 1 sign bit, 4 exponent bits (bias 7), 3 mantissa bits; no infinities, all ones is not a number
 * (PTX ISA 9.0, 5.2.3). */
static inline float float_of_e4m3(uint32_t byte)
{
    uint32_t low = byte & 0x7f;
    uint32_t bits = bits_of(float_of(low << 20) * 0x1p120f);
    bits |= all_ones_if(low == 0x7f) & 0x7fffffff;
    return float_of(bits | (byte & 0x80) << 24);
}

static inline uint32_t select(bool condition, uint32_t yes, uint32_t no)
{
    return (all_ones_if(condition) & yes) | (~all_ones_if(condition) & no);
}

/* To nearest, ties to even. Below 2^-14 adding 0.5 makes the float's last bit worth 2^-24, that
 * of a subnormal half; above, the rounding may carry into the exponent, up to infinity. */
static inline uint16_t half_of_float(float value)
{
    uint32_t bits = bits_of(value), low = bits & 0x7fffffff;
    uint32_t subnormal = bits_of(float_of(low) + 0.5f) - 0x3f000000;
    uint32_t normal = (low + 0xfff + (low >> 13 & 1) - (112u << 23)) >> 13;
    uint32_t half = select(low < 0x38800000, subnormal, normal);
    half = select(low >= 0x47800000, 0x7c00, half) | (bits >> 16 & 0x8000);
    return (uint16_t)select(low > 0x7f800000, 0x7fff, half);
}

void mma_halves_of_floats(const float *value, uint16_t *half, size_t n)
{
    for (size_t i = 0; i < n; i++)
        half[i] = half_of_float(value[i]);
}

static void decode_f16(const uint32_t *reg, float *out)
{
    const halves *element = (const halves *)reg;
    for (int i = 0; i < 2 * WARP_LANES; i++)
        out[i] = float_of_half(element[i]);
}

static void decode_bf16(const uint32_t *reg, float *out)
{
    const halves *element = (const halves *)reg;
    for (int i = 0; i < 2 * WARP_LANES; i++)
        out[i] = float_of((uint32_t)element[i] << 16);
}

/* The last 13 bits of the register are ignored (PTX ISA 9.0, 9.7.14.5.14). */
static void decode_tf32(const uint32_t *reg, float *out)
{
    for (int i = 0; i < WARP_LANES; i++)
        out[i] = float_of(reg[i] & 0xffffe000);
}

static void decode_e4m3(const uint32_t *reg, float *out)
{
    const bytes *element = (const bytes *)reg;
    for (int i = 0; i < 4 * WARP_LANES; i++)
        out[i] = float_of_e4m3(element[i]);
}

/* The first byte of a half. */
static void decode_e5m2(const uint32_t *reg, float *out)
{
    const bytes *element = (const bytes *)reg;
    for (int i = 0; i < 4 * WARP_LANES; i++)
        out[i] = float_of_half((uint32_t)element[i] << 8);
}

static void decode_s8(const uint32_t *reg, float *out)
{
    const signed_bytes *element = (const signed_bytes *)reg;
    for (int i = 0; i < 4 * WARP_LANES; i++)
        out[i] = (float)element[i];
}

static void decode_u8(const uint32_t *reg, float *out)
{
    const bytes *element = (const bytes *)reg;
    for (int i = 0; i < 4 * WARP_LANES; i++)
        out[i] = (float)element[i];
}

/* The low half of a byte comes first. */
static void split_nibbles(const uint32_t *reg, uint8_t *nibble)
{
    const bytes *byte = (const bytes *)reg;
    for (int i = 0; i < 4 * WARP_LANES; i++) {
        nibble[2 * i] = byte[i] & 15;
        nibble[2 * i + 1] = byte[i] >> 4;
    }
}

static void decode_s4(const uint32_t *reg, float *out)
{
    uint8_t nibble[8 * WARP_LANES];
    split_nibbles(reg, nibble);
    for (int i = 0; i < 8 * WARP_LANES; i++)
        out[i] = (float)((nibble[i] ^ 8) - 8);
}

static void decode_u4(const uint32_t *reg, float *out)
{
    uint8_t nibble[8 * WARP_LANES];
    split_nibbles(reg, nibble);
    for (int i = 0; i < 8 * WARP_LANES; i++)
        out[i] = (float)nibble[i];
}

static const struct {
    int elements;
    void (*decode)(const uint32_t *reg, float *out);
} types[MMA_TYPES] = {
    [MMA_F16] = {2, decode_f16},   [MMA_BF16] = {2, decode_bf16}, [MMA_TF32] = {1, decode_tf32},
    [MMA_E4M3] = {4, decode_e4m3}, [MMA_E5M2] = {4, decode_e5m2}, [MMA_S8] = {4, decode_s8},
    [MMA_U8] = {4, decode_u8},     [MMA_S4] = {8, decode_s4},     [MMA_U4] = {8, decode_u4},
};

int mma_elements(enum mma_type type)
{
    return types[type].elements;
}

void mma_decode(enum mma_type type, const uint32_t *reg, float *out)
{
    types[type].decode(reg, out);
}
