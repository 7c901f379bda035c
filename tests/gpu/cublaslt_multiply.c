/* The product. The order of its sums is one that no kernel of ours has: sixteen sums of every
 * sixteenth value, from the last to the first. */
#include "cublaslt_stand_in.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { A, B, C, D };

#define SUMS 16

static float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* sign, `exponent` bits of exponent, `fraction` bits of fraction, as IEEE 754; e4m3 has no
 * infinities, and one NaN. */
static float small_float(uint32_t bits, int exponent, int fraction, bool is_e4m3)
{
    const uint32_t most = (1u << exponent) - 1, e = bits >> fraction & most;
    const uint32_t f = bits & ((1u << fraction) - 1);
    const int bias = (1 << (exponent - 1)) - 1;
    float value = e ? ldexpf(1 + ldexpf((float)f, -fraction), (int)e - bias)
                    : ldexpf((float)f, 1 - bias - fraction);
    if (e == most && !is_e4m3)
        value = f ? NAN : INFINITY;
    if (e == most && is_e4m3 && f == (1u << fraction) - 1)
        value = NAN;
    return bits >> (exponent + fraction) & 1 ? -value : value;
}

static float value_of(const uint8_t *at, uint32_t type)
{
    uint32_t bits = 0;
    memcpy(&bits, at, (size_t)lt_type_bytes(type));
    switch (type) {
    case CUDA_R_32F:
        return float_of_bits(bits);
    case CUDA_R_16BF:
        return float_of_bits(bits << 16);
    case CUDA_R_16F:
        return small_float(bits, 5, 10, false);
    case CUDA_R_8F_E4M3:
        return small_float(bits, 4, 3, true);
    default:
        return small_float(bits, 5, 2, false);
    }
}

/* To the nearest, ties to even. D is float or bfloat16 in this project: float16 goes by way of a
 * search for the nearest of its values. */
static uint32_t bits_of(float value, uint32_t type)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (type == CUDA_R_32F)
        return bits;
    if (type == CUDA_R_16BF)
        return value != value ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    const uint32_t sign = bits >> 16 & 0x8000;
    const float size = fabsf(value);
    if (value != value)
        return 0x7e00;
    if (size >= 65520)
        return sign | 0x7c00;
    int exponent = -14;
    while (exponent < 15 && size >= ldexpf(1, exponent + 1))
        exponent++;
    const float steps = rintf(ldexpf(size, 10 - exponent)); /* a carry goes into the exponent */
    return sign | (uint32_t)((float)((exponent + 14) * 1024) + steps);
}

/* Rows of K values: those of op(A), or the columns of op(B). */
static float *load(const struct lt_job *job, int which, int64_t rows)
{
    static const char *const names[] = {"A", "B"};
    const struct lt_problem *p = &job->problem;
    const uint32_t type = p->type[which];
    const size_t bytes = (size_t)lt_type_bytes(type);
    const bool along = which == A ? p->transposed[A] : !p->transposed[B]; /* K along a column */
    const int64_t inner = along ? p->k : rows, outer = along ? rows : p->k;
    float *out = malloc((size_t)rows * (size_t)p->k * sizeof *out);
    uint8_t *column = malloc((size_t)inner * bytes);
    bool done = out && column;
    for (int64_t o = 0; o < outer && done; o++) {
        const uint64_t from = job->matrix[which] + (uint64_t)o * (uint64_t)p->ld[which] * bytes;
        done = job->driver->read(column, from, (size_t)inner * bytes, names[which]);
        for (int64_t i = 0; i < inner && done; i++)
            out[along ? o * p->k + i : i * p->k + o] = value_of(column + (size_t)i * bytes, type);
    }
    free(column);
    if (done)
        return out;
    free(out);
    return NULL;
}

/* n values of a vector, or of one value n times; `otherwise` where there is none. */
static float *load_vector(const struct lt_job *job, uint64_t from, int64_t n, uint32_t type,
                          bool is_one, float otherwise, const char *what)
{
    const size_t bytes = (size_t)lt_type_bytes(type);
    float *out = malloc((size_t)n * sizeof *out);
    for (int64_t i = 0; i < n && out; i++) {
        uint8_t value[4];
        out[i] = otherwise;
        if (!from)
            continue;
        if (!job->driver->read(value, from + (is_one ? 0 : (uint64_t)i * bytes), bytes, what)) {
            free(out);
            return NULL;
        }
        out[i] = value_of(value, type);
    }
    return out;
}

static float dot(const float *a, const float *b, int64_t k)
{
    float sums[SUMS] = {0}, sum = 0;
    int64_t at = k;
    for (; at % SUMS; at--)
        sums[0] += a[at - 1] * b[at - 1];
    for (; at > 0; at -= SUMS)
        for (int i = 0; i < SUMS; i++)
            sums[i] += a[at - SUMS + i] * b[at - SUMS + i];
    for (int i = SUMS - 1; i >= 0; i--)
        sum += sums[i];
    return sum;
}

/* All that is read, as floats; freed by the one who asked. */
struct loaded {
    float *a, *b, *scale_a, *scale_b, *bias;
};

/* A column of D at a time. */
static bool multiply_columns(const struct lt_job *job, const struct loaded *in)
{
    const struct lt_problem *p = &job->problem;
    const size_t bytes = (size_t)lt_type_bytes(p->type[D]), length = (size_t)p->m * bytes;
    uint8_t *column = malloc(length);
    bool done = column;
    for (int64_t t = 0; t < p->n && done; t++) {
        if (job->beta != 0)
            done = job->driver->read(
                column, job->matrix[C] + (uint64_t)t * (uint64_t)p->ld[C] * bytes, length, "C");
        for (int64_t i = 0; i < p->m && done; i++) {
            float value = dot(in->a + i * p->k, in->b + t * p->k, p->k) * in->scale_a[i];
            value = job->alpha * (value * in->scale_b[t]) + in->bias[i];
            if (job->beta != 0)
                value += job->beta * value_of(column + (size_t)i * bytes, p->type[C]);
            const uint32_t bits = bits_of(value, p->type[D]);
            memcpy(column + (size_t)i * bytes, &bits, bytes);
        }
        done = done && job->driver->write(job->matrix[D] + (uint64_t)t * (uint64_t)p->ld[D] * bytes,
                                          column, length, "D");
    }
    free(column);
    return done;
}

/* Whatever the library leaves there. */
static bool use_workspace(const struct lt_job *job)
{
    if (!job->workspace_bytes)
        return true;
    void *rubbish = malloc(job->workspace_bytes);
    bool done = rubbish;
    if (done) {
        memset(rubbish, 0xa5, job->workspace_bytes);
        done = job->driver->write(job->workspace, rubbish, job->workspace_bytes, "the workspace");
    }
    free(rubbish);
    return done;
}

bool lt_multiply(const void *arg)
{
    const struct lt_job *job = arg;
    const struct lt_problem *p = &job->problem;
    const bool vectors = p->scale_mode[A] == CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    const struct loaded in = {
        .a = load(job, A, p->m),
        .b = load(job, B, p->n),
        .scale_a = load_vector(job, job->scale[A], p->m, CUDA_R_32F, !vectors, 1, "A's scales"),
        .scale_b = load_vector(job, job->scale[B], p->n, CUDA_R_32F, !vectors, 1, "B's scales"),
        .bias = load_vector(job, job->bias, p->m,
                            p->bias_type < 0 ? CUDA_R_32F : (uint32_t)p->bias_type, false, 0,
                            "the bias")};
    const bool done = in.a && in.b && in.scale_a && in.scale_b && in.bias && use_workspace(job) &&
                      multiply_columns(job, &in);
    free(in.a);
    free(in.b);
    free(in.scale_a);
    free(in.scale_b);
    free(in.bias);
    return done;
}
