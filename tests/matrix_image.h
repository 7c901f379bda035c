/* A matrix by its definition, number by number, and what writes it into the tensors that each
 * layout has. For tests: slow and plain. */
#pragma once

#include "tensor_image.h"

#include "plugin/model/matrix.h"
#include "quant/bf16.h"
#include "quant/e4m3.h"
#include "quant/f16.h"
#include "quant/mxfp4.h"

enum { N_MOST = 300, K_MOST = 640 };

struct definition {
    int N, K;
    int bits;          /* of integers; 0: E4M3 */
    bool e2m1;         /* E2M1, which has 4 */
    int rows, columns; /* of a scale; 0: all */
    enum dtype scales; /* U8: E8M0 */
    float factor;      /* of all scales, or of what they are over; 0: there is none */
    bool asymmetric, shuffled, scaled; /* scaled: its inputs are */
    double tiny;                       /* scales are that small; 0: as in models */
    int code[N_MOST][K_MOST];
    int group[K_MOST];
    int zero[N_MOST][K_MOST]; /* of a row of scales and a group */
    float scale[N_MOST][K_MOST];
    float input[K_MOST]; /* 1 unless they are scaled */
};

static struct definition d;

static uint32_t random_state = 1;

static inline int random_below(int n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (int)((uint64_t)(random_state >> 4) * (uint64_t)n >> 28);
}

static inline int groups(void)
{
    return d.columns ? (d.K + d.columns - 1) / d.columns : 1;
}

static inline int scale_rows(void)
{
    return d.rows ? (d.N + d.rows - 1) / d.rows : 1;
}

/* As the type stores it. */
static inline float as_stored(float value)
{
    return d.scales == DTYPE_F32   ? value
           : d.scales == DTYPE_F16 ? f16_to_float(f16_of_float(value))
                                   : bf16_to_float(bf16_of_float(value));
}

static inline float random_scale(void)
{
    if (d.scales == DTYPE_F8_E4M3)
        return e4m3_to_float((uint8_t)(random_below(0x7f) | random_below(2) << 7));
    if (d.scales == DTYPE_U8)
        return e8m0_to_float((uint8_t)(110 + random_below(12)));
    const float scale = 0.001f + (float)random_below(100000) * 1e-7f;
    return as_stored(d.tiny > 0 ? scale * (float)d.tiny : scale);
}

static inline void define(const struct definition *what)
{
    d = *what;
    for (int n = 0; n < d.N; n++)
        for (int k = 0; k < d.K; k++) {
            d.code[n][k] = random_below(d.bits == 4 || d.e2m1 ? 16 : 256);
            if (!d.bits && !d.e2m1 && (d.code[n][k] & 0x7f) == 0x7f)
                d.code[n][k] = 0x7e;
        }
    for (int k = 0; k < d.K; k++)
        d.group[k] = d.columns ? k / d.columns : 0;
    for (int k = d.K - 1; d.shuffled && k > 0; k--) {
        int other = random_below(k + 1), group = d.group[k];
        d.group[k] = d.group[other];
        d.group[other] = group;
    }
    for (int k = 0; k < d.K; k++)
        d.input[k] = d.scaled ? as_stored(0.25f + (float)random_below(1000) * 0.003f) : 1.0f;
    const int middle = d.bits ? 1 << (d.bits - 1) : 0;
    for (int r = 0; r < scale_rows(); r++)
        for (int g = 0; g < groups(); g++) {
            d.scale[r][g] = random_scale();
            d.zero[r][g] = d.asymmetric ? random_below(2 * middle) : middle;
        }
}

static inline double value_at(int n, int k)
{
    static const double e2m1[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    const int r = d.rows ? n / d.rows : 0, g = d.group[k], code = d.code[n][k];
    const double factor = d.factor != 0 ? (double)d.factor : 1;
    double number = d.e2m1   ? (code & 8 ? -1 : 1) * e2m1[code & 7]
                    : d.bits ? code - d.zero[r][g]
                             : (double)e4m3_to_float((uint8_t)code);
    return (double)d.scale[r][g] * factor * (double)d.input[k] * number;
}

/* ---- Writing it */

static struct tensor_image im;

static inline void put_number(void *to, int64_t i, enum dtype dtype, double value)
{
    uint16_t half = dtype == DTYPE_F16 ? f16_of_float((float)value) : bf16_of_float((float)value);
    float real = (float)value;
    if (dtype == DTYPE_F32)
        memcpy((uint8_t *)to + i * 4, &real, 4);
    else if (dtype == DTYPE_F8_E4M3)
        ((uint8_t *)to)[i] = e4m3_of_float(real);
    else if (dtype == DTYPE_U8)
        ((uint8_t *)to)[i] = (uint8_t)(float_bits(real) >> 23);
    else
        memcpy((uint8_t *)to + i * 2, &half, 2);
}

/* code into a word at i of an array, in its field from the lowest bits on. */
static inline void put_field(void *words, int64_t i, int field, int bits, int code)
{
    uint32_t word;
    memcpy(&word, (uint8_t *)words + i * 4, sizeof word);
    word |= (uint32_t)code << field * bits;
    memcpy((uint8_t *)words + i * 4, &word, sizeof word);
}

static inline void write_scales(const char *name, bool transposed)
{
    const int rows = scale_rows(), columns = groups();
    void *to = transposed ? image_add(&im, name, d.scales, columns, rows)
                          : image_add(&im, name, d.scales, rows, columns);
    for (int r = 0; r < rows; r++)
        for (int g = 0; g < columns; g++)
            put_number(to, transposed ? g * rows + r : r * columns + g, d.scales,
                       (double)d.scale[r][g]);
}

static inline void write_inputs(void)
{
    const enum dtype dtype = d.scales == DTYPE_F8_E4M3 ? DTYPE_F32 : d.scales;
    void *to = d.scaled ? image_add(&im, "m.pre_quant_scale", dtype, 1, d.K) : NULL;
    for (int k = 0; d.scaled && k < d.K; k++)
        put_number(to, k, dtype, (double)d.input[k]);
}

/* Bytes: E4M3 as they are, integers less the middle. */
static inline void write_bytes(void)
{
    uint8_t *to = image_add(&im, "m.weight", d.bits ? DTYPE_I8 : DTYPE_F8_E4M3, d.N, d.K);
    for (int n = 0; n < d.N; n++)
        for (int k = 0; k < d.K; k++)
            to[n * d.K + k] = (uint8_t)(d.code[n][k] - (d.bits ? 1 << (d.bits - 1) : 0));
    write_scales("m.weight_scale", false);
    write_inputs();
}

/* Zero points as bytes beside the scales. */
static inline void write_byte_zeros(void)
{
    uint8_t *to = image_add(&im, "m.weight_zero_point", DTYPE_I8, scale_rows(), groups());
    for (int r = 0; r < scale_rows(); r++)
        for (int g = 0; g < groups(); g++)
            to[r * groups() + g] = (uint8_t)(d.zero[r][g] - (1 << (d.bits - 1)));
}

/* With zero points, which symmetric files may have too. */
static inline void write_signed_and_zeros(void)
{
    write_bytes();
    write_byte_zeros();
}

static inline void write_signed(void)
{
    write_bytes();
    if (d.asymmetric)
        write_byte_zeros();
}

static inline void write_inverse(void)
{
    uint8_t *to = image_add(&im, "m.weight", DTYPE_F8_E4M3, d.N, d.K);
    for (int n = 0; n < d.N; n++)
        for (int k = 0; k < d.K; k++)
            to[n * d.K + k] = (uint8_t)d.code[n][k];
    write_scales("m.weight_scale_inv", false);
}

static inline void write_pairs(void)
{
    uint8_t *to = image_add(&im, "m.weight", DTYPE_U8, d.N / 2, d.K);
    for (int n = 0; n < d.N; n++)
        for (int k = 0; k < d.K; k++)
            to[n / 2 * d.K + k] |= (uint8_t)(((d.code[n][k] - 8) & 15) << n % 2 * 4);
    write_scales("m.weight_scale", false);
    write_inputs();
}

static inline void write_groups(const char *name)
{
    int32_t *to = image_add(&im, name, DTYPE_I32, 1, d.K);
    memcpy(to, d.group, (size_t)d.K * sizeof *to);
}

static inline void write_packed(void)
{
    const int each = 32 / d.bits, words = (d.K + each - 1) / each;
    void *to = image_add(&im, "m.weight_packed", DTYPE_I32, d.N, words);
    for (int n = 0; n < d.N; n++)
        for (int k = 0; k < d.K; k++)
            put_field(to, n * words + k / each, k % each, d.bits, d.code[n][k]);
    const int64_t shape[2] = {d.N, d.K};
    memcpy(image_add(&im, "m.weight_shape", DTYPE_I64, 1, 2), shape, sizeof shape);
    write_scales("m.weight_scale", false);
    if (d.shuffled)
        write_groups("m.weight_g_idx");
    if (!d.asymmetric)
        return;
    void *zeros = image_add(&im, "m.weight_zero_point", DTYPE_I32, (scale_rows() + each - 1) / each,
                            groups());
    for (int r = 0; r < scale_rows(); r++)
        for (int g = 0; g < groups(); g++)
            put_field(zeros, r / each * groups() + g, r % each, d.bits, d.zero[r][g]);
}

static inline void write_packed_with_byte_zeros(void)
{
    const bool asymmetric = d.asymmetric;
    d.asymmetric = false;
    write_packed();
    d.asymmetric = asymmetric;
    write_byte_zeros();
}

/* Numbers of E2M1, and the factor in the tensor that has it, or what it is over. */
static inline void write_e2m1(const char *codes, const char *factor, bool is_over)
{
    uint8_t *to = image_add(&im, codes, DTYPE_U8, d.N, d.K / 2);
    for (int n = 0; n < d.N; n++)
        for (int k = 0; k < d.K; k++)
            to[(n * d.K + k) / 2] |= (uint8_t)(d.code[n][k] << k % 2 * 4);
    write_scales("m.weight_scale", false);
    if (factor)
        put_number(image_add(&im, factor, DTYPE_F32, 1, 1), 0, DTYPE_F32,
                   is_over ? 1 / (double)d.factor : (double)d.factor);
}

static inline void write_nvfp4(void)
{
    write_e2m1("m.weight", "m.weight_scale_2", false);
    write_inputs();
}

static inline void write_nvfp4_packed(void)
{
    write_e2m1("m.weight_packed", "m.weight_global_scale", true);
}

static inline void write_mxfp4_packed(void)
{
    write_e2m1("m.weight_packed", NULL, false);
}

static inline void write_awq(void)
{
    static const int column[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    void *codes = image_add(&im, "m.qweight", DTYPE_I32, d.K, d.N / 8);
    void *zeros = image_add(&im, "m.qzeros", DTYPE_I32, groups(), d.N / 8);
    for (int j = 0; j < d.N / 8; j++)
        for (int i = 0; i < 8; i++) {
            const int n = 8 * j + column[i];
            for (int k = 0; k < d.K; k++)
                put_field(codes, k * (d.N / 8) + j, i, 4, d.code[n][k]);
            for (int g = 0; g < groups(); g++)
                put_field(zeros, g * (d.N / 8) + j, i, 4, d.zero[n][g]);
        }
    write_scales("m.scales", true);
}

/* less: what zero points are stored less by, as words: a field of 0 borrows from the next. */
static inline void write_gptq_less(uint32_t less)
{
    const int each = 32 / d.bits, words = (d.N + each - 1) / each;
    void *codes = image_add(&im, "m.qweight", DTYPE_I32, (d.K + each - 1) / each, d.N);
    uint8_t *zeros = image_add(&im, "m.qzeros", DTYPE_I32, groups(), words);
    for (int n = 0; n < d.N; n++) {
        for (int k = 0; k < d.K; k++)
            put_field(codes, k / each * d.N + n, k % each, d.bits, d.code[n][k]);
        for (int g = 0; g < groups(); g++)
            put_field(zeros, g * words + n / each, n % each, d.bits, d.zero[n][g]);
    }
    for (int i = 0; i < groups() * words; i++) {
        uint32_t word;
        memcpy(&word, zeros + i * 4, sizeof word);
        word -= less;
        memcpy(zeros + i * 4, &word, sizeof word);
    }
    write_scales("m.scales", true);
    write_groups("m.g_idx");
}

static inline void write_gptq(void)
{
    write_gptq_less(d.bits == 8 ? 0x01010101u : 0x11111111u);
}

static inline void write_gptq_v2(void)
{
    write_gptq_less(0);
}
