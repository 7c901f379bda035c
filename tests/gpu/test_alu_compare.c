/* setp and set: every comparison of every type, alone and combined with a predicate, by the ISA's
 * tables 9.7.6. Numbers of 16 bits are decoded by what their bits mean. */
#include "test_alu.h"

#include <math.h>

struct source {
    const char *name;
    char kind; /* b, u, s, f, h (f16), g (bf16) */
    int bits, numbers;
};

static const struct source sources[] = {
    {"b16", 'b', 16, 1},  {"u16", 'u', 16, 1},   {"s16", 's', 16, 1},    {"b32", 'b', 32, 1},
    {"u32", 'u', 32, 1},  {"s32", 's', 32, 1},   {"b64", 'b', 64, 1},    {"u64", 'u', 64, 1},
    {"s64", 's', 64, 1},  {"f32", 'f', 32, 1},   {"f64", 'f', 64, 1},    {"f16", 'h', 16, 1},
    {"bf16", 'g', 16, 1}, {"f16x2", 'h', 16, 2}, {"bf16x2", 'g', 16, 2},
};
/* less, equal, greater, unordered: for which of these it holds; kinds it exists for. */
static const struct {
    const char *name;
    int holds;
    const char *kinds;
} comparisons[] = {
    {"eq", 2, "busfhg"}, {"ne", 5, "busfhg"}, {"lt", 1, "usfhg"}, {"le", 3, "usfhg"},
    {"gt", 4, "usfhg"},  {"ge", 6, "usfhg"},  {"lo", 1, "u"},     {"ls", 3, "u"},
    {"hi", 4, "u"},      {"hs", 6, "u"},      {"equ", 10, "fhg"}, {"neu", 13, "fhg"},
    {"ltu", 9, "fhg"},   {"leu", 11, "fhg"},  {"gtu", 12, "fhg"}, {"geu", 14, "fhg"},
    {"num", 7, "fhg"},   {"nan", 8, "fhg"},
};

struct compare_case {
    const struct source *source;
    int holds, boolean; /* 0, 'a', 'o', 'x' */
    bool ftz;
    uint64_t one; /* what set writes */
};

static double value(const struct compare_case *c, uint64_t bits)
{
    if (c->source->bits == 64) {
        double x;
        memcpy(&x, &bits, sizeof x);
        return x;
    }
    if (c->source->kind == 'h') {
        int exponent = bits >> 10 & 31;
        double mantissa = (double)(bits & 1023) + (exponent ? 1024 : 0);
        double x = exponent == 31 ? (bits & 1023 ? NAN : INFINITY)
                                  : ldexp(mantissa, (exponent ? exponent : 1) - 25);
        x = c->ftz && exponent == 0 ? 0 : x;
        return bits & 0x8000 ? -x : x;
    }
    uint32_t low = (uint32_t)(c->source->kind == 'g' ? bits << 16 : bits);
    float x;
    memcpy(&x, &low, sizeof x);
    return c->ftz && fpclassify(x) == FP_SUBNORMAL ? 0 : (double)x;
}

/* The bit of holds that fits to a and b. */
static int relation(const struct compare_case *c, uint64_t a, uint64_t b)
{
    int shift = 64 - c->source->bits;
    char kind = c->source->kind;
    if (kind == 's')
        return (int64_t)(a << shift) < (int64_t)(b << shift) ? 1 : a == b ? 2 : 4;
    if (kind == 'u' || kind == 'b')
        return a < b ? 1 : a == b ? 2 : 4;
    double x = value(c, a), y = value(c, b);
    return x != x || y != y ? 8 : x < y ? 1 : x > y ? 4 : 2;
}

static bool outcome(const struct compare_case *c, const uint64_t *s, int number, bool complement)
{
    uint64_t mask = c->source->bits == 64 ? UINT64_MAX : (UINT64_C(1) << c->source->bits) - 1;
    int shift = 16 * number;
    bool t = c->holds & relation(c, s[0] >> shift & mask, s[1] >> shift & mask);
    t = t != complement;
    return c->boolean == 'a'   ? t && s[2]
           : c->boolean == 'o' ? t || s[2]
           : c->boolean == 'x' ? t != (bool)s[2]
                               : t;
}

static uint64_t want_p(const void *context, const uint64_t *s)
{
    return outcome(context, s, 0, false);
}
static uint64_t want_q(const void *context, const uint64_t *s)
{
    const struct compare_case *c = context;
    return c->source->numbers == 2 ? outcome(c, s, 1, false) : outcome(c, s, 0, true);
}
static uint64_t want_set(const void *context, const uint64_t *s)
{
    const struct compare_case *c = context;
    uint64_t r = outcome(c, s, 0, false) ? c->one : 0;
    if (c->source->numbers == 2)
        r |= (outcome(c, s, 1, false) ? c->one : 0) << 16;
    return r;
}

/* p with nobody wanting q; then both into one slot, where q, written last, is what is seen. */
static void check_setp(struct compare_case *c, const char *opcode)
{
    static struct alu t;
    struct alu_case p = {opcode, want_p, c, NULL}, q = {opcode, want_q, c, NULL};
    uint64_t rounds = c->boolean ? 4 : EDGES * EDGES / WARP_LANES + 4;
    if (!alu_take(&t, find_move, opcode, 0, 0))
        return;
    t.in.slot[1] = PTX_NONE;
    alu_check(&t, &p, rounds);
    t.in.slot[1] = t.in.slot[0];
    alu_check(&t, &q, rounds);
}

static const char *const booleans[] = {"", ".and", ".or", ".xor"};

static void for_each(void (*check)(struct compare_case *c, const char *name, const char *boolean,
                                   const char *ftz))
{
    for (size_t s = 0; s < sizeof sources / sizeof *sources; s++)
        for (size_t k = 0; k < sizeof comparisons / sizeof *comparisons; k++)
            for (int i = 0; i < 8; i++) {
                bool ftz = i & 4,
                     can = sources[s].kind == 'h' || strcmp(sources[s].name, "f32") == 0;
                if (!strchr(comparisons[k].kinds, sources[s].kind) || (ftz && !can))
                    continue;
                struct compare_case c = {&sources[s], comparisons[k].holds, "\0aox"[i & 3], ftz, 0};
                check(&c, comparisons[k].name, booleans[i & 3], ftz ? ".ftz" : "");
            }
}

static void setp(struct compare_case *c, const char *name, const char *boolean, const char *ftz)
{
    char opcode[40];
    snprintf(opcode, sizeof opcode, "setp.%s%s%s.%s", name, boolean, ftz, c->source->name);
    check_setp(c, opcode);
}

TEST(alu_compare, predicates)
{
    for_each(setp);
}

static void set(struct compare_case *c, const char *name, const char *boolean, const char *ftz)
{
    static const struct {
        const char *type;
        uint64_t one;
        char from; /* 1: single numbers, h: of 16 bits, 2: pairs */
    } results[] = {{"u32", UINT32_MAX, '1'}, {"s32", UINT32_MAX, '1'}, {"f32", 0x3f800000, '1'},
                   {"f16", 0x3c00, '1'},     {"bf16", 0x3f80, '1'},    {"u16", 0xffff, 'h'},
                   {"s16", 0xffff, 'h'},     {"f16x2", 0x3c00, '2'},   {"bf16x2", 0x3f80, '2'},
                   {"u32", 0xffff, '2'},     {"s32", 0xffff, '2'}};
    bool is_half = c->source->kind == 'h' || c->source->kind == 'g', pair = c->source->numbers == 2;
    for (size_t r = 0; r < sizeof results / sizeof *results; r++) {
        char opcode[48];
        if ((results[r].from == '2') != pair || (results[r].from == 'h' && !is_half))
            continue;
        c->one = results[r].one;
        snprintf(opcode, sizeof opcode, "set.%s%s%s.%s.%s", name, boolean, ftz, results[r].type,
                 c->source->name);
        alu_form(find_move, opcode, want_set, c, NULL, 4);
    }
}

TEST(alu_compare, numbers)
{
    for_each(set);
}

TEST(alu_compare, refuses_what_it_does_not_know)
{
    static const char *const unknown[] = {"setp.lt.b32",     "setp.lo.s32",    "setp.equ.s32",
                                          "setp.lt.ftz.f64", "setp.eq.u8",     "setp.eq.and.or.u32",
                                          "setp.eq.rn.f32",  "set.eq.u16.u32", "set.eq.f64.f64",
                                          "set.eq.f16.f16x2"};
    struct ptx_form form;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        CHECK(!find_move(unknown[i], 3, &form));
}
