/* Weights from the formats of files to the layouts of device memory (layout.h). Host code. */
#include "cuda.h"
#include "layout.h"

#include "../../quant/bf16.h"
#include "../../quant/f32.h"
#include "../../quant/q4_0.h"
#include "../../quant/q4_1.h"
#include "../../quant/q5_0.h"
#include "../../quant/q5_1.h"
#include "../../quant/q5_k.h"
#include "../../quant/q6_k.h"
#include "../../quant/q8_0.h"

#include <string.h>

/* 32 values of a row: their integers, or their bfloat16 bits, and what a record says of them. */
struct chunk {
    uint16_t number[CHUNK];
    uint16_t d, m;         /* halves of the format */
    uint8_t scale[2], min; /* scale[1]: of the upper 16 values */
};

typedef void read_chunk(const void *row, int32_t chunk, struct chunk *out);

int32_t cuda_layout(enum fmt fmt)
{
    static const int32_t layouts[FMT_COUNT] = {
        [FMT_f32] = LAYOUT_BF16,    [FMT_f16] = LAYOUT_BF16,      [FMT_bf16] = LAYOUT_BF16,
        [FMT_q4_0] = LAYOUT_INT4_D, [FMT_q4_1] = LAYOUT_INT4_DM,  [FMT_q4_k] = LAYOUT_INT4_K,
        [FMT_q5_0] = LAYOUT_INT8_D, [FMT_q8_0] = LAYOUT_INT8_D,   [FMT_q5_1] = LAYOUT_INT8_DM,
        [FMT_q5_k] = LAYOUT_INT8_K, [FMT_q6_k] = LAYOUT_INT8_K16,
    };
    return layouts[fmt];
}

/* Rows of floats are read four values at a time. */
size_t cuda_packed_bytes(enum fmt fmt, int32_t N, int32_t K)
{
    if (N <= 0 || K <= 0 || K % 8 || K % fmt_info[fmt].n)
        return 0;
    return (size_t)layout_strips(N) * layout_strip_bytes(cuda_layout(fmt), K);
}

static void chunk_f32(const void *row, int32_t i, struct chunk *out)
{
    const struct f32 *b = (const struct f32 *)row + i * CHUNK;
    for (int k = 0; k < CHUNK; k++)
        out->number[k] = bf16_of_float(b[k].v);
}

static void chunk_f16(const void *row, int32_t i, struct chunk *out)
{
    const struct f16 *b = (const struct f16 *)row + i * CHUNK;
    for (int k = 0; k < CHUNK; k++)
        out->number[k] = bf16_of_float(f16_at(b, k));
}

static void chunk_bf16(const void *row, int32_t i, struct chunk *out)
{
    memcpy(out->number, (const struct bf16 *)row + i * CHUNK, sizeof out->number);
}

static void chunk_q4_0(const void *row, int32_t i, struct chunk *out)
{
    const struct q4_0 *b = (const struct q4_0 *)row + i;
    for (int k = 0; k < CHUNK; k++)
        out->number[k] = (uint16_t)(q4_0_q(b, k) + 8);
    out->d = b->d;
}

static void chunk_q4_1(const void *row, int32_t i, struct chunk *out)
{
    const struct q4_1 *b = (const struct q4_1 *)row + i;
    for (int k = 0; k < CHUNK; k++)
        out->number[k] = (uint16_t)q4_1_q(b, k);
    out->d = b->d;
    out->m = b->m;
}

static void chunk_q4_k(const void *row, int32_t i, struct chunk *out)
{
    const struct q4_k *b = (const struct q4_k *)row + i / 8;
    const int g = i % 8;
    for (int k = 0; k < CHUNK; k++)
        out->number[k] = (uint16_t)q4_k_q(b, g * CHUNK + k);
    out->d = b->d;
    out->m = b->dmin;
    out->scale[0] = (uint8_t)q4_k_packed_scale(b->packed, g);
    out->min = (uint8_t)q4_k_packed_min(b->packed, g);
}

static void chunk_q5_0(const void *row, int32_t i, struct chunk *out)
{
    const struct q5_0 *b = (const struct q5_0 *)row + i;
    for (int k = 0; k < CHUNK; k++)
        out->number[k] = (uint8_t)q5_0_q(b, k);
    out->d = b->d;
}

static void chunk_q5_1(const void *row, int32_t i, struct chunk *out)
{
    const struct q5_1 *b = (const struct q5_1 *)row + i;
    for (int k = 0; k < CHUNK; k++)
        out->number[k] = (uint8_t)q5_1_q(b, k);
    out->d = b->d;
    out->m = b->m;
}

static void chunk_q5_k(const void *row, int32_t i, struct chunk *out)
{
    const struct q5_k *b = (const struct q5_k *)row + i / 8;
    const int g = i % 8;
    for (int k = 0; k < CHUNK; k++)
        out->number[k] = (uint8_t)q5_k_q(b, g * CHUNK + k);
    out->d = b->d;
    out->m = b->dmin;
    out->scale[0] = (uint8_t)q4_k_packed_scale(b->packed, g);
    out->min = (uint8_t)q4_k_packed_min(b->packed, g);
}

static void chunk_q6_k(const void *row, int32_t i, struct chunk *out)
{
    const struct q6_k *b = (const struct q6_k *)row + i / 8;
    const int g = i % 8;
    for (int k = 0; k < CHUNK; k++)
        out->number[k] = (uint8_t)q6_k_q(b, g * CHUNK + k);
    out->d = b->d;
    out->scale[0] = (uint8_t)b->scale[2 * g];
    out->scale[1] = (uint8_t)b->scale[2 * g + 1];
}

static void chunk_q8_0(const void *row, int32_t i, struct chunk *out)
{
    const struct q8_0 *b = (const struct q8_0 *)row + i;
    for (int k = 0; k < CHUNK; k++)
        out->number[k] = (uint8_t)b->q[k];
    out->d = b->d;
}

static read_chunk *const readers[FMT_COUNT] = {
#define FMT(name, n, bytes, gguf) [FMT_##name] = chunk_##name,
#include "../../quant/formats.def"
#undef FMT
};

/* The values of chunk c of a tile in the 16 bytes of each of the four lanes of a row. */
static void put_bf16(const struct chunk *in, uint8_t *lanes)
{
    for (int t = 0; t < 4; t++)
        for (int j = 0; j < 8; j++)
            memcpy(lanes + t * 16 + j * 2, &in->number[j / 4 * 16 + t * 4 + j % 4], 2);
}

static void put_int8(const struct chunk *in, int c, uint8_t *lanes)
{
    for (int t = 0; t < 4; t++)
        for (int s = 0; s < 2; s++) {
            const uint16_t *q = &in->number[s * 16 + t * 4];
            uint8_t *word = lanes + t * 16 + c * 8 + s * 4;
            word[0] = (uint8_t)q[0];
            word[1] = (uint8_t)q[2];
            word[2] = (uint8_t)q[1];
            word[3] = (uint8_t)q[3];
        }
}

static void put_int4(const struct chunk *in, int c, uint8_t *lanes)
{
    for (int t = 0; t < 4; t++) {
        const uint16_t *low = &in->number[t * 4], *high = low + 16;
        uint8_t *word = lanes + t * 16 + c * 4;
        word[0] = (uint8_t)(low[0] | low[2] << 4);
        word[1] = (uint8_t)(high[0] | high[2] << 4);
        word[2] = (uint8_t)(low[1] | low[3] << 4);
        word[3] = (uint8_t)(high[1] | high[3] << 4);
    }
}

static void put_record(enum layout layout, const struct chunk *in, int c, uint8_t *record)
{
    uint16_t half[2] = {in->d, in->m};
    switch (layout) {
    case LAYOUT_INT4_D:
    case LAYOUT_INT8_D:
        memcpy(record + c * 2, half, 2);
        break;
    case LAYOUT_INT4_DM:
    case LAYOUT_INT8_DM:
        memcpy(record + c * 4, half, 4);
        break;
    case LAYOUT_INT4_K:
    case LAYOUT_INT8_K:
        memcpy(record, half, 4);
        record[4 + c * 2] = in->scale[0];
        record[5 + c * 2] = in->min;
        break;
    case LAYOUT_INT8_K16:
        memcpy(record, half, 2);
        memcpy(record + 4 + c * 2, in->scale, 2);
        break;
    case LAYOUT_BF16:
    case LAYOUT_COUNT:
        break;
    }
}

/* Row r of a strip. */
static void pack_row(const struct weight_source *source, const void *row, int r, uint8_t *strip)
{
    const enum layout layout = (enum layout)cuda_layout(source->fmt);
    const int per_tile = layout_tile_width((int)layout) / CHUNK;
    const int record_bytes = layout_words((int)layout) * 4;
    uint8_t *records = strip + (size_t)layout_tiles((int)layout, source->K) * TILE_BYTES;
    for (int32_t i = 0; i < (source->K + CHUNK - 1) / CHUNK; i++) {
        struct chunk chunk = {.d = 0};
        if ((i + 1) * CHUNK <= source->K)
            readers[source->fmt](row, i, &chunk);
        else /* the rest of a row of floats */
            for (int32_t k = i * CHUNK; k < source->K; k++) {
                float value;
                size_t bytes = (size_t)fmt_info[source->fmt].bytes;
                fmt_info[source->fmt].decode((const uint8_t *)row + (size_t)k * bytes, &value);
                chunk.number[k % CHUNK] = bf16_of_float(value);
            }
        const int c = i % per_tile;
        const size_t tile = (size_t)(i / per_tile);
        uint8_t *lanes = strip + tile * TILE_BYTES + (size_t)(r / 8 * 512 + r % 8 * 64);
        if (per_tile == 1)
            put_bf16(&chunk, lanes);
        else if (per_tile == 2)
            put_int8(&chunk, c, lanes);
        else
            put_int4(&chunk, c, lanes);
        put_record(layout, &chunk, c,
                   records + (tile * STRIP_ROWS + (size_t)r) * (size_t)record_bytes);
    }
}

size_t cuda_pack_rows(const struct weight_source *source, int32_t first, int32_t last, void *out)
{
    const size_t row_bytes = fmt_row_bytes(source->fmt, source->K);
    const size_t strip_bytes = layout_strip_bytes(cuda_layout(source->fmt), source->K);
    const size_t bytes = (size_t)layout_strips(last - first) * strip_bytes;
    memset(out, 0, bytes);
    for (int32_t n = first; n < last; n++) {
        uint8_t *strip = (uint8_t *)out + (size_t)((n - first) / STRIP_ROWS) * strip_bytes;
        const uint8_t *row = (const uint8_t *)source->data + (size_t)n * row_bytes;
        pack_row(source, row, (n - first) % STRIP_ROWS, strip);
    }
    return bytes;
}
