/* The small float formats against NVIDIA's headers, oracle.cpp: first the definition that the other
 * tests of arithmetic go by, then the instructions that pack two numbers into a register. */
#include "test_alu.h"
#include "test_alu_number.h"

float oracle_from_f16(uint16_t bits);
float oracle_from_bf16(uint16_t bits);
uint16_t oracle_from_e4m3(uint8_t bits);
uint16_t oracle_from_e5m2(uint8_t bits);
uint16_t oracle_to_f16(float x, char mode);
uint16_t oracle_to_bf16(float x, char mode);
uint16_t oracle_double_to_f16(double x);
uint16_t oracle_double_to_bf16(double x);
uint8_t oracle_to_e4m3(float x);
uint8_t oracle_to_e5m2(float x);
uint8_t oracle_half_to_e4m3(uint16_t bits);
uint8_t oracle_half_to_e5m2(uint16_t bits);

/* So many of the 2^32 patterns of a float, a prime. */
#define STRIDE 65537u

static float f32_of(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float x;
    memcpy(&x, &low, sizeof x);
    return x;
}

static bool same_value(long double got, float want)
{
    return got == (long double)want ? !signbit(got) == !signbit(want) : got != got && want != want;
}

TEST(alu, every_small_number_is_what_the_headers_say)
{
    int wrong = 0;
    for (uint32_t v = 0; v < 65536; v++) {
        wrong += !same_value(small_value(&small_f16, v), oracle_from_f16((uint16_t)v));
        wrong += !same_value(small_value(&small_bf16, v), oracle_from_bf16((uint16_t)v));
    }
    for (uint32_t v = 0; v < 256; v++) {
        float e4m3 = oracle_from_f16(oracle_from_e4m3((uint8_t)v));
        float e5m2 = oracle_from_f16(oracle_from_e5m2((uint8_t)v));
        wrong += !same_value(small_value(&small_e4m3, v), e4m3);
        wrong += !same_value(small_value(&small_e5m2, v), e5m2);
    }
    CHECK_EQ(wrong, 0);
}

/* Midpoints between neighbours, where rounding turns, and what is next to them. */
static float near_midpoint(const struct small *f, uint32_t v, int step)
{
    float x = (float)(small_magnitude(f, v % (f->most + 1)) / 2 +
                      small_magnitude(f, v % (f->most + 1) + 1) / 2);
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return f32_of(bits + (uint32_t)step);
}

static int wrong_narrow(float x)
{
    static const char modes[] = "nzmp";
    static const enum direction directions[] = {TO_NEAREST, TO_ZERO, TO_DOWN, TO_UP};
    long double v = (long double)x;
    int wrong = 0;
    for (int m = 0; m < 4; m++) {
        wrong += small_of(&small_f16, v, directions[m], false) != oracle_to_f16(x, modes[m]);
        wrong += small_of(&small_bf16, v, directions[m], false) != oracle_to_bf16(x, modes[m]);
    }
    wrong += small_of(&small_e4m3, v, TO_NEAREST, true) != oracle_to_e4m3(x);
    wrong += small_of(&small_e5m2, v, TO_NEAREST, true) != oracle_to_e5m2(x);
    return wrong;
}

TEST(alu, rounding_is_what_the_headers_do)
{
    int wrong = 0;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += STRIDE)
        wrong += wrong_narrow(f32_of(bits));
    for (uint32_t v = 0; v < 32768; v += 37)
        for (int step = -1; step <= 1; step++) {
            wrong += wrong_narrow(near_midpoint(&small_f16, v, step));
            wrong += wrong_narrow(-near_midpoint(&small_bf16, v, step));
            wrong += wrong_narrow(near_midpoint(&small_e4m3, v, step));
            wrong += wrong_narrow(-near_midpoint(&small_e5m2, v, step));
        }
    CHECK_EQ(wrong, 0);
}

TEST(alu, rounding_of_doubles_is_what_the_headers_do)
{
    int wrong = 0;
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = (alu_random() & ~(UINT64_C(0x7ff) << 52)) |
                        (UINT64_C(1023) - 30 + alu_random() % 60) << 52;
        double x;
        if (i % 3 == 0)
            bits &= ~(UINT64_C(0x1ffffffffff)); /* ties */
        memcpy(&x, &bits, sizeof x);
        wrong += small_of(&small_f16, (long double)x, TO_NEAREST, false) != oracle_double_to_f16(x);
        wrong +=
            small_of(&small_bf16, (long double)x, TO_NEAREST, false) != oracle_double_to_bf16(x);
    }
    CHECK_EQ(wrong, 0);
}

/* ---- Packed conversions */

struct packed_case {
    const char *type; /* of the result, or of the source for those to f16x2 */
    bool relu, satfinite, zero;
};

static uint32_t one_16(const struct packed_case *c, float x)
{
    const struct small *f = c->type[0] == 'f' ? &small_f16 : &small_bf16;
    char mode = c->zero ? 'z' : 'n';
    if (c->relu && x <= 0)
        x = 0;
    if (c->satfinite) /* the headers have none for these */
        return small_of(f, (long double)x, c->zero ? TO_ZERO : TO_NEAREST, true);
    return c->type[0] == 'f' ? oracle_to_f16(x, mode) : oracle_to_bf16(x, mode);
}
static uint64_t want_16(const void *context, const uint64_t *s)
{
    return one_16(context, f32_of(s[0])) << 16 | one_16(context, f32_of(s[1]));
}

static uint32_t one_8(const struct packed_case *c, float x)
{
    if (c->relu && x <= 0)
        x = 0;
    return c->type[1] == '4' ? oracle_to_e4m3(x) : oracle_to_e5m2(x);
}
static uint64_t want_8(const void *context, const uint64_t *s)
{
    return one_8(context, f32_of(s[0])) << 8 | one_8(context, f32_of(s[1]));
}

static uint32_t half_to_8(const struct packed_case *c, uint16_t h)
{
    if (c->relu && h >> 15 && (h & 0x7fff) <= 0x7c00)
        h = 0;
    return c->type[1] == '4' ? oracle_half_to_e4m3(h) : oracle_half_to_e5m2(h);
}
static uint64_t want_halves_to_8(const void *context, const uint64_t *s)
{
    return half_to_8(context, (uint16_t)(s[0] >> 16)) << 8 | half_to_8(context, (uint16_t)s[0]);
}

static uint32_t one_from_8(const struct packed_case *c, uint8_t v)
{
    uint16_t h = c->type[1] == '4' ? oracle_from_e4m3(v) : oracle_from_e5m2(v);
    bool nan = (h & 0x7fff) > 0x7c00;
    return nan ? 0x7fff : c->relu && h >> 15 ? 0 : h;
}
static uint64_t want_from_8(const void *context, const uint64_t *s)
{
    return one_from_8(context, (uint8_t)(s[0] >> 8)) << 16 | one_from_8(context, (uint8_t)s[0]);
}

static void check_packed(const char *opcode, want_lane *want, const struct packed_case *c,
                         bool every)
{
    static struct alu t;
    struct alu_case row = {opcode, want, c, NULL};
    uint64_t source[WARP_LANES][SOURCES] = {{0}};
    if (!alu_take(&t, find_convert, opcode, 0, 0))
        return;
    alu_check(&t, &row, 400);
    for (uint64_t v = 0; every && v < 65536; v += WARP_LANES) {
        for (uint64_t l = 0; l < WARP_LANES; l++)
            source[l][0] = low_bits((v + l) * 0x10001, t.in.width[1]);
        if (!alu_once(&t, &row, source, UINT32_MAX))
            return;
    }
}

TEST(alu, two_floats_become_two_of_16_bits)
{
    char opcode[64];
    for (int i = 0; i < 16; i++) {
        struct packed_case c = {i & 1 ? "f16x2" : "bf16x2", i & 2, i & 4, i & 8};
        snprintf(opcode, sizeof opcode, "cvt.%s%s%s.%s.f32", c.zero ? "rz" : "rn",
                 c.relu ? ".relu" : "", c.satfinite ? ".satfinite" : "", c.type);
        check_packed(opcode, want_16, &c, false);
    }
}

TEST(alu, two_numbers_become_two_of_8_bits_and_back)
{
    char opcode[64];
    for (int i = 0; i < 4; i++) {
        struct packed_case c = {.type = i & 1 ? "e4m3x2" : "e5m2x2", .relu = i & 2};
        const char *relu = c.relu ? ".relu" : "";
        snprintf(opcode, sizeof opcode, "cvt.rn.satfinite%s.%s.f32", relu, c.type);
        check_packed(opcode, want_8, &c, false);
        snprintf(opcode, sizeof opcode, "cvt.rn.satfinite%s.%s.f16x2", relu, c.type);
        check_packed(opcode, want_halves_to_8, &c, true);
        snprintf(opcode, sizeof opcode, "cvt.rn%s.f16x2.%s", relu, c.type);
        check_packed(opcode, want_from_8, &c, true);
    }
}

/* context: bits, and the sign. The ISA's text: 9.7.9.22. */
static uint64_t want_pack(const void *context, const uint64_t *s)
{
    const int *c = context;
    int64_t most = (1 << (c[0] - c[1])) - 1, least = c[1] ? -most - 1 : 0;
    uint64_t r = c[0] == 16 ? 0 : s[2];
    for (int k = 0; k < 2; k++) {
        int64_t v = (int32_t)s[k];
        v = v < least ? least : v > most ? most : v;
        r = r << c[0] | ((uint64_t)v & ((1u << c[0]) - 1));
    }
    return (uint32_t)r;
}

TEST(alu, integers_are_packed_with_clamping)
{
    for (int bits = 2; bits <= 16; bits *= 2)
        for (int sign = 0; sign < 2; sign++) {
            char opcode[64];
            int context[] = {bits, sign};
            snprintf(opcode, sizeof opcode, "cvt.pack.sat.%c%d.s32%s", sign ? 's' : 'u', bits,
                     bits == 16 ? "" : ".b32");
            alu_form(find_convert, opcode, want_pack, context, NULL, 80);
        }
}

/* The frequent conversions of f32 to nearest, over many more floats. */
static uint64_t want_nearest(const void *context, const uint64_t *s)
{
    const char *type = context;
    return type[0] == 'f' ? oracle_to_f16(f32_of(s[0]), 'n') : oracle_to_bf16(f32_of(s[0]), 'n');
}

TEST(alu, floats_to_nearest_over_all_exponents)
{
    static struct alu t;
    static const char *const rows[][2] = {{"cvt.rn.f16.f32", "f"}, {"cvt.rn.bf16.f32", "b"}};
    for (int i = 0; i < 2; i++) {
        struct alu_case row = {rows[i][0], want_nearest, rows[i][1], NULL};
        uint64_t source[WARP_LANES][SOURCES] = {{0}};
        if (!alu_take(&t, find_convert, row.opcode, 2, 4))
            return;
        for (uint64_t bits = 0; bits <= UINT32_MAX; bits += WARP_LANES * 1021) {
            for (uint64_t l = 0; l < WARP_LANES; l++)
                source[l][0] = (uint32_t)(bits + l * 1021);
            if (!alu_once(&t, &row, source, UINT32_MAX))
                return;
        }
    }
}
