/* Bits, moves and choices against the ISA's own descriptions, bit by bit. */
#include "memory.h"
#include "test_alu.h"

#define ROUNDS 80

struct form {
    const char *opcode;
    want_lane *want;
    uint64_t context;
};

static void check_all(const struct form *forms, size_t n)
{
    for (size_t i = 0; i < n; i++)
        alu_form(find_move, forms[i].opcode, forms[i].want, &forms[i].context, NULL, ROUNDS);
}
#define CHECK_ALL(forms) check_all(forms, sizeof forms / sizeof *forms)

/* What a context says: a width in its low byte, more above. */
static int width_of(const void *context)
{
    return (int)(*(const uint64_t *)context & 0xff);
}
static uint64_t more_of(const void *context)
{
    return *(const uint64_t *)context >> 8;
}
static int bit(uint64_t v, int i)
{
    return (int)(v >> i & 1);
}

/* ---- Logic and shifts */

/* more: which operation, a truth table of a and b. */
static uint64_t want_logic(const void *context, const uint64_t *s)
{
    uint64_t r = 0;
    int w = width_of(context);
    for (int i = 0; i < (w ? w : 1); i++)
        r |= (more_of(context) >> (2 * bit(s[0], i) + bit(s[1], i)) & 1) << i;
    return r;
}
static uint64_t want_not(const void *context, const uint64_t *s)
{
    int w = width_of(context);
    return w ? low_bits(~s[0], w / 8) : !s[0];
}
static uint64_t want_cnot(const void *context, const uint64_t *s)
{
    (void)context;
    return s[0] == 0;
}
/* more: 'l', 'u' or 's'. */
static uint64_t want_shift(const void *context, const uint64_t *s)
{
    int w = width_of(context), n = s[1] > 64 ? 64 : (int)s[1];
    uint64_t r = 0, fill = more_of(context) == 's' ? (uint64_t)bit(s[0], w - 1) : 0;
    for (int i = 0; i < w; i++) {
        int from = more_of(context) == 'l' ? i - n : i + n;
        r |= (from < 0 ? 0 : from >= w ? fill : (uint64_t)bit(s[0], from)) << i;
    }
    return r;
}

#define AND 0x8
#define OR  0xe
#define XOR 0x6
#define LOGIC(w)                                                                        \
    {"and.b" #w, want_logic, w | AND << 8}, {"or.b" #w, want_logic, w | OR << 8},       \
        {"xor.b" #w, want_logic, w | XOR << 8}, {"not.b" #w, want_not, w},              \
        {"cnot.b" #w, want_cnot, w}, {"shl.b" #w, want_shift, w | 'l' << 8},            \
        {"shr.b" #w, want_shift, w | 'u' << 8}, {"shr.u" #w, want_shift, w | 'u' << 8}, \
    {                                                                                   \
        "shr.s" #w, want_shift, w | 's' << 8                                            \
    }

TEST(alu_move, logic_and_shifts)
{
    static const struct form forms[] = {
        LOGIC(16),
        LOGIC(32),
        LOGIC(64),
        {"and.pred", want_logic, AND << 8},
        {"or.pred", want_logic, OR << 8},
        {"xor.pred", want_logic, XOR << 8},
        {"not.pred", want_not, 0},
    };
    CHECK_ALL(forms);
}

static uint64_t want_lop3(const void *context, const uint64_t *s)
{
    uint64_t r = 0, table = *(const uint64_t *)context;
    for (int i = 0; i < 32; i++)
        r |= (table >> (4 * bit(s[0], i) + 2 * bit(s[1], i) + bit(s[2], i)) & 1) << i;
    return r;
}

TEST(alu_move, every_table_of_lop3)
{
    static struct alu t;
    for (uint64_t table = 0; table < 256; table++) {
        struct alu_case c = {"lop3.b32", want_lop3, &table, NULL};
        if (!alu_take(&t, find_move, c.opcode, 0, 0))
            return;
        t.in.literal[0] = (int64_t)table;
        alu_check(&t, &c, 3);
    }
}

/* more: 'l' or 'r'; width: the most that counts, or 31 for modulo 32. */
static uint64_t want_funnel(const void *context, const uint64_t *s)
{
    uint64_t both = s[1] << 32 | s[0], r = 0;
    int n = width_of(context) == 31 ? (int)(s[2] & 31) : s[2] > 32 ? 32 : (int)s[2];
    for (int i = 0; i < 32; i++)
        r |= (uint64_t)bit(both, more_of(context) == 'l' ? 32 + i - n : i + n) << i;
    return r;
}

/* ---- Bit fields: the ISA's loops */

static uint64_t want_bfe(const void *context, const uint64_t *s)
{
    int w = width_of(context), pos = s[1] & 0xff, len = s[2] & 0xff;
    int last = pos + len - 1 < w - 1 ? pos + len - 1 : w - 1;
    uint64_t r = 0, sign = more_of(context) == 'u' || len == 0 ? 0 : (uint64_t)bit(s[0], last);
    for (int i = 0; i < w; i++)
        r |= (i < len && pos + i < w ? (uint64_t)bit(s[0], pos + i) : sign) << i;
    return r;
}
static uint64_t want_bfi(const void *context, const uint64_t *s)
{
    int w = width_of(context), pos = s[2] & 0xff, len = s[3] & 0xff;
    uint64_t r = s[1];
    for (int i = 0; i < len && pos + i < w; i++)
        r = (r & ~(UINT64_C(1) << (pos + i))) | (uint64_t)bit(s[0], i) << (pos + i);
    return r;
}
static uint64_t want_popc(const void *context, const uint64_t *s)
{
    uint64_t n = 0;
    for (int i = 0; i < width_of(context); i++)
        n += (uint64_t)bit(s[0], i);
    return n;
}
/* more: 'c' of clz; of bfind the sign, and with 0x80 the shift amount. */
static uint64_t want_first(const void *context, const uint64_t *s)
{
    int w = width_of(context), i = w - 1;
    uint64_t kind = more_of(context);
    int sign = (kind & 0x7f) == 's' ? bit(s[0], w - 1) : 0;
    while (i >= 0 && bit(s[0], i) == sign)
        i--;
    if (kind == 'c')
        return (uint64_t)(w - 1 - i);
    return i < 0 ? UINT32_MAX : (uint64_t)(kind & 0x80 ? w - 1 - i : i);
}
static uint64_t want_brev(const void *context, const uint64_t *s)
{
    uint64_t r = 0;
    for (int i = 0, w = width_of(context); i < w; i++)
        r |= (uint64_t)bit(s[0], w - 1 - i) << i;
    return r;
}
static uint64_t want_fns(const void *context, const uint64_t *s)
{
    int32_t base = s[1] & 31, offset = (int32_t)s[2];
    int64_t count = (offset < 0 ? -(int64_t)offset : offset) - 1;
    (void)context;
    if (offset == 0)
        return bit(s[0], base) ? (uint64_t)base : UINT32_MAX;
    for (int pos = base; pos >= 0 && pos<32; pos += offset> 0 ? 1 : -1)
        if (bit(s[0], pos) && count-- == 0)
            return (uint64_t)pos;
    return UINT32_MAX;
}
/* more: 'u' or 's'; width 32: clamp, 31: wrap. */
static uint64_t want_szext(const void *context, const uint64_t *s)
{
    uint32_t b1 = s[1] & 31, a = (uint32_t)s[0];
    bool too_large = s[1] >= 32 && width_of(context) == 32;
    uint32_t mask = too_large ? 0 : ~0u << b1;
    bool sign = b1 != 0 && !too_large && more_of(context) == 's' && bit(a, (int)b1 - 1);
    return (a & ~mask) | (sign ? mask : 0);
}
static uint64_t want_bmsk(const void *context, const uint64_t *s)
{
    uint64_t r = 0, b = width_of(context) == 32 ? s[1] : s[1] & 31, a = s[0] & 31;
    for (uint64_t i = a; i < 32 && i - a < b; i++)
        r |= UINT64_C(1) << i;
    return width_of(context) == 32 && s[0] > 31 ? 0 : r;
}

#define FIELDS(w)                                                                           \
    {"bfe.u" #w, want_bfe, w | 'u' << 8}, {"bfe.s" #w, want_bfe, w | 's' << 8},             \
        {"bfi.b" #w, want_bfi, w}, {"popc.b" #w, want_popc, w},                             \
        {"clz.b" #w, want_first, w | 'c' << 8}, {"brev.b" #w, want_brev, w},                \
        {"bfind.u" #w, want_first, w | 'u' << 8}, {"bfind.s" #w, want_first, w | 's' << 8}, \
        {"bfind.shiftamt.u" #w, want_first, w | ('u' | 0x80) << 8},                         \
    {                                                                                       \
        "bfind.shiftamt.s" #w, want_first, w | ('s' | 0x80) << 8                            \
    }

TEST(alu_move, bit_fields)
{
    static const struct form forms[] = {
        FIELDS(32),
        FIELDS(64),
        {"shf.l.clamp.b32", want_funnel, 32 | 'l' << 8},
        {"shf.r.clamp.b32", want_funnel, 32 | 'r' << 8},
        {"shf.l.wrap.b32", want_funnel, 31 | 'l' << 8},
        {"shf.r.wrap.b32", want_funnel, 31 | 'r' << 8},
        {"fns.b32", want_fns, 0},
        {"szext.clamp.u32", want_szext, 32 | 'u' << 8},
        {"szext.clamp.s32", want_szext, 32 | 's' << 8},
        {"szext.wrap.u32", want_szext, 31 | 'u' << 8},
        {"szext.wrap.s32", want_szext, 31 | 's' << 8},
        {"bmsk.clamp.b32", want_bmsk, 32},
        {"bmsk.wrap.b32", want_bmsk, 31},
    };
    CHECK_ALL(forms);
}

/* ---- Moves and choices */

static uint64_t want_first_source(const void *context, const uint64_t *s)
{
    return s[0] + *(const uint64_t *)context;
}
static uint64_t want_selp(const void *context, const uint64_t *s)
{
    (void)context;
    return s[2] ? s[0] : s[1];
}
static uint64_t want_slct(const void *context, const uint64_t *s)
{
    float c;
    uint32_t bits = (uint32_t)s[2];
    uint64_t kind = *(const uint64_t *)context;
    if (kind == 's')
        return (int32_t)bits >= 0 ? s[0] : s[1];
    if (kind == 'z' && !(bits & 0x7f800000))
        bits = 0;
    memcpy(&c, &bits, sizeof c);
    return c >= 0 ? s[0] : s[1];
}

#define TYPE(t)                                                                 \
    {"mov." t, want_first_source, 0}, {"selp." t, want_selp, 0},                \
        {"slct." t ".s32", want_slct, 's'}, {"slct." t ".f32", want_slct, 'f'}, \
    {                                                                           \
        "slct.ftz." t ".f32", want_slct, 'z'                                    \
    }
TEST(alu_move, moves_and_choices)
{
    static const struct form forms[] = {
        TYPE("b16"),
        TYPE("u16"),
        TYPE("s16"),
        TYPE("b32"),
        TYPE("u32"),
        TYPE("s32"),
        TYPE("f32"),
        TYPE("b64"),
        TYPE("u64"),
        TYPE("s64"),
        TYPE("f64"),
        {"mov.pred", want_first_source, 0},
        {"cvta.global.u64", want_first_source, 0},
        {"cvta.to.global.u64", want_first_source, 0},
        {"cvta.const.u64", want_first_source, 0},
        {"cvta.to.const.u64", want_first_source, 0},
        {"cvta.shared.u64", want_first_source, SHARED_BASE},
        {"cvta.to.shared.u64", want_first_source, 0 - SHARED_BASE},
        {"cvta.shared::cta.u64", want_first_source, SHARED_BASE},
        {"cvta.to.shared::cta.u64", want_first_source, 0 - SHARED_BASE},
        {"cvta.local.u64", want_first_source, LOCAL_BASE},
        {"cvta.to.local.u64", want_first_source, 0 - LOCAL_BASE},
    };
    CHECK_ALL(forms);
}

/* A whole of n parts, each way, with all lanes and some; part k in slot first_part + k. */
static void check_vector(const char *opcode, int n, bool packs)
{
    static struct alu t;
    static const uint32_t masks[] = {UINT32_MAX, 0x5a0ff1c3};
    if (!alu_take(&t, find_move, opcode, 0, 0))
        return;
    int whole = packs ? 0 : n, part = packs ? 1 : 0, bits = t.in.width[whole] * 8 / n;
    for (size_t m = 0; m < 2; m++) {
        uint64_t from[WARP_LANES];
        for (int l = 0; l < WARP_LANES; l++) {
            from[l] = low_bits(alu_random(), t.in.width[whole]);
            alu_set(&t, whole, l, packs ? 7 : from[l]);
            for (int k = 0; k < n; k++)
                alu_set(&t, part + k, l, packs ? low_bits(from[l] >> bits * k, bits / 8) : 7);
        }
        t.in.run(&t.warp, &t.in, masks[m]);
        for (int l = 0; l < WARP_LANES; l++) {
            bool on = masks[m] >> l & 1;
            if (packs)
                CHECK_EQ(alu_get(&t, 0, l), on ? from[l] : 7);
            for (int k = 0; !packs && k < n; k++)
                CHECK_EQ(alu_get(&t, k, l), on ? low_bits(from[l] >> bits * k, bits / 8) : 7);
        }
    }
}

TEST(alu_move, vectors_begin_with_the_low_bits)
{
    check_vector("mov.b32.pack2", 2, true);
    check_vector("mov.b64.pack2", 2, true);
    check_vector("mov.b64.pack4", 4, true);
    check_vector("mov.b32.unpack2", 2, false);
    check_vector("mov.b64.unpack2", 2, false);
    check_vector("mov.b64.unpack4", 4, false);
}

TEST(alu_move, a_part_that_nobody_wants_is_left_out)
{
    static struct alu t;
    if (!alu_take(&t, find_move, "mov.b64.unpack2", 0, 0))
        return;
    for (int l = 0; l < WARP_LANES; l++)
        alu_set(&t, 2, l, UINT64_C(0x1122334455667788));
    t.in.slot[0] = PTX_NONE;
    t.in.run(&t.warp, &t.in, UINT32_MAX);
    CHECK_EQ(alu_get(&t, 1, 9), 0x11223344);
}

/* ---- prmt: ReadByte of the ISA's table, columns d.b3 to d.b0 */

static const struct {
    const char *opcode;
    int from[4][4];
} permutations[] = {
    {"prmt.b32.f4e", {{3, 2, 1, 0}, {4, 3, 2, 1}, {5, 4, 3, 2}, {6, 5, 4, 3}}},
    {"prmt.b32.b4e", {{5, 6, 7, 0}, {6, 7, 0, 1}, {7, 0, 1, 2}, {0, 1, 2, 3}}},
    {"prmt.b32.rc8", {{0, 0, 0, 0}, {1, 1, 1, 1}, {2, 2, 2, 2}, {3, 3, 3, 3}}},
    {"prmt.b32.ecl", {{3, 2, 1, 0}, {3, 2, 1, 1}, {3, 2, 2, 2}, {3, 3, 3, 3}}},
    {"prmt.b32.ecr", {{0, 0, 0, 0}, {1, 1, 1, 0}, {2, 2, 1, 0}, {3, 2, 1, 0}}},
    {"prmt.b32.rc16", {{1, 0, 1, 0}, {3, 2, 3, 2}, {1, 0, 1, 0}, {3, 2, 3, 2}}},
};

static uint64_t want_mode(const void *context, const uint64_t *s)
{
    const int *from = context; /* (4, 4) */
    uint64_t both = s[1] << 32 | s[0], r = 0;
    for (int i = 0; i < 4; i++)
        r = r << 8 | (both >> 8 * from[4 * (s[2] & 3) + (uint64_t)i] & 0xff);
    return r;
}
static uint64_t want_prmt(const void *context, const uint64_t *s)
{
    uint64_t both = s[1] << 32 | s[0], r = 0;
    (void)context;
    for (int i = 3; i >= 0; i--) {
        uint64_t selector = s[2] >> 4 * i, byte = both >> 8 * (selector & 7) & 0xff;
        r = r << 8 | (selector & 8 ? (byte & 0x80 ? 0xff : 0) : byte);
    }
    return r;
}

TEST(alu_move, permutations_of_bytes)
{
    alu_form(find_move, "prmt.b32", want_prmt, NULL, NULL, ROUNDS);
    for (size_t i = 0; i < sizeof permutations / sizeof *permutations; i++)
        alu_form(find_move, permutations[i].opcode, want_mode, permutations[i].from[0], NULL,
                 ROUNDS);
}

TEST(alu_move, windows_of_the_address_spaces)
{
    static const struct {
        uint64_t address;
        int space;
    } places[] = {{0, 0},
                  {SHARED_BASE - 1, 0},
                  {SHARED_BASE, 1},
                  {SHARED_BASE + 256 * 1024 - 1, 1},
                  {SHARED_BASE + 256 * 1024, 0},
                  {LOCAL_BASE, 2},
                  {LOCAL_BASE + 512 * 1024 - 1, 2},
                  {LOCAL_BASE + 512 * 1024, 0}};
    static const char *const opcodes[] = {"isspacep.global", "isspacep.shared", "isspacep.local",
                                          "isspacep.shared::cta"};
    static const int spaces[] = {0, 1, 2, 1};
    static struct alu t;
    for (int k = 0; k < 4; k++) {
        if (!alu_take(&t, find_move, opcodes[k], 0, 0))
            return;
        for (int l = 0; l < WARP_LANES; l++)
            alu_set(&t, 1, l, places[l % 8].address);
        t.in.run(&t.warp, &t.in, 0x00ffffff);
        for (int l = 0; l < WARP_LANES; l++)
            CHECK_EQ(alu_get(&t, 0, l), l < 24 && places[l % 8].space == spaces[k]);
    }
}
