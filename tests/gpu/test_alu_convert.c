/* cvt of every pair of types in every rounding, from the exact value of the source. Sources of 8
 * and 16 bits are gone through entirely; registers are also wider than their types. */
#include "test_alu.h"
#include "test_alu_number.h"

struct type {
    const char *name;
    char kind; /* u, s, f */
    int bits;
    const struct small *small; /* NULL: integer, f32, f64 */
};

static const struct type types[] = {
    {"s8", 's', 8, NULL},           {"u8", 'u', 8, NULL},   {"s16", 's', 16, NULL},
    {"u16", 'u', 16, NULL},         {"s32", 's', 32, NULL}, {"u32", 'u', 32, NULL},
    {"s64", 's', 64, NULL},         {"u64", 'u', 64, NULL}, {"f16", 'f', 16, &small_f16},
    {"bf16", 'f', 16, &small_bf16}, {"f32", 'f', 32, NULL}, {"f64", 'f', 64, NULL},
    {"tf32", 'f', 32, &small_tf32},
};
enum { TYPES = sizeof types / sizeof *types, TF32 = TYPES - 1 };

struct convert_case {
    const struct type *to, *from;
    const char *round; /* "" or rn, rz, rm, rp, rna, rni, rzi, rmi, rpi */
    bool ftz, sat, relu, satfinite;
    int to_bytes; /* of the register */
};

static long double source_value(const struct convert_case *c, uint64_t bits)
{
    const struct type *t = c->from;
    int above = 64 - t->bits;
    if (t->kind == 's')
        return (long double)((int64_t)(bits << above) >> above);
    if (t->kind == 'u')
        return (long double)(bits << above >> above);
    if (t->small)
        return small_value(t->small, (uint32_t)bits & 0xffff);
    if (t->bits == 64) {
        double x;
        memcpy(&x, &bits, sizeof x);
        return (long double)x;
    }
    float x;
    uint32_t low = (uint32_t)bits;
    memcpy(&x, &low, sizeof x);
    return c->ftz && fpclassify(x) == FP_SUBNORMAL ? copysignl(0, (long double)x) : (long double)x;
}

static enum direction direction_of(const char *round)
{
    if (!*round)
        return TO_NEAREST;
    return strcmp(round, "rna") == 0 ? TO_AWAY
           : round[1] == 'z'         ? TO_ZERO
           : round[1] == 'm'         ? TO_DOWN
           : round[1] == 'p'         ? TO_UP
                                     : TO_NEAREST;
}

static int mode_of(const char *round)
{
    static const int modes[] = {FE_TONEAREST, FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
    return modes[direction_of(round)];
}

static long double integral(long double x, const char *round)
{
    fesetround(mode_of(round));
    volatile long double v = x, r = rintl(v);
    fesetround(FE_TONEAREST);
    return r;
}

/* A NaN: 9.7.9.21, "Integer Notes". */
static uint64_t to_integer(const struct convert_case *c, long double x)
{
    const struct type *t = c->to;
    bool zero = !(c->from->kind == 'f' && c->from->bits == 64) && t->bits < 64;
    long double most = ldexpl(1, t->kind == 's' ? t->bits - 1 : t->bits) - 1;
    long double least = t->kind == 's' ? -most - 1 : 0;
    uint64_t r;
    if (x != x)
        r = zero ? 0 : UINT64_C(1) << (t->bits - 1);
    else if (x > most)
        r = t->kind == 's' ? UINT64_MAX >> (65 - t->bits) : UINT64_MAX >> (64 - t->bits);
    else if (x < least)
        r = t->kind == 's' ? UINT64_MAX << (t->bits - 1) : 0;
    else
        r = x < 0 ? (uint64_t)(int64_t)x : (uint64_t)x;
    return r;
}

/* Cut to the type, then extended to the register. */
static uint64_t in_register(const struct convert_case *c, uint64_t r)
{
    int above = 64 - c->to->bits;
    r = c->to->kind == 's' ? (uint64_t)((int64_t)(r << above) >> above) : r << above >> above;
    return low_bits(r, c->to_bytes);
}

static uint64_t to_float(const struct convert_case *c, long double x)
{
    uint64_t bits = 0;
    if (c->sat)
        x = x >= 1 ? 1 : x > 0 ? x : 0;
    if (c->relu && x <= 0)
        x = 0;
    if (c->to->small)
        return (uint64_t)small_of(c->to->small, x, direction_of(c->round), c->satfinite)
               << (c->to->bits - (c->to == &types[TF32] ? 19 : 16));
    if (x != x && c->to->bits == 32)
        return 0x7fffffff;
    fesetround(mode_of(c->round));
    volatile long double v = x;
    volatile double d = (double)v;
    volatile float f = (float)v;
    fesetround(FE_TONEAREST);
    float narrow = f;
    double wide = d;
    memcpy(&bits, c->to->bits == 32 ? (void *)&narrow : (void *)&wide, (size_t)c->to->bits / 8);
    if (c->ftz && c->to->bits == 32 && fpclassify(narrow) == FP_SUBNORMAL)
        bits &= 0x80000000;
    return bits;
}

static uint64_t want_convert(const void *context, const uint64_t *s)
{
    const struct convert_case *c = context;
    long double x = source_value(c, s[0]);
    if (strlen(c->round) == 3 && c->round[2] == 'i')
        x = integral(x, c->round);
    if (c->to->kind == 'f')
        return in_register(c, to_float(c, x));
    if (c->from->kind == 'f' || c->sat)
        return in_register(c, to_integer(c, x));
    int above = 64 - c->from->bits;
    uint64_t v = s[0] << above;
    return in_register(c, c->from->kind == 's' ? (uint64_t)((int64_t)v >> above) : v >> above);
}

static bool same64(uint64_t got, uint64_t want)
{
    double g, w;
    memcpy(&g, &got, sizeof g);
    memcpy(&w, &want, sizeof w);
    return got == want || (g != g && w != w);
}

/* What is above the type in the register may be anything. */
static void check_every(struct alu *t, const struct alu_case *c, int bits)
{
    uint64_t source[WARP_LANES][SOURCES] = {{0}};
    for (uint64_t v = 0; v < UINT64_C(1) << bits; v += WARP_LANES) {
        for (uint64_t l = 0; l < WARP_LANES; l++)
            source[l][0] = low_bits(alu_random() << bits | (v + l), t->in.width[1]);
        if (!alu_once(t, c, source, UINT32_MAX))
            return;
    }
}

static void check_widths(struct convert_case *c, const char *opcode, int to, int from, bool every)
{
    static struct alu t;
    struct alu_case row = {opcode, want_convert, c,
                           c->to->kind == 'f' && c->to->bits == 64 ? same64 : NULL};
    c->to_bytes = to;
    if (!alu_take(&t, find_convert, opcode, to, from))
        return;
    alu_check(&t, &row, 8);
    if (every && c->from->bits <= 16)
        check_every(&t, &row, c->from->bits);
}

static int bytes_of(const struct type *t)
{
    return t->bits < 16 ? 2 : t->bits / 8;
}

static void check_case(struct convert_case c)
{
    char opcode[64];
    int to = bytes_of(c.to), from = bytes_of(c.from);
    bool plain = !c.ftz && !c.sat && !c.relu && !c.satfinite;
    snprintf(opcode, sizeof opcode, "cvt%s%s%s%s%s%s.%s.%s", *c.round ? "." : "", c.round,
             c.ftz ? ".ftz" : "", c.relu ? ".relu" : "", c.satfinite ? ".satfinite" : "",
             c.sat ? ".sat" : "", c.to->name, c.from->name);
    check_widths(&c, opcode, to, from, plain);
    for (int wide = to * 2; wide <= 8 && c.to->kind != 'f'; wide *= 2)
        check_widths(&c, opcode, wide, from, false);
    for (int wide = from * 2; wide <= 8 && c.from->kind != 'f'; wide *= 2)
        check_widths(&c, opcode, to, wide, false);
}

/* Does every number of from exist in to? */
static bool widens(const struct type *to, const struct type *from)
{
    return to->bits == 64 || (to->bits == 32 && from->bits == 16);
}

static void check_modifiers(struct convert_case c)
{
    bool f32 = strcmp(c.to->name, "f32") == 0 || strcmp(c.from->name, "f32") == 0;
    bool is_tf32 = c.to == &types[TF32];
    bool is_small = c.to->small && (c.from->kind == 'f' && c.to != c.from);
    for (int i = 0; i < 16; i++) {
        c.ftz = i & 1;
        c.sat = i & 2;
        c.relu = i & 4;
        c.satfinite = i & 8;
        if ((c.ftz && (!f32 || is_tf32)) || (c.sat && (is_tf32 || c.relu)) ||
            ((c.relu || c.satfinite) && !is_small))
            continue;
        check_case(c);
    }
}

TEST(alu_convert, every_pair_of_types_in_every_rounding)
{
    static const char *const to_float[] = {"rn", "rz", "rm", "rp"};
    static const char *const to_whole[] = {"rni", "rzi", "rmi", "rpi"};
    static const char *const to_tf32[] = {"rna", "rn", "rz"};
    for (int to = 0; to < TF32; to++)
        for (int from = 0; from < TF32; from++) {
            struct convert_case c = {.to = &types[to], .from = &types[from], .round = ""};
            bool both = c.to->kind == 'f' && c.from->kind == 'f',
                 f_to_i = c.to->kind != 'f' && c.from->kind == 'f';
            if ((c.to->kind != 'f' && c.from->kind != 'f') || (both && to == from) ||
                (both && widens(c.to, c.from)))
                check_modifiers(c);
            for (int r = 0; r < 4; r++) {
                c.round = f_to_i || to == from ? to_whole[r] : to_float[r];
                if (f_to_i || (both && to == from) ||
                    (c.to->kind == 'f' && !(both && widens(c.to, c.from))))
                    check_modifiers(c);
            }
        }
    for (int r = 0; r < 3; r++)
        check_modifiers((struct convert_case){
            .to = &types[TF32], .from = &types[TF32 - 2], .round = to_tf32[r]});
}

TEST(alu_convert, refuses_what_it_does_not_know)
{
    static const char *const unknown[] = {"cvt.f32.s32",
                                          "cvt.s32.f32",
                                          "cvt.rn.s32.f32",
                                          "cvt.f16.f32",
                                          "cvt.rn.f64.f32",
                                          "cvt.rni.f32.f64",
                                          "cvt.rn.ftz.f16.f64",
                                          "cvt.rn.u32.s32",
                                          "cvt.rn.rz.f16.f32",
                                          "cvt.rn.tf32.f16",
                                          "cvt.rn.f32.tf32",
                                          "cvt.rn.relu.f32.f64",
                                          "cvt.u128.u64",
                                          "cvt.rn.e4m3x2.f32",
                                          "cvt.rs.f16x2.f32",
                                          "cvt.e4m3x2.f16x2",
                                          "cvt.rz.satfinite.e5m2x2.f32",
                                          "cvt.pack.sat.u16.u32",
                                          "cvta.u64"};
    struct ptx_form form;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        CHECK(!find_convert(unknown[i], 3, &form));
}
