/* setp and set: PTX ISA 9.0, 9.7.6 and 9.7.7, in every type that has comparisons. */
#include "alu.h"
#include "alu_number.h"

/* A bit per lane. Where a register holds two numbers first says which one and step is 2. */
typedef uint32_t compare_lanes(const void *a, const void *b, int first, int step);

/* Comparisons that are computed; the others are their complements. */
enum relation { REL_EQ, REL_LT, REL_LE, REL_GT, REL_GE, REL_LG, REL_NUM, RELATIONS };

#define COMPARE(name, T, LOAD, condition)                                   \
    static uint32_t name(const void *a, const void *b, int first, int step) \
    {                                                                       \
        const T *sx = a, *sy = b;                                           \
        uint32_t lanes = 0;                                                 \
        (void)first, (void)step;                                            \
        for (int l = 0; l < WARP_LANES; l++)                                \
            lanes |= (uint32_t)(condition) << l;                            \
        return lanes;                                                       \
    }
#define X(LOAD) LOAD(sx)
#define Y(LOAD) LOAD(sy)
#define ORDERS(t, T, LOAD)                       \
    COMPARE(eq_##t, T, LOAD, X(LOAD) == Y(LOAD)) \
    COMPARE(lt_##t, T, LOAD, X(LOAD) < Y(LOAD))  \
    COMPARE(le_##t, T, LOAD, X(LOAD) <= Y(LOAD)) \
    COMPARE(gt_##t, T, LOAD, X(LOAD) > Y(LOAD))  \
    COMPARE(ge_##t, T, LOAD, X(LOAD) >= Y(LOAD))
#define FLOATS(t, T, LOAD)                                                        \
    ORDERS(t, T, LOAD)                                                            \
    COMPARE(lg_##t, T, LOAD, (int)(X(LOAD) < Y(LOAD)) | (int)(X(LOAD) > Y(LOAD))) \
    COMPARE(num_##t, T, LOAD, (int)(X(LOAD) == X(LOAD)) & (int)(Y(LOAD) == Y(LOAD)))

static inline float flush32(float x)
{
    uint32_t bits = number_bits32(x);
    return number_of32(bits & 0x7f800000 ? bits : bits & 0x80000000);
}
static inline uint16_t flush16(uint16_t x)
{
    return (uint16_t)(x & 0x7c00 ? x : x & 0x8000);
}
#define PLAIN(s)   s[l]
#define FLUSHED(s) flush32(s[l])
#define F16(s)     number_from_f16(s[first + step * l])
#define F16_FTZ(s) number_from_f16(flush16(s[first + step * l]))
#define BF16(s)    number_from_bf16(s[first + step * l])
ORDERS(u16, lane_u16, PLAIN)
ORDERS(s16, lane_s16, PLAIN)
ORDERS(u32, lane_u32, PLAIN)
ORDERS(s32, lane_s32, PLAIN)
ORDERS(u64, lane_u64, PLAIN)
ORDERS(s64, lane_s64, PLAIN)
FLOATS(f32, lane_f32, PLAIN)
FLOATS(f32_ftz, lane_f32, FLUSHED)
FLOATS(f64, lane_f64, PLAIN)
FLOATS(f16, lane_u16, F16)
FLOATS(f16_ftz, lane_u16, F16_FTZ)
FLOATS(bf16, lane_u16, BF16)

enum kind { KIND_BITS, KIND_UNSIGNED, KIND_SIGNED, KIND_FLOAT };

/* A source type, a register of letter. */
struct source_type {
    const char *name;
    bool ftz;
    char letter;
    enum kind kind;
    int numbers; /* in a register */
    compare_lanes *compare[RELATIONS];
};

#define INTEGER(t)                             \
    {                                          \
        eq_##t, lt_##t, le_##t, gt_##t, ge_##t \
    }
#define NUMBER(t)                                               \
    {                                                           \
        eq_##t, lt_##t, le_##t, gt_##t, ge_##t, lg_##t, num_##t \
    }
static const struct source_type types[] = {
    {"b16", false, 'h', KIND_BITS, 1, {eq_u16}},
    {"b32", false, 'r', KIND_BITS, 1, {eq_u32}},
    {"b64", false, 'd', KIND_BITS, 1, {eq_u64}},
    {"u16", false, 'h', KIND_UNSIGNED, 1, INTEGER(u16)},
    {"u32", false, 'r', KIND_UNSIGNED, 1, INTEGER(u32)},
    {"u64", false, 'd', KIND_UNSIGNED, 1, INTEGER(u64)},
    {"s16", false, 'h', KIND_SIGNED, 1, INTEGER(s16)},
    {"s32", false, 'r', KIND_SIGNED, 1, INTEGER(s32)},
    {"s64", false, 'd', KIND_SIGNED, 1, INTEGER(s64)},
    {"f32", false, 'r', KIND_FLOAT, 1, NUMBER(f32)},
    {"f32", true, 'r', KIND_FLOAT, 1, NUMBER(f32_ftz)},
    {"f64", false, 'd', KIND_FLOAT, 1, NUMBER(f64)},
    {"f16", false, 'h', KIND_FLOAT, 1, NUMBER(f16)},
    {"f16", true, 'h', KIND_FLOAT, 1, NUMBER(f16_ftz)},
    {"bf16", false, 'h', KIND_FLOAT, 1, NUMBER(bf16)},
    {"f16x2", false, 'r', KIND_FLOAT, 2, NUMBER(f16)},
    {"f16x2", true, 'r', KIND_FLOAT, 2, NUMBER(f16_ftz)},
    {"bf16x2", false, 'r', KIND_FLOAT, 2, NUMBER(bf16)},
};

static const struct {
    const char *name;
    enum relation relation;
    bool complement;
    unsigned kinds; /* bits of enum kind */
} comparisons[] = {
#define ALL     (1u << KIND_BITS | 1u << KIND_UNSIGNED | 1u << KIND_SIGNED | 1u << KIND_FLOAT)
#define ORDERED (ALL & ~(1u << KIND_BITS))
#define WITH(k) (1u << (k))
    {"eq", REL_EQ, false, ALL},
    {"ne", REL_EQ, true, ALL & ~WITH(KIND_FLOAT)},
    {"ne", REL_LG, false, WITH(KIND_FLOAT)},
    {"lt", REL_LT, false, ORDERED},
    {"le", REL_LE, false, ORDERED},
    {"gt", REL_GT, false, ORDERED},
    {"ge", REL_GE, false, ORDERED},
    {"lo", REL_LT, false, WITH(KIND_UNSIGNED)},
    {"ls", REL_LE, false, WITH(KIND_UNSIGNED)},
    {"hi", REL_GT, false, WITH(KIND_UNSIGNED)},
    {"hs", REL_GE, false, WITH(KIND_UNSIGNED)},
    {"equ", REL_LG, true, WITH(KIND_FLOAT)},
    {"neu", REL_EQ, true, WITH(KIND_FLOAT)},
    {"ltu", REL_GE, true, WITH(KIND_FLOAT)},
    {"leu", REL_GT, true, WITH(KIND_FLOAT)},
    {"gtu", REL_LE, true, WITH(KIND_FLOAT)},
    {"geu", REL_LT, true, WITH(KIND_FLOAT)},
    {"num", REL_NUM, false, WITH(KIND_FLOAT)},
    {"nan", REL_NUM, true, WITH(KIND_FLOAT)},
};

#define ALU_BOOLEAN (ALU_AND | ALU_OR | ALU_XOR)

/* detail: source type, comparison, the boolean operation. */
static uint32_t compare(const struct warp *w, const struct ptx_instr *in, int source, int number)
{
    const struct source_type *type = &types[in->form.detail[0]];
    uint32_t which = in->form.detail[1];
    uint32_t lanes = type->compare[comparisons[which].relation](
        slot_of(w, in, source), slot_of(w, in, source + 1), number, type->numbers);
    return comparisons[which].complement ? ~lanes : lanes;
}

static uint32_t combine(const struct warp *w, const struct ptx_instr *in, int source,
                        uint32_t lanes)
{
    uint32_t operation = in->form.detail[2];
    if (!operation)
        return lanes;
    uint32_t c = *slot_pred(w, in, source + 2);
    return operation == ALU_AND ? lanes & c : operation == ALU_OR ? lanes | c : lanes ^ c;
}

/* The second predicate is the complement's, combined alike; of two numbers the upper one's. */
static void run_setp(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    bool two = types[in->form.detail[0]].numbers == 2;
    uint32_t p = compare(w, in, 2, 0), q = two ? compare(w, in, 2, 1) : ~p;
    p = combine(w, in, 2, p);
    q = combine(w, in, 2, q);
    alu_store_pred(slot_pred(w, in, 0), p, mask);
    alu_store_pred(slot_pred(w, in, 1), q, mask);
}

/* What set writes for true; false is 0. of_16: in a register of 16 bits, or in each half. */
static const struct result_type {
    const char *name;
    uint32_t one;
    bool of_16;
} results[] = {
    {"u32", UINT32_MAX, false}, {"s32", UINT32_MAX, false}, {"f32", 0x3f800000, false},
    {"u16", 0xffff, true},      {"s16", 0xffff, true},      {"f16", 0x3c00, true},
    {"bf16", 0x3f80, true},     {"f16x2", 0x3c00, true},    {"bf16x2", 0x3f80, true},
    {"u32", 0xffff, true},      {"s32", 0xffff, true},
};
enum { RESULTS = sizeof results / sizeof *results, RESULT_PAIR = 7 };

/* detail[3]: the result's type. */
static void run_set(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    const struct result_type *result = &results[in->form.detail[3]];
    lane_u32 wide[WARP_LANES];
    lane_u16 narrow[2 * WARP_LANES];
    int numbers = types[in->form.detail[0]].numbers;
    for (int k = 0; k < numbers; k++) {
        uint32_t lanes = combine(w, in, 1, compare(w, in, 1, k));
        FOR_LANES(l) wide[l] = lanes >> l & 1 ? result->one : 0;
        FOR_LANES(l) narrow[numbers * l + k] = (uint16_t)wide[l];
    }
    const void *from = result->of_16 ? (const void *)narrow : (const void *)wide;
    if (slot_of(w, in, 0))
        alu_blend(slot_of(w, in, 0), from, mask, result->of_16 ? 2 * (size_t)numbers : 4);
}

/* ---- Looking up */

static bool find_source(const char *word, bool ftz, uint32_t *index)
{
    for (uint32_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(word, types[i].name) == 0 && ftz == types[i].ftz) {
            *index = i;
            return true;
        }
    return false;
}

static bool find_comparison(const char *word, enum kind kind, uint32_t *index)
{
    for (uint32_t i = 0; i < sizeof comparisons / sizeof *comparisons; i++)
        if (strcmp(word, comparisons[i].name) == 0 && comparisons[i].kinds >> kind & 1) {
            *index = i;
            return true;
        }
    return false;
}

/* Two numbers compared give two results; numbers of 16 bits give those of 16 or 32. */
static bool find_result(const char *word, const struct source_type *type, uint32_t *index)
{
    for (uint32_t i = 0; i < RESULTS; i++)
        if (strcmp(word, results[i].name) == 0 && (i >= RESULT_PAIR) == (type->numbers == 2)) {
            bool is_half = type->kind == KIND_FLOAT && type->letter == 'h';
            *index = i;
            return !results[i].of_16 || type->numbers == 2 || is_half || results[i].one < 0xffff;
        }
    return false;
}

static const char *setp_operands(char letter, bool combined)
{
    if (letter == 'h')
        return combined ? "p|p=hhp" : "p|p=hh";
    if (letter == 'r')
        return combined ? "p|p=rrp" : "p|p=rr";
    return combined ? "p|p=ddp" : "p|p=dd";
}

static const char *set_operands(char letter, bool combined, bool to_16)
{
    if (letter == 'h')
        return to_16 ? (combined ? "h=hhp" : "h=hh") : combined ? "r=hhp" : "r=hh";
    if (letter == 'r')
        return to_16 ? (combined ? "h=rrp" : "h=rr") : combined ? "r=rrp" : "r=rr";
    return to_16 ? (combined ? "h=ddp" : "h=dd") : combined ? "r=ddp" : "r=dd";
}

bool find_compare(const char *opcode, int n_operand, struct ptx_form *form)
{
    struct alu_name name;
    (void)n_operand;
    if (!alu_split(opcode, &name))
        return false;
    bool is_setp = strcmp(name.word[0], "setp") == 0 && name.n == 3;
    bool is_set = strcmp(name.word[0], "set") == 0 && name.n == 4;
    uint32_t boolean = name.modifiers & ALU_BOOLEAN, *detail = form->detail;
    if ((!is_setp && !is_set) || name.modifiers & ~(uint32_t)(ALU_BOOLEAN | ALU_FTZ) ||
        boolean & (boolean - 1) ||
        !find_source(name.word[name.n - 1], name.modifiers & ALU_FTZ, &detail[0]))
        return false;
    const struct source_type *type = &types[detail[0]];
    if (!find_comparison(name.word[1], type->kind, &detail[1]) ||
        (is_set && !find_result(name.word[2], type, &detail[3])))
        return false;
    detail[2] = boolean;
    form->run = is_setp ? run_setp : run_set;
    bool to_16 = is_set && results[detail[3]].of_16 && type->numbers == 1;
    form->operands =
        is_setp ? setp_operands(type->letter, boolean) : set_operands(type->letter, boolean, to_16);
    return true;
}
