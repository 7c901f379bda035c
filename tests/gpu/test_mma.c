/* mma.sync against a triple loop in double. Matrices go into the lanes' registers by the formulas
 * of the PTX ISA, typed off shape by shape (9.7.14.5.6 to 9.7.14.5.11), and elements become
 * numbers by the definitions of their formats. */
#include "test_warp.h"

#include <math.h>

enum type { F16, BF16, TF32, E4M3, E5M2, S8, U8, S4, U4 };

static const struct {
    const char *name;
    int bits;
} types[] = {[F16] = {"f16", 16},  [BF16] = {"bf16", 16}, [TF32] = {"tf32", 32},
             [E4M3] = {"e4m3", 8}, [E5M2] = {"e5m2", 8},  [S8] = {"s8", 8},
             [U8] = {"u8", 8},     [S4] = {"s4", 4},      [U4] = {"u4", 4}};

struct place {
    int row, col;
};

/* Where element i of lane's fragment of A belongs, from the section on the shape. */
static struct place place_a(int K, int bits, int lane, int i)
{
    int g = lane >> 2, t = lane % 4;
    if (K == 4) /* 9.7.14.5.6, tf32 */
        return (struct place){i == 0 ? g : g + 8, t};
    if (K == 8 && bits == 16) /* 9.7.14.5.7, f16 and bf16 */
        return (struct place){i < 2 ? g : g + 8, t * 2 + (i & 1)};
    if (K == 8) /* 9.7.14.5.7, tf32 */
        return (struct place){i == 0 || i == 2 ? g : g + 8, i < 2 ? t : t + 4};
    if (K == 16 && bits == 16) /* 9.7.14.5.8 */
        return (struct place){i < 2 || (4 <= i && i < 6) ? g : g + 8,
                              i < 4 ? t * 2 + (i & 1) : t * 2 + (i & 1) + 8};
    if (K == 16) /* 9.7.14.5.9 */
        return (struct place){i < 4 ? g : g + 8, t * 4 + (i & 3)};
    if (K == 32 && bits == 4) /* 9.7.14.5.10, s4 and u4 */
        return (struct place){i < 8 ? g : g + 8, t * 8 + (i & 7)};
    if (K == 32) /* 9.7.14.5.10, of 8 bits */
        return (struct place){i < 4 || (8 <= i && i < 12) ? g : g + 8,
                              i < 8 ? t * 4 + (i & 3) : t * 4 + (i & 3) + 16};
    /* 9.7.14.5.11 */
    return (struct place){i < 8 || (16 <= i && i < 24) ? g : g + 8,
                          i < 16 ? t * 8 + (i & 7) : t * 8 + (i & 7) + 32};
}

static struct place place_b(int K, int bits, int lane, int i)
{
    int g = lane >> 2, t = lane % 4;
    if (K == 4)
        return (struct place){t, g};
    if (K == 8 && bits == 16)
        return (struct place){t * 2 + i, g};
    if (K == 8)
        return (struct place){i == 0 ? t : t + 4, g};
    if (K == 16 && bits == 16)
        return (struct place){i < 2 ? t * 2 + (i & 1) : t * 2 + (i & 1) + 8, g};
    if (K == 16)
        return (struct place){t * 4 + i, g};
    if (K == 32 && bits == 4)
        return (struct place){t * 8 + i, g};
    if (K == 32)
        return (struct place){i < 4 ? t * 4 + (i & 3) : t * 4 + (i & 3) + 16, g};
    return (struct place){i < 8 ? t * 8 + (i & 7) : t * 8 + (i & 7) + 32, g};
}

/* The same for C and D in all of these shapes. */
static struct place place_c(int lane, int i)
{
    int g = lane >> 2, t = lane % 4;
    return (struct place){i < 2 ? g : g + 8, t * 2 + (i & 1)};
}

/* A float of few bits by its definition; special exponents are not asked for here. */
static double small_float(uint32_t code, int exponent_bits, int mantissa_bits)
{
    int bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (int)(code >> mantissa_bits & ((1u << exponent_bits) - 1));
    int mantissa = (int)(code & ((1u << mantissa_bits) - 1));
    double value = exponent == 0
                       ? ldexp(mantissa, 1 - bias - mantissa_bits)
                       : ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
    return code >> (exponent_bits + mantissa_bits) & 1 ? -value : value;
}

static double number(enum type type, uint32_t code)
{
    switch (type) {
    case F16:
        return small_float(code, 5, 10);
    case BF16:
        return small_float(code, 8, 7);
    case TF32: /* the last 13 bits do not count */
        return small_float(code >> 13, 8, 10);
    case E4M3:
        return small_float(code, 4, 3);
    case E5M2:
        return small_float(code, 5, 2);
    case S8:
        return code < 128 ? code : (double)code - 256;
    case S4:
        return code < 8 ? code : (double)code - 16;
    case U8:
    case U4:
        break;
    }
    return code;
}

/* A finite element; for the wide exponents one whose products stay within f32. */
static uint32_t random_code(enum type type)
{
    uint32_t code = rig_random();
    switch (type) {
    case F16:
        return (code & 0x8000) | (code & 0x7fff) % 0x7c00;
    case BF16:
        return (code & 0x8000) | (0x3a00 + code % 0x0800);
    case TF32:
        return (code & 0x80000000) | (0x3a000000 + code % 0x08000000);
    case E4M3:
        return (code & 0x80) | (code & 0x7f) % 0x7f;
    case E5M2:
        return (code & 0x80) | (code & 0x7f) % 0x7c;
    case S8:
    case U8:
        return code & 255;
    case S4:
    case U4:
        break;
    }
    return code & 15;
}

struct shape {
    const char *shape, *d; /* "m16n8k16.row.col", "f32": types of D and C */
    int K;
    enum type a, b;
};

struct problem {
    struct shape shape;
    uint32_t a[16][64], b[64][8];                  /* codes */
    double c[16][8], sum[16][8], magnitude[16][8]; /* magnitude: of what was summed */
};

static void problem_fill(struct problem *p)
{
    for (int m = 0; m < 16; m++)
        for (int k = 0; k < p->shape.K; k++)
            p->a[m][k] = random_code(p->shape.a);
    for (int k = 0; k < p->shape.K; k++)
        for (int n = 0; n < 8; n++)
            p->b[k][n] = random_code(p->shape.b);
}

static void problem_solve(struct problem *p)
{
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 8; n++) {
            p->sum[m][n] = p->c[m][n];
            p->magnitude[m][n] = fabs(p->c[m][n]);
            for (int k = 0; k < p->shape.K; k++) {
                double product = number(p->shape.a, p->a[m][k]) * number(p->shape.b, p->b[k][n]);
                p->sum[m][n] += product;
                p->magnitude[m][n] += fabs(product);
            }
        }
}

/* Puts element i, counted over the registers from the low bits up, into the lane's registers. */
static void put(struct rig *r, int first, int lane, int i, int bits, uint32_t code)
{
    int per_register = 32 / bits;
    rig_reg(r, first + i / per_register)[lane] |= code << (i % per_register * bits);
}

struct registers {
    int a, b, c; /* first slots */
};

static struct registers load(struct rig *r, const struct problem *p)
{
    int bits = types[p->shape.a].bits, n_a = 16 * p->shape.K / 32, n_b = n_a / 2;
    int n_d = strcmp(p->shape.d, "f16") == 0 ? 2 : 4;
    struct registers first = {n_d, n_d + n_a * bits / 32, n_d + n_a * bits / 32 + n_b * bits / 32};
    memset(r->reg, 0, sizeof r->reg);
    CHECK_EQ(r->in.n_slot, first.c + n_d);
    for (int lane = 0; lane < WARP_LANES; lane++) {
        for (int i = 0; i < n_a; i++) {
            struct place at = place_a(p->shape.K, bits, lane, i);
            put(r, first.a, lane, i, bits, p->a[at.row][at.col]);
        }
        for (int i = 0; i < n_b; i++) {
            struct place at = place_b(p->shape.K, bits, lane, i);
            put(r, first.b, lane, i, bits, p->b[at.row][at.col]);
        }
    }
    return first;
}

static bool take(struct rig *r, const struct shape *s, const char *modifier)
{
    char opcode[128];
    snprintf(opcode, sizeof opcode, "mma.sync.aligned.%s%s.%s.%s.%s.%s", s->shape, modifier, s->d,
             types[s->a].name, types[s->b].name, s->d);
    return rig_take(r, find_matrix, opcode, 4);
}

static void check_f32(struct rig *r, struct problem *p)
{
    struct registers first = load(r, p);
    for (int lane = 0; lane < WARP_LANES; lane++)
        for (int i = 0; i < 4; i++) {
            struct place at = place_c(lane, i);
            float c = (float)((double)rig_random() / 0x1p32 - 0.5);
            p->c[at.row][at.col] = c;
            memcpy(&rig_reg(r, first.c + i)[lane], &c, sizeof c);
        }
    problem_solve(p);
    CHECK_EQ(rig_run(r, UINT32_MAX), FAULT_NONE);
    for (int lane = 0; lane < WARP_LANES; lane++)
        for (int i = 0; i < 4; i++) {
            struct place at = place_c(lane, i);
            float d;
            memcpy(&d, &rig_reg(r, i)[lane], sizeof d);
            CHECK_NEAR(d, p->sum[at.row][at.col],
                       p->magnitude[at.row][at.col] * p->shape.K * 0x1p-24);
        }
}

TEST(gpu_mma, float_forms_are_the_product_within_rounding)
{
    static const struct shape shapes[] = {
        {"m16n8k8.row.col", "f32", 8, F16, F16},     {"m16n8k16.row.col", "f32", 16, F16, F16},
        {"m16n8k8.row.col", "f32", 8, BF16, BF16},   {"m16n8k16.row.col", "f32", 16, BF16, BF16},
        {"m16n8k4.row.col", "f32", 4, TF32, TF32},   {"m16n8k8.row.col", "f32", 8, TF32, TF32},
        {"m16n8k16.row.col", "f32", 16, E4M3, E4M3}, {"m16n8k16.row.col", "f32", 16, E4M3, E5M2},
        {"m16n8k16.row.col", "f32", 16, E5M2, E4M3}, {"m16n8k16.row.col", "f32", 16, E5M2, E5M2},
        {"m16n8k32.row.col", "f32", 32, E4M3, E4M3}, {"m16n8k32.row.col", "f32", 32, E4M3, E5M2},
        {"m16n8k32.row.col", "f32", 32, E5M2, E4M3}, {"m16n8k32.row.col", "f32", 32, E5M2, E5M2},
    };
    struct rig r;
    rig_open(&r);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        struct problem p = {.shape = shapes[s]};
        CHECK(take(&r, &p.shape, ""));
        CHECK_EQ(r.in.form.flow, FLOW_ALIGNED);
        for (int times = 0; times < 4; times++) {
            problem_fill(&p);
            check_f32(&r, &p);
        }
        if (p.shape.K == 32) {
            CHECK(take(&r, &p.shape, ".kind::f8f6f4"));
            check_f32(&r, &p);
        }
    }
    rig_close(&r);
}

/* C and D in halves: C is a small integer, exact in f16. The result is within half a unit of
 * its last place, which is 2^-11 of it (or 2^-25), and f32's rounding of the sums. */
static void check_f16(struct rig *r, struct problem *p)
{
    struct registers first = load(r, p);
    for (int lane = 0; lane < WARP_LANES; lane++)
        for (int i = 0; i < 4; i++) {
            struct place at = place_c(lane, i);
            uint32_t c = 0x3c00 + (rig_random() & 0x8000) + (rig_random() & 0x3ff);
            p->c[at.row][at.col] = small_float(c, 5, 10);
            put(r, first.c, lane, i, 16, c);
        }
    problem_solve(p);
    CHECK_EQ(rig_run(r, UINT32_MAX), FAULT_NONE);
    for (int lane = 0; lane < WARP_LANES; lane++)
        for (int i = 0; i < 4; i++) {
            struct place at = place_c(lane, i);
            uint32_t d = rig_reg(r, i / 2)[lane] >> (i % 2 * 16) & 0xffff;
            double want = p->sum[at.row][at.col], sums = p->magnitude[at.row][at.col];
            if (fabs(want) < 65504)
                CHECK_NEAR(small_float(d, 5, 10), want,
                           fmax(fabs(want) * 0x1p-11, 0x1p-25) + sums * p->shape.K * 0x1p-24);
            else if (fabs(want) > 65600)
                CHECK_EQ(d, want < 0 ? 0xfc00 : 0x7c00);
        }
}

TEST(gpu_mma, half_accumulators_are_rounded_at_the_end)
{
    static const struct shape shapes[] = {
        {"m16n8k8.row.col", "f16", 8, F16, F16},     {"m16n8k16.row.col", "f16", 16, F16, F16},
        {"m16n8k16.row.col", "f16", 16, E4M3, E4M3}, {"m16n8k16.row.col", "f16", 16, E4M3, E5M2},
        {"m16n8k16.row.col", "f16", 16, E5M2, E4M3}, {"m16n8k16.row.col", "f16", 16, E5M2, E5M2},
        {"m16n8k32.row.col", "f16", 32, E4M3, E4M3}, {"m16n8k32.row.col", "f16", 32, E4M3, E5M2},
        {"m16n8k32.row.col", "f16", 32, E5M2, E4M3}, {"m16n8k32.row.col", "f16", 32, E5M2, E5M2},
    };
    struct rig r;
    rig_open(&r);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        struct problem p = {.shape = shapes[s]};
        CHECK(take(&r, &p.shape, ""));
        for (int times = 0; times < 4; times++) {
            problem_fill(&p);
            check_f16(&r, &p);
        }
        if (p.shape.K == 32) {
            CHECK(take(&r, &p.shape, ".kind::f8f6f4"));
            check_f16(&r, &p);
        }
    }
    rig_close(&r);
}

/* What a sum of two products becomes in f16: ties go to the even neighbour, subnormals and the
 * step to infinity are right. The codes are of IEEE 754 binary16. */
TEST(gpu_mma, half_results_round_to_nearest_even)
{
    static const struct {
        uint32_t a[2], b[2], want;
    } cases[] = {
        {{0x3c00, 0x1000}, {0x3c00, 0x3c00}, 0x3c00}, /* 1 + 2^-11: a tie */
        {{0x3c01, 0x1000}, {0x3c00, 0x3c00}, 0x3c02}, /* 1 + 2^-10 + 2^-11: a tie */
        {{0x3c00, 0x1001}, {0x3c00, 0x3c00}, 0x3c01}, /* above the tie */
        {{0xbc00, 0x9001}, {0x3c00, 0x3c00}, 0xbc01},
        {{0x0001, 0}, {0x3c00, 0}, 0x0001}, /* the least subnormal */
        {{0x0001, 0}, {0x3800, 0}, 0x0000}, /* half of it: a tie */
        {{0x8003, 0}, {0x3800, 0}, 0x8002}, /* three halves: a tie */
        {{0x0001, 0}, {0x3801, 0}, 0x0001},
        {{0x03ff, 0x0001}, {0x3c00, 0x3800}, 0x0400}, /* up to the least normal */
        {{0x7bff, 0x4b80}, {0x3c00, 0x3c00}, 0x7bff}, /* 65504 + 15 */
        {{0x7bff, 0x4c00}, {0x3c00, 0x3c00}, 0x7c00}, /* 65504 + 16: a tie, infinity is even */
        {{0xfbff, 0xfbff}, {0x3c00, 0x3c00}, 0xfc00},
        {{0x7bff, 0x7bff}, {0x7bff, 0x7bff}, 0x7c00},
        {{0x7c00, 0xfc00}, {0x3c00, 0x3c00}, 0x7fff},
    };
    struct rig r;
    rig_open(&r);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct problem p = {.shape = {"m16n8k16.row.col", "f16", 16, F16, F16}};
        for (int k = 0; k < 2; k++) {
            p.a[0][k] = cases[i].a[k];
            p.b[k][0] = cases[i].b[k];
        }
        CHECK(take(&r, &p.shape, ""));
        load(&r, &p);
        CHECK_EQ(rig_run(&r, UINT32_MAX), FAULT_NONE);
        CHECK_EQ(rig_reg(&r, 0)[0] & 0xffff, cases[i].want);
    }
    rig_close(&r);
}

/* C reaches the ends of int32, so that sums pass them. */
static void check_s32(struct rig *r, struct problem *p, bool clamp)
{
    struct registers first = load(r, p);
    for (int lane = 0; lane < WARP_LANES; lane++)
        for (int i = 0; i < 4; i++) {
            struct place at = place_c(lane, i);
            uint32_t near = rig_random() % 4000, which = rig_random() % 3;
            uint32_t c = which == 0 ? 0x7fffffff - near : which == 1 ? 0x80000000 + near : near;
            p->c[at.row][at.col] = (int32_t)c;
            rig_reg(r, first.c + i)[lane] = c;
        }
    problem_solve(p);
    CHECK_EQ(rig_run(r, UINT32_MAX), FAULT_NONE);
    for (int lane = 0; lane < WARP_LANES; lane++)
        for (int i = 0; i < 4; i++) {
            struct place at = place_c(lane, i);
            double sum = p->sum[at.row][at.col];
            if (clamp)
                sum = fmin(fmax(sum, INT32_MIN), INT32_MAX);
            CHECK_EQ((int32_t)rig_reg(r, i)[lane], (int32_t)(uint32_t)(int64_t)sum);
        }
}

TEST(gpu_mma, integer_forms_are_exact)
{
    static const struct {
        const char *shape;
        int K;
        enum type type[2];
    } shapes[] = {{"m16n8k16.row.col", 16, {S8, U8}},
                  {"m16n8k32.row.col", 32, {S8, U8}},
                  {"m16n8k32.row.col", 32, {S4, U4}},
                  {"m16n8k64.row.col", 64, {S4, U4}}};
    struct rig r;
    rig_open(&r);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int mix = 0; mix < 8; mix++) {
            bool clamp = mix & 4;
            struct problem p = {.shape = {shapes[s].shape, "s32", shapes[s].K,
                                          shapes[s].type[mix & 1], shapes[s].type[mix >> 1 & 1]}};
            CHECK(take(&r, &p.shape, clamp ? ".satfinite" : ""));
            for (int times = 0; times < 4; times++) {
                problem_fill(&p);
                check_s32(&r, &p, clamp);
            }
        }
    rig_close(&r);
}

/* All products at their largest: no sum may lose a bit. */
TEST(gpu_mma, integer_forms_are_exact_at_the_ends_of_the_range)
{
    static const struct shape shapes[] = {{"m16n8k32.row.col", "s32", 32, U8, U8},
                                          {"m16n8k32.row.col", "s32", 32, S8, U8},
                                          {"m16n8k64.row.col", "s32", 64, U4, U4}};
    struct rig r;
    rig_open(&r);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        struct problem p = {.shape = shapes[s]};
        uint32_t top = p.shape.a == U4 ? 15 : 255;
        for (int i = 0; i < 16 * 64; i++)
            p.a[i / 64][i % 64] = p.shape.a == S8 ? 128 : top;
        for (int i = 0; i < 64 * 8; i++)
            p.b[i / 8][i % 8] = top;
        CHECK(take(&r, &p.shape, ""));
        check_s32(&r, &p, false);
    }
    rig_close(&r);
}

/* One special element at A[3][5] reaches row 3 of D and no other. */
static void check_special(struct rig *r, const struct shape *shape, uint32_t special, uint32_t one,
                          uint32_t want)
{
    struct problem p = {.shape = *shape};
    for (int k = 0; k < shape->K; k++)
        for (int n = 0; n < 8; n++)
            p.b[k][n] = one;
    p.a[3][5] = special;
    CHECK(take(r, shape, ""));
    load(r, &p);
    CHECK_EQ(rig_run(r, UINT32_MAX), FAULT_NONE);
    for (int lane = 0; lane < WARP_LANES; lane++)
        for (int i = 0; i < 4; i++)
            CHECK_EQ(rig_reg(r, i)[lane], place_c(lane, i).row == 3 ? want : 0);
}

TEST(gpu_mma, infinity_and_nan_go_through)
{
    static const struct {
        struct shape shape;
        uint32_t special, one, want;
    } cases[] = {
        {{"m16n8k16.row.col", "f32", 16, F16, F16}, 0x7c00, 0x3c00, 0x7f800000},
        {{"m16n8k16.row.col", "f32", 16, F16, F16}, 0xfc00, 0x3c00, 0xff800000},
        {{"m16n8k16.row.col", "f32", 16, F16, F16}, 0x7c01, 0x3c00, 0x7fffffff},
        {{"m16n8k16.row.col", "f32", 16, F16, F16}, 0x7c00, 0x0000, 0x7fffffff},
        {{"m16n8k16.row.col", "f32", 16, F16, F16}, 0x0001, 0x3c00, 0x33800000},
        {{"m16n8k16.row.col", "f32", 16, BF16, BF16}, 0x7f80, 0x3f80, 0x7f800000},
        {{"m16n8k16.row.col", "f32", 16, BF16, BF16}, 0xffc0, 0x3f80, 0x7fffffff},
        {{"m16n8k8.row.col", "f32", 8, TF32, TF32}, 0x7f800000, 0x3f800000, 0x7f800000},
        {{"m16n8k8.row.col", "f32", 8, TF32, TF32}, 0x3f801fff, 0x3f800000, 0x3f800000},
        {{"m16n8k32.row.col", "f32", 32, E4M3, E4M3}, 0x7f, 0x38, 0x7fffffff},
        {{"m16n8k32.row.col", "f32", 32, E4M3, E4M3}, 0x7e, 0x38, 0x43e00000},
        {{"m16n8k32.row.col", "f32", 32, E5M2, E5M2}, 0x7c, 0x3c, 0x7f800000},
        {{"m16n8k32.row.col", "f32", 32, E5M2, E5M2}, 0xfd, 0x3c, 0x7fffffff},
    };
    struct rig r;
    rig_open(&r);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_special(&r, &cases[i].shape, cases[i].special, cases[i].one, cases[i].want);
    rig_close(&r);
}

TEST(gpu_mma, the_result_may_overwrite_an_operand)
{
    struct rig r;
    struct problem p = {.shape = {"m16n8k32.row.col", "s32", 32, S8, S8}};
    rig_open(&r);
    problem_fill(&p);
    CHECK(take(&r, &p.shape, ""));
    struct registers first = load(&r, &p);
    for (int i = 0; i < 4; i++)
        r.in.slot[i] = r.in.slot[i < 2 ? first.a + i : first.b + i - 2];
    problem_solve(&p);
    CHECK_EQ(rig_run(&r, UINT32_MAX), FAULT_NONE);
    for (int lane = 0; lane < WARP_LANES; lane++)
        for (int i = 0; i < 4; i++) {
            struct place at = place_c(lane, i);
            CHECK_EQ((int32_t)rig_reg(&r, i)[lane], p.sum[at.row][at.col]);
        }
    rig_close(&r);
}

TEST(gpu_mma, a_missing_lane_is_a_fault)
{
    struct rig r;
    struct shape shape = {"m16n8k16.row.col", "f32", 16, F16, F16};
    rig_open(&r);
    CHECK(take(&r, &shape, ""));
    CHECK_EQ(rig_run(&r, 0xffff), FAULT_DIVERGENT);
    rig_close(&r);
}

TEST(gpu_mma, unknown_forms_are_refused)
{
    static const char *const opcodes[] = {
        "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32",
        "mma.sync.aligned.m16n8k16.row.row.f32.f16.f16.f32",
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32",
        "mma.sync.aligned.m16n8k16.row.col.f16.bf16.bf16.f16",
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s4.s32",
        "mma.sync.aligned.m16n8k64.row.col.s32.s8.s8.s32",
        "mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.f32.e2m1.e4m3.f32",
        "mma.sync.aligned.m16n8k16.row.col.kind::f8f6f4.f32.e4m3.e4m3.f32",
        "mma.sync.aligned.m16n8k16.row.col.satfinite.f32.f16.f16.f32",
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32.f32",
        "wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32",
    };
    struct ptx_form form;
    for (size_t i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++)
        CHECK(!find_matrix(opcodes[i], 4, &form));
}
