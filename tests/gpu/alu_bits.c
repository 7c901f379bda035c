/* Logic, shifts and bit fields: PTX ISA 9.0, 9.7.8 and the bit counts of 9.7.1. */
#include "alu.h"

#define H  lane_u16
#define R  lane_u32
#define D  lane_u64
#define SH lane_s16
#define SR lane_s32
#define SD lane_s64

/* Shift amounts are 32 bits and count up to the width (9.7.8.8, 9.7.8.9). */
#define LOGIC(w, U, S)                                               \
    ALU_2(run_and_##w, U, U, U, (x & y))                             \
    ALU_2(run_or_##w, U, U, U, x | y)                                \
    ALU_2(run_xor_##w, U, U, U, x ^ y)                               \
    ALU_1(run_not_##w, U, U, ~x)                                     \
    ALU_1(run_cnot_##w, U, U, x == 0)                                \
    ALU_2(run_shl_##w, U, U, R, y > w - 1 ? 0 : x << (y & (w - 1)))  \
    ALU_2(run_shr_u##w, U, U, R, y > w - 1 ? 0 : x >> (y & (w - 1))) \
    ALU_2(run_shr_s##w, S, S, R, x >> (y > w - 1 ? w - 1 : y))
LOGIC(16, H, SH)
LOGIC(32, R, SR)
LOGIC(64, D, SD)

#define LOGIC_PRED(name, result)                                                  \
    static void name(struct warp *w, const struct ptx_instr *in, uint32_t mask)   \
    {                                                                             \
        uint32_t x = *slot_pred(w, in, 1), y = *slot_pred(w, in, in->n_slot - 1); \
        (void)y;                                                                  \
        alu_store_pred(slot_pred(w, in, 0), result, mask);                        \
    }
LOGIC_PRED(run_and_pred, (x & y))
LOGIC_PRED(run_or_pred, x | y)
LOGIC_PRED(run_xor_pred, x ^ y)
LOGIC_PRED(run_not_pred, ~x)

/* ---- lop3: bit (a << 2 | b << 1 | c) of the table is the result. Three levels of choosing between
 * two; a level chooses v or u, which differ in d = u ^ v, as v ^ (x & d). The first level's are
 * constants. (a & b) | c is most of what compilers emit. */

static inline uint32_t entry(int64_t table, int i)
{
    return 0u - (uint32_t)(table >> i & 1);
}
static inline uint32_t choose(uint32_t x, uint32_t on, uint32_t off)
{
    return off ^ (x & (on ^ off));
}
#define C_OF(ab) choose(z, entry(t, 2 * (ab) + 1), entry(t, 2 * (ab)))
ALU_3(run_and_or, R, R, R, R, (x & y) | z)
static void run_lop3_any(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    R spare[WARP_LANES] __attribute__((aligned(64)));
    R *to = alu_target(w, in, 0, mask, spare);
    const R *sx = slot_of(w, in, 1), *sy = slot_of(w, in, 2), *sz = slot_of(w, in, 3);
    const int64_t t = in->literal[0];
    FOR_LANES(l)
    {
        uint32_t x = sx[l], y = sy[l], z = sz[l];
        to[l] = choose(x, choose(y, C_OF(3), C_OF(2)), choose(y, C_OF(1), C_OF(0)));
    }
    alu_store(w, in, 0, mask, to, spare, sizeof *spare);
}
static void run_lop3(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    if (in->literal[0] == 0xea)
        run_and_or(w, in, mask);
    else
        run_lop3_any(w, in, mask);
}

/* ---- shf: a the low half, b the high one; .clamp counts to 32, .wrap modulo 32 */

#define BOTH    (x | (uint64_t)y << 32)
#define CLAMP32 (z < 32 ? z : 32)
ALU_3(run_shf_l_clamp, R, R, R, R, BOTH << CLAMP32 >> 32)
ALU_3(run_shf_r_clamp, R, R, R, R, BOTH >> CLAMP32)
ALU_3(run_shf_l_wrap, R, R, R, R, BOTH << (z & 31) >> 32)
ALU_3(run_shf_r_wrap, R, R, R, R, BOTH >> (z & 31))

/* ---- Bit fields */

#define FIELDS(w, U)                                                                          \
    static inline U low_ones##w(uint32_t n)                                                   \
    {                                                                                         \
        return n > w - 1 ? ~(U)0 : ((U)1 << (n & (w - 1))) - 1;                               \
    }                                                                                         \
    /* The field as far as it lies in the number, all above it filled with the sign. */       \
    static inline U extract##w(U a, uint32_t b, uint32_t c, bool is_signed)                   \
    {                                                                                         \
        uint32_t pos = b & 0xff, len = c & 0xff, last = pos + len - 1;                        \
        uint32_t room = pos < w ? w - pos : 0, n = len < room ? len : room;                   \
        U has = is_signed && len, sign = (U)(a >> (last < w ? last & (w - 1) : w - 1)) & has; \
        U ones = low_ones##w(n);                                                              \
        return (a >> (pos & (w - 1)) & ones) | ((0 - sign) & ~ones);                          \
    }                                                                                         \
    static inline U insert##w(U a, U b, uint32_t c, uint32_t d)                               \
    {                                                                                         \
        uint32_t pos = c & 0xff, len = d & 0xff;                                              \
        U field = pos > w - 1 ? 0 : low_ones##w(len) << (pos & (w - 1));                      \
        return b ^ ((b ^ (a << (pos & (w - 1)))) & field);                                    \
    }                                                                                         \
    ALU_3(run_bfe_u##w, U, U, R, R, extract##w(x, y, z, false))                               \
    ALU_3(run_bfe_s##w, U, U, R, R, extract##w(x, y, z, true))
FIELDS(32, R)
FIELDS(64, D)

#define FOUR(T)                                               \
    const T *sx = slot_of(w, in, 1), *sy = slot_of(w, in, 2); \
    const R *sz = slot_of(w, in, 3), *st = slot_of(w, in, 4);
ALU_RUN(run_bfi_32, R, FOUR(R), , insert32(sx[l], sy[l], sz[l], st[l]))
ALU_RUN(run_bfi_64, D, FOUR(D), , insert64(sx[l], sy[l], sz[l], st[l]))

/* ---- Counting */

ALU_1(run_popc_32, R, R, __builtin_popcount(x))
ALU_1(run_popc_64, R, D, __builtin_popcountll(x))
static inline uint32_t leading_zeros(uint64_t x, uint32_t w)
{
    return x ? (uint32_t)__builtin_clzll(x) - (64 - w) : w;
}
ALU_1(run_clz_32, R, R, leading_zeros(x, 32))
ALU_1(run_clz_64, R, D, leading_zeros(x, 64))

static inline uint64_t reverse(uint64_t x)
{
    x = (x >> 1 & UINT64_C(0x5555555555555555)) | (x & UINT64_C(0x5555555555555555)) << 1;
    x = (x >> 2 & UINT64_C(0x3333333333333333)) | (x & UINT64_C(0x3333333333333333)) << 2;
    x = (x >> 4 & UINT64_C(0x0f0f0f0f0f0f0f0f)) | (x & UINT64_C(0x0f0f0f0f0f0f0f0f)) << 4;
    return __builtin_bswap64(x);
}
ALU_1(run_brev_32, R, R, reverse(x) >> 32)
ALU_1(run_brev_64, D, D, reverse(x))

#define BFIND(t, A, w, magnitude)                                                              \
    ALU_1(run_bfind_##t, R, A, (magnitude) ? w - 1 - leading_zeros(magnitude, w) : UINT32_MAX) \
    ALU_1(run_bfind_shift_##t, R, A, (magnitude) ? leading_zeros(magnitude, w) : UINT32_MAX)
BFIND(u32, R, 32, x)
BFIND(s32, SR, 32, (uint32_t)(x < 0 ? ~x : x))
BFIND(u64, D, 64, x)
BFIND(s64, SD, 64, (uint64_t)(x < 0 ? ~x : x))

static inline uint32_t find_nth(uint32_t mask, uint32_t base, int32_t offset)
{
    int64_t left = offset < 0 ? -(int64_t)offset : offset;
    int step = offset < 0 ? -1 : 1;
    left = left ? left - 1 : 0;
    for (int pos = (int)(base & 31); pos >= 0 && pos < 32; pos += step) {
        if (mask >> pos & 1 && left-- == 0)
            return (uint32_t)pos;
        if (offset == 0)
            break;
    }
    return UINT32_MAX;
}
ALU_3(run_fns, R, R, R, SR, find_nth(x, y, z))

/* ---- szext and bmsk (9.7.1.21, 9.7.1.22): n of at most 32 */

static inline uint32_t size_extend(uint32_t a, uint32_t n, bool is_signed)
{
    uint32_t ones = low_ones32(n), sign = n ? a >> (n - 1) & 1 : 0;
    return (a & ones) | (is_signed && sign ? ~ones : 0);
}
#define CLAMPED(n) ((n) < 32 ? (n) : 32)
ALU_2(run_szext_clamp_u32, R, R, R, size_extend(x, CLAMPED(y), false))
ALU_2(run_szext_clamp_s32, R, R, R, size_extend(x, CLAMPED(y), true))
ALU_2(run_szext_wrap_u32, R, R, R, size_extend(x, y & 31, false))
ALU_2(run_szext_wrap_s32, R, R, R, size_extend(x, y & 31, true))
ALU_2(run_bmsk_clamp, R, R, R, x > 31 ? 0 : low_ones32(CLAMPED(y)) << (x & 31))
ALU_2(run_bmsk_wrap, R, R, R, low_ones32(y & 31) << (x & 31))

/* ---- The table */

#define ROWS_LOGIC(w, k)                                                                  \
    {"and.b" #w, k "=" k k, run_and_##w}, {"or.b" #w, k "=" k k, run_or_##w},             \
        {"xor.b" #w, k "=" k k, run_xor_##w}, {"not.b" #w, k "=" k, run_not_##w},         \
        {"cnot.b" #w, k "=" k, run_cnot_##w}, {"shl.b" #w, k "=" k "r", run_shl_##w},     \
        {"shr.b" #w, k "=" k "r", run_shr_u##w}, {"shr.u" #w, k "=" k "r", run_shr_u##w}, \
    {                                                                                     \
        "shr.s" #w, k "=" k "r", run_shr_s##w                                             \
    }
#define ROWS_FIELD(w, k)                                                                \
    {"bfe.u" #w, k "=" k "rr", run_bfe_u##w}, {"bfe.s" #w, k "=" k "rr", run_bfe_s##w}, \
        {"bfi.b" #w, k "=" k k "rr", run_bfi_##w}, {"popc.b" #w, "r=" k, run_popc_##w}, \
        {"clz.b" #w, "r=" k, run_clz_##w}, {"brev.b" #w, k "=" k, run_brev_##w},        \
        {"bfind.u" #w, "r=" k, run_bfind_u##w}, {"bfind.s" #w, "r=" k, run_bfind_s##w}, \
        {"bfind.shiftamt.u" #w, "r=" k, run_bfind_shift_u##w},                          \
    {                                                                                   \
        "bfind.shiftamt.s" #w, "r=" k, run_bfind_shift_s##w                             \
    }

static const struct alu_form forms[] = {
    ROWS_LOGIC(16, "h"),
    ROWS_LOGIC(32, "r"),
    ROWS_LOGIC(64, "d"),
    ROWS_FIELD(32, "r"),
    ROWS_FIELD(64, "d"),
    {"and.pred", "p=pp", run_and_pred},
    {"or.pred", "p=pp", run_or_pred},
    {"xor.pred", "p=pp", run_xor_pred},
    {"not.pred", "p=p", run_not_pred},
    {"lop3.b32", "r=rrri", run_lop3},
    {"shf.l.clamp.b32", "r=rrr", run_shf_l_clamp},
    {"shf.r.clamp.b32", "r=rrr", run_shf_r_clamp},
    {"shf.l.wrap.b32", "r=rrr", run_shf_l_wrap},
    {"shf.r.wrap.b32", "r=rrr", run_shf_r_wrap},
    {"fns.b32", "r=rrr", run_fns},
    {"szext.clamp.u32", "r=rr", run_szext_clamp_u32},
    {"szext.clamp.s32", "r=rr", run_szext_clamp_s32},
    {"szext.wrap.u32", "r=rr", run_szext_wrap_u32},
    {"szext.wrap.s32", "r=rr", run_szext_wrap_s32},
    {"bmsk.clamp.b32", "r=rr", run_bmsk_clamp},
    {"bmsk.wrap.b32", "r=rr", run_bmsk_wrap},
};

bool find_bits(const char *opcode, int n_operand, struct ptx_form *form)
{
    (void)n_operand;
    return alu_find(forms, sizeof forms / sizeof *forms, opcode, form);
}
