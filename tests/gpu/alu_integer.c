/* Integer arithmetic: PTX ISA 9.0, 9.7.1 and 9.7.2, and the bit fields that it counts there. */
#include "alu.h"

#define U16 lane_u16
#define U32 lane_u32
#define U64 lane_u64
#define S16 lane_s16
#define S32 lane_s32
#define S64 lane_s64

/* Division by zero is "an unspecified, machine-specific value" (9.7.1.8): all ones, and the
 * dividend as remainder. The most negative number divided by -1 wraps around. */
#define DIVIDE(T, U)                  \
    static inline U div_##U(U x, U y) \
    {                                 \
        if (y == 0)                   \
            return (U) ~(U)0;         \
        return (U)(x / y);            \
    }                                 \
    static inline U rem_##U(U x, U y) \
    {                                 \
        if (y == 0)                   \
            return x;                 \
        return (U)(x % y);            \
    }                                 \
    static inline T div_##T(T x, T y) \
    {                                 \
        if (y == 0)                   \
            return (T)-1;             \
        if (y == -1)                  \
            return (T)(0 - (U)x);     \
        return (T)(x / y);            \
    }                                 \
    static inline T rem_##T(T x, T y) \
    {                                 \
        if (y == 0)                   \
            return x;                 \
        if (y == -1)                  \
            return 0;                 \
        return (T)(x % y);            \
    }
DIVIDE(lane_s16, lane_u16)
DIVIDE(lane_s32, lane_u32)
DIVIDE(lane_s64, lane_u64)

static inline int32_t clamp_s32(int64_t v)
{
    return (int32_t)(v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : v);
}
__extension__ typedef __int128 s128;
__extension__ typedef unsigned __int128 u128;

#define HI_u16(x, y) ((uint32_t)(x) * (uint32_t)(y) >> 16)
#define HI_s16(x, y) ((int32_t)(x) * (int32_t)(y) >> 16)
#define HI_u32(x, y) ((uint64_t)(x) * (y) >> 32)
#define HI_s32(x, y) ((int64_t)(x) * (y) >> 32)
#define HI_u64(x, y) ((u128)(x) * (y) >> 64)
#define HI_s64(x, y) ((s128)(x) * (y) >> 64)

/* What signs make no difference to: by width. The factor 1u keeps 16 bits from becoming int. */
#define WIDTH(w, U)                            \
    ALU_2(run_add_##w, U, U, U, x + y)         \
    ALU_2(run_sub_##w, U, U, U, x - y)         \
    ALU_1(run_neg_##w, U, U, 0u - x)           \
    ALU_2(run_mul_lo_##w, U, U, U, 1u * x * y) \
    ALU_3(run_mad_lo_##w, U, U, U, U, 1u * x * y + z)
WIDTH(16, U16)
WIDTH(32, U32)
WIDTH(64, U64)

/* By type. sad: c + |a - b| (9.7.1.7). */
#define TYPE(t, T, U, lane)                                \
    ALU_2(run_div_##t, T, T, T, div_##lane(x, y))          \
    ALU_2(run_rem_##t, T, T, T, rem_##lane(x, y))          \
    ALU_2(run_min_##t, T, T, T, x < y ? x : y)             \
    ALU_2(run_max_##t, T, T, T, x > y ? x : y)             \
    ALU_2(run_mul_hi_##t, U, T, T, HI_##t(x, y))           \
    ALU_3(run_mad_hi_##t, U, T, T, U, (U)HI_##t(x, y) + z) \
    ALU_3(run_sad_##t, U, T, T, U, z + (x < y ? (U)y - (U)x : (U)x - (U)y))
TYPE(u16, U16, U16, lane_u16)
TYPE(s16, S16, U16, lane_s16)
TYPE(u32, U32, U32, lane_u32)
TYPE(s32, S32, U32, lane_s32)
TYPE(u64, U64, U64, lane_u64)
TYPE(s64, S64, U64, lane_s64)

ALU_1(run_abs_s16, U16, S16, x < 0 ? 0 - x : x)
ALU_1(run_abs_s32, U32, S32, x < 0 ? 0 - (uint32_t)x : (uint32_t)x)
ALU_1(run_abs_s64, U64, S64, x < 0 ? 0 - (uint64_t)x : (uint64_t)x)

/* Products twice as wide as their factors. */
ALU_2(run_mul_wide_u16, U32, U16, U16, (uint32_t)x *y)
ALU_2(run_mul_wide_s16, S32, S16, S16, (int32_t)x *y)
ALU_2(run_mul_wide_u32, U64, U32, U32, (uint64_t)x *y)
ALU_2(run_mul_wide_s32, S64, S32, S32, (int64_t)x *y)
ALU_3(run_mad_wide_u16, U32, U16, U16, U32, (uint32_t)x *y + z)
ALU_3(run_mad_wide_s16, U32, S16, S16, U32, (uint32_t)((int32_t)x *y) + z)
ALU_3(run_mad_wide_u32, U64, U32, U32, U64, (uint64_t)x *y + z)
ALU_3(run_mad_wide_s32, U64, S32, S32, U64, (uint64_t)((int64_t)x *y) + z)

ALU_2(run_add_sat, S32, S32, S32, clamp_s32((int64_t)x + y))
ALU_2(run_sub_sat, S32, S32, S32, clamp_s32((int64_t)x - y))
ALU_3(run_mad_hi_sat, S32, S32, S32, S32, clamp_s32(HI_s32(x, y) + z))

/* mul24: the low 24 bits of each; .lo the low 32 bits of the product of 48, .hi its high 32. */
static inline int64_t low24_s32(int32_t v)
{
    return (int32_t)((uint32_t)v << 8) >> 8;
}
static inline uint64_t low24_u32(uint32_t v)
{
    return v & 0xffffff;
}
#define MUL24(t, T)                                                                      \
    ALU_2(run_mul24_lo_##t, U32, T, T, low24_##t(x) * low24_##t(y))                      \
    ALU_2(run_mul24_hi_##t, U32, T, T, low24_##t(x) * low24_##t(y) >> 16)                \
    ALU_3(run_mad24_lo_##t, U32, T, T, U32, (uint32_t)(low24_##t(x) * low24_##t(y)) + z) \
    ALU_3(run_mad24_hi_##t, U32, T, T, U32, (uint32_t)(low24_##t(x) * low24_##t(y) >> 16) + z)
MUL24(u32, U32)
MUL24(s32, S32)

/* Two numbers of 16 bits in a register. */
#define HALVES(low, high) ((uint32_t)(uint16_t)(low) | (uint32_t)(uint16_t)(high) << 16)
#define LEAST(a, b)       ((a) < (b) ? (a) : (b))
#define MOST(a, b)        ((a) > (b) ? (a) : (b))
ALU_2(run_add_x2, U32, U32, U32, HALVES(x + y, (x >> 16) + (y >> 16)))
ALU_2(run_min_u16x2, U32, U32, U32,
      HALVES(LEAST((uint16_t)x, (uint16_t)y), LEAST(x >> 16, y >> 16)))
ALU_2(run_max_u16x2, U32, U32, U32, HALVES(MOST((uint16_t)x, (uint16_t)y), MOST(x >> 16, y >> 16)))
ALU_2(run_min_s16x2, U32, S32, S32, HALVES(LEAST((int16_t)x, (int16_t)y), LEAST(x >> 16, y >> 16)))
ALU_2(run_max_s16x2, U32, S32, S32, HALVES(MOST((int16_t)x, (int16_t)y), MOST(x >> 16, y >> 16)))

/* Dot products with bytes (9.7.1.23, 9.7.1.24): part i of a register as its type says. */
#define BYTE_u32(v, i) (int32_t)((uint8_t)((v) >> 8 * (i)))
#define BYTE_s32(v, i) (int32_t)((int8_t)((v) >> 8 * (i)))
#define HALF_u32(v, i) (int32_t)((uint16_t)((v) >> 16 * (i)))
#define HALF_s32(v, i) (int32_t)((int16_t)((v) >> 16 * (i)))
#define DP4A(s, t)                                                                           \
    ALU_3(run_dp4a_##s##_##t, U32, U32, U32, U32,                                            \
          z + (uint32_t)(BYTE_##s(x, 0) * BYTE_##t(y, 0) + BYTE_##s(x, 1) * BYTE_##t(y, 1) + \
                         BYTE_##s(x, 2) * BYTE_##t(y, 2) + BYTE_##s(x, 3) * BYTE_##t(y, 3)))
#define DP2A(s, t)                                                                           \
    ALU_3(run_dp2a_lo_##s##_##t, U32, U32, U32, U32,                                         \
          z + (uint32_t)(HALF_##s(x, 0) * BYTE_##t(y, 0) + HALF_##s(x, 1) * BYTE_##t(y, 1))) \
    ALU_3(run_dp2a_hi_##s##_##t, U32, U32, U32, U32,                                         \
          z + (uint32_t)(HALF_##s(x, 0) * BYTE_##t(y, 2) + HALF_##s(x, 1) * BYTE_##t(y, 3)))
DP4A(u32, u32)
DP4A(u32, s32)
DP4A(s32, u32)
DP4A(s32, s32)
DP2A(u32, u32)
DP2A(u32, s32)
DP2A(s32, u32)
DP2A(s32, s32)

/* The name's type, signed or not, for a handler that does not care. */
#define ROWS_SIGN(w, k)                                                                         \
    {"add.u" #w, k "=" k k, run_add_##w}, {"add.s" #w, k "=" k k, run_add_##w},                 \
        {"sub.u" #w, k "=" k k, run_sub_##w}, {"sub.s" #w, k "=" k k, run_sub_##w},             \
        {"neg.s" #w, k "=" k, run_neg_##w}, {"abs.s" #w, k "=" k, run_abs_s##w},                \
        {"mul.lo.u" #w, k "=" k k, run_mul_lo_##w}, {"mul.lo.s" #w, k "=" k k, run_mul_lo_##w}, \
        {"mad.lo.u" #w, k "=" k k k, run_mad_lo_##w},                                           \
    {                                                                                           \
        "mad.lo.s" #w, k "=" k k k, run_mad_lo_##w                                              \
    }
#define ROWS_TYPE(t, k)                                                                         \
    {"div." #t, k "=" k k, run_div_##t}, {"rem." #t, k "=" k k, run_rem_##t},                   \
        {"min." #t, k "=" k k, run_min_##t}, {"max." #t, k "=" k k, run_max_##t},               \
        {"mul.hi." #t, k "=" k k, run_mul_hi_##t}, {"mad.hi." #t, k "=" k k k, run_mad_hi_##t}, \
    {                                                                                           \
        "sad." #t, k "=" k k k, run_sad_##t                                                     \
    }
#define ROWS_WIDE(t, wide, k)                               \
    {"mul.wide." #t, wide "=" k k, run_mul_wide_##t},       \
    {                                                       \
        "mad.wide." #t, wide "=" k k wide, run_mad_wide_##t \
    }
#define ROWS_24(t)                                                                          \
    {"mul24.lo." #t, "r=rr", run_mul24_lo_##t}, {"mul24.hi." #t, "r=rr", run_mul24_hi_##t}, \
        {"mad24.lo." #t, "r=rrr", run_mad24_lo_##t},                                        \
    {                                                                                       \
        "mad24.hi." #t, "r=rrr", run_mad24_hi_##t                                           \
    }
#define ROWS_DOT(s, t)                                          \
    {"dp4a." #s "." #t, "r=rrr", run_dp4a_##s##_##t},           \
        {"dp2a.lo." #s "." #t, "r=rrr", run_dp2a_lo_##s##_##t}, \
    {                                                           \
        "dp2a.hi." #s "." #t, "r=rrr", run_dp2a_hi_##s##_##t    \
    }

static const struct alu_form forms[] = {
    ROWS_SIGN(16, "h"),
    ROWS_SIGN(32, "r"),
    ROWS_SIGN(64, "d"),
    ROWS_TYPE(u16, "h"),
    ROWS_TYPE(s16, "h"),
    ROWS_TYPE(u32, "r"),
    ROWS_TYPE(s32, "r"),
    ROWS_TYPE(u64, "d"),
    ROWS_TYPE(s64, "d"),
    ROWS_WIDE(u16, "r", "h"),
    ROWS_WIDE(s16, "r", "h"),
    ROWS_WIDE(u32, "d", "r"),
    ROWS_WIDE(s32, "d", "r"),
    {"add.sat.s32", "r=rr", run_add_sat},
    {"sub.sat.s32", "r=rr", run_sub_sat},
    {"mad.hi.sat.s32", "r=rrr", run_mad_hi_sat},
    ROWS_24(u32),
    ROWS_24(s32),
    {"add.u16x2", "r=rr", run_add_x2},
    {"add.s16x2", "r=rr", run_add_x2},
    {"min.u16x2", "r=rr", run_min_u16x2},
    {"max.u16x2", "r=rr", run_max_u16x2},
    {"min.s16x2", "r=rr", run_min_s16x2},
    {"max.s16x2", "r=rr", run_max_s16x2},
    ROWS_DOT(u32, u32),
    ROWS_DOT(u32, s32),
    ROWS_DOT(s32, u32),
    ROWS_DOT(s32, s32),
};

bool find_integer(const char *opcode, int n_operand, struct ptx_form *form)
{
    (void)n_operand;
    return alu_find(forms, sizeof forms / sizeof *forms, opcode, form) ||
           find_carry(opcode, n_operand, form);
}
