/* f32 and f64 against C's scalars, and comparisons in every type. Roundings other than to nearest
 * are told from the exact result, or from C's under that rounding mode. */
#include "test_alu.h"

#include <fenv.h>
#include <math.h>

#define ROUNDS 80
#define NAN32  0x7fffffffu

static float f32_of(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float x;
    memcpy(&x, &low, sizeof x);
    return x;
}
static uint64_t bits_of32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x != x ? NAN32 : bits;
}
static double f64_of(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static uint64_t bits_of64(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static bool same64(uint64_t got, uint64_t want)
{
    double g = f64_of(got), w = f64_of(want);
    return got == want || (g != g && w != w);
}

enum operation { ADD, SUB, MUL, FMA, DIV, RCP, SQRT, NEG, ABS, MIN, MAX, COPYSIGN };

struct float_case {
    enum operation operation;
    int mode; /* of fenv.h */
    bool ftz, sat, nan, xor_sign;
};

static float flushed(float x)
{
    return fpclassify(x) == FP_SUBNORMAL ? copysignf(0, x) : x;
}

static double exact_min(double a, double b, double sign)
{
    if (a != a || b != b)
        return a != a ? b : a;
    if (a == b)
        return (signbit(a) != 0) == (sign > 0) ? a : b;
    return sign * a < sign * b ? a : b;
}

static double min_or_max(const struct float_case *c, double a, double b)
{
    bool negative = (signbit(a) != 0) != (signbit(b) != 0), has_nan = a != a || b != b;
    double x = c->xor_sign ? fabs(a) : a, y = c->xor_sign ? fabs(b) : b;
    double r = exact_min(x, y, c->operation == MIN ? 1 : -1);
    if (c->nan && has_nan)
        return NAN;
    return c->xor_sign && r == r ? copysign(r, negative ? -1 : 1) : r;
}

/* C's own arithmetic in the rounding mode that is set; volatile keeps it there. */
static float c_float(const struct float_case *c, volatile float a, volatile float b,
                     volatile float z)
{
    switch (c->operation) {
    case ADD:
        return a + b;
    case SUB:
        return a - b;
    case MUL:
        return a * b;
    case FMA:
        return fmaf(a, b, z);
    case DIV:
        return a / b;
    case RCP:
        return 1 / a;
    case SQRT:
        return sqrtf(a);
    case NEG:
        return -a;
    case ABS:
        return fabsf(a);
    case COPYSIGN:
        return copysignf(b, a);
    case MIN:
    case MAX:
        break;
    }
    return (float)min_or_max(c, (double)a, (double)b);
}

static double c_double(const struct float_case *c, volatile double a, volatile double b,
                       volatile double z)
{
    switch (c->operation) {
    case ADD:
        return a + b;
    case SUB:
        return a - b;
    case MUL:
        return a * b;
    case FMA:
        return fma(a, b, z);
    case DIV:
        return a / b;
    case RCP:
        return 1 / a;
    case SQRT:
        return sqrt(a);
    case NEG:
        return -a;
    case ABS:
        return fabs(a);
    case COPYSIGN:
        return copysign(b, a);
    case MIN:
    case MAX:
        break;
    }
    return min_or_max(c, a, b);
}

static uint64_t want_f32(const void *context, const uint64_t *s)
{
    const struct float_case *c = context;
    float x[3];
    for (int k = 0; k < 3; k++)
        x[k] = c->ftz ? flushed(f32_of(s[k])) : f32_of(s[k]);
    fesetround(c->mode);
    volatile float r = c_float(c, x[0], x[1], x[2]);
    fesetround(FE_TONEAREST);
    float result = c->ftz ? flushed(r) : r;
    if (c->sat)
        result = result > 0 ? fminf(result, 1) : 0;
    uint64_t bits = bits_of32(result);
    if (c->operation == COPYSIGN)
        bits = (s[1] & 0x7fffffff) | (s[0] & 0x80000000);
    return bits;
}
static uint64_t want_f64(const void *context, const uint64_t *s)
{
    const struct float_case *c = context;
    fesetround(c->mode);
    volatile double r = c_double(c, f64_of(s[0]), f64_of(s[1]), f64_of(s[2]));
    fesetround(FE_TONEAREST);
    return bits_of64(r);
}

static const struct {
    const char *base;
    enum operation operation;
    bool rounds, has_default, sat, only_f32;
} forms[] = {
    {"add", ADD, true, true, true, false},   {"sub", SUB, true, true, true, false},
    {"mul", MUL, true, true, true, false},   {"fma", FMA, true, false, true, false},
    {"mad", FMA, true, false, true, false},  {"div", DIV, true, false, false, false},
    {"rcp", RCP, true, false, false, false}, {"sqrt", SQRT, true, false, false, false},
    {"neg", NEG, false, true, false, false}, {"abs", ABS, false, true, false, false},
    {"min", MIN, false, true, false, false}, {"max", MAX, false, true, false, false},
};
static const struct {
    const char *name;
    int mode;
} modes[] = {{"", FE_TONEAREST},
             {".rn", FE_TONEAREST},
             {".rz", FE_TOWARDZERO},
             {".rm", FE_DOWNWARD},
             {".rp", FE_UPWARD}};

static void check_form(size_t f, size_t m)
{
    char opcode[40];
    struct float_case c = {.operation = forms[f].operation, .mode = modes[m].mode};
    snprintf(opcode, sizeof opcode, "%s%s.f64", forms[f].base, modes[m].name);
    alu_form(find_float, opcode, want_f64, &c, same64, ROUNDS);
    for (int flags = 0; flags < 4; flags++) {
        c.ftz = flags & 1;
        c.sat = flags & 2;
        if (c.sat && !forms[f].sat)
            continue;
        snprintf(opcode, sizeof opcode, "%s%s%s%s.f32", forms[f].base, modes[m].name,
                 c.ftz ? ".ftz" : "", c.sat ? ".sat" : "");
        alu_form(find_float, opcode, want_f32, &c, NULL, ROUNDS);
    }
}

TEST(alu_float, arithmetic_in_every_rounding)
{
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
        for (size_t m = 0; m < 5; m++)
            if (m == 0 ? forms[f].has_default : forms[f].rounds)
                check_form(f, m);
}

TEST(alu_float, least_and_most)
{
    char opcode[40];
    for (int i = 0; i < 16; i++) {
        struct float_case c = {.operation = i & 1 ? MIN : MAX,
                               .mode = FE_TONEAREST,
                               .ftz = i & 2,
                               .nan = i & 4,
                               .xor_sign = i & 8};
        snprintf(opcode, sizeof opcode, "%s%s%s%s.f32", i & 1 ? "min" : "max", c.ftz ? ".ftz" : "",
                 c.nan ? ".NaN" : "", c.xor_sign ? ".xorsign.abs" : "");
        alu_form(find_float, opcode, want_f32, &c, NULL, ROUNDS);
    }
}

TEST(alu_float, signs_are_copied)
{
    struct float_case c = {.operation = COPYSIGN, .mode = FE_TONEAREST};
    alu_form(find_float, "copysign.f32", want_f32, &c, NULL, ROUNDS);
    alu_form(find_float, "copysign.f64", want_f64, &c, same64, ROUNDS);
}

/* ---- Approximations: this simulation rounds what double gives. div.approx is zero for large
 * divisors (9.7.3.8). context: a letter, and 'z' with .ftz. */

static double approximate(char what, double a, double b)
{
    switch (what) {
    case 'd':
        return a / b;
    case 'r':
        return 1 / a;
    case 'q':
        return sqrt(a);
    case 'i':
        return 1 / sqrt(a);
    case 's':
        return sin(a);
    case 'c':
        return cos(a);
    case 'l':
        return log2(a);
    case 'e':
        return exp2(a);
    default:
        return tanh(a);
    }
}
static uint64_t want_approximate(const void *context, const uint64_t *s)
{
    const char *c = context;
    float a = f32_of(s[0]), b = f32_of(s[1]);
    if (c[1] == 'z') {
        a = flushed(a);
        b = flushed(b);
    }
    float r = (float)approximate(c[0], (double)a, (double)b);
    if (c[0] == 'd' && c[2] == 'a' && fabsf(b) > 0x1p126f && !isinf(b) && b == b)
        r = isinf(a) || a != a ? NAN : copysignf(0, a) * copysignf(1, b);
    return bits_of32(c[1] == 'z' ? flushed(r) : r);
}

TEST(alu_float, approximations_are_doubles_rounded)
{
    static const char *const rows[][2] = {
        {"div.approx.f32", "d.a"},   {"div.approx.ftz.f32", "dza"},  {"div.full.f32", "d.f"},
        {"div.full.ftz.f32", "dzf"}, {"rcp.approx.f32", "r."},       {"rcp.approx.ftz.f32", "rz"},
        {"sqrt.approx.f32", "q."},   {"sqrt.approx.ftz.f32", "qz"},  {"rsqrt.approx.f32", "i."},
        {"sin.approx.f32", "s."},    {"rsqrt.approx.ftz.f32", "iz"}, {"sin.approx.ftz.f32", "sz"},
        {"cos.approx.f32", "c."},    {"cos.approx.ftz.f32", "cz"},   {"lg2.approx.f32", "l."},
        {"ex2.approx.f32", "e."},    {"lg2.approx.ftz.f32", "lz"},   {"ex2.approx.ftz.f32", "ez"},
        {"tanh.approx.f32", "t."}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        alu_form(find_float, rows[i][0], want_approximate, rows[i][1], NULL, ROUNDS);
}

static uint64_t want_approximate64(const void *context, const uint64_t *s)
{
    const char *c = context;
    uint64_t a = s[0];
    if (c[1] != 'z')
        return bits_of64(1 / sqrt(f64_of(a)));
    if (f64_of(a) != f64_of(a))
        return UINT64_C(0x7fffffff00000000);
    a = fpclassify(f64_of(a)) == FP_SUBNORMAL ? a & UINT64_C(1) << 63
                                              : a & UINT64_C(0xffffffff00000000);
    double r = c[0] == 'r' ? 1 / f64_of(a) : 1 / sqrt(f64_of(a));
    if (r != r)
        return UINT64_C(0x7fffffff00000000);
    if (fpclassify(r) == FP_SUBNORMAL)
        r = copysign(0, r);
    return bits_of64(r) & UINT64_C(0xffffffff00000000);
}

TEST(alu_float, approximations_in_f64)
{
    alu_form(find_float, "rsqrt.approx.f64", want_approximate64, "i.", same64, ROUNDS);
    alu_form(find_float, "rsqrt.approx.ftz.f64", want_approximate64, "iz", NULL, ROUNDS);
    alu_form(find_float, "rcp.approx.ftz.f64", want_approximate64, "rz", NULL, ROUNDS);
}

/* ---- testp. context: the property. */

static uint64_t want_property(const void *context, const uint64_t *s)
{
    const char *c = context;
    int class = strstr(c, "f32") ? fpclassify(f32_of(s[0])) : fpclassify(f64_of(s[0]));
    if (strstr(c, "infinite"))
        return class == FP_INFINITE;
    if (strstr(c, "finite"))
        return class != FP_INFINITE && class != FP_NAN;
    if (strstr(c, "notanumber"))
        return class == FP_NAN;
    if (strstr(c, "number"))
        return class != FP_NAN;
    if (strstr(c, "subnormal"))
        return class == FP_SUBNORMAL;
    return class == FP_NORMAL || class == FP_ZERO;
}

TEST(alu_float, properties)
{
    static const char *const opcodes[] = {
        "testp.finite.f32", "testp.infinite.f32",   "testp.number.f32", "testp.notanumber.f32",
        "testp.normal.f32", "testp.subnormal.f32",  "testp.finite.f64", "testp.infinite.f64",
        "testp.number.f64", "testp.notanumber.f64", "testp.normal.f64", "testp.subnormal.f64"};
    for (size_t i = 0; i < sizeof opcodes / sizeof *opcodes; i++)
        alu_form(find_float, opcodes[i], want_property, opcodes[i], NULL, ROUNDS);
}

TEST(alu_float, refuses_what_it_does_not_know)
{
    static const char *const unknown[] = {
        "add.f16",         "fma.f32",    "add.ftz.f64",    "div.f32",      "div.sat.f32",
        "sqrt.f32",        "min.rn.f32", "add.rn.rz.f32",  "ex2.f32",      "tanh.approx.ftz.f32",
        "min.xorsign.f32", "mul.lo.f32", "rcp.approx.f64", "testp.odd.f32"};
    struct ptx_form form;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        CHECK(!find_float(unknown[i], 3, &form));
}
