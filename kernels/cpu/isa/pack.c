/* From the formats of files to packed layouts. Exact: a packed value is the value of
 * the file, integers and scales are moved, never recomputed. */
#include "../../../quant/bf16.h"
#include "../../../quant/f32.h"
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

/* read_<fmt>: group g of a row in the file's format; scales says how to fill the scales
 * from block b and j, the group's number in the block. */
#define READ(fmt, groups_per_block, scales)                                     \
    static void read_##fmt(const uint8_t *row, int g, struct row_group *out)    \
    {                                                                           \
        const struct fmt *b = (const struct fmt *)row + g / (groups_per_block); \
        const int j = g % (groups_per_block);                                   \
        for (int i = 0; i < GROUP; i++)                                         \
            out->q[i] = (int16_t)fmt##_q(b, j * GROUP + i);                     \
        scales;                                                                 \
    }
#define SCALES_OF_SUPER                                                                      \
    (out->d = b->d, out->m = b->dmin, out->scale = (uint8_t)q4_k_packed_scale(b->packed, j), \
     out->min = (uint8_t)q4_k_packed_min(b->packed, j))

READ(q4_0, 1, (out->d = b->d, (void)j))
READ(q4_1, 1, (out->d = b->d, out->m = b->m, (void)j))
READ(q5_0, 1, (out->d = b->d, (void)j))
READ(q5_1, 1, (out->d = b->d, out->m = b->m, (void)j))
READ(q8_0, 1, (out->d = b->d, (void)j))
READ(q4_k, 8, SCALES_OF_SUPER)
READ(q5_k, 8, SCALES_OF_SUPER)
READ(q6_k, 8,
     (out->d = b->d, out->half_scale[0] = b->scale[2 * j],
      out->half_scale[1] = b->scale[2 * j + 1]))

static const struct {
    enum layout layout;
    void (*read)(const uint8_t *row, int g, struct row_group *out); /* NULL: floats */
} packing[FMT_COUNT] = {
    [FMT_f32] = {LAYOUT_f32, NULL},        [FMT_f16] = {LAYOUT_f16, NULL},
    [FMT_bf16] = {LAYOUT_bf16, NULL},      [FMT_q4_0] = {LAYOUT_q4_0, read_q4_0},
    [FMT_q4_1] = {LAYOUT_q4_1, read_q4_1}, [FMT_q5_0] = {LAYOUT_q8_0, read_q5_0},
    [FMT_q5_1] = {LAYOUT_q5_1, read_q5_1}, [FMT_q8_0] = {LAYOUT_q8_0, read_q8_0},
    [FMT_q4_k] = {LAYOUT_q4_k, read_q4_k}, [FMT_q5_k] = {LAYOUT_q5_k, read_q5_k},
    [FMT_q6_k] = {LAYOUT_q6_k, read_q6_k},
};

size_t ISA_FN(packed_bytes)(const struct device_config *config, enum fmt fmt, int32_t N, int32_t K)
{
    (void)config;
    if ((unsigned)fmt >= FMT_COUNT || N <= 0 || K <= 0 || K % GROUP || K % fmt_info[fmt].n)
        return 0;
    size_t tiles = ((size_t)N + PACKED_ROWS - 1) / PACKED_ROWS;
    size_t bytes = tile_bytes(packing[fmt].layout, K);
    return tiles > SIZE_MAX / bytes ? 0 : tiles * bytes;
}

/* Row r of a tile of floats. */
static void pack_floats(enum layout layout, const uint8_t *row, int32_t K, uint8_t *tile, int r)
{
    enum data data = layout_info[layout].data;
    size_t bytes = unit_bytes(data, SCALES_NONE), element = data == DATA_F32 ? 4 : 2;
    for (int32_t k = 0; k < K; k++)
        memcpy(tile + (size_t)(k / GROUP) * bytes + float_offset(data, r, k % GROUP),
               row + (size_t)k * element, element);
}

static void pack_groups(enum fmt fmt, const uint8_t *row, int32_t K, uint8_t *tile, int r)
{
    enum layout layout = packing[fmt].layout;
    const struct layout_info *info = &layout_info[layout];
    int per_unit = unit_inputs(info->scales) / GROUP;
    size_t bytes = unit_bytes(info->data, info->scales);
    struct row_group group = {0};
    for (int32_t g = 0; g < K / GROUP; g++) {
        packing[fmt].read(row, g, &group);
        ISA_FN(group_put)(layout, tile + (size_t)(g / per_unit) * bytes, r, g % per_unit, &group);
    }
}

void ISA_FN(pack_tiles)(const struct device_config *config, const struct weight_source *source,
                        struct weight *out, int32_t first, int32_t last)
{
    (void)config;
    enum layout layout = packing[source->fmt].layout;
    size_t bytes = tile_bytes(layout, source->K);
    size_t row_bytes = fmt_row_bytes(source->fmt, source->K);
    uint8_t *tile = (uint8_t *)out->data + (size_t)first * bytes;
    for (int32_t t = first; t < last; t++, tile += bytes) {
        memset(tile, 0, bytes);
        int32_t n = t * PACKED_ROWS,
                rows = source->N - n < PACKED_ROWS ? source->N - n : PACKED_ROWS;
        for (int32_t r = 0; r < rows; r++) {
            const uint8_t *row = (const uint8_t *)source->data + (size_t)(n + r) * row_bytes;
            if (packing[source->fmt].read)
                pack_groups(source->fmt, row, source->K, tile, r);
            else
                pack_floats(layout, row, source->K, tile, r);
        }
    }
    out->fmt = source->fmt;
    out->layout = (int32_t)layout;
    out->N = source->N;
    out->K = source->K;
}
