/* Moving and choosing values: mov, selp, slct, prmt, cvta, isspacep: PTX ISA 9.0, 9.7.7 and
 * 9.7.9. */
#include "alu.h"
#include "memory.h"

#define H lane_u16
#define R lane_u32
#define D lane_u64

static void move(const struct warp *w, const struct ptx_instr *in, int to, const void *from,
                 uint32_t mask, size_t bytes)
{
    void *slot = slot_of(w, in, to);
    if (slot && mask == ALL_LANES)
        memmove(slot, from, WARP_LANES * bytes);
    else if (slot)
        alu_blend(slot, from, mask, bytes);
}

static void run_mov16(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    move(w, in, 0, slot_of(w, in, 1), mask, 2);
}
static void run_mov32(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    move(w, in, 0, slot_of(w, in, 1), mask, 4);
}
static void run_mov64(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    move(w, in, 0, slot_of(w, in, 1), mask, 8);
}
static void run_mov_pred(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    alu_store_pred(slot_pred(w, in, 0), *slot_pred(w, in, 1), mask);
}

/* ---- Vectors. The first element has the lowest bits. A register may be on both sides, so all is
 * read before anything is written. */

ALU_2(run_pack16, R, H, H, x | (uint32_t)y << 16)
ALU_2(run_pack32, D, R, R, x | (uint64_t)y << 32)

static void run_pack16x4(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    D whole[WARP_LANES];
    const H *s[4];
    for (int k = 0; k < 4; k++)
        s[k] = slot_of(w, in, k + 1);
    FOR_LANES(l)
    whole[l] =
        s[0][l] | (uint64_t)s[1][l] << 16 | (uint64_t)s[2][l] << 32 | (uint64_t)s[3][l] << 48;
    move(w, in, 0, whole, mask, sizeof *whole);
}

static void run_unpack16(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    H part[2][WARP_LANES];
    const R *whole = slot_of(w, in, 2);
    FOR_LANES(l)
    {
        part[0][l] = (uint16_t)whole[l];
        part[1][l] = (uint16_t)(whole[l] >> 16);
    }
    for (int k = 0; k < 2; k++)
        move(w, in, k, part[k], mask, sizeof **part);
}

static void run_unpack32(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    R part[2][WARP_LANES];
    const D *whole = slot_of(w, in, 2);
    FOR_LANES(l)
    {
        part[0][l] = (uint32_t)whole[l];
        part[1][l] = (uint32_t)(whole[l] >> 32);
    }
    for (int k = 0; k < 2; k++)
        move(w, in, k, part[k], mask, sizeof **part);
}

static void run_unpack16x4(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    H part[4][WARP_LANES];
    const D *whole = slot_of(w, in, 4);
    for (int k = 0; k < 4; k++)
        FOR_LANES(l) part[k][l] = (uint16_t)(whole[l] >> 16 * k);
    for (int k = 0; k < 4; k++)
        move(w, in, k, part[k], mask, sizeof **part);
}

/* ---- Choosing */

#define SELECT(name, T)                                                         \
    static void name(struct warp *w, const struct ptx_instr *in, uint32_t mask) \
    {                                                                           \
        T spare[WARP_LANES] __attribute__((aligned(64)));                       \
        T *to = alu_target(w, in, 0, mask, spare);                              \
        const T *a = slot_of(w, in, 1), *b = slot_of(w, in, 2);                 \
        uint32_t first = *slot_pred(w, in, 3);                                  \
        FOR_LANES(l)                                                            \
        {                                                                       \
            T off = (T)((T)(first >> l & 1) - 1);                               \
            T x = a[l], y = b[l];                                               \
            to[l] = (T)(x ^ ((x ^ y) & off));                                   \
        }                                                                       \
        alu_store(w, in, 0, mask, to, spare, sizeof *spare);                    \
    }
SELECT(run_selp16, H)
SELECT(run_selp32, R)
SELECT(run_selp64, D)

ALU_3(run_slct16_s32, H, H, H, lane_s32, z >= 0 ? x : y)
ALU_3(run_slct32_s32, R, R, R, lane_s32, z >= 0 ? x : y)
ALU_3(run_slct64_s32, D, D, D, lane_s32, z >= 0 ? x : y)
ALU_3(run_slct16_f32, H, H, H, lane_f32, z >= 0 ? x : y)
ALU_3(run_slct32_f32, R, R, R, lane_f32, z >= 0 ? x : y)
ALU_3(run_slct64_f32, D, D, D, lane_f32, z >= 0 ? x : y)
#define LEAST_NORMAL 0x1p-126f
ALU_3(run_slct16_ftz, H, H, H, lane_f32, z > -LEAST_NORMAL ? x : y)
ALU_3(run_slct32_ftz, R, R, R, lane_f32, z > -LEAST_NORMAL ? x : y)
ALU_3(run_slct64_ftz, D, D, D, lane_f32, z > -LEAST_NORMAL ? x : y)

/* ---- prmt. The modes are selectors of the general form, by the two low bits of c. */

static inline uint32_t permute(uint64_t bytes, uint32_t selector)
{
    uint32_t r = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t s = selector >> 4 * i & 0xf;
        uint32_t byte = (uint32_t)(bytes >> 8 * (s & 7)) & 0xff;
        uint32_t sign = byte & 0x80 ? 0xff : 0;
        r |= (s & 8 ? sign : byte) << 8 * i;
    }
    return r;
}
static const uint16_t f4e[4] = {0x3210, 0x4321, 0x5432, 0x6543};
static const uint16_t b4e[4] = {0x5670, 0x6701, 0x7012, 0x0123};
static const uint16_t rc8[4] = {0x0000, 0x1111, 0x2222, 0x3333};
static const uint16_t ecl[4] = {0x3210, 0x3211, 0x3222, 0x3333};
static const uint16_t ecr[4] = {0x0000, 0x1110, 0x2210, 0x3210};
static const uint16_t rc16[4] = {0x1010, 0x3232, 0x1010, 0x3232};
#define BYTES (x | (uint64_t)y << 32)
ALU_3(run_prmt, R, R, R, R, permute(BYTES, z))
ALU_3(run_prmt_f4e, R, R, R, R, permute(BYTES, f4e[z & 3]))
ALU_3(run_prmt_b4e, R, R, R, R, permute(BYTES, b4e[z & 3]))
ALU_3(run_prmt_rc8, R, R, R, R, permute(BYTES, rc8[z & 3]))
ALU_3(run_prmt_ecl, R, R, R, R, permute(BYTES, ecl[z & 3]))
ALU_3(run_prmt_ecr, R, R, R, R, permute(BYTES, ecr[z & 3]))
ALU_3(run_prmt_rc16, R, R, R, R, permute(BYTES, rc16[z & 3]))

/* ---- Address spaces: windows of the generic one, see memory.h */

#define SHARED_WINDOW (256 * 1024)
#define LOCAL_WINDOW  (512 * 1024)
ALU_1(run_to_shared, D, D, x - SHARED_BASE)
ALU_1(run_from_shared, D, D, x + SHARED_BASE)
ALU_1(run_to_local, D, D, x - LOCAL_BASE)
ALU_1(run_from_local, D, D, x + LOCAL_BASE)

enum space { IN_GLOBAL, IN_SHARED, IN_LOCAL };

/* Subtraction wraps around, so one comparison tells. */
static void run_isspacep(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    const D *x = slot_of(w, in, 1);
    uint32_t lanes = 0;
    for (int l = 0; l < WARP_LANES; l++) {
        enum space space = x[l] - SHARED_BASE < SHARED_WINDOW ? IN_SHARED
                           : x[l] - LOCAL_BASE < LOCAL_WINDOW ? IN_LOCAL
                                                              : IN_GLOBAL;
        lanes |= (uint32_t)(space == (enum space)in->form.detail[0]) << l;
    }
    alu_store_pred(slot_pred(w, in, 0), lanes, mask);
}

static bool find_isspacep(const char *opcode, struct ptx_form *form)
{
    static const struct {
        const char *opcode;
        enum space space;
    } rows[] = {{"isspacep.global", IN_GLOBAL},
                {"isspacep.shared", IN_SHARED},
                {"isspacep.shared::cta", IN_SHARED},
                {"isspacep.local", IN_LOCAL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(opcode, rows[i].opcode) == 0) {
            form->operands = "p=d";
            form->run = run_isspacep;
            form->detail[0] = rows[i].space;
            return true;
        }
    return false;
}

/* ---- The table */

#define MOV(type, k, w)                  \
    {                                    \
        "mov." type, k "=" k, run_mov##w \
    }
#define CHOOSE(type, k, w)                                        \
    {"selp." type, k "=" k k "p", run_selp##w},                   \
        {"slct." type ".s32", k "=" k k "r", run_slct##w##_s32},  \
        {"slct." type ".f32", k "=" k k "r", run_slct##w##_f32},  \
    {                                                             \
        "slct.ftz." type ".f32", k "=" k k "r", run_slct##w##_ftz \
    }
#define CVTA(to, from)                \
    {                                 \
        "cvta." to "u64", "d=d", from \
    }

static const struct alu_form forms[] = {
    MOV("b16", "h", 16),
    MOV("u16", "h", 16),
    MOV("s16", "h", 16),
    MOV("b32", "r", 32),
    MOV("u32", "r", 32),
    MOV("s32", "r", 32),
    MOV("f32", "r", 32),
    MOV("b64", "d", 64),
    MOV("u64", "d", 64),
    MOV("s64", "d", 64),
    MOV("f64", "d", 64),
    {"mov.pred", "p=p", run_mov_pred},
    {"mov.b32.pack2", "r=h2", run_pack16},
    {"mov.b64.pack2", "d=r2", run_pack32},
    {"mov.b64.pack4", "d=h4", run_pack16x4},
    {"mov.b32.unpack2", "h2=r", run_unpack16},
    {"mov.b64.unpack2", "r2=d", run_unpack32},
    {"mov.b64.unpack4", "h4=d", run_unpack16x4},
    CHOOSE("b16", "h", 16),
    CHOOSE("u16", "h", 16),
    CHOOSE("s16", "h", 16),
    CHOOSE("b32", "r", 32),
    CHOOSE("u32", "r", 32),
    CHOOSE("s32", "r", 32),
    CHOOSE("f32", "r", 32),
    CHOOSE("b64", "d", 64),
    CHOOSE("u64", "d", 64),
    CHOOSE("s64", "d", 64),
    CHOOSE("f64", "d", 64),
    {"prmt.b32", "r=rrr", run_prmt},
    {"prmt.b32.f4e", "r=rrr", run_prmt_f4e},
    {"prmt.b32.b4e", "r=rrr", run_prmt_b4e},
    {"prmt.b32.rc8", "r=rrr", run_prmt_rc8},
    {"prmt.b32.ecl", "r=rrr", run_prmt_ecl},
    {"prmt.b32.ecr", "r=rrr", run_prmt_ecr},
    {"prmt.b32.rc16", "r=rrr", run_prmt_rc16},
    CVTA("global.", run_mov64),
    CVTA("to.global.", run_mov64),
    CVTA("const.", run_mov64),
    CVTA("to.const.", run_mov64),
    CVTA("shared.", run_from_shared),
    CVTA("to.shared.", run_to_shared),
    CVTA("shared::cta.", run_from_shared),
    CVTA("to.shared::cta.", run_to_shared),
    CVTA("local.", run_from_local),
    CVTA("to.local.", run_to_local),
};

bool find_move(const char *opcode, int n_operand, struct ptx_form *form)
{
    return alu_find(forms, sizeof forms / sizeof *forms, opcode, form) ||
           find_isspacep(opcode, form) || find_bits(opcode, n_operand, form) ||
           find_compare(opcode, n_operand, form);
}
