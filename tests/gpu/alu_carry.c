/* Addition, subtraction and multiply-add with a carry: PTX ISA 9.0, 9.7.2. The carry is a bit of
 * each lane, warp.carry; after a subtraction it is the borrow. */
#include "alu.h"

enum operation { OP_ADD, OP_SUB, OP_MAD_LO, OP_MAD_HI };

__extension__ typedef __int128 s128;
__extension__ typedef unsigned __int128 u128;

/* detail: the operation, whether it reads the carry, whether it writes it, bits | signed << 8. */
struct carry_form {
    enum operation operation;
    bool reads, writes, is_signed;
    int bits;
};

static struct carry_form form_of(const struct ptx_instr *in)
{
    const uint32_t *d = in->form.detail;
    return (struct carry_form){(enum operation)d[0], d[1], d[2], d[3] >> 8, d[3] & 0xff};
}

static uint64_t operand(const struct warp *w, const struct ptx_instr *in, int k, int bits, int lane)
{
    return bits == 32 ? slot32(w, in, k)[lane] : slot64(w, in, k)[lane];
}

static uint64_t product(const struct carry_form *f, uint64_t a, uint64_t b)
{
    if (f->operation == OP_MAD_LO)
        return a * b;
    if (f->bits == 32)
        return f->is_signed ? (uint64_t)((int64_t)(int32_t)a * (int32_t)b >> 32) : a * b >> 32;
    return f->is_signed ? (uint64_t)((s128)(int64_t)a * (int64_t)b >> 64)
                        : (uint64_t)((u128)a * b >> 64);
}

/* The result, and in bit `bits` of it what leaves at the top. */
static u128 compute(const struct carry_form *f, const struct warp *w, const struct ptx_instr *in,
                    int lane)
{
    uint64_t most = f->bits == 32 ? UINT32_MAX : UINT64_MAX;
    uint64_t a = operand(w, in, 1, f->bits, lane), b = operand(w, in, 2, f->bits, lane);
    unsigned carry = f->reads ? w->carry >> lane & 1 : 0;
    if (f->operation == OP_SUB)
        return (u128)a - b - carry;
    if (f->operation == OP_ADD)
        return (u128)a + b + carry;
    return (u128)(product(f, a, b) & most) + operand(w, in, 3, f->bits, lane) + carry;
}

static void run_carry(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    struct carry_form f = form_of(in);
    lane_u64 wide[WARP_LANES];
    lane_u32 narrow[WARP_LANES];
    uint32_t carry = 0;
    for (int l = 0; l < WARP_LANES; l++) {
        u128 result = compute(&f, w, in, l);
        carry |= (uint32_t)(result >> f.bits & 1) << l;
        wide[l] = (uint64_t)result;
        narrow[l] = (uint32_t)result;
    }
    if (f.writes)
        w->carry = (w->carry & ~mask) | (carry & mask);
    if (slot_of(w, in, 0))
        alu_blend(slot_of(w, in, 0), f.bits == 32 ? (void *)narrow : (void *)wide, mask,
                  (size_t)f.bits / 8);
}

/* add.cc, addc, addc.cc, sub..., mad.lo.cc, madc.hi ...: at what is left after the base. */
static bool parse_base(const char **at, struct carry_form *f)
{
    static const char *const bases[] = {"add", "sub", "mad"};
    for (int i = 0; i < 3; i++)
        if (strncmp(*at, bases[i], 3) == 0) {
            *at += 3;
            f->operation = (enum operation)i;
            f->reads = **at == 'c';
            *at += f->reads;
            return true;
        }
    return false;
}

static bool skip(const char **at, const char *word)
{
    size_t n = strlen(word);
    bool there = strncmp(*at, word, n) == 0;
    *at += there ? n : 0;
    return there;
}

bool find_carry(const char *opcode, int n_operand, struct ptx_form *form)
{
    const char *at = opcode;
    struct carry_form f = {0};
    (void)n_operand;
    if (!parse_base(&at, &f))
        return false;
    if (f.operation == OP_MAD_LO) {
        if (skip(&at, ".hi"))
            f.operation = OP_MAD_HI;
        else if (!skip(&at, ".lo"))
            return false;
    }
    f.writes = skip(&at, ".cc");
    if (!f.reads && !f.writes)
        return false;
    f.is_signed = strcmp(at, ".s32") == 0 || strcmp(at, ".s64") == 0;
    if (strcmp(at, ".s32") == 0 || strcmp(at, ".u32") == 0)
        f.bits = 32;
    else if (strcmp(at, ".s64") == 0 || strcmp(at, ".u64") == 0)
        f.bits = 64;
    else
        return false;
    bool is_mad = f.operation >= OP_MAD_LO;
    form->operands = f.bits == 32 ? (is_mad ? "r=rrr" : "r=rr") : (is_mad ? "d=ddd" : "d=dd");
    form->run = run_carry;
    form->detail[0] = f.operation;
    form->detail[1] = f.reads;
    form->detail[2] = f.writes;
    form->detail[3] = (uint32_t)f.bits | (uint32_t)f.is_signed << 8;
    return true;
}
