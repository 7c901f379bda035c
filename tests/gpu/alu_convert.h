/* cvt between scalars, taken apart: alu_convert.c reads the opcode, alu_scalar.c executes it. */
#pragma once

#include "alu.h"

enum convert_type {
    TYPE_S8,
    TYPE_U8,
    TYPE_S16,
    TYPE_U16,
    TYPE_S32,
    TYPE_U32,
    TYPE_S64,
    TYPE_U64,
    TYPE_F16,
    TYPE_BF16,
    TYPE_TF32,
    TYPE_F32,
    TYPE_F64,
    TYPE_COUNT
};

static inline bool type_is_float(enum convert_type type)
{
    return type >= TYPE_F16;
}
/* Bits of an integer type. */
static inline int type_bits(enum convert_type type)
{
    return 8 << (type / 2);
}
static inline bool type_is_signed(enum convert_type type)
{
    return type % 2 == 0;
}

/* Any pair of types, operands "x=x". detail: destination, source, modifiers. */
ptx_run scalar_convert;

/* The frequent ones by their opcode, and those with several numbers in a register. */
ptx_find find_frequent, find_packed;
