/* Weights from the formats of files to the layouts of device memory (layout.h). Host code.
 *
 * A chunk of 32 values is two vectors of 16 bytes, one byte a value, as it is in a tile: values
 * 0 .. 15 and 16 .. 31. Where a file has nibbles or more bits beside them, they come out of it 16
 * at a time, so that packing runs at the speed of memory. Byte order is little endian, as on
 * every host of a card that runs these kernels. */
#include "cuda.h"
#include "layout.h"

#include "../../plugin/base/base.h"
#include "../../quant/bf16.h"
#include "../../quant/f32.h"
#include "../../quant/fp8.h"
#include "../../quant/fp8_128.h"
#include "../../quant/int4.h"
#include "../../quant/int8.h"
#include "../../quant/mxfp4.h"
#include "../../quant/nvfp4.h"
#include "../../quant/q4_0.h"
#include "../../quant/q4_1.h"
#include "../../quant/q5_0.h"
#include "../../quant/q5_1.h"
#include "../../quant/q5_k.h"
#include "../../quant/q6_k.h"
#include "../../quant/q8_0.h"

#include <string.h>

typedef uint32_t words __attribute__((vector_size(16)));
typedef uint8_t bytes16 __attribute__((vector_size(16)));

/* ---- Into a tile: lanes is where the 64 bytes of a row's four lanes begin, c the chunk */

static inline words load(const void *at)
{
    words v;
    memcpy(&v, at, sizeof v);
    return v;
}

/* Word t of v to lane t, `at` bytes behind its first. */
static inline void spread(words v, int at, uint8_t *lanes)
{
    uint32_t word[4];
    memcpy(word, &v, sizeof word);
    for (int t = 0; t < 4; t++)
        memcpy(lanes + t * 16 + at, &word[t], sizeof *word);
}

static inline void put_bf16(const uint16_t number[CHUNK], uint8_t *lanes)
{
    for (int t = 0; t < 4; t++) {
        memcpy(lanes + t * 16, number + t * 4, 8);
        memcpy(lanes + t * 16 + 8, number + 16 + t * 4, 8);
    }
}

/* Bytes 1 and 2 of each word change places. */
static inline words halves_apart(words v)
{
    return (v & 0xff0000ff) | (v >> 8 & 0xff00) | (v & 0xff00) << 8;
}

static inline void put_int8(words lower, words upper, int c, uint8_t *lanes)
{
    spread(halves_apart(lower), c * 8, lanes);
    spread(halves_apart(upper), c * 8 + 4, lanes);
}

/* Values in the lower halves of bytes. Of each word values 0 and 2, and 1 and 3, share a byte. */
static inline void put_int4(words lower, words upper, int c, uint8_t *lanes)
{
    lower |= lower >> 12;
    upper |= upper >> 12;
    words even = (lower & 0xff) | (upper & 0xff) << 8;
    words odd = (lower & 0xff00) << 8 | (upper & 0xff00) << 16;
    spread(even | odd, c * 4, lanes);
}

/* ---- Records: of chunk c of a tile */

static inline void put_d(const void *d, int c, uint8_t *record)
{
    memcpy(record + c * 2, d, 2);
}

static inline void put_dm(const void *d_m, int c, uint8_t *record)
{
    memcpy(record + c * 4, d_m, 4);
}

/* Of group g of a block, which begins with d and dmin. */
static inline void put_k(const struct q4_k *b, int g, int c, uint8_t *record)
{
    memcpy(record, b, 4);
    record[4 + c * 2] = (uint8_t)q4_k_packed_scale(b->packed, g);
    record[5 + c * 2] = (uint8_t)q4_k_packed_min(b->packed, g);
}

static inline void put_k16(const struct q6_k *b, int g, int c, uint8_t *record)
{
    const uint32_t d = b->d;
    memcpy(record, &d, sizeof d);
    memcpy(record + 4 + c * 2, b->scale + 2 * g, 2);
}

/* Word g of a record. The lower bits of -128 in bfloat16 count ones, up to 127 of them. */
static inline void put_zero(uint16_t d, uint8_t zero, int g, uint8_t *record)
{
    const uint32_t word = d | (uint32_t)(0xc300 | (zero & 127)) << 16;
    memcpy(record + g * 4, &word, sizeof word);
}

/* A scale, which n E4M3 numbers share: no number if one of them is none. */
static inline void put_scale(const void *scale, const uint8_t *bits, int32_t n, uint8_t *out)
{
    static const uint32_t nan = 0x7fc00000;
    bool is_nan = false;
    for (int32_t k = 0; k < n; k++)
        is_nan |= (bits[k] & 0x7f) == 0x7f;
    memcpy(out, is_nan ? &nan : scale, sizeof nan);
}

/* ---- Chunk i of a row, chunk c of its tile */

#define NIBBLES 0x0f0f0f0f

/* Bits n and n + 1 ... of each byte alone: the shift brings bits of its neighbour, the mask
 * takes them away. */
static inline words bits_of(words v, int first, uint32_t mask)
{
    return v >> (uint32_t)first & mask;
}

/* Bits [0, 16) as bytes of 0 or 16: the fifth bits of values. */
static inline words fifths(uint32_t bits)
{
    static const bytes16 place = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint64_t eight[2] = {(bits & 0xff) * 0x0101010101010101u,
                               (bits >> 8 & 0xff) * 0x0101010101010101u};
    bytes16 v;
    memcpy(&v, eight, sizeof v);
    return (words)((bytes16)((v & place) == place) & 16);
}

static inline void chunk_f32(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    const struct f32 *b = (const struct f32 *)row + i * CHUNK;
    uint16_t number[CHUNK];
    (void)c;
    (void)record;
    for (int k = 0; k < CHUNK; k++)
        number[k] = bf16_of_float(b[k].v);
    put_bf16(number, lanes);
}

static inline void chunk_f16(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    const struct f16 *b = (const struct f16 *)row + i * CHUNK;
    uint16_t number[CHUNK];
    (void)c;
    (void)record;
    for (int k = 0; k < CHUNK; k++)
        number[k] = bf16_of_float(f16_at(b, k));
    put_bf16(number, lanes);
}

static inline void chunk_bf16(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    uint16_t number[CHUNK];
    (void)c;
    (void)record;
    memcpy(number, (const struct bf16 *)row + i * CHUNK, sizeof number);
    put_bf16(number, lanes);
}

static inline void chunk_q4_0(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    const struct q4_0 *b = (const struct q4_0 *)row + i;
    const words q = load(b->q);
    put_int4(q & NIBBLES, bits_of(q, 4, NIBBLES), c, lanes);
    put_d(b, c, record);
}

static inline void chunk_q4_1(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    const struct q4_1 *b = (const struct q4_1 *)row + i;
    const words q = load(b->q);
    put_int4(q & NIBBLES, bits_of(q, 4, NIBBLES), c, lanes);
    put_dm(b, c, record);
}

static inline void chunk_q4_k(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    const struct q4_k *b = (const struct q4_k *)row + i / 8;
    const int g = i % 8, shift = g % 2 * 4;
    const uint8_t *q = b->q + g / 2 * CHUNK;
    put_int4(bits_of(load(q), shift, NIBBLES), bits_of(load(q + 16), shift, NIBBLES), c, lanes);
    put_k(b, g, c, record);
}

static inline void chunk_q5_0(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    const struct q5_0 *b = (const struct q5_0 *)row + i;
    const words q = load(b->q);
    const bytes16 lower = (bytes16)((q & NIBBLES) | fifths(b->high));
    const bytes16 upper = (bytes16)(bits_of(q, 4, NIBBLES) | fifths(b->high >> 16));
    put_int8((words)(lower - 16), (words)(upper - 16), c, lanes);
    put_d(b, c, record);
}

static inline void chunk_q5_1(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    const struct q5_1 *b = (const struct q5_1 *)row + i;
    const words q = load(b->q);
    put_int8((q & NIBBLES) | fifths(b->high), bits_of(q, 4, NIBBLES) | fifths(b->high >> 16), c,
             lanes);
    put_dm(b, c, record);
}

static inline void chunk_q5_k(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    const struct q5_k *b = (const struct q5_k *)row + i / 8;
    const int g = i % 8, shift = g % 2 * 4;
    const uint8_t *q = b->q + g / 2 * CHUNK;
    words v[2];
    for (int j = 0; j < 2; j++)
        v[j] = bits_of(load(q + 16 * j), shift, NIBBLES) |
               bits_of(load(b->high + 16 * j), g, 0x01010101) << 4;
    put_int8(v[0], v[1], c, lanes);
    put_k((const struct q4_k *)(const void *)b, g, c, record); /* alike, up to q */
}

static inline void chunk_q6_k(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    const struct q6_k *b = (const struct q6_k *)row + i / 8;
    const int g = i % 8, t = g % 4;
    const uint8_t *low = b->low + g / 4 * 64 + t % 2 * CHUNK, *high = b->high + g / 4 * CHUNK;
    words v[2];
    for (int j = 0; j < 2; j++) {
        words q = bits_of(load(low + 16 * j), t / 2 * 4, NIBBLES) |
                  bits_of(load(high + 16 * j), t * 2, 0x03030303) << 4;
        v[j] = (words)((bytes16)q - 32);
    }
    put_int8(v[0], v[1], c, lanes);
    put_k16(b, g, c, record);
}

static inline void chunk_q8_0(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    const struct q8_0 *b = (const struct q8_0 *)row + i;
    put_int8(load(b->q), load(b->q + 16), c, lanes);
    put_d(b, c, record);
}

/* 32 integers of 4 bits, even ones in the low halves of bytes. */
static inline void put_nibbles(const uint8_t *q, int c, uint8_t *lanes)
{
    bytes16 v;
    memcpy(&v, q, sizeof v);
    const bytes16 even = v & 15, odd = v >> 4;
    const bytes16 lower =
        __builtin_shufflevector(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const bytes16 upper = __builtin_shufflevector(even, odd, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28,
                                                  13, 29, 14, 30, 15, 31);
    put_int4((words)lower, (words)upper, c, lanes);
}

/* of: chunks that share a word of a record. */
#define CHUNK_INT4(n, of)                                                                \
    static inline void chunk_int4_##n(const void *row, int32_t i, int c, uint8_t *lanes, \
                                      uint8_t *record)                                   \
    {                                                                                    \
        const struct int4_##n *b = (const struct int4_##n *)row + i / (n / CHUNK);       \
        put_nibbles(b->q + i % (n / CHUNK) * (CHUNK / 2), c, lanes);                     \
        put_zero(b->d, b->zero, c / (of), record);                                       \
    }
CHUNK_INT4(32, 1)
CHUNK_INT4(64, 1)
CHUNK_INT4(128, 4)

static inline void chunk_mxfp4(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    const struct mxfp4 *b = (const struct mxfp4 *)row + i;
    const words q = load(b->q);
    put_int4(q & NIBBLES, bits_of(q, 4, NIBBLES), c, lanes);
    record[c] = b->e;
}

static inline void chunk_nvfp4(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    const struct nvfp4 *b = (const struct nvfp4 *)row + i / 2;
    put_nibbles(b->q + i % 2 * (CHUNK / 2), c, lanes);
    memcpy(record + 4 + c * 2, b->scale + i % 2 * 2, 2);
}

static inline void chunk_fp8(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    const struct fp8 *b = (const struct fp8 *)row + i * CHUNK;
    (void)record;
    put_int8(load(b), load(b + 16), c, lanes);
}

static inline void chunk_fp8_128(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    const struct fp8_128 *b = (const struct fp8_128 *)row + i / 4;
    const uint8_t *bits = b->bits + i % 4 * CHUNK;
    put_int8(load(bits), load(bits + 16), c, lanes);
    if (c == 0)
        put_scale(&b->scale, b->bits, 128, record);
}

static inline void chunk_int8(const void *row, int32_t i, int c, uint8_t *lanes, uint8_t *record)
{
    chunk_fp8(row, i, c, lanes, record);
}

/* ---- Rows */

#define FORMATS(X)                \
    X(f32, LAYOUT_BF16)           \
    X(f16, LAYOUT_BF16)           \
    X(bf16, LAYOUT_BF16)          \
    X(q4_0, LAYOUT_INT4_D)        \
    X(q4_1, LAYOUT_INT4_DM)       \
    X(q4_k, LAYOUT_INT4_K)        \
    X(q5_0, LAYOUT_INT8_D)        \
    X(q8_0, LAYOUT_INT8_D)        \
    X(q5_1, LAYOUT_INT8_DM)       \
    X(q5_k, LAYOUT_INT8_K)        \
    X(q6_k, LAYOUT_INT8_K16)      \
    X(fp8, LAYOUT_FP8_ROW)        \
    X(fp8_128, LAYOUT_FP8_128)    \
    X(int8, LAYOUT_INT8_ROW)      \
    X(int4_32, LAYOUT_INT4_Z)     \
    X(int4_64, LAYOUT_INT4_Z)     \
    X(int4_128, LAYOUT_INT4_Z128) \
    X(mxfp4, LAYOUT_E2M1)         \
    X(nvfp4, LAYOUT_E2M1_16)

/* n chunks of a row from chunk `first` of it on, which is where the source begins, to their places
 * behind those in its first tile and in the record of that; a function per format, in which the
 * layout is a constant. */
typedef void row_fn(const void *row, int32_t first, int32_t n, uint8_t *lanes, uint8_t *record);

#define ROW(fmt, layout)                                                                        \
    static void row_##fmt(const void *row, int32_t first, int32_t n, uint8_t *lanes,            \
                          uint8_t *record)                                                      \
    {                                                                                           \
        const uint32_t per_tile = (uint32_t)(layout_tile_width(layout) / CHUNK);                \
        for (int32_t i = 0; i < n; i++) {                                                       \
            const uint32_t at = (uint32_t)(first + i), tile = at / per_tile;                    \
            chunk_##fmt(row, i, (int)(at % per_tile), lanes + (size_t)tile * TILE_BYTES,        \
                        record + (size_t)tile * STRIP_ROWS * 4 * (size_t)layout_words(layout)); \
        }                                                                                       \
    }
FORMATS(ROW)

int32_t cuda_layout(enum fmt fmt)
{
#define LAYOUT(fmt, layout) [FMT_##fmt] = (layout),
    static const int32_t layouts[FMT_COUNT] = {FORMATS(LAYOUT)};
    return layouts[fmt];
}

/* Rows of floats are read four values at a time. */
size_t cuda_packed_bytes(enum fmt fmt, int32_t N, int32_t K)
{
#define SERVED(fmt, layout) [FMT_##fmt] = true,
    static const bool served[FMT_COUNT] = {FORMATS(SERVED)};
    if ((unsigned)fmt >= FMT_COUNT || !served[fmt])
        return 0;
    if (N <= 0 || K <= 0 || K % 8 || K % fmt_info[fmt].n)
        return 0;
    return (size_t)layout_strips(N) * layout_strip_bytes(cuda_layout(fmt), K);
}

/* Row r of a strip. */
static void pack_row(const struct weight_source *source, const uint8_t *row, int32_t r,
                     uint8_t *strip)
{
#define PACK(fmt, layout) [FMT_##fmt] = row_##fmt,
    static row_fn *const pack[FMT_COUNT] = {FORMATS(PACK)};
    const int32_t layout = cuda_layout(source->fmt), chunks = source->K / CHUNK;
    const struct fmt_info *info = &fmt_info[source->fmt];
    const uint8_t *values = row + info->head;
    uint8_t *lanes = strip + r / 8 * 512 + r % 8 * 64;
    uint8_t *records = strip + (size_t)layout_tiles(layout, source->K) * TILE_BYTES;
    uint8_t *record = records + (size_t)r * 4 * (size_t)layout_words(layout);
    pack[source->fmt](values, 0, chunks, lanes, record);
    const size_t rest = (size_t)(source->K % CHUNK * info->bytes);
    if (rest) { /* of formats of one value a block; bits of 0 are 0 in all of them */
        uint8_t padded[CHUNK * sizeof(float)] = {0};
        memcpy(padded, values + (size_t)chunks * CHUNK * (size_t)info->bytes, rest);
        pack[source->fmt](padded, chunks, 1, lanes, record);
    }
    for (int32_t i = 0; layout == LAYOUT_E2M1_16 && i < layout_tiles(layout, source->K); i++)
        memcpy(record + (size_t)i * STRIP_ROWS * 4 * (size_t)layout_words(layout), row, 4);
    if (layout_has_row_scale(layout))
        put_scale(row, values, layout_is_fp8(layout) ? source->K : 0, records + (size_t)r * 4);
}

/* rows of a strip, at most 16. */
static void pack_strip(const struct weight_source *source, const uint8_t *row, int32_t rows,
                       uint8_t *strip)
{
    const int32_t layout = cuda_layout(source->fmt);
    const size_t row_bytes = fmt_row_bytes(source->fmt, source->K);
    const size_t used = (size_t)layout_tiles(layout, source->K) *
                        (size_t)(TILE_BYTES + STRIP_ROWS * 4 * layout_words(layout));
    /* Zeros are what no value and no record covers. */
    const bool is_full = rows == STRIP_ROWS && source->K % layout_tile_width(layout) == 0;
    const size_t from = is_full ? used : 0;
    memset(strip + from, 0, layout_strip_bytes(layout, source->K) - from);
    for (int32_t r = 0; r < rows; r++)
        pack_row(source, row + (size_t)r * row_bytes, r, strip);
}

size_t cuda_pack_rows(const struct weight_source *source, int32_t first, int32_t last, void *out)
{
    const size_t row_bytes = fmt_row_bytes(source->fmt, source->K);
    const size_t strip_bytes = layout_strip_bytes(cuda_layout(source->fmt), source->K);
    uint8_t *strip = out;
    for (int32_t n = first; n < last; n += STRIP_ROWS, strip += strip_bytes)
        pack_strip(source, (const uint8_t *)source->data + (size_t)n * row_bytes,
                   MIN(STRIP_ROWS, last - n), strip);
    return (size_t)(strip - (uint8_t *)out);
}
