/* Integer arithmetic against 128 bits of C's. */
#include "test_alu.h"

__extension__ typedef __int128 s128;
__extension__ typedef unsigned __int128 u128;

#define ROUNDS 80

struct type {
    const char *name;
    int bits;
    bool is_signed;
};

static const struct type types[] = {{"u16", 16, false}, {"s16", 16, true},  {"u32", 32, false},
                                    {"s32", 32, true},  {"u64", 64, false}, {"s64", 64, true}};

/* The bits of a register as the number that they are. */
static s128 number(const struct type *t, uint64_t bits)
{
    bits = low_bits(bits, t->bits / 8);
    bool negative = t->is_signed && bits >> (t->bits - 1) & 1;
    return (s128)bits - (negative ? (s128)1 << t->bits : 0);
}

enum operation { ADD, SUB, MUL_LO, MAD_LO, MUL_HI, MAD_HI, DIV, REM, MIN, MAX, SAD, ABS, NEG };

struct form {
    const char *name;
    enum operation operation;
    bool only_signed;
};

static const struct form forms[] = {
    {"add", ADD, false},       {"sub", SUB, false},       {"mul.lo", MUL_LO, false},
    {"mad.lo", MAD_LO, false}, {"mul.hi", MUL_HI, false}, {"mad.hi", MAD_HI, false},
    {"div", DIV, false},       {"rem", REM, false},       {"min", MIN, false},
    {"max", MAX, false},       {"sad", SAD, false},       {"abs", ABS, true},
    {"neg", NEG, true},
};

struct integer_case {
    const struct form *form;
    const struct type *type;
};

static u128 compute(enum operation operation, int bits, s128 a, s128 b, s128 c)
{
    u128 product = (u128)a * (u128)b;
    /* The upper half of a product that may itself need 128 bits with its sign. */
    u128 high = a < 0 || b < 0 ? (u128)((s128)product >> bits) : product >> bits;
    switch (operation) {
    case ADD:
        return (u128)a + (u128)b;
    case SUB:
        return (u128)a - (u128)b;
    case MUL_LO:
        return product;
    case MAD_LO:
        return product + (u128)c;
    case MUL_HI:
        return high;
    case MAD_HI:
        return high + (u128)c;
    case DIV: /* by zero: what this simulation promises */
        return b == 0 ? ~(u128)0 : (u128)(a / b);
    case REM:
        return b == 0 ? (u128)a : (u128)(a % b);
    case MIN:
        return (u128)(a < b ? a : b);
    case MAX:
        return (u128)(a < b ? b : a);
    case SAD:
        return (u128)c + (u128)(a < b ? b - a : a - b);
    case ABS:
        return (u128)(a < 0 ? -a : a);
    case NEG:
        break;
    }
    return (u128)-a;
}

static uint64_t want_integer(const void *context, const uint64_t *s)
{
    const struct integer_case *c = context;
    u128 r = compute(c->form->operation, c->type->bits, number(c->type, s[0]),
                     number(c->type, s[1]), number(c->type, s[2]));
    return low_bits((uint64_t)r, c->type->bits / 8);
}

TEST(alu_integer, arithmetic_in_every_width)
{
    char opcode[32];
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
            struct integer_case c = {&forms[f], &types[t]};
            if (forms[f].only_signed && !types[t].is_signed)
                continue;
            snprintf(opcode, sizeof opcode, "%s.%s", forms[f].name, types[t].name);
            alu_form(find_integer, opcode, want_integer, &c, NULL, ROUNDS);
        }
}

static uint64_t want_wide(const void *context, const uint64_t *s)
{
    const struct type *t = context;
    u128 r = (u128)number(t, s[0]) * (u128)number(t, s[1]) + s[2];
    return low_bits((uint64_t)r, t->bits / 4);
}

static uint64_t want_wide_product(const void *context, const uint64_t *s)
{
    const uint64_t factors[] = {s[0], s[1], 0};
    return want_wide(context, factors);
}

TEST(alu_integer, products_of_twice_the_width)
{
    char opcode[32];
    for (size_t t = 0; t < 4; t++) {
        snprintf(opcode, sizeof opcode, "mul.wide.%s", types[t].name);
        alu_form(find_integer, opcode, want_wide_product, &types[t], NULL, ROUNDS);
        snprintf(opcode, sizeof opcode, "mad.wide.%s", types[t].name);
        alu_form(find_integer, opcode, want_wide, &types[t], NULL, ROUNDS);
    }
}

static const struct type s32 = {"s32", 32, true};

static uint64_t clamped(s128 v)
{
    return (uint32_t)(v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (int32_t)v);
}
static uint64_t want_add_sat(const void *context, const uint64_t *s)
{
    return clamped(number(context, s[0]) + number(context, s[1]));
}
static uint64_t want_sub_sat(const void *context, const uint64_t *s)
{
    return clamped(number(context, s[0]) - number(context, s[1]));
}
static uint64_t want_mad_sat(const void *context, const uint64_t *s)
{
    return clamped((number(context, s[0]) * number(context, s[1]) >> 32) + number(context, s[2]));
}

TEST(alu_integer, saturation_clamps)
{
    alu_form(find_integer, "add.sat.s32", want_add_sat, &s32, NULL, ROUNDS);
    alu_form(find_integer, "sub.sat.s32", want_sub_sat, &s32, NULL, ROUNDS);
    alu_form(find_integer, "mad.hi.sat.s32", want_mad_sat, &s32, NULL, ROUNDS);
}

/* context: 's' signed, then the shift of the result, then 'a' with an addend. */
static uint64_t want_24(const void *context, const uint64_t *s)
{
    const char *c = context;
    static const struct type u24 = {"", 24, false}, s24 = {"", 24, true};
    const struct type *t = c[0] == 's' ? &s24 : &u24;
    s128 product = number(t, s[0] & 0xffffff) * number(t, s[1] & 0xffffff);
    return (uint32_t)((uint64_t)(product >> (c[1] == 'h' ? 16 : 0)) + (c[2] == 'a' ? s[2] : 0));
}

TEST(alu_integer, products_of_24_bits)
{
    static const char *const rows[][2] = {{"mul24.lo.u32", "ul."}, {"mul24.hi.u32", "uh."},
                                          {"mad24.lo.u32", "ula"}, {"mad24.hi.u32", "uha"},
                                          {"mul24.lo.s32", "sl."}, {"mul24.hi.s32", "sh."},
                                          {"mad24.lo.s32", "sla"}, {"mad24.hi.s32", "sha"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        alu_form(find_integer, rows[i][0], want_24, rows[i][1], NULL, ROUNDS);
}

/* Part i of a register, of so many bits. */
static int64_t part(uint64_t v, int i, int bits, bool is_signed)
{
    int64_t field = (int64_t)(v >> bits * i & ((1u << bits) - 1));
    return is_signed && field >> (bits - 1) ? field - (1 << bits) : field;
}

/* context: the types of a and b, then 4 for dp4a, or the first byte of dp2a. */
static uint64_t want_dot(const void *context, const uint64_t *s)
{
    const char *c = context;
    int64_t sum = (int64_t)s[2];
    for (int i = 0; i < (c[2] == '4' ? 4 : 2); i++)
        sum += c[2] == '4'
                   ? part(s[0], i, 8, c[0] == 's') * part(s[1], i, 8, c[1] == 's')
                   : part(s[0], i, 16, c[0] == 's') * part(s[1], i + c[2] - '0', 8, c[1] == 's');
    return (uint32_t)sum;
}

TEST(alu_integer, dot_products)
{
    char opcode[32], context[4] = "";
    for (int i = 0; i < 12; i++) {
        context[0] = i & 1 ? 's' : 'u';
        context[1] = i & 2 ? 's' : 'u';
        context[2] = "402"[i / 4];
        static const char *const names[] = {"dp4a", "dp2a.lo", "dp2a.hi"};
        snprintf(opcode, sizeof opcode, "%s.%c32.%c32", names[i / 4], context[0], context[1]);
        alu_form(find_integer, opcode, want_dot, context, NULL, ROUNDS);
    }
}

/* context: 'a'dd, least 'm' or most 'M', then the sign. */
static uint64_t want_pair(const void *context, const uint64_t *s)
{
    const char *c = context;
    uint64_t r = 0;
    for (int i = 0; i < 2; i++) {
        int64_t a = part(s[0], i, 16, c[1] == 's'), b = part(s[1], i, 16, c[1] == 's');
        int64_t v = c[0] == 'a' ? a + b : (c[0] == 'm') == (a < b) ? a : b;
        r |= (uint64_t)(uint16_t)v << 16 * i;
    }
    return r;
}

TEST(alu_integer, pairs_of_16_bits)
{
    static const char *const rows[][2] = {{"add.u16x2", "au"}, {"add.s16x2", "as"},
                                          {"min.u16x2", "mu"}, {"min.s16x2", "ms"},
                                          {"max.u16x2", "Mu"}, {"max.s16x2", "Ms"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        alu_form(find_integer, rows[i][0], want_pair, rows[i][1], NULL, ROUNDS);
}

/* ---- Carries: the result is checked, and the carry behind it, from a carry that is random. */

struct carry_case {
    const char *base;
    bool reads, writes;
    const struct type *type;
};

/* The exact sum; its carry is whether it leaves the width. */
static s128 exact_carry(const struct carry_case *c, const uint64_t *s, unsigned carry)
{
    if (strncmp(c->base, "mad", 3) != 0)
        return c->base[0] == 's' ? (s128)s[0] - s[1] - carry : (s128)s[0] + s[1] + carry;
    enum operation o = strcmp(c->base, "mad.lo") == 0 ? MUL_LO : MUL_HI;
    u128 product = compute(o, c->type->bits, number(c->type, s[0]), number(c->type, s[1]), 0);
    return (s128)low_bits((uint64_t)product, c->type->bits / 8) + s[2] + carry;
}

static void check_carry(const struct carry_case *c, const char *opcode)
{
    static struct alu t;
    if (!alu_take(&t, find_integer, opcode, 0, 0))
        return;
    for (uint64_t i = 0; i < EDGES * EDGES; i += WARP_LANES) {
        uint64_t s[WARP_LANES][SOURCES];
        uint32_t before = (uint32_t)alu_random(), mask = (uint32_t)(alu_random() | alu_random());
        t.warp.carry = before;
        for (int l = 0; l < WARP_LANES; l++) {
            alu_set(&t, 0, l, 77);
            for (int k = 0; k < t.in.n_slot - 1; k++)
                alu_set(&t, k + 1, l, s[l][k] = alu_source(t.in.width[1], k, i + (uint64_t)l));
        }
        t.in.run(&t.warp, &t.in, mask);
        for (int l = 0; l < WARP_LANES; l++) {
            bool on = mask >> l & 1, was = before >> l & 1;
            s128 want = exact_carry(c, s[l], c->reads && was);
            bool carry = want < 0 || want >> c->type->bits;
            if (alu_get(&t, 0, l) != (on ? low_bits((uint64_t)want, t.in.width[0]) : 77) ||
                (t.warp.carry >> l & 1) != (on && c->writes ? carry : was)) {
                t_fail(__FILE__, __LINE__, "%s: lane %d", opcode, l);
                return;
            }
        }
    }
}

TEST(alu_integer, sums_with_a_carry)
{
    static const char *const names[][4] = {
        {"add.cc", "addc", "addc.cc", "add"},
        {"sub.cc", "subc", "subc.cc", "sub"},
        {"mad.lo.cc", "madc.lo", "madc.lo.cc", "mad.lo"},
        {"mad.hi.cc", "madc.hi", "madc.hi.cc", "mad.hi"},
    };
    char opcode[32];
    for (int i = 0; i < 4 * 3 * 4; i++) {
        int row = i / 12, column = i % 3;
        struct carry_case c = {names[row][3], column != 0, column != 1, &types[2 + i / 3 % 4]};
        snprintf(opcode, sizeof opcode, "%s.%s", names[row][column], c.type->name);
        check_carry(&c, opcode);
    }
}

TEST(alu_integer, refuses_what_it_does_not_know)
{
    static const char *const unknown[] = {
        "add.u8",  "add.sat.u32", "mul.u32",    "mul.wide.u64", "addc.u16",      "mad.cc.u32",
        "neg.u32", "div.rn.s32",  "add.cc.f32", "dp4a.u32",     "mad.hi.sat.u32"};
    struct ptx_form form;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        CHECK(!find_integer(unknown[i], 3, &form));
}
