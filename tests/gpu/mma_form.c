/* The spellings of mma.sync (PTX ISA 9.0, 9.7.14.5.14):
 *   mma.sync.aligned.<shape>.row.col[.kind::f8f6f4][.satfinite].<D>.<A>.<B>.<C>
 * What may stand there is a row of the table: which types go together in which shapes. */
#include "mma.h"

#include <stdio.h>
#include <string.h>

/* Types that may be mixed for A and B form a family. */
enum family { FAMILY_F16, FAMILY_BF16, FAMILY_TF32, FAMILY_F8, FAMILY_I8, FAMILY_I4 };

static const struct {
    const char *name;
    enum family family;
} types[MMA_TYPES] = {
    [MMA_F16] = {"f16", FAMILY_F16},    [MMA_BF16] = {"bf16", FAMILY_BF16},
    [MMA_TF32] = {"tf32", FAMILY_TF32}, [MMA_E4M3] = {"e4m3", FAMILY_F8},
    [MMA_E5M2] = {"e5m2", FAMILY_F8},   [MMA_S8] = {"s8", FAMILY_I8},
    [MMA_U8] = {"u8", FAMILY_I8},       [MMA_S4] = {"s4", FAMILY_I4},
    [MMA_U4] = {"u4", FAMILY_I4},
};

static const struct shape {
    const char *head; /* up to and with the type of D */
    const char *tail; /* the type of C */
    enum family family;
    enum mma_result result;
    uint32_t n_a; /* registers of A */
} shapes[] = {
    {"m16n8k8.row.col.f32", "f32", FAMILY_F16, MMA_TO_F32, 2},
    {"m16n8k16.row.col.f32", "f32", FAMILY_F16, MMA_TO_F32, 4},
    {"m16n8k8.row.col.f16", "f16", FAMILY_F16, MMA_TO_F16, 2},
    {"m16n8k16.row.col.f16", "f16", FAMILY_F16, MMA_TO_F16, 4},
    {"m16n8k8.row.col.f32", "f32", FAMILY_BF16, MMA_TO_F32, 2},
    {"m16n8k16.row.col.f32", "f32", FAMILY_BF16, MMA_TO_F32, 4},
    {"m16n8k4.row.col.f32", "f32", FAMILY_TF32, MMA_TO_F32, 2},
    {"m16n8k8.row.col.f32", "f32", FAMILY_TF32, MMA_TO_F32, 4},
    {"m16n8k16.row.col.f32", "f32", FAMILY_F8, MMA_TO_F32, 2},
    {"m16n8k32.row.col.f32", "f32", FAMILY_F8, MMA_TO_F32, 4},
    {"m16n8k32.row.col.kind::f8f6f4.f32", "f32", FAMILY_F8, MMA_TO_F32, 4},
    {"m16n8k16.row.col.f16", "f16", FAMILY_F8, MMA_TO_F16, 2},
    {"m16n8k32.row.col.f16", "f16", FAMILY_F8, MMA_TO_F16, 4},
    {"m16n8k32.row.col.kind::f8f6f4.f16", "f16", FAMILY_F8, MMA_TO_F16, 4},
    {"m16n8k16.row.col.s32", "s32", FAMILY_I8, MMA_TO_S32, 2},
    {"m16n8k32.row.col.s32", "s32", FAMILY_I8, MMA_TO_S32, 4},
    {"m16n8k16.row.col.satfinite.s32", "s32", FAMILY_I8, MMA_TO_S32_SATFINITE, 2},
    {"m16n8k32.row.col.satfinite.s32", "s32", FAMILY_I8, MMA_TO_S32_SATFINITE, 4},
    {"m16n8k32.row.col.s32", "s32", FAMILY_I4, MMA_TO_S32, 2},
    {"m16n8k64.row.col.s32", "s32", FAMILY_I4, MMA_TO_S32, 4},
    {"m16n8k32.row.col.satfinite.s32", "s32", FAMILY_I4, MMA_TO_S32_SATFINITE, 2},
    {"m16n8k64.row.col.satfinite.s32", "s32", FAMILY_I4, MMA_TO_S32_SATFINITE, 4},
};

/* By registers of A (2, 4) and of D (4, 2). A vector of one register is just that register. */
static const char *operands_of(const struct shape *shape)
{
    if (shape->result == MMA_TO_F16)
        return shape->n_a == 4 ? "r2=r4r2r2" : "r2=r2rr2";
    return shape->n_a == 4 ? "r4=r4r2r4" : "r4=r2rr4";
}

static bool matches(const char *rest, const struct shape *shape, enum mma_type a, enum mma_type b)
{
    char spelling[96];
    if (types[a].family != shape->family || types[b].family != shape->family)
        return false;
    snprintf(spelling, sizeof spelling, "%s.%s.%s.%s", shape->head, types[a].name, types[b].name,
             shape->tail);
    return strcmp(rest, spelling) == 0;
}

bool mma_find(const char *opcode, int n_operand, struct ptx_form *form)
{
    static const char start[] = "mma.sync.aligned.";
    (void)n_operand;
    if (strncmp(opcode, start, sizeof start - 1) != 0)
        return false;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (enum mma_type a = 0; a < MMA_TYPES; a++)
            for (enum mma_type b = 0; b < MMA_TYPES; b++)
                if (matches(opcode + sizeof start - 1, &shapes[i], a, b)) {
                    *form = (struct ptx_form){.operands = operands_of(&shapes[i]),
                                              .run = mma_run,
                                              .flow = FLOW_ALIGNED,
                                              .detail = {a, b, shapes[i].result, shapes[i].n_a}};
                    return true;
                }
    return false;
}
