/* What the handlers of arithmetic instructions share: lanes as they lie in the register file,
 * a loop over them that the compiler vectorises, and opcodes taken apart.
 *
 * A handler computes all 32 lanes without branches. With all lanes on it writes into the register,
 * else into an array of its own that is then blended in: the loop is the same one. What lanes that
 * are off hold is computed with and thrown away, so no value may make a handler fail. */
#pragma once

#include "exec.h"

#include <string.h>

#define ALL_LANES UINT32_MAX

/* A register of 32 bits is read as float by one instruction and as integer by the next. */
typedef uint8_t __attribute__((may_alias)) lane_u8;
typedef uint16_t __attribute__((may_alias)) lane_u16;
typedef uint32_t __attribute__((may_alias)) lane_u32;
typedef uint64_t __attribute__((may_alias)) lane_u64;
typedef int16_t __attribute__((may_alias)) lane_s16;
typedef int32_t __attribute__((may_alias)) lane_s32;
typedef int64_t __attribute__((may_alias)) lane_s64;
typedef float __attribute__((may_alias)) lane_f32;
typedef double __attribute__((may_alias)) lane_f64;

/* Slots are the same or apart, so a lane depends on no other lane. clang would warn of loops that
 * it does not vectorise when told so. */
#if defined(__clang__)
#define FOR_N(l, n) for (int l = 0; l < (n); l++)
#else
#define FOR_N(l, n) _Pragma("GCC ivdep") for (int l = 0; l < (n); l++)
#endif
#define FOR_LANES(l) FOR_N(l, WARP_LANES)

/* Where a result goes: its register, or spare if lanes are off or nobody wants it. */
static inline void *alu_target(const struct warp *w, const struct ptx_instr *in, int k,
                               uint32_t mask, void *spare)
{
    void *slot = slot_of(w, in, k);
    return mask == ALL_LANES && slot ? slot : spare;
}

/* The lanes of mask from spare into the register; bytes: of a lane, 2, 4 or 8. */
static inline void alu_blend(void *slot, const void *spare, uint32_t mask, size_t bytes)
{
    if (bytes == 2) {
        lane_u16 *d = slot;
        const lane_u16 *r = spare;
        FOR_LANES(l) d[l] = (uint16_t)(d[l] ^ ((r[l] ^ d[l]) & (0 - (mask >> l & 1))));
    } else if (bytes == 4) {
        lane_u32 *d = slot;
        const lane_u32 *r = spare;
        FOR_LANES(l) d[l] ^= (r[l] ^ d[l]) & (0 - (mask >> l & 1));
    } else {
        lane_u64 *d = slot;
        const lane_u64 *r = spare;
        for (uint64_t l = 0; l < WARP_LANES; l++)
            d[l] ^= (r[l] ^ d[l]) & (0 - ((uint64_t)mask >> l & 1));
    }
}

/* After alu_target. */
static inline void alu_store(const struct warp *w, const struct ptx_instr *in, int k, uint32_t mask,
                             const void *target, const void *spare, size_t bytes)
{
    void *slot = slot_of(w, in, k);
    if (target == spare && slot)
        alu_blend(slot, spare, mask, bytes);
}

static inline void alu_store_pred(uint32_t *d, uint32_t lanes, uint32_t mask)
{
    if (d)
        *d = (*d & ~mask) | (lanes & mask);
}

/* A handler: result of type D from operands x, y, z of types A, B, C. */
#define ALU_RUN(name, D, SOURCES, OPERANDS, result)                             \
    static void name(struct warp *w, const struct ptx_instr *in, uint32_t mask) \
    {                                                                           \
        D spare[WARP_LANES] __attribute__((aligned(64)));                       \
        D *to = alu_target(w, in, 0, mask, spare);                              \
        SOURCES                                                                 \
        FOR_LANES(l)                                                            \
        {                                                                       \
            OPERANDS                                                            \
            to[l] = (D)(result);                                                \
        }                                                                       \
        alu_store(w, in, 0, mask, to, spare, sizeof *spare);                    \
    }
#define ALU_1(name, D, A, result) \
    ALU_RUN(name, D, const A *sx = slot_of(w, in, 1);, const A x = sx[l];, result)
#define ALU_2(name, D, A, B, result)                                                   \
    ALU_RUN(name, D, const A *sx = slot_of(w, in, 1); const B *sy = slot_of(w, in, 2); \
            , const A x = sx[l]; const B y = sy[l];, result)
#define ALU_3(name, D, A, B, C, result)                                                \
    ALU_RUN(name, D, const A *sx = slot_of(w, in, 1); const B *sy = slot_of(w, in, 2); \
            const C *sz = slot_of(w, in, 3);, const A x = sx[l]; const B y = sy[l];    \
            const C z = sz[l];, result)

/* A handler looked up by its whole opcode. */
struct alu_form {
    const char *opcode, *operands;
    ptx_run *run;
};

static inline bool alu_find(const struct alu_form *forms, size_t n, const char *opcode,
                            struct ptx_form *form)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(opcode, forms[i].opcode) == 0) {
            form->operands = forms[i].operands;
            form->run = forms[i].run;
            return true;
        }
    return false;
}

/* Words between the first and the types of an opcode. */
enum alu_modifier {
    ALU_RN = 1 << 0,
    ALU_RZ = 1 << 1,
    ALU_RM = 1 << 2,
    ALU_RP = 1 << 3,
    ALU_RNA = 1 << 4,
    ALU_RNI = 1 << 5,
    ALU_RZI = 1 << 6,
    ALU_RMI = 1 << 7,
    ALU_RPI = 1 << 8,
    ALU_FTZ = 1 << 9,
    ALU_SAT = 1 << 10,
    ALU_SATFINITE = 1 << 11,
    ALU_RELU = 1 << 12,
    ALU_APPROX = 1 << 13,
    ALU_FULL = 1 << 14,
    ALU_NAN = 1 << 15,
    ALU_XORSIGN = 1 << 16,
    ALU_ABS = 1 << 17,
    ALU_OR = 1 << 18,
    ALU_AND = 1 << 19,
    ALU_XOR = 1 << 20,
    ALU_DIRECTED = ALU_RZ | ALU_RM | ALU_RP,
    ALU_ROUND = ALU_RN | ALU_DIRECTED,
    ALU_INTEGRAL = ALU_RNI | ALU_RZI | ALU_RMI | ALU_RPI
};

#define ALU_WORDS 6

/* "fma.rn.ftz.f32": word[0] "fma", modifiers RN | FTZ, word[1] "f32". */
struct alu_name {
    char word[ALU_WORDS][16]; /* all that is no modifier */
    int n;
    uint32_t modifiers;
};

/* False: a modifier twice, or more than this has room for. */
bool alu_split(const char *opcode, struct alu_name *name);

/* Parts of find_integer and find_move. */
ptx_find find_carry, find_bits, find_compare;
