/* Arithmetic in 16 bits: all pairs of edges, every number of one operand, and random ones, against
 * exact sums and products rounded once. */
#include "test_alu.h"
#include "test_alu_number.h"

#define ROUNDS 120

struct half_case {
    char operation; /* + - * f n a < > t e */
    const struct small *format;
    bool two, ftz, sat, relu, nan, xor_sign;
};

static long double operand(const struct half_case *c, uint64_t bits)
{
    long double v = small_value(c->format, (uint32_t)bits & 0xffff);
    bool subnormal = fabsl(v) < small_magnitude(c->format, 1u << c->format->mantissa);
    return c->ftz && subnormal ? copysignl(0, v) : v;
}

static long double least(const struct half_case *c, long double a, long double b)
{
    bool negative = (signbit(a) != 0) != (signbit(b) != 0), wants_min = c->operation == '<';
    if (c->nan && (a != a || b != b))
        return NAN;
    if (c->xor_sign) {
        a = fabsl(a);
        b = fabsl(b);
    }
    long double r = a != a ? b : b != b ? a : (a < b) == wants_min ? a : b;
    if (a == b)
        r = (signbit(a) != 0) == wants_min ? a : b;
    return c->xor_sign ? copysignl(r, negative ? -1 : 1) : r;
}

static long double exact(const struct half_case *c, long double a, long double b, long double z)
{
    switch (c->operation) {
    case '+':
        return (long double)odd_fma((double)a, 1, (double)b);
    case '-':
        return (long double)odd_fma((double)b, -1, (double)a);
    case '*':
        return (long double)odd_fma((double)a, (double)b, -0.0);
    case 'f':
        return (long double)odd_fma((double)a, (double)b, (double)z);
    case 'n':
        return -a;
    case 'a':
        return fabsl(a);
    case 't': /* approximate: what this simulation promises */
        return (long double)(float)tanh((double)a);
    case 'e':
        return (long double)(float)exp2((double)a);
    default:
        return least(c, a, b);
    }
}

static uint32_t one_half(const struct half_case *c, const uint64_t *s, int shift)
{
    long double r =
        exact(c, operand(c, s[0] >> shift), operand(c, s[1] >> shift), operand(c, s[2] >> shift));
    uint32_t bits = small_of(c->format, r, TO_NEAREST, false);
    if (c->ftz && (bits & 0x7fff) < 1u << c->format->mantissa)
        bits &= 0x8000;
    if (c->relu && bits & 0x8000)
        bits = 0;
    long double v = small_value(c->format, bits);
    if (c->sat)
        bits = v >= 1 ? small_of(c->format, 1, TO_NEAREST, false) : v > 0 ? bits : 0;
    return bits;
}

static uint64_t want_half(const void *context, const uint64_t *s)
{
    const struct half_case *c = context;
    return one_half(c, s, 0) | (c->two ? one_half(c, s, 16) << 16 : 0);
}

/* Every number of the first operand; with modifiers, which are passes of their own, every step. */
static void check_every(struct alu *t, const struct alu_case *c, uint64_t step)
{
    uint64_t source[WARP_LANES][SOURCES];
    for (uint64_t v = 0; v < 65536; v += WARP_LANES * step) {
        for (uint64_t l = 0; l < WARP_LANES; l++)
            for (int k = 0; k < SOURCES; k++)
                source[l][k] = low_bits(k ? alu_random() : (v + l) * 0x10001, t->in.width[1]);
        if (!alu_once(t, c, source, UINT32_MAX))
            return;
    }
}

static void check_half(struct half_case c, const char *before_type)
{
    static struct alu t;
    for (int type = 0; type < 4; type++) {
        char opcode[48];
        bool is_bf16 = type & 1;
        static const char *const names[] = {"f16", "bf16", "f16x2", "bf16x2"};
        struct alu_case row = {opcode, want_half, &c, NULL};
        if (is_bf16 && (c.sat || (c.ftz && c.operation != 'e')))
            continue;
        c.format = is_bf16 ? &small_bf16 : &small_f16;
        c.two = type > 1;
        bool says_ftz = c.operation == 'e' && is_bf16;
        snprintf(opcode, sizeof opcode, "%s%s.%s", before_type, says_ftz ? ".ftz" : "",
                 names[type]);
        if (!alu_take(&t, find_half, opcode, 0, 0))
            return;
        alu_check(&t, &row, ROUNDS);
        bool plain = !(c.ftz || c.sat || c.relu || c.nan || c.xor_sign);
        check_every(&t, &row, plain && !c.two ? 1 : 19);
    }
}

TEST(alu_half, sums_and_products)
{
    static const char *const names[] = {"add", "sub", "mul", "fma"};
    for (int o = 0; o < 4; o++)
        for (int flags = 0; flags < 12; flags++) {
            char opcode[40];
            bool relu = flags >= 8 && flags < 10;
            struct half_case c = {
                .operation = "+-*f"[o], .ftz = flags & 1, .sat = flags & 2 && !relu, .relu = relu};
            bool says_rn = flags & 4 || o == 3;
            if ((relu && o != 3) || flags >= 10 || (o == 3 && flags & 4))
                continue;
            snprintf(opcode, sizeof opcode, "%s%s%s%s%s", names[o], says_rn ? ".rn" : "",
                     c.ftz ? ".ftz" : "", c.sat ? ".sat" : "", relu ? ".relu" : "");
            check_half(c, opcode);
        }
}

TEST(alu_half, signs_and_extremes)
{
    check_half((struct half_case){.operation = 'n'}, "neg");
    check_half((struct half_case){.operation = 'n', .ftz = true}, "neg.ftz");
    check_half((struct half_case){.operation = 'a'}, "abs");
    check_half((struct half_case){.operation = 'a', .ftz = true}, "abs.ftz");
    for (int i = 0; i < 16; i++) {
        char opcode[40];
        struct half_case c = {
            .operation = i & 1 ? '<' : '>', .ftz = i & 2, .nan = i & 4, .xor_sign = i & 8};
        snprintf(opcode, sizeof opcode, "%s%s%s%s", i & 1 ? "min" : "max", c.ftz ? ".ftz" : "",
                 c.nan ? ".NaN" : "", c.xor_sign ? ".xorsign.abs" : "");
        check_half(c, opcode);
    }
}

TEST(alu_half, approximations)
{
    check_half((struct half_case){.operation = 't'}, "tanh.approx");
    check_half((struct half_case){.operation = 'e'}, "ex2.approx");
}

TEST(alu_half, refuses_what_it_does_not_know)
{
    static const char *const unknown[] = {
        "add.rz.f16",          "fma.f16",         "add.ftz.bf16",
        "mul.relu.f16",        "div.rn.f16",      "add.sat.bf16x2",
        "fma.rn.sat.relu.f16", "ex2.approx.bf16", "ex2.approx.ftz.f16x2",
        "min.xorsign.f16",     "tanh.f16",        "add.f32"};
    struct ptx_form form;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        CHECK(!find_half(unknown[i], 3, &form));
}
