/* From the formats of files to packed layouts. Exact: a packed value is the value of the
 * file, integers and scales are moved, never recomputed.
 *
 * Packing is most of the time to load a model. All 16 rows of a tile go side by side: a
 * vector is the same word of each row, and 4 values of 16 rows are a line, as they come or
 * after shifts and masks on whole words. The functions below are copied for each format,
 * where layouts and counts are constants. */
#include "../../../quant/fp8.h"
#include "../../../quant/fp8_128.h"
#include "../../../quant/int4.h"
#include "../../../quant/int8.h"
#include "../../../quant/mxfp4.h"
#include "../../../quant/nvfp4.h"
#include "../../../quant/q4_0.h"
#include "../../../quant/q4_1.h"
#include "../../../quant/q4_k.h"
#include "../../../quant/q5_0.h"
#include "../../../quant/q5_1.h"
#include "../../../quant/q5_k.h"
#include "../../../quant/q6_k.h"
#include "../../../quant/q8_0.h"
#include "isa.h"
#include "layout.h"

#define WORDS (GROUP / 4)

_Static_assert(DOT_BIAS == 0 || DOT_BIAS == 128, "stored_bytes knows these two");

/* Rows of the file and the tile that they become. */
struct tile_rows {
    const uint8_t *row[PACKED_ROWS]; /* in place of missing ones the last that is there */
    vi present;                      /* all ones, or zero for a missing row */
    int32_t K;
    uint8_t *tile;
};

/* One group of 16 rows: values as they are stored, scales as they stand, in the low bits. */
struct tile_group {
    vi word[WORDS];
    vi d, m;       /* halves; K: d and dmin */
    vi scale, min; /* bytes; K16: the scales of the lower and the upper half */
    vi zero;       /* bytes */
};

/* x in each byte of each word. */
SIMD vi bytes(uint32_t x)
{
    return vi_set1((int32_t)(x * 0x01010101u));
}

/* n bits from bit i on of each byte, n + i <= 8. */
SIMD vi bits_of_bytes(vi words, int i, int n)
{
    return vi_and(vi_shr(words, i), bytes((1u << n) - 1));
}

/* The same of each word. */
SIMD vi bits_of_words(vi words, int i, int n)
{
    return vi_and(vi_shr(words, i), vi_set1((int32_t)((1u << n) - 1)));
}

/* Words of a block that read_<fmt> below get: its first 4, and its body. */
#define BODY 4

/* The block at byte at of each row: its first 4 words, those from byte body on, 4 at a time,
 * and where that leaves a rest, its last 4. */
SIMD void read_block(const struct tile_rows *rows, size_t at, size_t body, size_t size, vi *word)
{
    vi_load_rows(rows->row, at, word);
    UNROLL
    for (; body + 16 <= size; body += 16)
        vi_load_rows(rows->row, at + body, word += 4);
    if (body < size)
        vi_load_rows(rows->row, at + size - 16, word + 4);
}

/* 16 bytes of two nibbles each: the low ones, then the high ones. */
SIMD void split_nibbles(const vi both[4], vi word[WORDS])
{
    UNROLL
    for (int i = 0; i < 4; i++) {
        word[i] = bits_of_bytes(both[i], 0, 4);
        word[i + 4] = bits_of_bytes(both[i], 4, 4);
    }
}

/* Bit i of high becomes the fifth bit of value i. */
SIMD void add_fifths(vi high, vi word[WORDS])
{
    UNROLL
    for (int i = 0; i < WORDS; i++) {
        vi four = bits_of_words(high, 4 * i, 4);
        vi two = vi_add(four, vi_shl(four, 7));
        vi apart = vi_and(vi_add(two, vi_shl(two, 14)), bytes(1));
        word[i] = vi_add(word[i], vi_shl(apart, 4));
    }
}

/* read_<fmt>: group j of a block. */
SIMD void read_q4_0(const vi *block, int j, struct tile_group *out)
{
    (void)j;
    split_nibbles(block + BODY, out->word);
    out->d = block[0];
}

SIMD void read_q4_1(const vi *block, int j, struct tile_group *out)
{
    (void)j;
    split_nibbles(block + BODY, out->word);
    out->d = block[0];
    out->m = vi_shr(block[0], 16);
}

SIMD void read_q5_0(const vi *block, int j, struct tile_group *out)
{
    (void)j;
    split_nibbles(block + BODY, out->word);
    add_fifths(vi_add(vi_shr(block[0], 16), vi_shl(block[1], 16)), out->word);
    out->d = block[0];
}

SIMD void read_q5_1(const vi *block, int j, struct tile_group *out)
{
    (void)j;
    split_nibbles(block + BODY, out->word);
    add_fifths(block[1], out->word);
    out->d = block[0];
    out->m = vi_shr(block[0], 16);
}

SIMD void read_mxfp4(const vi *block, int j, struct tile_group *out)
{
    (void)j;
    split_nibbles(block + BODY, out->word);
    out->scale = block[0];
}

/* Signed bytes as they are stored. */
SIMD vi stored_bytes(vi words)
{
    return DOT_BIAS ? vi_xor(words, bytes(128)) : words;
}

SIMD void read_q8_0(const vi *block, int j, struct tile_group *out)
{
    (void)j;
    UNROLL
    for (int i = 0; i < WORDS; i++)
        out->word[i] = stored_bytes(block[BODY + i]);
    out->d = block[0];
}

/* The four nibbles of the lower half of each word, each in a byte, the lowest first. */
SIMD vi spread_nibbles(vi words)
{
    vi two = vi_add(bits_of_words(words, 0, 8), vi_shl(bits_of_words(words, 8, 8), 16));
    return vi_add(bits_of_bytes(two, 0, 4), vi_shl(bits_of_bytes(two, 4, 4), 8));
}

/* Group j of nibbles that stand in order. */
SIMD void read_nibbles(const vi *block, int j, vi word[WORDS])
{
    UNROLL
    for (int i = 0; i < 4; i++) {
        vi four = block[BODY + 4 * j + i];
        word[2 * i] = spread_nibbles(four);
        word[2 * i + 1] = spread_nibbles(vi_shr(four, 16));
    }
}

SIMD void read_nvfp4(const vi *block, int j, struct tile_group *out)
{
    read_nibbles(block, j, out->word);
    out->scale = vi_shr(block[0], 16 * j);
    out->min = vi_shr(block[0], 16 * j + 8);
}

SIMD void read_int4(const vi *block, int j, struct tile_group *out)
{
    read_nibbles(block, j, out->word);
    out->d = block[0];
    out->zero = bits_of_words(block[0], 16, 8);
}

SIMD void read_int4_32(const vi *block, int j, struct tile_group *out)
{
    (void)j;
    read_int4(block, 0, out);
}

SIMD void read_int4_64(const vi *block, int j, struct tile_group *out)
{
    read_int4(block, j, out);
}

SIMD void read_int4_128(const vi *block, int j, struct tile_group *out)
{
    read_int4(block, j, out);
}

/* Group j of the nibbles of a super-block. */
SIMD void read_super_nibbles(const vi *q, int j, vi word[WORDS])
{
    UNROLL
    for (int i = 0; i < WORDS; i++)
        word[i] = bits_of_bytes(q[j / 2 * WORDS + i], j % 2 * 4, 4);
}

/* Behind d and dmin three words: scales, minima, and the low bits of the last four of each. */
SIMD void read_super_scales(const vi *block, int j, struct tile_group *out)
{
    const int i = j % 4 * 8;
    out->d = block[0];
    out->m = vi_shr(block[0], 16);
    out->scale = bits_of_words(block[1], i, 6);
    out->min = bits_of_words(block[2], i, 6);
    if (j >= 4) {
        out->scale = vi_shl(bits_of_words(block[1], i + 6, 2), 4);
        out->min = vi_shl(bits_of_words(block[2], i + 6, 2), 4);
        out->scale = vi_add(out->scale, bits_of_words(block[3], i, 4));
        out->min = vi_add(out->min, bits_of_words(block[3], i + 4, 4));
    }
}

SIMD void read_q4_k(const vi *block, int j, struct tile_group *out)
{
    read_super_nibbles(block + BODY, j, out->word);
    read_super_scales(block, j, out);
}

SIMD void read_q5_k(const vi *block, int j, struct tile_group *out)
{
    const vi *high = block + BODY;
    read_super_nibbles(high + WORDS, j, out->word);
    UNROLL
    for (int i = 0; i < WORDS; i++)
        out->word[i] = vi_add(out->word[i], vi_shl(bits_of_bytes(high[i], j, 1), 4));
    read_super_scales(block, j, out);
}

SIMD void read_q6_k(const vi *block, int j, struct tile_group *out)
{
    const vi *low = block + BODY, *high = low + 4 * WORDS, *scale = high + 2 * WORDS;
    low += (j / 4 * 2 + j % 2) * WORDS;
    high += j / 4 * WORDS;
    UNROLL
    for (int i = 0; i < WORDS; i++) {
        vi q = bits_of_bytes(low[i], j % 4 / 2 * 4, 4);
        out->word[i] = vi_add(q, vi_shl(bits_of_bytes(high[i], j % 4 * 2, 2), 4));
    }
    out->scale = vi_shr(scale[j / 2], j % 2 * 16);
    out->min = vi_shr(scale[j / 2], j % 2 * 16 + 8);
    out->d = vi_shr(scale[7], 16); /* the last half of the block */
}

/* 16 halves or bytes, those of missing rows as zero. */
SIMD void put_halves(uint8_t *halves, int a, vi x, vi present)
{
    vi_store_u16((uint16_t *)(void *)(halves + half_offset(a, 0)), vi_and(x, present));
}

SIMD void put_bytes(uint8_t *arrays, int a, vi x, vi present)
{
    vi_store_s8((int8_t *)arrays + a * PACKED_ROWS, vi_and(x, present));
}

SIMD void put_scales(enum scales kind, uint8_t *scales, int g, const struct tile_group *group,
                     vi present)
{
    uint8_t *halves = scales + SUPER_HALVES;
    if (kind == SCALES_D) {
        put_halves(scales, g, group->d, present);
    } else if (kind == SCALES_DM) {
        put_halves(scales, 2 * g, group->d, present);
        put_halves(scales, 2 * g + 1, group->m, present);
    } else if (kind == SCALES_K) {
        put_bytes(scales, g, group->scale, present);
        put_bytes(scales, 8 + g, group->min, present);
        put_halves(halves, 0, group->d, present);
        put_halves(halves, 1, group->m, present);
    } else if (kind == SCALES_E8) {
        put_bytes(scales, g, group->scale, present);
    } else if (kind == SCALES_E4) {
        put_bytes(scales, 2 * g, group->scale, present);
        put_bytes(scales, 2 * g + 1, group->min, present);
    } else if (has_zeros(kind)) {
        vi_store_u16((uint16_t *)(void *)(scales + zero_scale_offset(kind, g, 0)),
                     vi_and(group->d, present));
        vi_store_s8((int8_t *)scales + zero_offset(kind, g, 0), vi_and(group->zero, present));
        if (kind != SCALES_Z32)
            memset(scales + zero_offset(kind, 1, 0) + PACKED_ROWS, 0, PACKED_ROWS);
    } else if (kind == SCALES_K16) {
        put_bytes(scales, 2 * g, group->scale, present);
        put_bytes(scales, 2 * g + 1, group->min, present);
        put_halves(halves, 0, group->d, present);
        put_halves(halves, 1, vi_zero(), present); /* what nothing reads is zero too */
    }
}

/* The upper bits of a group to their lines in its pair. */
SIMD void put_upper(enum data data, uint8_t *pair, bool is_odd, const vi word[WORDS], vi present)
{
    const int bits = upper_bits(data), lines = bits == 2 ? 4 : 8; /* that share one of them */
    UNROLL
    for (int j = 0; j < WORDS; j += lines) {
        vi upper = vi_zero();
        UNROLL
        for (int i = j; i < j + lines; i++) {
            vi line = bits_of_bytes(vi_and(word[i], present), 4, bits);
            upper = vi_or(upper, vi_shl(line, upper_place(data, i)));
        }
        vi_store(pair + upper_offset(data, is_odd, j), upper);
    }
}

/* Groups g and g + 1 of a unit; of a format whose blocks are single groups the second may be
 * missing, and is zero then. */
SIMD void put_pair(enum layout layout, uint8_t *unit, int g, const struct tile_group pair[2],
                   const vi present[2])
{
    const struct layout_info *info = &layout_info[layout];
    uint8_t *to = unit + scales_bytes(info->scales) + (size_t)(g / 2) * pair_bytes(info->data);
    UNROLL
    for (int j = 0; j < WORDS; j++) {
        vi even = vi_and(pair[0].word[j], present[0]), odd = vi_and(pair[1].word[j], present[1]);
        if (has_nibbles(info->data)) {
            if (upper_bits(info->data)) {
                even = bits_of_bytes(even, 0, 4);
                odd = bits_of_bytes(odd, 0, 4);
            }
            vi_store(to + line_offset(info->data, false, j), vi_add(even, vi_shl(odd, 4)));
        } else {
            vi_store(to + line_offset(info->data, false, j), even);
            vi_store(to + line_offset(info->data, true, j), odd);
        }
    }
    UNROLL
    for (int i = 0; i < 2; i++) {
        if (upper_bits(info->data))
            put_upper(info->data, to, i, pair[i].word, present[i]);
        put_scales(info->scales, unit, g + i, &pair[i], present[i]);
    }
}

/* The first word of each row's bytes from at on: a scale. */
SIMD vi load_scales(const struct tile_rows *rows, size_t at)
{
    vi word[4];
    vi_load_rows(rows->row, at, word);
    return word[0];
}

/* PACKER(fmt, body, groups, layout): pack_<fmt> for a tile. A block's values begin at its field
 * body and are that many groups; a unit is one block, or two of a single group. A row may begin
 * with its scale. */
#define PACKER(fmt, body, groups, name)                                                            \
    static void pack_##fmt(const struct tile_rows *rows)                                           \
    {                                                                                              \
        enum { SIZE = sizeof(struct fmt), BLOCKS = (groups) == 1 ? 2 : 1 };                        \
        const struct layout_info *info = &layout_info[LAYOUT_##name];                              \
        const int n = rows->K / GROUP / (groups);                                                  \
        const size_t head = (size_t)fmt_info[FMT_##fmt].head;                                      \
        uint8_t *unit = rows->tile + head_bytes(info->scales);                                     \
        if (has_row_scale(info->scales))                                                           \
            vi_store(rows->tile, vi_and(load_scales(rows, 0), rows->present));                     \
        for (int b = 0; b < n; b += BLOCKS) {                                                      \
            int last = b + BLOCKS <= n ? b + BLOCKS - 1 : b;                                       \
            vi present[2] = {rows->present, last - b + 1 < BLOCKS ? vi_zero() : rows->present};    \
            vi block[BLOCKS][BODY + SIZE / 4 + 4];                                                 \
            read_block(rows, head + (size_t)b * SIZE, offsetof(struct fmt, body), SIZE, block[0]); \
            if (BLOCKS == 2)                                                                       \
                read_block(rows, head + (size_t)last * SIZE, offsetof(struct fmt, body), SIZE,     \
                           block[BLOCKS - 1]);                                                     \
            for (int g = 0; g < BLOCKS * (groups); g += 2) {                                       \
                struct tile_group pair[2];                                                         \
                read_##fmt(block[0], g, &pair[0]);                                                 \
                read_##fmt(block[BLOCKS - 1], g + 1, &pair[1]);                                    \
                put_pair(LAYOUT_##name, unit, g, pair, present);                                   \
            }                                                                                      \
            unit += unit_bytes(info->data, info->scales);                                          \
        }                                                                                          \
    }

PACKER(q4_0, q, 1, q4_0)
PACKER(q4_1, q, 1, q4_1)
PACKER(q5_0, q, 1, q5_0)
PACKER(q5_1, q, 1, q5_1)
PACKER(q8_0, q, 1, q8_0)
PACKER(mxfp4, q, 1, mxfp4)
PACKER(nvfp4, q, 2, nvfp4)
PACKER(q4_k, q, 8, q4_k)
PACKER(q5_k, high, 8, q5_k)
PACKER(q6_k, low, 8, q6_k)
PACKER(int4_32, q, 1, int4_32)
PACKER(int4_64, q, 2, int4_64)
PACKER(int4_128, q, 4, int4_128)

static void pack_int8(const struct tile_rows *rows)
{
    const struct layout_info *info = &layout_info[LAYOUT_int8];
    const int groups = rows->K / GROUP;
    uint8_t *unit = rows->tile + head_bytes(info->scales);
    vi_store(rows->tile, vi_and(load_scales(rows, 0), rows->present));
    for (int g = 0; g < groups; g += 2, unit += unit_bytes(info->data, info->scales)) {
        struct tile_group pair[2];
        const vi present[2] = {rows->present, g + 1 < groups ? rows->present : vi_zero()};
        for (int i = 0; i < 2; i++) {
            size_t at =
                (size_t)fmt_info[FMT_int8].head + (size_t)(g + i < groups ? g + i : g) * GROUP;
            vi_load_rows(rows->row, at, pair[i].word);
            vi_load_rows(rows->row, at + GROUP / 2, pair[i].word + 4);
            for (int j = 0; j < WORDS; j++)
                pair[i].word[j] = stored_bytes(pair[i].word[j]);
        }
        put_pair(LAYOUT_int8, unit, 0, pair, present);
    }
}

/* Bytes 1 and 2 of each word change places. */
SIMD vi swap_inner_bytes(vi words)
{
    vi outer = vi_and(words, vi_set1((int32_t)0xff0000ffu));
    vi up = vi_and(vi_shl(words, 8), vi_set1(0x00ff0000));
    return vi_or(outer, vi_or(up, vi_and(vi_shr(words, 8), vi_set1(0x0000ff00))));
}

/* n E4M3 numbers of each row from byte at on, in pairs. All ones in the lanes of rows that have
 * one that is no number. */
SIMD vi pack_e4m3(const struct tile_rows *rows, size_t at, int n, uint8_t *to)
{
    vi none = vi_zero();
    for (int k = 0; k < n; k += 16, at += 16) {
        vi word[4];
        vi_load_rows(rows->row, at, word);
        UNROLL
        for (int j = 0; j < 4; j++, to += LINE_BYTES) {
            if (E4M3_RUN == 2) {
                put_halves(to, 0, word[j], rows->present);
                put_halves(to, 1, vi_shr(word[j], 16), rows->present);
            } else {
                vi_store(to, vi_and(swap_inner_bytes(word[j]), rows->present));
            }
            /* 0x7f or 0xff plus 1 has the upper bit, of all bytes without their sign */
            none = vi_or(none, vi_add(vi_and(word[j], bytes(0x7f)), bytes(1)));
        }
    }
    return none;
}

/* The scales of rows; not a number where one of the values is none, as `none` says. */
SIMD void put_float_scales(const struct tile_rows *rows, vi scale, vi none, uint8_t *to)
{
    int32_t word[PACKED_ROWS], nan[PACKED_ROWS];
    vi_store(word, vi_and(scale, rows->present));
    vi_store(nan, vi_and(none, rows->present));
    for (int r = 0; r < PACKED_ROWS; r++)
        if ((uint32_t)nan[r] & 0x80808080u)
            word[r] = 0x7fc00000;
    memcpy(to, word, sizeof word);
}

static void pack_fp8(const struct tile_rows *rows)
{
    const size_t head = (size_t)fmt_info[FMT_fp8].head;
    uint8_t *to = rows->tile + head_bytes(SCALES_ROW);
    vi none = pack_e4m3(rows, head, rows->K, to);
    put_float_scales(rows, load_scales(rows, 0), none, rows->tile);
    memset(to + data_bytes(DATA_E4M3, rows->K), 0,
           tile_bytes(LAYOUT_fp8, rows->K) - head_bytes(SCALES_ROW) -
               data_bytes(DATA_E4M3, rows->K));
}

static void pack_fp8_128(const struct tile_rows *rows)
{
    uint8_t *unit = rows->tile;
    size_t at = 0;
    for (int k = 0; k < rows->K; k += 128, at += sizeof(struct fp8_128)) {
        vi none = pack_e4m3(rows, at + offsetof(struct fp8_128, bits), 128,
                            unit + scales_bytes(SCALES_F128));
        put_float_scales(rows, load_scales(rows, at), none, unit);
        unit += unit_bytes(DATA_E4M3, SCALES_F128);
    }
}

/* Floats stay as they are, in words: one, or two halves, which bf16 keeps side by side. */
SIMD void pack_floats(enum data data, const struct tile_rows *rows)
{
    const size_t n = (size_t)rows->K / (data == DATA_F32 ? 1 : 2);
    uint8_t *to = rows->tile;
    for (size_t i = 0; i < n; i += 4) {
        vi word[4];
        vi_load_rows(rows->row, 4 * i, word);
        UNROLL
        for (int j = 0; j < 4; j++, to += LINE_BYTES) {
            if (data == DATA_F16) {
                put_halves(to, 0, word[j], rows->present);
                put_halves(to, 1, vi_shr(word[j], 16), rows->present);
            } else {
                vi_store(to, vi_and(word[j], rows->present));
            }
        }
    }
}

static void pack_f32(const struct tile_rows *rows)
{
    pack_floats(DATA_F32, rows);
}

static void pack_f16(const struct tile_rows *rows)
{
    pack_floats(DATA_F16, rows);
}

static void pack_bf16(const struct tile_rows *rows)
{
    pack_floats(DATA_BF16, rows);
}

static const struct {
    enum layout layout;
    void (*pack)(const struct tile_rows *rows);
} packing[FMT_COUNT] = {
    [FMT_f32] = {LAYOUT_f32, pack_f32},
    [FMT_f16] = {LAYOUT_f16, pack_f16},
    [FMT_bf16] = {LAYOUT_bf16, pack_bf16},
    [FMT_q4_0] = {LAYOUT_q4_0, pack_q4_0},
    [FMT_q4_1] = {LAYOUT_q4_1, pack_q4_1},
    [FMT_q5_0] = {LAYOUT_q5_0, pack_q5_0},
    [FMT_q5_1] = {LAYOUT_q5_1, pack_q5_1},
    [FMT_q8_0] = {LAYOUT_q8_0, pack_q8_0},
    [FMT_mxfp4] = {LAYOUT_mxfp4, pack_mxfp4},
    [FMT_nvfp4] = {LAYOUT_nvfp4, pack_nvfp4},
    [FMT_q4_k] = {LAYOUT_q4_k, pack_q4_k},
    [FMT_q5_k] = {LAYOUT_q5_k, pack_q5_k},
    [FMT_q6_k] = {LAYOUT_q6_k, pack_q6_k},
    [FMT_fp8] = {LAYOUT_fp8, pack_fp8},
    [FMT_fp8_128] = {LAYOUT_fp8_128, pack_fp8_128},
    [FMT_int8] = {LAYOUT_int8, pack_int8},
    [FMT_int4_32] = {LAYOUT_int4_32, pack_int4_32},
    [FMT_int4_64] = {LAYOUT_int4_64, pack_int4_64},
    [FMT_int4_128] = {LAYOUT_int4_128, pack_int4_128},
};

size_t ISA_FN(packed_bytes)(const struct device_config *config, enum fmt fmt, int32_t N, int32_t K)
{
    (void)config;
    if ((unsigned)fmt >= FMT_COUNT || N <= 0 || K <= 0 || K % GROUP || K % fmt_info[fmt].n)
        return 0;
    size_t tiles = ((size_t)N + PACKED_ROWS - 1) / PACKED_ROWS;
    size_t size = tile_bytes(packing[fmt].layout, K);
    return tiles > SIZE_MAX / size ? 0 : tiles * size;
}

/* n rows from the first on, or as many as a tile has. */
static void place_rows(struct tile_rows *rows, const uint8_t *first, size_t row_bytes, int32_t n)
{
    int32_t present[PACKED_ROWS];
    for (int32_t r = 0; r < PACKED_ROWS; r++) {
        rows->row[r] = first + (size_t)(r < n ? r : n - 1) * row_bytes;
        present[r] = r < n ? -1 : 0;
    }
    rows->present = vi_load(present);
}

void ISA_FN(pack_tiles)(const struct device_config *config, const struct weight_source *source,
                        struct weight *out, int32_t first, int32_t last)
{
    (void)config;
    enum layout layout = packing[source->fmt].layout;
    size_t size = tile_bytes(layout, source->K), used = used_bytes(layout, source->K);
    size_t row_bytes = fmt_row_bytes(source->fmt, source->K);
    for (int32_t t = first; t < last; t++) {
        int32_t n = t * PACKED_ROWS;
        const uint8_t *row = (const uint8_t *)source->data + (size_t)n * row_bytes;
        struct tile_rows rows = {.K = source->K, .tile = (uint8_t *)out->data + (size_t)t * size};
        place_rows(&rows, row, row_bytes, source->N - n);
        packing[source->fmt].pack(&rows);
        memset(rows.tile + used, 0, size - used);
    }
    out->fmt = source->fmt;
    out->layout = (int32_t)layout;
    out->N = source->N;
    out->K = source->K;
}
