/* Arithmetic in f32 and f64: PTX ISA 9.0, 9.7.3.
 *
 * Operations rounded to nearest are the host's own, which are IEEE's. The directed roundings are
 * the same handlers while the thread's rounding mode is another one. The approximate ones are
 * computed in double and rounded to f32: hardware differs from that in the last bits, within the
 * errors that the ISA states. A NaN in f32 is always 0x7fffffff, as hardware makes them; the ISA
 * leaves it open. */
#include "alu.h"
#include "alu_number.h"

#include <fenv.h>
#include <math.h>

#define NAN32 number_of32(0x7fffffff)

static inline float flush(float x)
{
    uint32_t bits = number_bits32(x);
    return number_of32(bits & 0x7f800000 ? bits : bits & 0x80000000);
}
static inline float saturate(float x)
{
    float most = x < 1 ? x : 1;
    return x > 0 ? most : 0;
}

/* ---- What the handlers compute */

static inline float copysign32(float from, float to)
{
    return number_of32((number_bits32(to) & 0x7fffffff) | (number_bits32(from) & 0x80000000));
}
static inline double copysign64(double from, double to)
{
    uint64_t sign = UINT64_C(1) << 63;
    return number_of64((number_bits64(to) & ~sign) | (number_bits64(from) & sign));
}
/* Ascending with the number, -0 below +0 (9.7.3.11: "+0.0 > -0.0"). */
static inline int32_t order32(float x)
{
    int32_t bits = (int32_t)number_bits32(x);
    return bits ^ (int32_t)((uint32_t)(bits >> 31) >> 1);
}
static inline int64_t order64(double x)
{
    int64_t bits = (int64_t)number_bits64(x);
    return bits ^ (int64_t)((uint64_t)(bits >> 63) >> 1);
}
static inline float min32(float x, float y)
{
    float least = order32(x) < order32(y) ? x : y;
    least = x != x ? y : least;
    return y != y ? x : least;
}
static inline float max32(float x, float y)
{
    float most = order32(x) > order32(y) ? x : y;
    most = x != x ? y : most;
    return y != y ? x : most;
}
static inline double min64(double x, double y)
{
    double least = order64(x) < order64(y) ? x : y;
    least = x != x ? y : least;
    return y != y ? x : least;
}
static inline double max64(double x, double y)
{
    double most = order64(x) > order64(y) ? x : y;
    most = x != x ? y : most;
    return y != y ? x : most;
}
static inline float nan_of(float x, float y, float result)
{
    return x != x || y != y ? NAN32 : result;
}
static inline float xor_sign(float x, float y, float result)
{
    return number_of32((number_bits32(result) & 0x7fffffff) |
                       ((number_bits32(x) ^ number_bits32(y)) & 0x80000000));
}

/* a * (1/b), which is zero for the largest b (9.7.3.8). */
static inline float div_approx(float x, float y)
{
    float zero = copysign32(x * copysign32(y, 1), 0);
    float large = fabsf(x) < INFINITY ? zero : NAN32;
    return fabsf(y) > 0x1p126f && fabsf(y) < INFINITY ? large : (float)((double)x / (double)y);
}

/* ---- f32: four handlers each, by .ftz and .sat */

#define OUT(ftz, sat, result)         \
    {                                 \
        float r = (result);           \
        if (sat)                      \
            r = saturate(r);          \
        r = r != r ? NAN32 : r;       \
        to[l] = (ftz) ? flush(r) : r; \
    }
#define IN(ftz, s) ((ftz) ? flush(s[l]) : s[l])
#define F32_RUN(name, ftz, sat, SOURCES, OPERANDS, result)                                \
    static void name(struct warp *w, const struct ptx_instr *in, uint32_t mask)           \
    {                                                                                     \
        lane_f32 spare[WARP_LANES] __attribute__((aligned(64)));                          \
        lane_f32 *to = alu_target(w, in, 0, mask, spare);                                 \
        SOURCES                                                                           \
        FOR_LANES(l){OPERANDS OUT(ftz, sat, result)} alu_store(w, in, 0, mask, to, spare, \
                                                               sizeof *spare);            \
    }
#define X_SOURCE   const lane_f32 *sx = slot_of(w, in, 1);
#define XY_SOURCE  X_SOURCE const lane_f32 *sy = slot_of(w, in, 2);
#define XYZ_SOURCE XY_SOURCE const lane_f32 *sz = slot_of(w, in, 3);
#define F32_1(name, ftz, sat, result) \
    F32_RUN(name, ftz, sat, X_SOURCE, const float x = IN(ftz, sx);, result)
#define F32_2(name, ftz, sat, result)                                                            \
    F32_RUN(name, ftz, sat, XY_SOURCE, const float x = IN(ftz, sx); const float y = IN(ftz, sy); \
            , result)
#define F32_3(name, ftz, sat, result)                                                             \
    F32_RUN(name, ftz, sat, XYZ_SOURCE, const float x = IN(ftz, sx); const float y = IN(ftz, sy); \
            const float z = IN(ftz, sz);, result)
#define FTZ(n, name, result) \
    F32_##n(name, false, false, result) F32_##n(name##_ftz, true, false, result)
#define FTZ_SAT(n, name, result) \
    FTZ(n, name, result)         \
    F32_##n(name##_sat, false, true, result) F32_##n(name##_ftz_sat, true, true, result)

FTZ_SAT(2, run_add, x + y)
FTZ_SAT(2, run_sub, x - y)
FTZ_SAT(2, run_mul, (x * y))
FTZ_SAT(3, run_fma, fmaf(x, y, z))
FTZ(2, run_div, x / y)
FTZ(2, run_div_approx, div_approx(x, y))
FTZ(2, run_div_full, (float)((double)x / (double)y))
FTZ(1, run_rcp, 1 / x)
FTZ(1, run_sqrt, sqrtf(x))
FTZ(1, run_rsqrt_approx, (float)(1 / sqrt((double)x)))
FTZ(1, run_sin_approx, (float)sin((double)x))
FTZ(1, run_cos_approx, (float)cos((double)x))
FTZ(1, run_lg2_approx, (float)log2((double)x))
FTZ(1, run_ex2_approx, (float)exp2((double)x))
F32_1(run_tanh_approx, false, false, (float)tanh((double)x))
FTZ(1, run_neg, -x)
FTZ(1, run_abs, fabsf(x))
FTZ(2, run_min, min32(x, y))
FTZ(2, run_max, max32(x, y))
FTZ(2, run_min_nan, nan_of(x, y, min32(x, y)))
FTZ(2, run_max_nan, nan_of(x, y, max32(x, y)))
FTZ(2, run_min_xor, xor_sign(x, y, min32(fabsf(x), fabsf(y))))
FTZ(2, run_max_xor, xor_sign(x, y, max32(fabsf(x), fabsf(y))))
FTZ(2, run_min_nan_xor, nan_of(x, y, xor_sign(x, y, min32(fabsf(x), fabsf(y)))))
FTZ(2, run_max_nan_xor, nan_of(x, y, xor_sign(x, y, max32(fabsf(x), fabsf(y)))))
ALU_2(run_copysign, lane_f32, lane_f32, lane_f32, copysign32(x, y))

/* ---- f64 */

#define F64 lane_f64
ALU_2(run_add64, F64, F64, F64, x + y)
ALU_2(run_sub64, F64, F64, F64, x - y)
ALU_2(run_mul64, F64, F64, F64, (x * y))
ALU_3(run_fma64, F64, F64, F64, F64, fma(x, y, z))
ALU_2(run_div64, F64, F64, F64, x / y)
ALU_1(run_rcp64, F64, F64, 1 / x)
ALU_1(run_sqrt64, F64, F64, sqrt(x))
ALU_1(run_neg64, F64, F64, -x)
ALU_1(run_abs64, F64, F64, fabs(x))
ALU_2(run_min64, F64, F64, F64, min64(x, y))
ALU_2(run_max64, F64, F64, F64, max64(x, y))
ALU_2(run_copysign64, F64, F64, F64, copysign64(x, y))
ALU_1(run_rsqrt64, F64, F64, 1 / sqrt(x))

/* The approximations in f64 look at the upper 32 bits only and leave the lower ones zero (9.7.3.14,
 * 9.7.3.17); subnormals are flushed and a NaN is canonical. */
static inline double upper64(double x)
{
    uint64_t bits = number_bits64(x);
    bits &= bits >> 52 & 0x7ff ? UINT64_C(0xffffffff00000000) : UINT64_C(1) << 63;
    return x != x ? number_of64(UINT64_C(0x7fffffff00000000)) : number_of64(bits);
}
ALU_1(run_rcp64_ftz, F64, F64, upper64(1 / upper64(x)))
ALU_1(run_rsqrt64_ftz, F64, F64, upper64(1 / sqrt(upper64(x))))

/* ---- testp: a property of each lane's number to a predicate */

enum property { FINITE, INFINITE, NUMBER, NOTANUMBER, NORMAL, SUBNORMAL };

/* abs: of the number's bits; infinity's, and the least normal one's, in its width. */
static bool has_property(enum property p, uint64_t abs, uint64_t infinity, uint64_t normal)
{
    switch (p) {
    case FINITE:
        return abs < infinity;
    case INFINITE:
        return abs == infinity;
    case NUMBER:
        return abs <= infinity;
    case NOTANUMBER:
        return abs > infinity;
    case NORMAL:
        return abs == 0 || (abs >= normal && abs < infinity);
    case SUBNORMAL:
        break;
    }
    return abs > 0 && abs < normal;
}

static void run_testp(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    enum property p = (enum property)in->form.detail[0];
    uint32_t lanes = 0;
    for (int l = 0; l < WARP_LANES; l++) {
        bool has = in->width[1] == 4
                       ? has_property(p, slot32(w, in, 1)[l] & INT32_MAX, 0x7f800000, 0x00800000)
                       : has_property(p, slot64(w, in, 1)[l] & INT64_MAX, UINT64_C(0x7ff) << 52,
                                      UINT64_C(1) << 52);
        lanes |= (uint32_t)has << l;
    }
    alu_store_pred(slot_pred(w, in, 0), lanes, mask);
}

static bool find_testp(const struct alu_name *name, struct ptx_form *form)
{
    static const char *const words[] = {"finite",     "infinite", "number",
                                        "notanumber", "normal",   "subnormal"};
    bool is32 = strcmp(name->word[2], "f32") == 0;
    if (strcmp(name->word[0], "testp") != 0 || name->n != 3 || name->modifiers ||
        !(is32 || strcmp(name->word[2], "f64") == 0))
        return false;
    for (uint32_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(name->word[1], words[i]) == 0) {
            form->operands = is32 ? "p=r" : "p=d";
            form->run = run_testp;
            form->detail[0] = i;
            return true;
        }
    return false;
}

/* ---- The table */

enum rounding { NO_ROUNDING, ROUNDING_MAY, ROUNDING_MUST };

struct float_form {
    const char *base, *type, *operands;
    enum rounding rounding;
    uint32_t modifiers; /* that must be there */
    ptx_run *run[4];    /* plain, .ftz, .sat, .ftz.sat; NULL where there is none */
};

#define RUN_FTZ(name)    \
    {                    \
        name, name##_ftz \
    }
#define RUN_FTZ_SAT(name)                            \
    {                                                \
        name, name##_ftz, name##_sat, name##_ftz_sat \
    }
#define XOR_ABS (ALU_XORSIGN | ALU_ABS)
static const struct float_form forms[] = {
    {"add", "f32", "r=rr", ROUNDING_MAY, 0, RUN_FTZ_SAT(run_add)},
    {"sub", "f32", "r=rr", ROUNDING_MAY, 0, RUN_FTZ_SAT(run_sub)},
    {"mul", "f32", "r=rr", ROUNDING_MAY, 0, RUN_FTZ_SAT(run_mul)},
    {"fma", "f32", "r=rrr", ROUNDING_MUST, 0, RUN_FTZ_SAT(run_fma)},
    {"mad", "f32", "r=rrr", ROUNDING_MUST, 0, RUN_FTZ_SAT(run_fma)},
    {"div", "f32", "r=rr", ROUNDING_MUST, 0, RUN_FTZ(run_div)},
    {"div", "f32", "r=rr", NO_ROUNDING, ALU_APPROX, RUN_FTZ(run_div_approx)},
    {"div", "f32", "r=rr", NO_ROUNDING, ALU_FULL, RUN_FTZ(run_div_full)},
    {"rcp", "f32", "r=r", ROUNDING_MUST, 0, RUN_FTZ(run_rcp)},
    {"rcp", "f32", "r=r", NO_ROUNDING, ALU_APPROX, RUN_FTZ(run_rcp)},
    {"sqrt", "f32", "r=r", ROUNDING_MUST, 0, RUN_FTZ(run_sqrt)},
    {"sqrt", "f32", "r=r", NO_ROUNDING, ALU_APPROX, RUN_FTZ(run_sqrt)},
    {"rsqrt", "f32", "r=r", NO_ROUNDING, ALU_APPROX, RUN_FTZ(run_rsqrt_approx)},
    {"sin", "f32", "r=r", NO_ROUNDING, ALU_APPROX, RUN_FTZ(run_sin_approx)},
    {"cos", "f32", "r=r", NO_ROUNDING, ALU_APPROX, RUN_FTZ(run_cos_approx)},
    {"lg2", "f32", "r=r", NO_ROUNDING, ALU_APPROX, RUN_FTZ(run_lg2_approx)},
    {"ex2", "f32", "r=r", NO_ROUNDING, ALU_APPROX, RUN_FTZ(run_ex2_approx)},
    {"tanh", "f32", "r=r", NO_ROUNDING, ALU_APPROX, {run_tanh_approx}},
    {"neg", "f32", "r=r", NO_ROUNDING, 0, RUN_FTZ(run_neg)},
    {"abs", "f32", "r=r", NO_ROUNDING, 0, RUN_FTZ(run_abs)},
    {"min", "f32", "r=rr", NO_ROUNDING, 0, RUN_FTZ(run_min)},
    {"max", "f32", "r=rr", NO_ROUNDING, 0, RUN_FTZ(run_max)},
    {"min", "f32", "r=rr", NO_ROUNDING, ALU_NAN, RUN_FTZ(run_min_nan)},
    {"max", "f32", "r=rr", NO_ROUNDING, ALU_NAN, RUN_FTZ(run_max_nan)},
    {"min", "f32", "r=rr", NO_ROUNDING, XOR_ABS, RUN_FTZ(run_min_xor)},
    {"max", "f32", "r=rr", NO_ROUNDING, XOR_ABS, RUN_FTZ(run_max_xor)},
    {"min", "f32", "r=rr", NO_ROUNDING, ALU_NAN | XOR_ABS, RUN_FTZ(run_min_nan_xor)},
    {"max", "f32", "r=rr", NO_ROUNDING, ALU_NAN | XOR_ABS, RUN_FTZ(run_max_nan_xor)},
    {"copysign", "f32", "r=rr", NO_ROUNDING, 0, {run_copysign}},
    {"add", "f64", "d=dd", ROUNDING_MAY, 0, {run_add64}},
    {"sub", "f64", "d=dd", ROUNDING_MAY, 0, {run_sub64}},
    {"mul", "f64", "d=dd", ROUNDING_MAY, 0, {run_mul64}},
    {"fma", "f64", "d=ddd", ROUNDING_MUST, 0, {run_fma64}},
    {"mad", "f64", "d=ddd", ROUNDING_MUST, 0, {run_fma64}},
    {"div", "f64", "d=dd", ROUNDING_MUST, 0, {run_div64}},
    {"rcp", "f64", "d=d", ROUNDING_MUST, 0, {run_rcp64}},
    {"sqrt", "f64", "d=d", ROUNDING_MUST, 0, {run_sqrt64}},
    {"neg", "f64", "d=d", NO_ROUNDING, 0, {run_neg64}},
    {"abs", "f64", "d=d", NO_ROUNDING, 0, {run_abs64}},
    {"min", "f64", "d=dd", NO_ROUNDING, 0, {run_min64}},
    {"max", "f64", "d=dd", NO_ROUNDING, 0, {run_max64}},
    {"copysign", "f64", "d=dd", NO_ROUNDING, 0, {run_copysign64}},
    {"rsqrt", "f64", "d=d", NO_ROUNDING, ALU_APPROX, {run_rsqrt64, run_rsqrt64_ftz}},
    {"rcp", "f64", "d=d", NO_ROUNDING, ALU_APPROX, {NULL, run_rcp64_ftz}},
};

/* detail: the row, the one of its handlers, the rounding. The handler is called through a pointer,
 * so that the compiler cannot move its arithmetic out of the other rounding mode. */
static void run_directed(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    const uint32_t *detail = in->form.detail;
    ptx_run *volatile run = forms[detail[0]].run[detail[1]];
    fesetround(detail[2] == ALU_RZ ? FE_TOWARDZERO : detail[2] == ALU_RM ? FE_DOWNWARD : FE_UPWARD);
    run(w, in, mask);
    fesetround(FE_TONEAREST);
}

static bool rounding_fits(enum rounding rounding, uint32_t modes)
{
    bool one = modes && (modes & (modes - 1)) == 0;
    return rounding == NO_ROUNDING    ? modes == 0
           : rounding == ROUNDING_MAY ? modes == 0 || one
                                      : one;
}

bool find_float(const char *opcode, int n_operand, struct ptx_form *form)
{
    struct alu_name name;
    (void)n_operand;
    if (!alu_split(opcode, &name))
        return false;
    if (find_testp(&name, form))
        return true;
    uint32_t modes = name.modifiers & ALU_ROUND, flags = ALU_FTZ | ALU_SAT;
    uint32_t variant = (name.modifiers & ALU_FTZ ? 1 : 0) | (name.modifiers & ALU_SAT ? 2 : 0);
    for (uint32_t i = 0; name.n == 2 && i < sizeof forms / sizeof *forms; i++) {
        const struct float_form *f = &forms[i];
        if (strcmp(name.word[0], f->base) != 0 || strcmp(name.word[1], f->type) != 0 ||
            (name.modifiers & ~(uint32_t)ALU_ROUND & ~flags) != f->modifiers || !f->run[variant] ||
            !rounding_fits(f->rounding, modes))
            continue;
        form->operands = f->operands;
        form->run = modes & ALU_DIRECTED ? run_directed : f->run[variant];
        form->detail[0] = i;
        form->detail[1] = variant;
        form->detail[2] = modes;
        return true;
    }
    return false;
}
