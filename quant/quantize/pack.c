#include "pack.h"

#include "../bf16.h"
#include "../fp8_128.h"
#include "../q8_0.h"

#define NIBBLES 8 /* of a word */
#define BYTES   4

static int64_t blocks(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

static void add(struct packing *p, const char *suffix, const char *dtype, int64_t size, int64_t a,
                int64_t b)
{
    struct packed_tensor *t = &p->tensor[p->n++];
    *t = (struct packed_tensor){.suffix = suffix,
                                .dtype = dtype,
                                .shape = {a, b},
                                .n_dims = b ? 2 : 1,
                                .offset = p->bytes,
                                .bytes = (uint64_t)(size * a * (b ? b : 1))};
    p->bytes += (t->bytes + 15) / 16 * 16;
}

void pack_plan(struct packing *p)
{
    const int64_t group = fmt_info[p->fmt].n;
    p->n = 0;
    p->bytes = 0;
    if (p->fmt == FMT_int8 && p->is_in_words) {
        add(p, "weight_packed", "I32", 4, p->N, blocks(p->K, BYTES));
        add(p, "weight_scale", "F32", 4, p->N, 1);
        add(p, "weight_shape", "I64", 8, 2, 0);
    } else if (p->fmt == FMT_q8_0) {
        add(p, "weight_packed", "I32", 4, p->N, p->K / BYTES);
        add(p, "weight_scale", p->is_bf16 ? "BF16" : "F16", 2, p->N, p->K / group);
        add(p, "weight_shape", "I64", 8, 2, 0);
    } else if (p->fmt == FMT_fp8 || p->fmt == FMT_int8) {
        const bool is_modelopt = p->convention == MODELOPT;
        add(p, "weight", p->fmt == FMT_fp8 ? "F8_E4M3" : "I8", 1, p->N, p->K);
        add(p, "weight_scale", "F32", 4, p->has_one_scale ? 1 : p->N,
            p->has_one_scale || is_modelopt ? 0 : 1);
        if (p->has_one_scale && is_modelopt)
            p->tensor[1].n_dims = 0;
    } else if (p->fmt == FMT_fp8_128) {
        add(p, "weight", "F8_E4M3", 1, p->N, p->K);
        add(p, "weight_scale", "F32", 4, blocks(p->N, 128), blocks(p->K, 128));
    } else {
        add(p, "weight_packed", "I32", 4, p->N, blocks(p->K, NIBBLES));
        add(p, "weight_scale", p->is_bf16 ? "BF16" : "F16", 2, p->N, p->K / group);
        add(p, "weight_shape", "I64", 8, 2, 0);
        if (!p->is_symmetric)
            add(p, "weight_zero_point", "I32", 4, blocks(p->N, NIBBLES), p->K / group);
    }
}

/* A scale before the bytes of each row; the first row gives it where all have the same. */
static void pack_scaled_row(const struct packing *p, int64_t r, const uint8_t *row, uint8_t *memory)
{
    if (r == 0 || !p->has_one_scale)
        memcpy(memory + p->tensor[1].offset + (size_t)r * sizeof(float), row, sizeof(float));
    memcpy(memory + p->tensor[0].offset + (size_t)(r * p->K), row + sizeof(float), (size_t)p->K);
}

/* The same in words, whose bytes have no sign; what is behind the row is 0. */
static void pack_word_row(const struct packing *p, int64_t r, const uint8_t *row, uint8_t *memory)
{
    uint8_t *q = memory + p->tensor[0].offset + (size_t)(r * blocks(p->K, BYTES)) * 4;
    memcpy(memory + p->tensor[1].offset + (size_t)r * sizeof(float), row, sizeof(float));
    for (int64_t k = 0; k < p->K; k++)
        q[k] = row[sizeof(float) + (size_t)k] ^ 0x80u;
}

/* A half, in the file a bfloat16 if p->is_bf16. */
static void pack_half(const struct packing *p, const uint8_t *half, uint8_t *out)
{
    uint16_t d;
    memcpy(&d, half, sizeof d);
    if (p->is_bf16)
        d = bf16_of_float(f16_to_float(d));
    memcpy(out, &d, sizeof d);
}

/* Groups of a half and bytes, which have no sign in words. */
static void pack_byte_groups(const struct packing *p, int64_t r, const uint8_t *row,
                             uint8_t *memory)
{
    const struct q8_0 *block = (const struct q8_0 *)row;
    const int64_t n = p->K / 32;
    uint8_t *q = memory + p->tensor[0].offset + (size_t)(r * p->K);
    uint8_t *scale = memory + p->tensor[1].offset + (size_t)(r * n) * 2;
    for (int64_t g = 0; g < n; g++, block++, scale += 2) {
        pack_half(p, (const uint8_t *)&block->d, scale);
        for (int k = 0; k < 32; k++)
            *q++ = (uint8_t)block->q[k] ^ 0x80u;
    }
}

/* The scale of a block stands in each of its rows; the first one gives it. */
static void pack_block_row(const struct packing *p, int64_t r, const uint8_t *row, uint8_t *memory)
{
    const struct fp8_128 *block = (const struct fp8_128 *)row;
    const int64_t n = p->K / 128;
    for (int64_t b = 0; b < n; b++) {
        size_t scale = (size_t)(r / 128 * n + b) * sizeof(float);
        if (r % 128 == 0)
            memcpy(memory + p->tensor[1].offset + scale, &block[b].scale, sizeof(float));
        memcpy(memory + p->tensor[0].offset + (size_t)(r * p->K + b * 128), block[b].bits, 128);
    }
}

/* Groups of a half, a zero point and integers, see int4.h: two of these to a byte as in a word. */
static void pack_int4_row(const struct packing *p, int64_t r, const uint8_t *row, uint8_t *memory)
{
    const int64_t group = fmt_info[p->fmt].n, n = p->K / group;
    const size_t bytes = (size_t)fmt_info[p->fmt].bytes, half = (size_t)group / 2;
    uint8_t *q = memory + p->tensor[0].offset + (size_t)(r * blocks(p->K, NIBBLES)) * 4;
    uint8_t *scale = memory + p->tensor[1].offset + (size_t)(r * n) * 2;
    for (int64_t g = 0; g < n; g++, row += bytes, q += half, scale += 2) {
        pack_half(p, row, scale);
        memcpy(q, row + 3, half);
        if (!p->is_symmetric) {
            uint8_t *zero = memory + p->tensor[3].offset + (size_t)(r / NIBBLES * n + g) * 4;
            zero[r % NIBBLES / 2] |= (uint8_t)(row[2] << r % 2 * 4);
        }
    }
}

void pack_rows(const struct packing *p, int64_t first, int64_t n, const uint8_t *rows,
               uint8_t *memory)
{
    const size_t bytes = fmt_row_bytes(p->fmt, p->K);
    const int64_t shape[] = {p->N, p->K};
    for (int64_t r = first; r < first + n; r++, rows += bytes)
        if (p->fmt == FMT_fp8_128)
            pack_block_row(p, r, rows, memory);
        else if (p->fmt == FMT_int8 && p->is_in_words)
            pack_word_row(p, r, rows, memory);
        else if (p->fmt == FMT_q8_0)
            pack_byte_groups(p, r, rows, memory);
        else if (p->fmt == FMT_fp8 || p->fmt == FMT_int8)
            pack_scaled_row(p, r, rows, memory);
        else
            pack_int4_row(p, r, rows, memory);
    if (first == 0 && p->n > 2)
        memcpy(memory + p->tensor[2].offset, shape, sizeof shape);
}
