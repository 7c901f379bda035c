/* The opcodes of cvt: PTX ISA 9.0, 9.7.9.21. Which modifiers a conversion may have, and must. */
#include "alu_convert.h"

static const char *const type_names[TYPE_COUNT] = {
    "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f16", "bf16", "tf32", "f32", "f64"};

static bool find_type(const char *word, enum convert_type *type)
{
    for (int i = 0; i < TYPE_COUNT; i++)
        if (strcmp(word, type_names[i]) == 0) {
            *type = (enum convert_type)i;
            return true;
        }
    return false;
}

/* Does every number of from exist in to? */
static bool widens(enum convert_type to, enum convert_type from)
{
    return to == TYPE_F64 || (to == TYPE_F32 && from != TYPE_F64);
}

struct rule {
    uint32_t one_of; /* exactly one of these, unless none of them is needed: may_lack */
    bool may_lack;
    uint32_t may; /* besides */
};

static struct rule float_rule(enum convert_type to, enum convert_type from)
{
    bool is_small = to == TYPE_F16 || to == TYPE_BF16;
    if (to == from)
        return (struct rule){ALU_INTEGRAL, true, ALU_SAT};
    if (to == TYPE_TF32)
        return (struct rule){ALU_RN | ALU_RZ | ALU_RNA, false, ALU_RELU | ALU_SATFINITE};
    if (widens(to, from))
        return (struct rule){0, true, ALU_SAT};
    return (struct rule){ALU_ROUND, false, ALU_SAT | (is_small ? ALU_RELU | ALU_SATFINITE : 0u)};
}

static struct rule rule_of(enum convert_type to, enum convert_type from)
{
    if (!type_is_float(to))
        return type_is_float(from) ? (struct rule){ALU_INTEGRAL, false, ALU_SAT}
                                   : (struct rule){0, true, ALU_SAT};
    return type_is_float(from) ? float_rule(to, from) : (struct rule){ALU_ROUND, false, ALU_SAT};
}

static bool allowed(enum convert_type to, enum convert_type from, uint32_t modifiers)
{
    struct rule rule = rule_of(to, from);
    uint32_t round = modifiers & rule.one_of, may = rule.one_of | rule.may;
    if (to == TYPE_F32 || from == TYPE_F32)
        may |= ALU_FTZ;
    if (from == TYPE_TF32 || (to == TYPE_TF32 && from != TYPE_F32) || modifiers & ~may)
        return false;
    return round ? (round & (round - 1)) == 0 : rule.may_lack;
}

bool find_convert(const char *opcode, int n_operand, struct ptx_form *form)
{
    struct alu_name name;
    enum convert_type to, from;
    if (strncmp(opcode, "cvt.", 4) != 0)
        return false;
    if (find_frequent(opcode, n_operand, form) || find_packed(opcode, n_operand, form))
        return true;
    if (!alu_split(opcode, &name) || name.n != 3 || !find_type(name.word[1], &to) ||
        !find_type(name.word[2], &from) || !allowed(to, from, name.modifiers))
        return false;
    form->operands = "x=x";
    form->run = scalar_convert;
    form->detail[0] = to;
    form->detail[1] = from;
    form->detail[2] = name.modifiers;
    return true;
}
