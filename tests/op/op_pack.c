/* Packing against the plain definition of the packed bytes, value by value, for every format,
 * instruction set and odd shape; and rows unpacked again against what the format says. */
#include "t.h"

#define ISA       plain /* for the offsets alone, the same in every set but for E4M3 */
#define ISA_PLAIN 1
#include "../../kernels/cpu/isa/layout.h"

#include "../../kernels/cpu/cpuid.h"
#include "../../plugin/base/base.h"
#include "../../quant/fp8.h"
#include "../../quant/fp8_128.h"
#include "../../quant/int4.h"
#include "../../quant/int8.h"
#include "../../quant/mxfp4.h"
#include "../../quant/nvfp4.h"
#include "../../quant/q4_0.h"
#include "../../quant/q4_1.h"
#include "../../quant/q4_k.h"
#include "../../quant/q5_0.h"
#include "../../quant/q5_1.h"
#include "../../quant/q5_k.h"
#include "../../quant/q6_k.h"
#include "../../quant/q8_0.h"

#include <stdlib.h>

#define FOR_EACH_ISA(isa)                                     \
    for (enum isa isa = ISA_ID_PLAIN; isa < ISA_COUNT; isa++) \
        if (cpu_can(isa))

static const struct backend *cpu(void)
{
    return backend_find("cpu");
}

static const enum layout layout_of[FMT_COUNT] = {
    [FMT_f32] = LAYOUT_f32,           [FMT_f16] = LAYOUT_f16,
    [FMT_bf16] = LAYOUT_bf16,         [FMT_q4_0] = LAYOUT_q4_0,
    [FMT_q4_1] = LAYOUT_q4_1,         [FMT_q5_0] = LAYOUT_q5_0,
    [FMT_q5_1] = LAYOUT_q5_1,         [FMT_q8_0] = LAYOUT_q8_0,
    [FMT_q4_k] = LAYOUT_q4_k,         [FMT_q5_k] = LAYOUT_q5_k,
    [FMT_q6_k] = LAYOUT_q6_k,         [FMT_fp8] = LAYOUT_fp8,
    [FMT_fp8_128] = LAYOUT_fp8_128,   [FMT_int8] = LAYOUT_int8,
    [FMT_int4_32] = LAYOUT_int4_32,   [FMT_int4_64] = LAYOUT_int4_64,
    [FMT_int4_128] = LAYOUT_int4_128, [FMT_mxfp4] = LAYOUT_mxfp4,
    [FMT_nvfp4] = LAYOUT_nvfp4,
};

/* The integer of value k of a row, of mxfp4 and nvfp4 its code less stored_bias. */
static int value_of(enum fmt fmt, const uint8_t *row, int k)
{
    const struct mxfp4 *block;
    switch (fmt) {
#define VALUE(name, n) \
    case FMT_##name:   \
        return name##_q((const struct name *)row + k / (n), k % (n));
        VALUE(q4_0, 32)
        VALUE(q4_1, 32)
        VALUE(q5_0, 32)
        VALUE(q5_1, 32)
        VALUE(q8_0, 32)
        VALUE(q4_k, 256)
        VALUE(q5_k, 256)
        VALUE(q6_k, 256)
        VALUE(int4_32, 32)
        VALUE(int4_64, 64)
        VALUE(int4_128, 128)
#undef VALUE
    case FMT_mxfp4:
        block = (const struct mxfp4 *)row + k / 32;
        return (block->q[k % 16] >> k % 32 / 16 * 4 & 15) - 16;
    case FMT_nvfp4:
        return nvfp4_code((const struct nvfp4 *)(row + 4) + k / 64, k % 64) - 16;
    case FMT_int8:
        return int8_q((const struct int8 *)(row + 4), k);
    default:
        return 0;
    }
}

/* Half i of array a behind at, of row r. */
static void copy_half(uint8_t *at, int a, int r, const void *half)
{
    memcpy(at + (size_t)(a * PACKED_ROWS + r) * 2, half, 2);
}

/* The scale at `from`, of n E4M3 numbers, of row r; no number if one of these is none. */
static void define_float_scale(uint8_t *at, int r, const uint8_t *from, const uint8_t *bits, int n)
{
    static const uint32_t nan = 0x7fc00000;
    bool is_nan = false;
    for (int k = 0; k < n; k++)
        is_nan |= (bits[k] & 0x7f) == 0x7f;
    memcpy(at + 4 * r, is_nan ? (const void *)&nan : from, 4);
}

/* The scales of group g of a row. */
static void define_scales(enum fmt fmt, const uint8_t *row, int g, uint8_t *unit, int r)
{
    const struct fmt_info *info = &fmt_info[fmt];
    const uint8_t *block = row + info->head + (size_t)(g * GROUP / info->n * info->bytes);
    const struct q6_k *b6 = (const struct q6_k *)block;
    const struct q4_k *b4 = (const struct q4_k *)block; /* and q5_k, up to q */
    int in_block = g % 8;
    switch (layout_info[layout_of[fmt]].scales) {
    case SCALES_D:
        copy_half(unit, g % 2, r, block);
        break;
    case SCALES_DM:
        copy_half(unit, g % 2 * 2, r, block);
        copy_half(unit, g % 2 * 2 + 1, r, block + 2);
        break;
    case SCALES_K:
        unit[in_block * 16 + r] = (uint8_t)q4_k_packed_scale(b4->packed, in_block);
        unit[(8 + in_block) * 16 + r] = (uint8_t)q4_k_packed_min(b4->packed, in_block);
        copy_half(unit + 256, 0, r, &b4->d);
        copy_half(unit + 256, 1, r, &b4->dmin);
        break;
    case SCALES_K16:
        unit[2 * in_block * 16 + r] = (uint8_t)b6->scale[2 * in_block];
        unit[(2 * in_block + 1) * 16 + r] = (uint8_t)b6->scale[2 * in_block + 1];
        copy_half(unit + 256, 0, r, &b6->d);
        break;
    case SCALES_E8:
        unit[g % 2 * 16 + r] = block[0];
        break;
    case SCALES_E4:
        unit[2 * (g % 2) * 16 + r] = block[2 * (g % 2)];
        unit[(2 * (g % 2) + 1) * 16 + r] = block[2 * (g % 2) + 1];
        break;
    case SCALES_Z32:
        copy_half(unit, g % 2, r, block);
        unit[64 + g % 2 * 16 + r] = block[2];
        break;
    case SCALES_Z64:
    case SCALES_Z128:
        copy_half(unit, 0, r, block);
        unit[32 + r] = block[2];
        break;
    case SCALES_F128:
        define_float_scale(unit, r, block, block + 4, 128);
        break;
    case SCALES_ROW:
    case SCALES_NONE:
        break;
    }
}

/* Where E4M3 number k of row r stands in a unit: in pairs or, of AVX2, in fours of inputs 0, 2, 1
 * and 3. */
static size_t e4m3_offset(enum isa isa, int r, int k)
{
    static const size_t place[] = {0, 2, 1, 3};
    if (isa == ISA_ID_AVX2)
        return (size_t)(k / 4 * PACKED_ROWS + r) * 4 + place[k % 4];
    return (size_t)(k / 2 * PACKED_ROWS + r) * 2 + (size_t)(k % 2);
}

/* Input k of row r of a unit, where zeros are: what has 4 to 6 bits shares bytes with the group
 * beside it, and its upper bits stand before the eight lines of the pair, see layout.h. */
static void define_integer(enum data data, int stored, int k, uint8_t *unit, int r)
{
    static const int first_of_fifths[8] = {4, 5, 6, 7, 0, 1, 2, 3}, first_of_two[4] = {4, 6, 0, 2};
    const int bits = data == DATA_U5 || data == DATA_S5 ? 1 : data == DATA_S6 ? 2 : 0;
    const int pair = k / 64, odd = k / 32 % 2, line = k % 32 / 4, byte = r * 4 + k % 4;
    if (data == DATA_S8) {
        unit[(k / 4) * 64 + byte] = (uint8_t)stored;
        return;
    }
    uint8_t *lines = unit + (size_t)pair * (size_t)(8 + 2 * bits) * 64;
    lines[(2 * bits + line) * 64 + byte] |= (uint8_t)((stored & 15) << 4 * odd);
    if (bits == 1)
        lines[odd * 64 + byte] |= (uint8_t)(stored >> 4 << first_of_fifths[line]);
    if (bits == 2)
        lines[(line / 4 * 2 + odd) * 64 + byte] |= (uint8_t)(stored >> 4 << first_of_two[line % 4]);
}

/* Value k of row r into its unit, where zeros are. */
static void define_value(enum isa isa, enum fmt fmt, const uint8_t *row, int k, uint8_t *unit,
                         int r)
{
    const struct layout_info *info = &layout_info[layout_of[fmt]];
    int in_unit = k % unit_inputs(info->scales);
    if (fmt == FMT_fp8 || fmt == FMT_fp8_128) {
        size_t before = fmt == FMT_fp8 ? 4 : (size_t)(k / 128 + 1) * 4;
        unit[scales_bytes(info->scales) + e4m3_offset(isa, r, in_unit)] = row[before + (size_t)k];
        if (k % GROUP == 0)
            define_scales(fmt, row, k / GROUP, unit, r);
        return;
    }
    if (is_float(info->data)) {
        size_t bytes = fmt == FMT_f32 ? 4 : 2;
        memcpy(unit + float_offset(info->data, r, in_unit), row + (size_t)k * bytes, bytes);
        return;
    }
    int bias = info->data == DATA_S8 ? isa >= ISA_ID_AVX512 ? 128 : 0 : stored_bias(info->data);
    int stored = (value_of(fmt, row, k) + bias) & 0xff;
    define_integer(info->data, stored, in_unit, unit + scales_bytes(info->scales), r);
    if (k % GROUP == 0)
        define_scales(fmt, row, k / GROUP, unit, r);
}

/* Row n into its tile. */
static void define_row(enum isa isa, const struct weight_source *source, int n, uint8_t *tile)
{
    const struct layout_info *info = &layout_info[layout_of[source->fmt]];
    const size_t unit_size = unit_bytes(info->data, info->scales);
    const uint8_t *row =
        (const uint8_t *)source->data + (size_t)n * fmt_row_bytes(source->fmt, source->K);
    if (has_row_scale(info->scales))
        define_float_scale(tile, n % PACKED_ROWS, row, row + 4,
                           source->fmt == FMT_fp8 ? source->K : 0);
    for (int k = 0; k < source->K; k++)
        define_value(isa, source->fmt, row, k,
                     tile + head_bytes(info->scales) +
                         (size_t)(k / unit_inputs(info->scales)) * unit_size,
                     n % PACKED_ROWS);
}

static void define(enum isa isa, const struct weight_source *source, uint8_t *out, size_t bytes)
{
    memset(out, 0, bytes);
    for (int n = 0; n < source->N; n++)
        define_row(isa, source, n,
                   out + (size_t)(n / PACKED_ROWS) * tile_bytes(layout_of[source->fmt], source->K));
}

static struct device_config config_of(enum isa isa, int threads)
{
    return (struct device_config){.threads = threads,
                                  .isa = (int32_t)isa,
                                  .max_tokens = 1,
                                  .max_rows = 1,
                                  .max_context = 1,
                                  .max_width = 1024,
                                  .L = 1,
                                  .H = 1,
                                  .K = 1,
                                  .dim = 2,
                                  .kv_pages = 1};
}

/* Every bit of the source is random, also where no sane file has it so. */
static void check_shape(enum isa isa, enum fmt fmt, int N, int K, int threads)
{
    struct device_config config = config_of(isa, threads);
    size_t row = fmt_row_bytes(fmt, K), bytes = cpu()->packed_bytes(&config, fmt, N, K);
    uint8_t *data = malloc(row * (size_t)N), *want = malloc(bytes);
    uint8_t *got = aligned_alloc(CACHE_LINE, bytes);
    struct device *device;
    uint32_t state = (uint32_t)(N * 1000 + K);
    for (size_t i = 0; i < row * (size_t)N; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (uint8_t)(state >> 24);
    }
    const struct weight_source source = {.fmt = fmt, .N = N, .K = K, .data = data};
    struct weight out = {.data = got, .bytes = bytes};
    memset(got, 0xa5, bytes);
    define(isa, &source, want, bytes);
    CHECK_EQ(cpu()->open(&config, &mem_system, &device, NULL), 0);
    CHECK_EQ(cpu()->pack(device, &source, &out, NULL), 0);
    cpu()->close(device);
    if (memcmp(got, want, bytes) != 0)
        t_fail(__FILE__, __LINE__, "%s %d x %d, set %d, %d threads: packed bytes differ",
               fmt_info[fmt].name, N, K, isa, threads);
    CHECK(out.fmt == fmt && out.N == N && out.K == K && out.layout == (int32_t)layout_of[fmt]);
    free(data);
    free(want);
    free(got);
}

TEST(pack, packed_bytes_are_what_the_layout_defines)
{
    static const int rows[] = {1, 2, 15, 16, 17, 31, 48, 83},
                     columns[] = {32, 64, 96, 160, 256, 768};
    FOR_EACH_ISA(isa)
    for (int fmt = 0; fmt < FMT_COUNT; fmt++)
        for (size_t i = 0; i < COUNT_OF(rows); i++)
            for (size_t j = 0; j < COUNT_OF(columns); j++)
                if (columns[j] % fmt_info[fmt].n == 0)
                    check_shape(isa, (enum fmt)fmt, rows[i], columns[j], 1 + (int)(i + j) % 3);
}
