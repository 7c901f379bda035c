/* Arithmetic in f16, f16x2, bf16 and bf16x2: PTX ISA 9.0, 9.7.4.
 *
 * The operands are floats exactly; what is computed in f32 and then rounded to 16 bits is rounded
 * once in effect:
 *   sums have 24 bits >= 2 p + 2, p = 11 or 8 (Figueroa, "When is double rounding innocuous?"),
 *   and below the normal range they are exact;
 *   products are exact, except those of bf16 below 2^-126, whose last bits f32 cannot hold;
 *   a product plus a number is rounded to odd, see alu_number.h; in bf16, where that is slow, only
 *   if it matters. Products of bf16 beyond 2^127 or below 2^-126 go through double in place of
 *   f32, all lanes of them. */
#include "alu.h"
#include "alu_number.h"

#include <math.h>

#define ELEMENTS (2 * WARP_LANES)

/* n numbers, one per lane or two; d is none of the sources. */
typedef void half_kernel(lane_u16 *d, const lane_u16 *a, const lane_u16 *b, const lane_u16 *c,
                         int n);

#define NAN16 0x7fff

/* The number of the bits, ascending, -0 below +0. */
static inline int16_t order(uint16_t h)
{
    return (int16_t)(h & 0x8000 ? h ^ 0x7fff : h);
}
static inline bool is_nan(uint16_t h, uint16_t infinity)
{
    return (h & 0x7fff) > infinity;
}
/* sign: 1 for the least, -1 for the most. A NaN gives way to a number. */
static inline uint16_t least(uint16_t x, uint16_t y, uint16_t infinity, int sign)
{
    uint16_t r = sign * order(x) < sign * order(y) ? x : y;
    r = is_nan(x, infinity) ? y : r;
    r = is_nan(y, infinity) ? x : r;
    return is_nan(r, infinity) ? NAN16 : r;
}

#define KERNEL(name, expression)                                                                  \
    static void name(lane_u16 *d, const lane_u16 *a, const lane_u16 *b, const lane_u16 *c, int n) \
    {                                                                                             \
        (void)b, (void)c;                                                                         \
        FOR_N(l, n) d[l] = (uint16_t)(expression);                                                \
    }
#define FLOATS(format, from, to, infinity)                               \
    KERNEL(format##_add, to(from(a[l]) + from(b[l])))                    \
    KERNEL(format##_sub, to(from(a[l]) - from(b[l])))                    \
    KERNEL(format##_min, least(a[l], b[l], infinity, 1))                 \
    KERNEL(format##_max, least(a[l], b[l], infinity, -1))                \
    KERNEL(format##_neg, is_nan(a[l], infinity) ? NAN16 : a[l] ^ 0x8000) \
    KERNEL(format##_abs, is_nan(a[l], infinity) ? NAN16 : a[l] & 0x7fff) \
    KERNEL(format##_tanh, to((float)tanh((double)from(a[l]))))           \
    KERNEL(format##_ex2, to((float)exp2((double)from(a[l]))))
FLOATS(f16, number_from_f16, number_to_f16, 0x7c00)
FLOATS(bf16, number_from_bf16, number_to_bf16, 0x7f80)

KERNEL(f16_mul, number_to_f16(number_from_f16(a[l]) * number_from_f16(b[l])))
KERNEL(f16_fma, number_to_f16(number_add_odd32(number_from_f16(a[l]) * number_from_f16(b[l]),
                                               number_from_f16(c[l]))))

static void bf16_fma_wide(lane_u16 *d, const lane_u16 *a, const lane_u16 *b, const lane_u16 *c,
                          int n)
{
    FOR_N(l, n)
    {
        double p = (double)number_from_bf16(a[l]) * (double)number_from_bf16(b[l]);
        double r = number_add_odd(p, (double)number_from_bf16(c[l]));
        d[l] = (uint16_t)number_narrow(r, number_bf16, NUMBER_NEAREST, false);
    }
}

/* A sum in f32 is rounded twice only if it is not exact and looks like a number half way between
 * two of bf16. It is exact if and only if taking either part away leaves the other. A product
 * that is zero in f32, or too small for it, leaves z as it is. */
static void bf16_fma(lane_u16 *d, const lane_u16 *a, const lane_u16 *b, const lane_u16 *c, int n)
{
    uint32_t slow = 0;
    FOR_N(l, n)
    {
        float p = number_from_bf16(a[l]) * number_from_bf16(b[l]), z = number_from_bf16(c[l]);
        float sum = p + z;
        uint32_t magnitude = number_bits32(p) & 0x7fffffff;
        uint32_t outside = (uint32_t)(magnitude - 1 < 0x007fffffu);
        outside |= (uint32_t)(magnitude > 0x7f000000u);
        uint32_t half_way = (uint32_t)((number_bits32(sum) & 0xffff) == 0x8000);
        uint32_t inexact = (uint32_t)(sum - p != z) | (uint32_t)(sum - z != p);
        slow |= outside | (half_way & inexact);
        d[l] = number_to_bf16(sum);
    }
    if (slow)
        bf16_fma_wide(d, a, b, c, n);
}

/* A product is a sum with -0 (9.7.4.3). */
static void bf16_mul(lane_u16 *d, const lane_u16 *a, const lane_u16 *b, const lane_u16 *c, int n)
{
    lane_u16 zero[ELEMENTS] __attribute__((aligned(64)));
    (void)c;
    FOR_N(l, n) zero[l] = 0x8000;
    bf16_fma(d, a, b, zero, n);
}

/* ---- Modifiers, by loops of their own */

static void flush(lane_u16 *d, const lane_u16 *s, int n)
{
    FOR_N(l, n) d[l] = (uint16_t)(s[l] & 0x7c00 ? s[l] : s[l] & 0x8000);
}

/* .NaN: a NaN among the operands is the result. */
static void keep_nan(lane_u16 *d, const lane_u16 *a, const lane_u16 *b, uint16_t infinity, int n)
{
    FOR_N(l, n) d[l] = is_nan(a[l], infinity) || is_nan(b[l], infinity) ? NAN16 : d[l];
}

static void put_sign(lane_u16 *d, const lane_u16 *a, const lane_u16 *b, uint16_t infinity, int n)
{
    FOR_N(l, n)
    {
        uint16_t signed_d = (uint16_t)((d[l] & 0x7fff) | ((a[l] ^ b[l]) & 0x8000));
        d[l] = is_nan(d[l], infinity) ? NAN16 : signed_d;
    }
}

/* A NaN stays with .relu and is zero with .sat. */
static void clamp(lane_u16 *d, uint32_t modifiers, uint16_t infinity, int n)
{
    uint16_t one = infinity == 0x7c00 ? 0x3c00 : 0x3f80;
    if (modifiers & ALU_RELU)
        FOR_N(l, n) d[l] = d[l] & 0x8000 ? 0 : d[l];
    if (modifiers & ALU_SAT)
        FOR_N(l, n)
        {
            uint16_t most = d[l] < one ? d[l] : one;
            d[l] = d[l] & 0x8000 || is_nan(d[l], infinity) ? 0 : most;
        }
}

/* ---- The table */

struct half_form {
    const char *base;
    int n_source;
    uint32_t must, may;          /* modifiers */
    half_kernel *kernel[2];      /* f16, bf16 */
    uint32_t f16_may, bf16_must; /* more that f16 may have, that bf16 must */
};

#define OF(name)                \
    {                           \
        f16_##name, bf16_##name \
    }
static const struct half_form forms[] = {
    {"add", 2, 0, ALU_RN, OF(add), ALU_FTZ | ALU_SAT, 0},
    {"sub", 2, 0, ALU_RN, OF(sub), ALU_FTZ | ALU_SAT, 0},
    {"mul", 2, 0, ALU_RN, OF(mul), ALU_FTZ | ALU_SAT, 0},
    {"fma", 3, ALU_RN, ALU_RELU, OF(fma), ALU_FTZ | ALU_SAT, 0},
    {"neg", 1, 0, 0, OF(neg), ALU_FTZ, 0},
    {"abs", 1, 0, 0, OF(abs), ALU_FTZ, 0},
    {"min", 2, 0, ALU_NAN | ALU_XORSIGN | ALU_ABS, OF(min), ALU_FTZ, 0},
    {"max", 2, 0, ALU_NAN | ALU_XORSIGN | ALU_ABS, OF(max), ALU_FTZ, 0},
    {"tanh", 1, ALU_APPROX, 0, OF(tanh), 0, 0},
    {"ex2", 1, ALU_APPROX, 0, OF(ex2), 0, ALU_FTZ},
};

/* detail: the row, bf16 or not, elements, modifiers. */
static void run_half(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    lane_u16 copy[3][ELEMENTS] __attribute__((aligned(64)));
    lane_u16 magnitude[2][ELEMENTS] __attribute__((aligned(64)));
    lane_u16 r[ELEMENTS] __attribute__((aligned(64)));
    const uint32_t *detail = in->form.detail;
    const struct half_form *form = &forms[detail[0]];
    int n = (int)detail[2];
    uint32_t modifiers = detail[3];
    uint16_t infinity = detail[1] ? 0x7f80 : 0x7c00;
    bool flushes = modifiers & ALU_FTZ && !detail[1];
    const lane_u16 *source[3] = {0};
    for (int k = 0; k < form->n_source; k++) {
        source[k] = slot_of(w, in, k + 1);
        if (flushes)
            flush(copy[k], source[k], n);
        if (flushes)
            source[k] = copy[k];
    }
    const lane_u16 *a = source[0], *b = source[1];
    if (modifiers & ALU_XORSIGN)
        for (int k = 0; k < 2; k++) {
            FOR_N(l, n) magnitude[k][l] = source[k][l] & 0x7fff;
            source[k] = magnitude[k];
        }
    form->kernel[detail[1]](r, source[0], source[1], source[2], n);
    if (modifiers & ALU_XORSIGN)
        put_sign(r, a, b, infinity, n);
    if (modifiers & ALU_NAN)
        keep_nan(r, a, b, infinity, n);
    if (flushes)
        flush(r, r, n);
    clamp(r, modifiers, infinity, n);
    if (slot_of(w, in, 0))
        alu_blend(slot_of(w, in, 0), r, mask, (size_t)n / 16);
}

static bool modifiers_fit(const struct half_form *f, bool is_bf16, uint32_t has)
{
    uint32_t must = f->must | (is_bf16 ? f->bf16_must : 0);
    uint32_t may = must | f->may | (is_bf16 ? 0 : f->f16_may);
    bool half_sign = !(has & ALU_XORSIGN) != !(has & ALU_ABS);
    return (has & must) == must && !(has & ~may) && !half_sign &&
           (has & (ALU_SAT | ALU_RELU)) != (ALU_SAT | ALU_RELU);
}

bool find_half(const char *opcode, int n_operand, struct ptx_form *form)
{
    static const char *const types[] = {"f16", "bf16", "f16x2", "bf16x2"};
    static const char *const operands[2][3] = {{"h=h", "h=hh", "h=hhh"}, {"r=r", "r=rr", "r=rrr"}};
    struct alu_name name;
    uint32_t type = 0;
    (void)n_operand;
    if (!alu_split(opcode, &name) || name.n != 2)
        return false;
    while (type < 4 && strcmp(name.word[1], types[type]) != 0)
        type++;
    for (uint32_t i = 0; type < 4 && i < sizeof forms / sizeof *forms; i++) {
        if (strcmp(name.word[0], forms[i].base) != 0 ||
            !modifiers_fit(&forms[i], type & 1, name.modifiers))
            continue;
        form->operands = operands[type / 2][forms[i].n_source - 1];
        form->run = run_half;
        form->detail[0] = i;
        form->detail[1] = type & 1;
        form->detail[2] = type < 2 ? WARP_LANES : ELEMENTS;
        form->detail[3] = name.modifiers;
        return true;
    }
    return false;
}
