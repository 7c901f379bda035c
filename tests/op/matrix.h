/* Random matrices in the formats of files, for tests of the operations: the bytes, their
 * values as the format defines them, and the packed matrix of an open device. */
#pragma once

#include "../../kernels/backend.h"
#include "../../quant/f16.h"

#include <stdlib.h>
#include <string.h>

static uint32_t matrix_state = 1;

static inline uint32_t random_bits(void)
{
    matrix_state = matrix_state * 1664525u + 1013904223u;
    return matrix_state ^ matrix_state >> 15;
}

/* In (-1, 1). */
static inline float random_float(void)
{
    return (float)(random_bits() >> 8) / (float)(1 << 23) - 1.0f;
}

/* Mostly small, now and then large: groups differ in scale. */
static inline void random_inputs(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = random_float() * (random_bits() % 64 == 0 ? 8.0f : 1.0f);
}

struct matrix {
    struct weight_source source;
    float *value; /* (N, K) */
    struct weight weight;
    void *packed;
};

static inline void put_float(uint8_t *p, float value)
{
    memcpy(p, &value, sizeof value);
}

static inline void put_half(uint8_t *p, float value)
{
    uint16_t bits = f16_of_float(value);
    memcpy(p, &bits, sizeof bits);
}

/* Bytes of E4M3, but those of no number: the largest number in their place. */
static inline void tame_e4m3(uint8_t *bits, int n)
{
    for (int i = 0; i < n; i++)
        bits[i] = (uint8_t)((bits[i] & 0x7f) == 0x7f ? bits[i] - 1 : bits[i]);
}

/* Sets the scales of a block of random bits to plausible sizes; zero points of all sizes. */
static inline void tame_block(enum fmt fmt, uint8_t *block)
{
    const struct fmt_info *info = &fmt_info[fmt];
    float d = 0.01f * (1.5f + random_float());
    if (fmt == FMT_f32) {
        put_float(block, random_float());
    } else if (fmt == FMT_fp8) {
        tame_e4m3(block, 1);
    } else if (fmt == FMT_fp8_128) {
        put_float(block, d * 0.1f);
        tame_e4m3(block + 4, 128);
    } else if (fmt == FMT_int4_32 || fmt == FMT_int4_64 || fmt == FMT_int4_128) {
        put_half(block, random_bits() % 2 ? d : -d);
        block[2] = random_bits() % 2 ? 8 : (uint8_t)(random_bits() >> 9 & 15);
    } else if (fmt == FMT_mxfp4) {
        block[0] = (uint8_t)(118 + random_bits() % 6);
    } else if (fmt == FMT_nvfp4) {
        for (int g = 0; g < 4; g++)
            block[g] = (uint8_t)(random_bits() % 0x58); /* up to 2^4, the smallest ones too */
    } else if (fmt == FMT_int8) {
        return; /* its scale is that of the row */
    } else if (fmt == FMT_f16) {
        put_half(block, random_float());
    } else if (fmt == FMT_bf16) {
        block[1] = (uint8_t)(0x3c + (block[1] & 0x83)); /* exponents around 1 */
    } else if (fmt == FMT_q6_k) {
        put_half(block + info->bytes - 2, d * 0.02f);
    } else {
        put_half(block, fmt == FMT_q4_k || fmt == FMT_q5_k ? d * 0.05f : d);
    }
    if (fmt == FMT_q4_1 || fmt == FMT_q5_1)
        put_half(block + 2, -8.0f * d + 0.05f * random_float());
    if (fmt == FMT_q4_k || fmt == FMT_q5_k)
        put_half(block + 2, d * 0.4f);
}

/* The same of a whole row. */
static inline void tame_row(enum fmt fmt, uint8_t *row, int32_t K)
{
    const struct fmt_info *info = &fmt_info[fmt];
    if (info->head)
        put_float(row, (fmt == FMT_int8 ? 0.005f : 0.001f) * (1.5f + random_float()));
    for (int32_t k = 0; k < K; k += info->n)
        tame_block(fmt, row + info->head + (size_t)(k / info->n * info->bytes));
}

/* Whether a back end takes matrices of a format. */
static inline bool matrix_served(const struct backend *b, enum fmt fmt)
{
    const struct device_config config = {0};
    return b->packed_bytes(&config, fmt, 16, 256) != 0;
}

/* values: whether m->value is wanted. */
static inline void matrix_init_values(struct matrix *m, enum fmt fmt, int32_t N, int32_t K,
                                      bool values)
{
    size_t row = fmt_row_bytes(fmt, K), bytes = row * (size_t)N;
    uint8_t *data = malloc(bytes);
    *m = (struct matrix){.source = {.fmt = fmt, .N = N, .K = K, .data = data}};
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(random_bits() >> 7);
    for (int32_t n = 0; n < N; n++)
        tame_row(fmt, data + (size_t)n * row, K);
    if (!values)
        return;
    m->value = malloc((size_t)N * (size_t)K * sizeof *m->value);
    for (int32_t n = 0; n < N; n++)
        fmt_decode_row(fmt, data + (size_t)n * row, K, m->value + (size_t)n * (size_t)K);
}

static inline void matrix_init(struct matrix *m, enum fmt fmt, int32_t N, int32_t K)
{
    matrix_init_values(m, fmt, N, K, true);
}

/* Packs for a device; replaces what was packed before. False if the device refuses. */
static inline bool matrix_pack(struct matrix *m, const struct backend *b, struct device *device,
                               const struct device_config *config)
{
    size_t bytes = b->packed_bytes(config, m->source.fmt, m->source.N, m->source.K);
    free(m->packed);
    m->packed = bytes ? aligned_alloc(64, bytes) : NULL;
    m->weight = (struct weight){.data = m->packed, .bytes = bytes};
    return bytes && b->pack(device, &m->source, &m->weight, NULL) == 0;
}

static inline void matrix_release(struct matrix *m)
{
    free((void *)(uintptr_t)m->source.data);
    free(m->value);
    free(m->packed);
}
