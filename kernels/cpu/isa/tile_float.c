/* Tiles times float inputs: see tile.h for the order of operations. Floats directly;
 * integers by unpacking one group at a time, which is slow and only for measuring what
 * int8 inputs cost. */
#include "tile.h"

/* Inputs k and k + 1 (k even) of a unit of floats. */
SIMD void load_pair(enum data data, const uint8_t *unit, int k, vf *even, vf *odd)
{
    if (data == DATA_BF16) {
        vi pairs = vi_load(unit + k * 2 * PACKED_ROWS);
        *even = vf_bf16_even(pairs);
        *odd = vf_bf16_odd(pairs);
    } else if (data == DATA_F16) {
        *even = vf_load_f16((const uint16_t *)unit + k * PACKED_ROWS);
        *odd = vf_load_f16((const uint16_t *)unit + (k + 1) * PACKED_ROWS);
    } else {
        *even = vf_load((const float *)unit + k * PACKED_ROWS);
        *odd = vf_load((const float *)unit + (k + 1) * PACKED_ROWS);
    }
}

/* acc[i][c] += row i of the tiles at unit + i * bytes, times columns x[0 .. n). */
SIMD void multiply_group(enum data data, int tiles, int n, const uint8_t *unit, size_t bytes,
                         const float *x, size_t width, vf acc[TILES_MAX][BLOCK_COLUMNS])
{
    for (int k = 0; k < GROUP; k += 2, x += 2 * width) {
        UNROLL
        for (int i = 0; i < tiles; i++) {
            vf even, odd;
            load_pair(data, unit + (size_t)i * bytes, k, &even, &odd);
            UNROLL
            for (int c = 0; c < n; c++)
                acc[i][c] = vf_fma(even, vf_set1(x[c]), acc[i][c]);
            UNROLL
            for (int c = 0; c < n; c++)
                acc[i][c] = vf_fma(odd, vf_set1(x[width + (size_t)c]), acc[i][c]);
        }
    }
}

/* n columns from the first on, of a block of the given width. */
SIMD void multiply_columns(enum data data, int tiles, int width, int n, int first,
                           const struct tile_job *job)
{
    const uint8_t *unit = job->tile;
    const float *x = (const float *)job->inputs + first;
    vf acc[TILES_MAX][BLOCK_COLUMNS];
    UNROLL
    for (int i = 0; i < tiles; i++) {
        UNROLL
        for (int c = 0; c < n; c++)
            acc[i][c] = vf_zero();
    }
    for (int32_t k = 0; k < job->K; k += GROUP) {
        multiply_group(data, tiles, n, unit, job->bytes, x, (size_t)width, acc);
        unit += data_bytes(data, GROUP);
        x += GROUP * width;
    }
    UNROLL
    for (int i = 0; i < tiles; i++) {
        UNROLL
        for (int c = 0; c < n; c++)
            vf_store(job->out + (i * width + first + c) * PACKED_ROWS, acc[i][c]);
    }
}

/* As many columns at once as there are registers for. */
COPIED void multiply_tile(enum data data, int tiles, int width, const struct tile_job *job)
{
    const int n = width <= FLOAT_COLUMNS ? width : width % 4 ? 3 : 4;
    for (int first = 0; first < width; first += n)
        multiply_columns(data, tiles, width, n, first, job);
}

#define KERNEL(name, data, width)                          \
    static void name##_##width(const struct tile_job *job) \
    {                                                      \
        multiply_tile(DATA_##data, 1, width, job);         \
    }
#define KERNEL_OF_TILES(name, data, width, tiles)                 \
    static void name##_##width##_many(const struct tile_job *job) \
    {                                                             \
        multiply_tile(DATA_##data, tiles, width, job);            \
    }
#define LAYOUT(name, data, scales)
#define FLOAT_LAYOUT(name, data)      \
    KERNEL(name, data, 1)             \
    KERNEL(name, data, 2)             \
    KERNEL(name, data, 3)             \
    KERNEL(name, data, 4)             \
    KERNEL(name, data, 6)             \
    KERNEL(name, data, 8)             \
    KERNEL_OF_TILES(name, data, 1, 4) \
    KERNEL_OF_TILES(name, data, 2, 4) \
    KERNEL_OF_TILES(name, data, 3, 2) \
    KERNEL_OF_TILES(name, data, 4, 2)
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT

#define ONE(fn)                           \
    {                                     \
        .one = fn, .many = fn, .tiles = 1 \
    }
#define MANY(fn, n)                              \
    {                                            \
        .one = fn, .many = fn##_many, .tiles = n \
    }
static const struct tile_kernel kernels[][WIDTHS] = {
#define LAYOUT(name, data, scales)
#define FLOAT_LAYOUT(name, data)                              \
    {MANY(name##_1, 4), MANY(name##_2, 4), MANY(name##_3, 2), \
     MANY(name##_4, 2), ONE(name##_6),     ONE(name##_8)},
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT
};

/* Bytes of a line as 4 vectors of values, inputs 0 .. 3. */
static void line_values(enum data data, vi line, int high, vf out[4])
{
    if (is_nibbles(data))
        line = vi_and(vi_shr(line, high ? 4 : 0), vi_set1(0x0f0f0f0f));
    for (int j = 0; j < 4; j++) {
        vi q = vi_shl(line, 24 - 8 * j);
        q = is_signed_byte(data) ? vi_sar(q, 24) : vi_shr(q, 24);
        out[j] = vf_of_vi(vi_add(q, vi_set1(-stored_bias(data))));
    }
}

/* Group g of a unit as floats, laid out like f32. */
static void unpack_group(const struct layout_info *info, const uint8_t *unit, int g, float *out)
{
    const struct group_scales s = group_scales(info->scales, unit, (size_t)g);
    const uint8_t *line = unit + scales_bytes(info->scales);
    line += (is_nibbles(info->data) ? g / 2 : g) * 8 * LINE_BYTES;
    for (int i = 0; i < 8; i++, line += LINE_BYTES) {
        vf value[4], d = info->scales == SCALES_K16 && i >= 4 ? s.d2 : s.d;
        line_values(info->data, vi_load(line), g % 2, value);
        for (int j = 0; j < 4; j++, out += PACKED_ROWS)
            vf_store(out, vf_fma(value[j], d, s.m));
    }
}

/* y += the unpacked group times the block; y is loaded and stored around each group. */
static void multiply_unpacked(const float *weights, const float *x, int width, float *y)
{
    for (int k = 0; k < GROUP; k++, weights += PACKED_ROWS, x += width) {
        vf w = vf_load(weights);
        for (int c = 0; c < width; c++)
            vf_store(y + c * PACKED_ROWS, vf_fma(w, vf_set1(x[c]), vf_load(y + c * PACKED_ROWS)));
    }
}

static void unpacked_tile(const struct tile_job *job)
{
    const struct layout_info *info = &layout_info[job->layout];
    const int per_unit = unit_inputs(info->scales) / GROUP;
    const int width = ISA_FN(width_at)(job->width_index);
    const float *x = (const float *)job->inputs;
    _Alignas(LINE_BYTES) float weights[GROUP * PACKED_ROWS];
    for (int i = 0; i < width; i++)
        vf_store(job->out + i * PACKED_ROWS, vf_zero());
    for (int32_t g = 0; g < job->K / GROUP; g++, x += GROUP * width) {
        const uint8_t *unit =
            job->tile + (size_t)(g / per_unit) * unit_bytes(info->data, info->scales);
        unpack_group(info, unit, g % per_unit, weights);
        multiply_unpacked(weights, x, width, job->out);
    }
}

struct tile_kernel TILE_FN(float_kernel)(enum layout layout, int width_index)
{
    if (layout_info[layout].scales == SCALES_NONE)
        return kernels[layout - LAYOUT_f32][width_index];
    return (struct tile_kernel){unpacked_tile, unpacked_tile, 1};
}
