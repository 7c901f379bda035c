/* atom and red (PTX ISA 9.0, 9.7.13.4 and 9.7.13.5). In global memory they are atomic between
 * the host threads that run blocks: a loop of compare and exchange over the word. */
#include "access.h"
#include "lanes.h"

#include <stdatomic.h>
#include <string.h>

/* form.detail */
enum { SPACE, OPERATION, TYPE, RED_FENCES };
#define RED 4u /* beside the fences that it brings along, races.h */

enum operation { ADD, MIN, MAX, AND, OR, XOR, EXCH, CAS, INC, DEC };

enum type { U32, S32, U64, S64, F32, F64 };

static float f32_of(uint64_t bits)
{
    float value;
    uint32_t low = (uint32_t)bits;
    memcpy(&value, &low, sizeof value);
    return value;
}

static uint64_t bits_of_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double f64_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t bits_of_f64(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint64_t add(enum type type, uint64_t old, uint64_t b)
{
    if (type == F32)
        return bits_of_f32(f32_of(old) + f32_of(b));
    if (type == F64)
        return bits_of_f64(f64_of(old) + f64_of(b));
    return old + b;
}

static bool less(enum type type, uint64_t a, uint64_t b)
{
    if (type == S32)
        return (int32_t)a < (int32_t)b;
    if (type == S64)
        return (int64_t)a < (int64_t)b;
    return a < b;
}

static uint64_t result_of(enum operation operation, enum type type, uint64_t old, uint64_t b,
                          uint64_t c)
{
    switch (operation) {
    case ADD:
        return add(type, old, b);
    case MIN:
        return less(type, b, old) ? b : old;
    case MAX:
        return less(type, old, b) ? b : old;
    case AND:
        return old & b;
    case OR:
        return old | b;
    case XOR:
        return old ^ b;
    case EXCH:
        return b;
    case CAS:
        return old == b ? c : old;
    case INC:
        return old >= b ? 0 : old + 1;
    case DEC:
        return old == 0 || old > b ? b : old - 1;
    }
    return old;
}

static uint64_t exchange32(uint8_t *at, enum operation operation, enum type type, uint64_t b,
                           uint64_t c)
{
    _Atomic uint32_t *word = (_Atomic uint32_t *)(void *)at;
    uint32_t old = atomic_load(word);
    while (!atomic_compare_exchange_weak(
        word, &old, (uint32_t)result_of(operation, type, old, (uint32_t)b, (uint32_t)c)))
        ;
    return old;
}

static uint64_t exchange64(uint8_t *at, enum operation operation, enum type type, uint64_t b,
                           uint64_t c)
{
    _Atomic uint64_t *word = (_Atomic uint64_t *)(void *)at;
    uint64_t old = atomic_load(word);
    while (!atomic_compare_exchange_weak(word, &old, result_of(operation, type, old, b, c)))
        ;
    return old;
}

static uint64_t operand(const struct warp *w, const struct ptx_instr *in, int k, int lane,
                        uint32_t bytes)
{
    uint64_t value = 0;
    if (k < in->n_slot)
        memcpy(&value, (const uint8_t *)slot_of(w, in, k) + (size_t)lane * bytes, bytes);
    return value;
}

static void run_atomic(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    enum type type = (enum type)in->form.detail[TYPE];
    enum operation operation = (enum operation)in->form.detail[OPERATION];
    uint32_t bytes = type == U64 || type == S64 || type == F64 ? 8 : 4;
    int address = in->form.detail[RED_FENCES] & RED ? 0 : 1;
    uint32_t fences = in->form.detail[RED_FENCES] & ~RED;
    struct place place[WARP_LANES];
    for (uint32_t left = mask; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        uint64_t at = lane_address(w, in, address, in->address32, in->offset, l);
        place[l] = access_place((enum access_space)in->form.detail[SPACE], at);
        uint8_t *word = access_check_atomic(w, in, l, place[l], bytes, fences);
        uint64_t b = operand(w, in, address + 1, l, bytes),
                 c = operand(w, in, address + 2, l, bytes);
        uint64_t old = bytes == 8 ? exchange64(word, operation, type, b, c)
                                  : exchange32(word, operation, type, b, c);
        uint8_t *reg = address ? slot_of(w, in, 0) : NULL;
        if (reg)
            memcpy(reg + (size_t)l * bytes, &old, bytes);
    }
    access_count(w, in, mask, place, bytes, false);
}

static bool find_word(const char *const *words, size_t n, const char **rest, uint32_t *out)
{
    for (size_t i = 0; i < n; i++)
        if (access_take(rest, words[i])) {
            *out = (uint32_t)i;
            return true;
        }
    return false;
}

bool find_atomic(const char *opcode, int n_operand, struct ptx_form *form)
{
    static const char *const operations[] = {"add", "min",  "max", "and", "or",
                                             "xor", "exch", "cas", "inc", "dec"};
    static const char *const types[] = {"u32", "s32", "u64", "s64", "f32", "f64"};
    const char *rest = opcode;
    enum access_space space;
    bool red = access_take(&rest, "red");
    *form = (struct ptx_form){.run = run_atomic};
    if (!red && !access_take(&rest, "atom"))
        return false;
    uint32_t fences = access_take_order(&rest);
    (void)access_take_space(&rest, &space);
    if (!find_word(operations, sizeof operations / sizeof *operations, &rest,
                   &form->detail[OPERATION]))
        return false;
    form->detail[SPACE] = (uint32_t)space;
    form->detail[RED_FENCES] = fences | (red ? RED : 0);
    bool wide = strcmp(rest, "b64") == 0;
    if (wide || strcmp(rest, "b32") == 0)
        form->detail[TYPE] = wide ? U64 : U32;
    else if (!find_word(types, sizeof types / sizeof *types, &rest, &form->detail[TYPE]))
        return false;
    enum type type = (enum type)form->detail[TYPE];
    bool cas = form->detail[OPERATION] == CAS;
    wide = type == U64 || type == S64 || type == F64;
    if (red)
        form->operands = wide ? "=ad" : "=ar";
    else
        form->operands = cas ? (wide ? "d=add" : "r=arr") : (wide ? "d=ad" : "r=ar");
    bool is_float = type == F32 || type == F64;
    return n_operand == (red ? 2 : cas ? 4 : 3) && !(is_float && form->detail[OPERATION] != ADD);
}
