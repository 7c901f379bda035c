/* cvt of any scalar type to any other, in three steps: all lanes to int64_t or double, which hold
 * every source but the largest integers exactly; the conversion; the result into its register. */
#include "alu_convert.h"
#include "alu_number.h"

#include <math.h>

__extension__ typedef __int128 s128;

union lanes {
    int64_t integer[WARP_LANES];
    uint64_t bits[WARP_LANES];
    double number[WARP_LANES];
};

/* ---- Registers */

/* Registers may be wider than the type; the low bits count. */
static void load_bits(const struct warp *w, const struct ptx_instr *in, uint64_t *bits)
{
    const void *slot = slot_of(w, in, 1);
    if (in->width[1] == 2)
        FOR_LANES(l) bits[l] = ((const lane_u16 *)slot)[l];
    else if (in->width[1] == 4)
        FOR_LANES(l) bits[l] = ((const lane_u32 *)slot)[l];
    else
        memcpy(bits, slot, WARP_LANES * sizeof *bits);
}

static void store_bits(const struct warp *w, const struct ptx_instr *in, const uint64_t *bits,
                       uint32_t mask)
{
    lane_u32 wide[WARP_LANES];
    lane_u16 narrow[WARP_LANES];
    void *slot = slot_of(w, in, 0);
    if (!slot)
        return;
    FOR_LANES(l) wide[l] = (uint32_t)bits[l];
    FOR_LANES(l) narrow[l] = (uint16_t)bits[l];
    const void *from = in->width[0] == 2   ? (const void *)narrow
                       : in->width[0] == 4 ? (const void *)wide
                                           : bits;
    alu_blend(slot, from, mask, in->width[0]);
}

/* The number in the low bits, extended by its sign if the type has one. */
static void extend(uint64_t *bits, enum convert_type type)
{
    int above = 64 - type_bits(type);
    if (type_is_signed(type))
        FOR_LANES(l) bits[l] = (uint64_t)((int64_t)(bits[l] << above) >> above);
    else
        FOR_LANES(l) bits[l] = bits[l] << above >> above;
}

static void load_numbers(union lanes *v, enum convert_type type)
{
    FOR_LANES(l)
    v->number[l] = type == TYPE_F16    ? (double)number_from_f16((uint16_t)v->bits[l])
                   : type == TYPE_BF16 ? (double)number_from_bf16((uint16_t)v->bits[l])
                   : type == TYPE_F32  ? (double)number_of32((uint32_t)v->bits[l])
                                       : v->number[l];
}

/* ---- Integers to integers */

static void saturate_integers(union lanes *v, enum convert_type to, enum convert_type from)
{
    int bits = type_bits(to);
    uint64_t most = UINT64_MAX >> (64 - bits + type_is_signed(to));
    int64_t least = type_is_signed(to) ? -(int64_t)most - 1 : 0;
    FOR_LANES(l)
    {
        bool is_below = type_is_signed(from) && v->integer[l] < least;
        bool is_above = !(type_is_signed(from) && v->integer[l] < 0) && v->bits[l] > most;
        v->bits[l] = is_below ? (uint64_t)least : is_above ? most : v->bits[l];
    }
}

/* ---- Floats to integers */

static double to_integral(double x, uint32_t modifiers)
{
    if (modifiers & ALU_RNI)
        return rint(x);
    if (modifiers & ALU_RZI)
        return trunc(x);
    if (modifiers & ALU_RMI)
        return floor(x);
    return modifiers & ALU_RPI ? ceil(x) : x;
}

/* x is integral or no number; what is outside is clamped. nan: what a NaN becomes. */
static uint64_t to_integer(double x, enum convert_type to, uint64_t nan)
{
    int bits = type_bits(to) - type_is_signed(to);
    uint64_t most = UINT64_MAX >> (64 - bits);
    double limit = ldexp(1, bits);
    if (x != x)
        return nan;
    if (x >= limit)
        return most;
    if (!type_is_signed(to))
        return x > 0 ? (uint64_t)x : 0;
    return x < -limit ? ~most : (uint64_t)(int64_t)x;
}

static void numbers_to_integers(union lanes *v, enum convert_type to, enum convert_type from,
                                uint32_t modifiers)
{
    bool zero = from != TYPE_F64 && to != TYPE_S64 && to != TYPE_U64;
    uint64_t nan = zero ? 0 : UINT64_C(1) << (type_bits(to) - 1);
    for (int l = 0; l < WARP_LANES; l++)
        v->bits[l] = to_integer(to_integral(v->number[l], modifiers), to, nan);
    extend(v->bits, to);
}

/* ---- To floats */

static enum number_round round_of(uint32_t modifiers)
{
    return modifiers & ALU_RZ    ? NUMBER_ZERO
           : modifiers & ALU_RM  ? NUMBER_DOWN
           : modifiers & ALU_RP  ? NUMBER_UP
           : modifiers & ALU_RNA ? NUMBER_AWAY
                                 : NUMBER_NEAREST;
}

/* Nearest first, then a step back if that went to the wrong side. */
static double integer_to_double(s128 v, enum number_round round)
{
    double nearest = (double)v;
    s128 back = (s128)nearest;
    if (round == NUMBER_ZERO)
        round = v < 0 ? NUMBER_UP : NUMBER_DOWN;
    if (round == NUMBER_DOWN && back > v)
        return nextafter(nearest, -INFINITY);
    return round == NUMBER_UP && back < v ? nextafter(nearest, INFINITY) : nearest;
}

static void integers_to_numbers(union lanes *v, enum convert_type to, enum convert_type from,
                                enum number_round round)
{
    bool is_signed = type_is_signed(from);
    for (int l = 0; l < WARP_LANES; l++) {
        s128 exact = is_signed ? (s128)v->integer[l] : (s128)v->bits[l];
        v->number[l] = to == TYPE_F64 ? integer_to_double(exact, round)
                       : is_signed    ? number_from_s64(v->integer[l])
                                      : number_from_u64(v->bits[l]);
    }
}

static void flush_numbers(union lanes *v)
{
    FOR_LANES(l)
    v->number[l] = fabs(v->number[l]) < 0x1p-126 ? copysign(0, v->number[l]) : v->number[l];
}

static void clamp_numbers(union lanes *v, uint32_t modifiers)
{
    if (modifiers & ALU_SAT)
        FOR_LANES(l) v->number[l] = v->number[l] > 0 ? fmin(v->number[l], 1) : 0;
    if (modifiers & ALU_RELU)
        FOR_LANES(l) v->number[l] = v->number[l] <= 0 ? 0 : v->number[l];
}

static void narrow(union lanes *v, const struct number_format *f, enum number_round round,
                   bool satfinite)
{
    FOR_LANES(l) v->bits[l] = number_narrow(v->number[l], *f, round, satfinite);
}

static void store_numbers(union lanes *v, enum convert_type to, uint32_t modifiers)
{
    enum number_round round = round_of(modifiers);
    bool satfinite = modifiers & ALU_SATFINITE;
    if (to == TYPE_F32)
        narrow(v, &number_f32, round, satfinite);
    else if (to == TYPE_F16)
        narrow(v, &number_f16, round, satfinite);
    else if (to == TYPE_BF16)
        narrow(v, &number_bf16, round, satfinite);
    else if (to == TYPE_TF32)
        narrow(v, &number_tf32, round, satfinite);
    if (to == TYPE_TF32)
        FOR_LANES(l) v->bits[l] <<= 13;
    if (to == TYPE_F32 && modifiers & ALU_FTZ)
        FOR_LANES(l) v->bits[l] &= v->bits[l] & 0x7f800000 ? UINT32_MAX : 0x80000000;
}

void scalar_convert(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    enum convert_type to = (enum convert_type)in->form.detail[0];
    enum convert_type from = (enum convert_type)in->form.detail[1];
    uint32_t modifiers = in->form.detail[2];
    union lanes v;
    load_bits(w, in, v.bits);
    if (type_is_float(from))
        load_numbers(&v, from);
    else
        extend(v.bits, from);
    if (type_is_float(from) && from == TYPE_F32 && modifiers & ALU_FTZ)
        flush_numbers(&v);
    if (!type_is_float(to)) {
        if (type_is_float(from))
            numbers_to_integers(&v, to, from, modifiers);
        else if (modifiers & ALU_SAT)
            saturate_integers(&v, to, from);
        extend(v.bits, to);
    } else {
        if (!type_is_float(from))
            integers_to_numbers(&v, to, from, round_of(modifiers));
        else if (modifiers & ALU_INTEGRAL)
            for (int l = 0; l < WARP_LANES; l++)
                v.number[l] = to_integral(v.number[l], modifiers);
        clamp_numbers(&v, modifiers);
        store_numbers(&v, to, modifiers);
    }
    store_bits(w, in, v.bits, mask);
}
