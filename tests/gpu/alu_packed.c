/* cvt with two numbers in a register, and cvt.pack: PTX ISA 9.0, 9.7.9.21 and 9.7.9.22. The first
 * source, or the upper half of it, becomes the upper half of the result. */
#include "alu_convert.h"
#include "alu_number.h"

enum { F16X2, BF16X2, E4M3X2, E5M2X2, PACKED_TYPES };

/* Negative numbers, not NaN, become zero. */
static inline float positive(float x)
{
    uint32_t bits = number_bits32(x);
    return number_of32(number_choose(bits >> 31 && bits <= 0xff800000u, 0, bits));
}

#define HIGH(x) number_from_f16((uint16_t)((x) >> 16))
#define LOW(x)  number_from_f16((uint16_t)(x))
/* Two floats, or two of 16 bits, to 8 bits each; and back to f16, which holds all of them. relu: a
 * function for both numbers. */
#define EIGHT(t, suffix, relu)                                                      \
    ALU_2(run_to_##t##suffix, lane_u16, lane_f32, lane_f32,                         \
          number_to_##t(relu(x)) << 8 | number_to_##t(relu(y)))                     \
    ALU_1(run_halves_to_##t##suffix, lane_u16, lane_u32,                            \
          number_to_##t(relu(HIGH(x))) << 8 | number_to_##t(relu(LOW(x))))          \
    ALU_1(run_from_##t##suffix, lane_u32, lane_u16,                                 \
          (uint32_t)number_to_f16(relu(number_from_##t((uint8_t)(x >> 8)))) << 16 | \
              number_to_f16(relu(number_from_##t((uint8_t)x))))
#define AS_IT_IS(x) (x)
EIGHT(e4m3, , AS_IT_IS)
EIGHT(e5m2, , AS_IT_IS)
EIGHT(e4m3, _relu, positive)
EIGHT(e5m2, _relu, positive)

/* By e5m2 or e4m3, then .relu. */
static ptx_run *const to_8[2][2] = {{run_to_e4m3, run_to_e4m3_relu},
                                    {run_to_e5m2, run_to_e5m2_relu}};
static ptx_run *const halves_to_8[2][2] = {{run_halves_to_e4m3, run_halves_to_e4m3_relu},
                                           {run_halves_to_e5m2, run_halves_to_e5m2_relu}};
static ptx_run *const from_8[2][2] = {{run_from_e4m3, run_from_e4m3_relu},
                                      {run_from_e5m2, run_from_e5m2_relu}};

ALU_2(run_pack_bf16, lane_u32, lane_f32, lane_f32,
      (uint32_t)number_to_bf16(x) << 16 | number_to_bf16(y))
ALU_2(run_pack_f16, lane_u32, lane_f32, lane_f32,
      (uint32_t)number_to_f16(x) << 16 | number_to_f16(y))

/* With any modifiers. detail: bf16 or not, modifiers. */
static uint32_t one_16(const struct ptx_instr *in, float x)
{
    uint32_t modifiers = in->form.detail[1];
    return number_narrow((double)(modifiers & ALU_RELU ? positive(x) : x),
                         in->form.detail[0] ? number_bf16 : number_f16,
                         modifiers & ALU_RZ ? NUMBER_ZERO : NUMBER_NEAREST,
                         modifiers & ALU_SATFINITE);
}
ALU_2(run_pack_any, lane_u32, lane_f32, lane_f32, one_16(in, x) << 16 | one_16(in, y))

static int find_type(const char *word)
{
    static const char *const names[] = {"f16x2", "bf16x2", "e4m3x2", "e5m2x2"};
    int i = 0;
    while (i < PACKED_TYPES && strcmp(word, names[i]) != 0)
        i++;
    return i;
}

static bool is_8(int type)
{
    return type == E4M3X2 || type == E5M2X2;
}

static bool set(struct ptx_form *form, const char *operands, ptx_run *run)
{
    form->operands = operands;
    form->run = run;
    return true;
}

/* Numbers of 8 bits are always rounded to nearest and, but for the way back, saturated. */
static bool find_8(int to, int from, bool from_f32, uint32_t modifiers, struct ptx_form *form)
{
    uint32_t rest = modifiers & ~(uint32_t)ALU_RELU;
    bool relu = modifiers & ALU_RELU;
    if (is_8(to) && rest == (ALU_RN | ALU_SATFINITE)) {
        if (from_f32)
            return set(form, "h=rr", to_8[to - E4M3X2][relu]);
        if (from == F16X2)
            return set(form, "h=r", halves_to_8[to - E4M3X2][relu]);
    }
    return to == F16X2 && is_8(from) && rest == ALU_RN &&
           set(form, "r=h", from_8[from - E4M3X2][relu]);
}

static bool find_16(int to, uint32_t modifiers, struct ptx_form *form)
{
    uint32_t rest = modifiers & ~(uint32_t)(ALU_RELU | ALU_SATFINITE);
    if (rest != ALU_RN && rest != ALU_RZ)
        return false;
    form->detail[0] = to == BF16X2;
    form->detail[1] = modifiers;
    ptx_run *plain = to == F16X2 ? run_pack_f16 : run_pack_bf16;
    return set(form, "r=rr", modifiers == ALU_RN ? plain : run_pack_any);
}

/* ---- cvt.pack: integers, clamped. detail: bits of one, whether signed. */

static uint32_t clamp(const struct ptx_instr *in, int32_t v)
{
    int bits = (int)in->form.detail[0], is_signed = (int)in->form.detail[1];
    int32_t most = (1 << (bits - is_signed)) - 1, least = is_signed ? -most - 1 : 0;
    v = v > most ? most : v < least ? least : v;
    return (uint32_t)v & ((1u << bits) - 1);
}
ALU_2(run_pack_integers, lane_u32, lane_s32, lane_s32, clamp(in, x) << 16 | clamp(in, y))
ALU_3(run_pack_integers_on, lane_u32, lane_s32, lane_s32, lane_u32,
      clamp(in, x) << in->form.detail[0] | clamp(in, y) | z << 2 * in->form.detail[0])

static bool find_integers(const char *opcode, struct ptx_form *form)
{
    static const struct {
        const char *opcode;
        uint32_t bits, is_signed;
    } rows[] = {
        {"cvt.pack.sat.u16.s32", 16, 0},   {"cvt.pack.sat.s16.s32", 16, 1},
        {"cvt.pack.sat.u8.s32.b32", 8, 0}, {"cvt.pack.sat.s8.s32.b32", 8, 1},
        {"cvt.pack.sat.u4.s32.b32", 4, 0}, {"cvt.pack.sat.s4.s32.b32", 4, 1},
        {"cvt.pack.sat.u2.s32.b32", 2, 0}, {"cvt.pack.sat.s2.s32.b32", 2, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(opcode, rows[i].opcode) == 0) {
            bool two = rows[i].bits == 16;
            form->operands = two ? "r=rr" : "r=rrr";
            form->run = two ? run_pack_integers : run_pack_integers_on;
            form->detail[0] = rows[i].bits;
            form->detail[1] = rows[i].is_signed;
            return true;
        }
    return false;
}

bool find_packed(const char *opcode, int n_operand, struct ptx_form *form)
{
    struct alu_name name;
    (void)n_operand;
    if (find_integers(opcode, form))
        return true;
    if (!alu_split(opcode, &name) || name.n != 3)
        return false;
    int to = find_type(name.word[1]), from = find_type(name.word[2]);
    bool from_f32 = strcmp(name.word[2], "f32") == 0;
    if (from_f32 && to <= BF16X2)
        return find_16(to, name.modifiers, form);
    return find_8(to, from, from_f32, name.modifiers, form);
}
