/* The conversions that kernels are full of, in one loop each. Where a register is wider than usual
 * the general way takes over. */
#include "alu_convert.h"
#include "alu_number.h"

#define H   lane_u16
#define R   lane_u32
#define D   lane_u64
#define SH  lane_s16
#define SR  lane_s32
#define SD  lane_s64
#define F   lane_f32
#define F64 lane_f64

static inline float saturate(float x)
{
    float most = x < 1 ? x : 1;
    return x > 0 ? most : 0;
}
static inline float quiet(float x)
{
    return x != x ? number_of32(0x7fffffff) : x;
}

/* name, opcode, destination and source: type, register; result; modifiers */
#define EACH(X)                                                                 \
    X(u16_u32, "cvt.u16.u32", U16, H, U32, R, x, 0)                             \
    X(u16_u64, "cvt.u16.u64", U16, H, U64, D, x, 0)                             \
    X(u32_u16, "cvt.u32.u16", U32, R, U16, H, x, 0)                             \
    X(s32_s16, "cvt.s32.s16", S32, SR, S16, SH, x, 0)                           \
    X(s64_s32, "cvt.s64.s32", S64, SD, S32, SR, x, 0)                           \
    X(u64_u32, "cvt.u64.u32", U64, D, U32, R, x, 0)                             \
    X(u32_u64, "cvt.u32.u64", U32, R, U64, D, x, 0)                             \
    X(s8_s32, "cvt.s8.s32", S8, SH, S32, SR, (int8_t)x, 0)                      \
    X(s16_s8, "cvt.s16.s8", S16, SH, S8, SH, (int8_t)x, 0)                      \
    X(u16_u8, "cvt.u16.u8", U16, H, U8, H, (uint8_t)x, 0)                       \
    X(s32_s8, "cvt.s32.s8", S32, SR, S8, SH, (int8_t)x, 0)                      \
    X(u32_u8, "cvt.u32.u8", U32, R, U8, H, (uint8_t)x, 0)                       \
    X(f32_f16, "cvt.f32.f16", F32, F, F16, H, quiet(number_from_f16(x)), 0)     \
    X(f32_bf16, "cvt.f32.bf16", F32, F, BF16, H, quiet(number_from_bf16(x)), 0) \
    X(f16_f32, "cvt.rn.f16.f32", F16, H, F32, F, number_to_f16(x), ALU_RN)      \
    X(bf16_f32, "cvt.rn.bf16.f32", BF16, H, F32, F, number_to_bf16(x), ALU_RN)  \
    X(f32_s32, "cvt.rn.f32.s32", F32, F, S32, SR, x, ALU_RN)                    \
    X(f32_u32, "cvt.rn.f32.u32", F32, F, U32, R, x, ALU_RN)                     \
    X(f32_s16, "cvt.rn.f32.s16", F32, F, S16, SH, x, ALU_RN)                    \
    X(f32_u16, "cvt.rn.f32.u16", F32, F, U16, H, x, ALU_RN)                     \
    X(f32_f64, "cvt.rn.f32.f64", F32, F, F64, F64, quiet((float)x), ALU_RN)     \
    X(f64_f32, "cvt.f64.f32", F64, F64, F32, F, x, 0)                           \
    X(sat_f32, "cvt.sat.f32.f32", F32, F, F32, F, saturate(x), ALU_SAT)

#define HANDLER(name, opcode, to, TO, from, FROM, result, modifiers)                  \
    ALU_1(exact_##name, TO, FROM, result)                                             \
    static void run_##name(struct warp *w, const struct ptx_instr *in, uint32_t mask) \
    {                                                                                 \
        if (in->width[0] == sizeof(TO) && in->width[1] == sizeof(FROM))               \
            exact_##name(w, in, mask);                                                \
        else                                                                          \
            scalar_convert(w, in, mask);                                              \
    }
EACH(HANDLER)

#define ROW(name, opcode, to, TO, from, FROM, result, modifiers) \
    {opcode, {"x=x", run_##name, FLOW_NEXT, {TYPE_##to, TYPE_##from, modifiers}}},
static const struct {
    const char *opcode;
    struct ptx_form form;
} rows[] = {EACH(ROW)};

bool find_frequent(const char *opcode, int n_operand, struct ptx_form *form)
{
    (void)n_operand;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(opcode, rows[i].opcode) == 0) {
            *form = rows[i].form;
            return true;
        }
    return false;
}
