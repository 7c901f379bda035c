/* Executing mma.sync: fragments to matrices of floats, the product, the result to fragments. */
#include "mma.h"

#include <string.h>

#define HALF_ROWS (MMA_M / 2)
#define HALF      (HALF_ROWS * MMA_N) /* elements of the upper and of the lower rows of D */

/* A row of eight numbers: one vector where the processor has that long ones. */
typedef float row8 __attribute__((vector_size(MMA_N * sizeof(float))));

union rows {
    row8 row[MMA_K_MAX];
    float element[MMA_K_MAX * MMA_N];
};

/* The lanes of a group hold width = 4 e columns of their row in a register, one behind the other:
 * a decoded register of A is a block of 8 rows and width columns, one of B the same of B
 * transposed. A stays in such blocks; B is turned round. */
struct matrices {
    float a[4][8 * WARP_LANES];
    union rows b, d;
};

/* to is from with the bits of an element's index turned left by one. */
static void shuffle(const float *restrict from, float *restrict to, int n)
{
    for (int i = 0; i < n / 2; i++) {
        to[2 * i] = from[i];
        to[2 * i + 1] = from[i + n / 2];
    }
}

/* A block is (8, width). Three turns bring the row's bits behind the column's: (width, 8). In
 * these loops, unlike in the plain transposition, the compiler finds vector instructions. */
static void gather_b(struct matrices *m, const uint32_t *reg, enum mma_type type, int first_row)
{
    float x[8 * WARP_LANES], y[8 * WARP_LANES];
    int n = WARP_LANES * mma_elements(type);
    mma_decode(type, reg, x);
    shuffle(x, y, n);
    shuffle(y, x, n);
    shuffle(x, &m->b.element[first_row * MMA_N], n);
}

/* D += A B, with n_block blocks of A beside each other and as many of B below each other. Half
 * of D's rows at a time, whose sums stay in vector registers. */
static inline void product(struct matrices *m, int n_block, int width)
{
    for (int half = 0; half < 2; half++) {
        row8 sum[HALF_ROWS];
        for (int r = 0; r < HALF_ROWS; r++)
            sum[r] = m->d.row[HALF_ROWS * half + r];
        for (int j = 0; j < n_block; j++)
            for (int k = 0; k < width; k++)
                for (int r = 0; r < HALF_ROWS; r++)
                    sum[r] += m->a[half + 2 * j][width * r + k] * m->b.row[width * j + k];
        for (int r = 0; r < HALF_ROWS; r++)
            m->d.row[HALF_ROWS * half + r] = sum[r];
    }
}

/* One product for each width, so that the compiler knows it. */
static void product_of(struct matrices *m, int n_block, int width)
{
    if (width == 4)
        product(m, n_block, 4);
    else if (width == 8)
        product(m, n_block, 8);
    else if (width == 16)
        product(m, n_block, 16);
    else
        product(m, n_block, 32);
}

/* Registers 0 and 1 hold the upper rows' even and odd columns, 2 and 3 the lower rows'. */
static void gather_f32(struct matrices *m, const struct warp *w, const struct ptx_instr *in,
                       int first)
{
    for (int j = 0; j < 4; j += 2) {
        float even[WARP_LANES], odd[WARP_LANES], *d = m->d.element + HALF * (j / 2);
        memcpy(even, slot32(w, in, first + j), sizeof even);
        memcpy(odd, slot32(w, in, first + j + 1), sizeof odd);
        for (int l = 0; l < WARP_LANES; l++) {
            d[2 * l] = even[l];
            d[2 * l + 1] = odd[l];
        }
    }
}

static void scatter_f32(const struct matrices *m, const struct warp *w, const struct ptx_instr *in)
{
    uint32_t bits[MMA_M * MMA_N];
    memcpy(bits, m->d.element, sizeof bits);
    for (int i = 0; i < MMA_M * MMA_N; i++)
        bits[i] = (bits[i] & 0x7fffffff) > 0x7f800000 ? 0x7fffffff : bits[i];
    for (int j = 0; j < 4; j++) {
        uint32_t *d = slot32(w, in, j);
        for (int l = 0; d && l < WARP_LANES; l++)
            d[l] = bits[HALF * (j / 2) + 2 * l + j % 2];
    }
}

/* A register holds all of the upper rows, the other all of the lower. */
static void gather_f16(struct matrices *m, const struct warp *w, const struct ptx_instr *in,
                       int first)
{
    for (int j = 0; j < 2; j++)
        mma_decode(MMA_F16, slot32(w, in, first + j), m->d.element + HALF * j);
}

static void scatter_f16(const struct matrices *m, const struct warp *w, const struct ptx_instr *in)
{
    for (int j = 0; j < 2; j++) {
        uint16_t half[HALF];
        uint32_t *d = slot32(w, in, j);
        mma_halves_of_floats(m->d.element + HALF * j, half, HALF);
        if (d)
            memcpy(d, half, sizeof half);
    }
}

static inline uint32_t add_clamped(int32_t x, int32_t y)
{
    int64_t sum = (int64_t)x + y;
    return (uint32_t)(sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum);
}

/* The products' sum, below 2^24, came as floats; C is added here, as it may be larger. */
static void scatter_s32(const struct matrices *m, const struct warp *w, const struct ptx_instr *in,
                        int first)
{
    bool clamp = in->form.detail[2] == MMA_TO_S32_SATFINITE;
    int32_t sum[MMA_M * MMA_N];
    for (int i = 0; i < MMA_M * MMA_N; i++)
        sum[i] = (int32_t)m->d.element[i];
    for (int j = 0; j < 4; j++) {
        const uint32_t *c = slot32(w, in, first + j);
        const int32_t *from = sum + HALF * (j / 2) + j % 2;
        uint32_t *d = slot32(w, in, j), result[WARP_LANES];
        for (int l = 0; l < WARP_LANES; l++)
            result[l] =
                clamp ? add_clamped((int32_t)c[l], from[2 * l]) : c[l] + (uint32_t)from[2 * l];
        if (d)
            memcpy(d, result, sizeof result);
    }
}

void mma_run(struct warp *w, const struct ptx_instr *in, uint32_t mask)
{
    struct matrices m;
    enum mma_type a = (enum mma_type)in->form.detail[0], b = (enum mma_type)in->form.detail[1];
    enum mma_result result = (enum mma_result)in->form.detail[2];
    int n_a = (int)in->form.detail[3], n_b = n_a / 2, n_d = result == MMA_TO_F16 ? 2 : 4;
    int first_a = n_d, first_b = first_a + n_a, first_c = first_b + n_b;
    int width = 4 * mma_elements(a);
    if (mask != UINT32_MAX)
        fault_raise(w, in, -1, FAULT_DIVERGENT, "mma needs all lanes, only 0x%08x are here", mask);
    for (int j = 0; j < n_a; j++)
        mma_decode(a, slot32(w, in, first_a + j), m.a[j]);
    for (int j = 0; j < n_b; j++)
        gather_b(&m, slot32(w, in, first_b + j), b, width * j);
    if (result == MMA_TO_F32)
        gather_f32(&m, w, in, first_c);
    else if (result == MMA_TO_F16)
        gather_f16(&m, w, in, first_c);
    else
        memset(m.d.row, 0, MMA_M * sizeof m.d.row[0]);
    product_of(&m, n_b, width);
    if (result == MMA_TO_F32)
        scatter_f32(&m, w, in);
    else if (result == MMA_TO_F16)
        scatter_f16(&m, w, in);
    else
        scatter_s32(&m, w, in, first_c);
}
