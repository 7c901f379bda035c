/* Weight formats: the half and bfloat conversions over their whole range, blocks put
 * together by hand from the drawings in the headers, and agreement to the bit with the
 * reference implementation on random blocks (quant_vectors.py). */
#include "t.h"

#include "quant/bf16.h"
#include "quant/e4m3.h"
#include "quant/f16.h"
#include "quant/f32.h"
#include "quant/fp8.h"
#include "quant/fp8_128.h"
#include "quant/int4.h"
#include "quant/int8.h"
#include "quant/mxfp4.h"
#include "quant/nvfp4.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q4_k.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"

#include "quant_vectors.h"

#include <math.h>

#define HALF_1   0x3c00
#define HALF_2   0x4000
#define HALF_0_5 0x3800

/* The definition of a half, in double. */
static double half_by_definition(uint32_t half)
{
    int exponent = (int)(half >> 10 & 31), fraction = (int)(half & 1023);
    double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return half & 0x8000 ? -magnitude : magnitude;
}

TEST(f16, every_half_becomes_the_float_of_the_definition)
{
    int wrong = 0;
    for (uint32_t half = 0; half < 0x10000; half++) {
        float value = f16_to_float((uint16_t)half);
        if ((half & 0x7fff) > 0x7c00)
            wrong += !isnan(value) || !signbit(value) != !(half & 0x8000);
        else if ((half & 0x7fff) == 0x7c00)
            wrong += !isinf(value) || !signbit(value) != !(half & 0x8000);
        else
            wrong +=
                (double)value != half_by_definition(half) || !signbit(value) != !(half & 0x8000);
    }
    CHECK_EQ(wrong, 0);
}

TEST(f16, every_half_survives_the_way_there_and_back)
{
    int wrong = 0;
    for (uint32_t half = 0; half < 0x10000; half++) {
        uint32_t want = (half & 0x7fff) > 0x7c00 ? half | 0x200 : half; /* NaNs become quiet */
        wrong += f16_of_float(f16_to_float((uint16_t)half)) != want;
    }
    CHECK_EQ(wrong, 0);
}

/* Between two neighbours the only place where rounding can go wrong is the middle: the
 * middle itself goes to the even one, the floats next to it to their own side. */
TEST(f16, middles_round_to_even_and_their_neighbours_to_the_nearest)
{
    int wrong = 0;
    for (uint32_t half = 0; half < 0x7bff; half++) {
        float low = f16_to_float((uint16_t)half), high = f16_to_float((uint16_t)(half + 1));
        float middle = low + (high - low) / 2; /* exact: one bit more than a half has */
        uint32_t even = half & 1 ? half + 1 : half;
        wrong += f16_of_float(middle) != even;
        wrong += f16_of_float(-middle) != (even | 0x8000);
        wrong += f16_of_float(nextafterf(middle, 0)) != half;
        wrong += f16_of_float(nextafterf(middle, 1e9f)) != half + 1;
    }
    CHECK_EQ(wrong, 0);
}

TEST(f16, what_is_too_large_becomes_infinity)
{
    CHECK_EQ(f16_of_float(65504.0f), 0x7bff);
    CHECK_EQ(f16_of_float(nextafterf(65520.0f, 0)), 0x7bff);
    CHECK_EQ(f16_of_float(65520.0f), 0x7c00);
    CHECK_EQ(f16_of_float(-1e30f), 0xfc00);
    CHECK_EQ(f16_of_float(INFINITY), 0x7c00);
    CHECK_EQ(f16_of_float(-INFINITY), 0xfc00);
}

TEST(f16, what_is_too_small_becomes_zero_with_its_sign)
{
    CHECK_EQ(f16_of_float(0x1p-25f), 0);
    CHECK_EQ(f16_of_float(nextafterf(0x1p-25f, 1)), 1);
    CHECK_EQ(f16_of_float(-0x1p-30f), 0x8000);
    CHECK_EQ(f16_of_float(0x1p-149f), 0); /* the smallest float */
    CHECK_EQ(f16_of_float(-0.0f), 0x8000);
}

TEST(f16, a_NaN_stays_one_whatever_its_payload)
{
    CHECK_EQ(f16_of_float(float_of_bits(0x7f800001)), 0x7e00);
    CHECK_EQ(f16_of_float(float_of_bits(0xffc02000)), 0xfe01);
    CHECK_EQ(f16_of_float(float_of_bits(0xffffffff)), 0xffff);
}

TEST(bf16, is_the_upper_half_of_a_float)
{
    CHECK(bf16_to_float(0x3f80) == 1.0f);
    CHECK(bf16_to_float(0xc048) == -3.125f);
    CHECK(isinf(bf16_to_float(0x7f80)));
    CHECK(isnan(bf16_to_float(0x7f81)));
    CHECK_EQ(float_bits(bf16_to_float(0x8000)), 0x80000000);
    CHECK_EQ(float_bits(bf16_to_float(0x0001)), 0x00010000); /* subnormal */
}

TEST(bf16, middles_round_to_even_and_their_neighbours_to_the_nearest)
{
    int wrong = 0;
    for (uint32_t low = 0; low < 0x7f80; low++) {
        uint32_t middle = low << 16 | 0x8000;
        wrong += bf16_of_float(float_of_bits(low << 16)) != low;
        wrong += bf16_of_float(float_of_bits(middle)) != (low & 1 ? low + 1 : low);
        wrong += bf16_of_float(float_of_bits(middle - 1)) != low;
        wrong += bf16_of_float(float_of_bits(middle + 1)) != low + 1;
        wrong += bf16_of_float(float_of_bits(middle + 1) * -1) != ((low + 1) | 0x8000);
    }
    CHECK_EQ(wrong, 0);
    CHECK_EQ(bf16_of_float(3.4e38f), 0x7f80); /* above the largest by more than half a step */
}

TEST(bf16, a_NaN_stays_one_whatever_its_payload)
{
    CHECK_EQ(bf16_of_float(float_of_bits(0x7f800001)), 0x7fc0);
    CHECK_EQ(bf16_of_float(float_of_bits(0xffffffff)), 0xffff);
    CHECK_EQ(bf16_of_float(INFINITY), 0x7f80);
}

/* OCP 8-bit floating point, of a code without its sign: bias 7, subnormals, no infinity. */
static double e4m3_by_definition(uint32_t code)
{
    int exponent = (int)(code >> 3), fraction = (int)(code & 7);
    return exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9);
}

TEST(e4m3, every_code_is_what_the_definition_says)
{
    int wrong = 0;
    for (uint32_t code = 0; code < 0x7f; code++) {
        wrong += (double)e4m3_to_float((uint8_t)code) != e4m3_by_definition(code);
        wrong += (double)e4m3_to_float((uint8_t)(code | 0x80)) != -e4m3_by_definition(code);
        wrong += e4m3_of_float((float)e4m3_by_definition(code)) != code;
        wrong += e4m3_of_float(-(float)e4m3_by_definition(code)) != (code | 0x80);
    }
    CHECK_EQ(wrong, 0);
    CHECK(isnan(e4m3_to_float(0x7f)) && isnan(e4m3_to_float(0xff)));
    CHECK(signbit(e4m3_to_float(0x80)));
    CHECK(e4m3_to_float(0x7e) == E4M3_MAX);
}

TEST(e4m3, middles_round_to_even_and_their_neighbours_to_the_nearest)
{
    int wrong = 0;
    for (uint32_t low = 0; low < 0x7e; low++) {
        double sum = e4m3_by_definition(low) + e4m3_by_definition(low + 1);
        uint32_t middle = float_bits((float)(sum / 2));
        wrong += e4m3_of_float(float_of_bits(middle)) != (low & 1 ? low + 1 : low);
        wrong += e4m3_of_float(float_of_bits(middle - 1)) != low;
        wrong += e4m3_of_float(float_of_bits(middle + 1)) != low + 1;
        wrong += e4m3_of_float(-float_of_bits(middle + 1)) != ((low + 1) | 0x80);
    }
    CHECK_EQ(wrong, 0);
}

TEST(e4m3, what_is_too_large_becomes_the_largest)
{
    CHECK_EQ(e4m3_of_float(463.9f), 0x7e);
    CHECK_EQ(e4m3_of_float(464), 0x7e);
    CHECK_EQ(e4m3_of_float(-1e30f), 0xfe);
    CHECK_EQ(e4m3_of_float(INFINITY), 0x7e);
    CHECK_EQ(e4m3_of_float(-INFINITY), 0xfe);
    CHECK_EQ(e4m3_of_float(float_of_bits(1)), 0);
    CHECK_EQ(e4m3_of_float(NAN), 0x7f);
    CHECK_EQ(e4m3_of_float(float_of_bits(0xff800001)), 0x7f);
}

TEST(q4_0, a_block_by_hand)
{
    struct q4_0 b = {.d = HALF_0_5, .q = {[0] = 0x0f, [15] = 0x98}};
    CHECK(q4_0_at(&b, 0) == 3.5f);   /* 0.5 * (15 - 8) */
    CHECK(q4_0_at(&b, 16) == -4.0f); /* 0.5 * (0 - 8) */
    CHECK(q4_0_at(&b, 15) == 0.0f);
    CHECK(q4_0_at(&b, 31) == 0.5f);
}

TEST(q4_1, a_block_by_hand)
{
    struct q4_1 b = {.d = HALF_0_5, .m = HALF_2 | 0x8000, .q = {[1] = 0x0f, [14] = 0x98}};
    CHECK(q4_1_at(&b, 0) == -2.0f);
    CHECK(q4_1_at(&b, 1) == 5.5f); /* 0.5 * 15 - 2 */
    CHECK(q4_1_at(&b, 17) == -2.0f);
    CHECK(q4_1_at(&b, 14) == 2.0f);
    CHECK(q4_1_at(&b, 30) == 2.5f);
}

TEST(q5_0, a_block_by_hand)
{
    struct q5_0 b = {.d = HALF_2, .high = 0x80010002};
    b.q[0] = 0x21;
    b.q[1] = 0x0f;
    b.q[15] = 0xf0;
    CHECK(q5_0_at(&b, 0) == -30.0f);  /* 2 * (1 - 16) */
    CHECK(q5_0_at(&b, 1) == 30.0f);   /* 2 * (31 - 16) */
    CHECK(q5_0_at(&b, 16) == 4.0f);   /* 2 * (2 + 16 - 16) */
    CHECK(q5_0_at(&b, 15) == -32.0f); /* 2 * (0 - 16) */
    CHECK(q5_0_at(&b, 31) == 30.0f);
}

TEST(q5_1, a_block_by_hand)
{
    struct q5_1 b = {.d = HALF_2, .m = HALF_1, .high = 0x00028000};
    b.q[1] = 0x30;
    b.q[15] = 0x1f;
    CHECK(q5_1_at(&b, 0) == 1.0f);
    CHECK(q5_1_at(&b, 15) == 63.0f); /* 2 * 31 + 1 */
    CHECK(q5_1_at(&b, 17) == 39.0f); /* 2 * (3 + 16) + 1 */
    CHECK(q5_1_at(&b, 31) == 3.0f);
}

TEST(q8_0, a_block_by_hand)
{
    struct q8_0 b = {.d = HALF_0_5, .q = {[0] = -128, [7] = 127, [31] = -1}};
    CHECK(q8_0_at(&b, 0) == -64.0f);
    CHECK(q8_0_at(&b, 7) == 63.5f);
    CHECK(q8_0_at(&b, 8) == 0.0f);
    CHECK(q8_0_at(&b, 31) == -0.5f);
}

TEST(mxfp4, a_block_by_hand)
{
    const float numbers[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    struct mxfp4 b = {.e = 128};
    for (int i = 0; i < 16; i++)
        b.q[i] = (uint8_t)(i | (15 - i) << 4);
    for (int i = 0; i < 16; i++) {
        CHECK(mxfp4_at(&b, i) == 2 * numbers[i]);
        CHECK(mxfp4_at(&b, 16 + i) == 2 * numbers[15 - i]);
    }
    b.e = 0;
    CHECK(mxfp4_at(&b, 7) == 0x1.8p-125f); /* 6 * 2^-127 */
    b.e = 255;
    CHECK(isinf(mxfp4_at(&b, 7)));
}

TEST(nvfp4, a_block_by_hand)
{
    struct nvfp4 b = {.scale = {0x38, 0x7e, 0x01, 0}}; /* 1, 448, 2^-9, 0 */
    memset(b.q, 0xf7, sizeof b.q);                     /* 6 and -6 in turn */
    CHECK(nvfp4_at(&b, 0) == 6 && nvfp4_at(&b, 15) == -6);
    CHECK(nvfp4_at(&b, 16) == 2688 && nvfp4_at(&b, 31) == -2688);
    CHECK(nvfp4_at(&b, 32) == 0x1.8p-7f && nvfp4_at(&b, 47) == -0x1.8p-7f);
    CHECK(nvfp4_at(&b, 48) == 0 && nvfp4_at(&b, 63) == 0);
    b.q[1] = 0x91;
    CHECK(nvfp4_at(&b, 2) == 0.5f && nvfp4_at(&b, 3) == -0.5f);
}

/* Group 0: scale 63, min 1. Group 5: scale 0b10'0110, min 0b01'1001. */
static const uint8_t hand_packed[12] = {[0] = 63, [1] = 0x80, [4] = 1, [5] = 0x40, [9] = 0x96};

TEST(q4_k, scales_and_minima_are_six_bits_each)
{
    CHECK_EQ(q4_k_packed_scale(hand_packed, 0), 63);
    CHECK_EQ(q4_k_packed_min(hand_packed, 0), 1);
    CHECK_EQ(q4_k_packed_scale(hand_packed, 1), 0);
    CHECK_EQ(q4_k_packed_min(hand_packed, 1), 0);
    CHECK_EQ(q4_k_packed_scale(hand_packed, 4), 0);
    CHECK_EQ(q4_k_packed_scale(hand_packed, 5), 0x26);
    CHECK_EQ(q4_k_packed_min(hand_packed, 5), 0x19);
}

TEST(q4_k, a_block_by_hand)
{
    struct q4_k b = {.d = HALF_0_5, .dmin = HALF_2};
    memcpy(b.packed, hand_packed, sizeof b.packed);
    b.q[0] = 0x0f;                   /* value 0; its upper half is value 32, of group 1 */
    b.q[64 + 31] = 0x3a;             /* value 159, of group 4, and 191, of group 5 */
    CHECK(q4_k_at(&b, 0) == 470.5f); /* 0.5 * 63 * 15 - 2 * 1 */
    CHECK(q4_k_at(&b, 1) == -2.0f);
    CHECK(q4_k_at(&b, 32) == 0.0f);
    CHECK(q4_k_at(&b, 159) == 0.0f);
    CHECK(q4_k_at(&b, 191) == 7.0f); /* 0.5 * 38 * 3 - 2 * 25 */
}

TEST(q5_k, a_block_by_hand)
{
    struct q5_k b = {.d = HALF_0_5, .dmin = HALF_2};
    memcpy(b.packed, hand_packed, sizeof b.packed);
    b.high[0] = 0x01;
    b.high[31] = 0x20;
    b.q[0] = 0x0f;
    b.q[64 + 31] = 0x3a;
    CHECK(q5_k_at(&b, 0) == 974.5f); /* 0.5 * 63 * 31 - 2 */
    CHECK(q5_k_at(&b, 31) == -2.0f);
    CHECK(q5_k_at(&b, 191) == 311.0f); /* 0.5 * 38 * 19 - 50 */
}

TEST(q6_k, a_block_by_hand)
{
    struct q6_k b = {.d = HALF_0_5, .scale = {[0] = 2, [3] = -128, [6] = 4, [15] = 127}};
    b.low[0] = 0x1f;                 /* low bits of value 0 and, above, of 64 */
    b.high[0] = 0x33;                /* upper bits of values 0 (3), 32 (0), 64 (3), 96 (0) */
    b.low[32] = 0x05;                /* low bits of values 32 and 96 */
    b.low[127] = 0xf0;               /* low bits of values 191 and 255 */
    b.high[63] = 0xc0;               /* upper bits of value 255 */
    CHECK(q6_k_at(&b, 0) == 31.0f);  /* 0.5 * 2 * (63 - 32) */
    CHECK(q6_k_at(&b, 1) == -32.0f); /* 0.5 * 2 * (0 - 32) */
    CHECK(q6_k_at(&b, 32) == 0.0f);
    CHECK(q6_k_at(&b, 48) == 2048.0f); /* 0.5 * -128 * -32 */
    CHECK(q6_k_at(&b, 96) == -64.0f);  /* 0.5 * 4 * (0 - 32) */
    CHECK(q6_k_at(&b, 255) == 1968.5f);
}

TEST(fp8, a_row_by_hand)
{
    /* scale 0.5; 448, 1, 1.125, -240, 2^-6, 2^-9, -0, not a number */
    const uint8_t row[4 + 8] = {0, 0, 0, 0x3f, 0x7e, 0x38, 0x39, 0xf7, 0x08, 0x01, 0x80, 0x7f};
    static const float want[7] = {224.0f, 0.5f, 0.5625f, -120.0f, 0x1p-7f, 0x1p-10f, -0.0f};
    float value[8];
    CHECK_EQ(fmt_row_bytes(FMT_fp8, 8), sizeof row);
    fmt_decode_row(FMT_fp8, row, 8, value);
    CHECK(memcmp(value, want, sizeof want) == 0);
    CHECK(isnan(value[7]));
    CHECK(fp8_at((const struct fp8 *)(row + 4), 3) == -240.0f);
    fmt_info[FMT_fp8].decode(row + 4, value);
    CHECK(value[0] == 448.0f);
}

TEST(fp8_128, a_block_by_hand)
{
    struct fp8_128 b = {.scale = -0.25f, .bits = {[0] = 0x7e, [1] = 0x38, [127] = 0xb0}};
    float value[128];
    CHECK(fp8_128_at(&b, 0) == -112.0f);
    CHECK(fp8_128_at(&b, 1) == -0.25f);
    CHECK(fp8_128_at(&b, 2) == 0.0f);
    CHECK(fp8_128_at(&b, 127) == 0.125f); /* -0.25 * -0.5 */
    fp8_128_decode(&b, value);
    CHECK(value[0] == -112.0f && value[127] == 0.125f);
}

TEST(int8, a_row_by_hand)
{
    const uint8_t row[4 + 4] = {0, 0, 0x20, 0x40, 0x80, 0x7f, 0x00, 0xff}; /* scale 2.5 */
    float value[4];
    CHECK_EQ(fmt_row_bytes(FMT_int8, 4), sizeof row);
    fmt_decode_row(FMT_int8, row, 4, value);
    CHECK(value[0] == -320.0f && value[1] == 317.5f && value[2] == 0.0f && value[3] == -2.5f);
    CHECK_EQ(int8_q((const struct int8 *)(row + 4), 0), -128);
    CHECK(int8_at((const struct int8 *)(row + 4), 1) == 127.0f);
}

TEST(int4, blocks_by_hand)
{
    struct int4_32 a = {.d = HALF_0_5, .zero = 8, .q = {[0] = 0xf0, [1] = 0x98}};
    CHECK(int4_32_at(&a, 0) == -4.0f); /* 0.5 * (0 - 8) */
    CHECK(int4_32_at(&a, 1) == 3.5f);  /* 0.5 * (15 - 8) */
    CHECK(int4_32_at(&a, 2) == 0.0f);
    CHECK(int4_32_at(&a, 3) == 0.5f);
    struct int4_64 b = {.d = HALF_2, .zero = 0, .q = {[31] = 0xa3}};
    CHECK(int4_64_at(&b, 0) == 0.0f);
    CHECK(int4_64_at(&b, 62) == 6.0f);
    CHECK(int4_64_at(&b, 63) == 20.0f);
    struct int4_128 c = {.d = HALF_1, .zero = 15, .q = {[63] = 0x1f}};
    CHECK(int4_128_at(&c, 0) == -15.0f);
    CHECK(int4_128_at(&c, 126) == 0.0f);
    CHECK(int4_128_at(&c, 127) == -14.0f);
}

/* Both ways to read a block, at every alignment, against the reference to the bit: two blocks,
 * or a row of some values after its scale. */
static void check_vectors(enum fmt fmt, const uint8_t *bytes, size_t n_bytes, const uint32_t *bits,
                          size_t n_bits, float (*at)(const void *block, int i))
{
    const struct fmt_info *info = &fmt_info[fmt];
    uint8_t shifted[1 + 512];
    float row[512], block[256], scale = 1.0f;
    int n = info->n, wrong = 0;

    CHECK_EQ(n_bytes, fmt_row_bytes(fmt, (int64_t)n_bits));
    CHECK(n_bits >= 2 * (size_t)n && n_bits % (size_t)n == 0);
    memcpy(shifted + 1, bytes, n_bytes);
    fmt_decode_row(fmt, shifted + 1, (int64_t)n_bits, row);
    if (info->head)
        memcpy(&scale, bytes, sizeof scale);
    for (int k = 0; k < (int)n_bits / n; k++) {
        const uint8_t *start = shifted + 1 + info->head + k * info->bytes;
        info->decode(start, block);
        for (int i = 0; i < n; i++) {
            uint32_t want = bits[k * n + i];
            wrong += float_bits(row[k * n + i]) != want;
            wrong += float_bits(scale * block[i]) != want;
            wrong += float_bits(scale * at(start, i)) != want;
        }
    }
    if (wrong)
        t_fail(__FILE__, __LINE__, "%s: %d values differ from the reference", info->name, wrong);
}

#define VECTORS(name)                                                             \
    static float at_##name(const void *block, int i)                              \
    {                                                                             \
        return name##_at(block, i);                                               \
    }                                                                             \
    TEST(name, random_blocks_decode_as_the_reference_does)                        \
    {                                                                             \
        check_vectors(FMT_##name, name##_bytes, sizeof name##_bytes, name##_bits, \
                      sizeof name##_bits / sizeof *name##_bits, at_##name);       \
    }
VECTORS(f16)
VECTORS(bf16)
VECTORS(q4_0)
VECTORS(q4_1)
VECTORS(q5_0)
VECTORS(q5_1)
VECTORS(q8_0)
VECTORS(q4_k)
VECTORS(q5_k)
VECTORS(q6_k)
VECTORS(fp8)
VECTORS(fp8_128)
VECTORS(int8)
VECTORS(int4_32)
VECTORS(int4_64)
VECTORS(int4_128)
VECTORS(mxfp4)
VECTORS(nvfp4)

TEST(quant, f32_rows_are_copied_bit_by_bit)
{
    uint32_t bits[3] = {0x7f800001, 0x80000000, 0x00000001}, out[3];
    uint8_t shifted[1 + sizeof bits];
    float row[3];
    memcpy(shifted + 1, bits, sizeof bits);
    fmt_decode_row(FMT_f32, shifted + 1, 3, row);
    memcpy(out, row, sizeof out);
    CHECK(memcmp(out, bits, sizeof bits) == 0);
}

TEST(quant, the_table_answers_by_GGUF_type)
{
    CHECK_EQ(fmt_of_gguf(0), FMT_f32);
    CHECK_EQ(fmt_of_gguf(3), FMT_q4_1);
    CHECK_EQ(fmt_of_gguf(30), FMT_bf16);
    CHECK_EQ(fmt_of_gguf(4), FMT_COUNT);          /* a removed type */
    CHECK_EQ(fmt_of_gguf(UINT32_MAX), FMT_COUNT); /* and not one that has none */
    CHECK_TEXT(fmt_info[FMT_q6_k].name, "q6_k");
}

TEST(quant, rows_take_whole_blocks)
{
    CHECK_EQ(fmt_row_bytes(FMT_f32, 7), 28);
    CHECK_EQ(fmt_row_bytes(FMT_q4_1, 576), 360);
    CHECK_EQ(fmt_row_bytes(FMT_q6_k, 512), 420);
    CHECK_EQ(fmt_row_bytes(FMT_q8_0, 0), 0);
    CHECK_EQ(fmt_row_bytes(FMT_fp8, 4096), 4100);
    CHECK_EQ(fmt_row_bytes(FMT_fp8_128, 4096), 4224);
    CHECK_EQ(fmt_row_bytes(FMT_int8, 33), 37);
    CHECK_EQ(fmt_row_bytes(FMT_int4_32, 64), 38);
    CHECK_EQ(fmt_row_bytes(FMT_int4_64, 64), 35);
    CHECK_EQ(fmt_row_bytes(FMT_int4_128, 256), 134);
    CHECK_EQ(fmt_row_bytes(FMT_f16, INT64_C(1) << 40), INT64_C(1) << 41);
}
