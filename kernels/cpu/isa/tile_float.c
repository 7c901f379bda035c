/* Tiles times float inputs: see tile.h for the order of operations. Floats directly;
 * integers by unpacking one group at a time, which is slow and only for measuring what
 * int8 inputs cost. */
#include "tile.h"

/* Inputs k and k + 1 (k even) of a unit of floats; E4M3 times 2^-8. */
SIMD void load_pair(enum data data, const uint8_t *unit, int k, vf *even, vf *odd)
{
    if (data == DATA_E4M3) {
        vf_load_e4m3_pairs(unit + k * PACKED_ROWS, even, odd);
    } else if (data == DATA_BF16) {
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
                acc[i][c] = vf_add_times(acc[i][c], even, &x[c]);
            UNROLL
            for (int c = 0; c < n; c++)
                acc[i][c] = vf_add_times(acc[i][c], odd, &x[width + (size_t)c]);
        }
    }
}

/* What a kernel is made for; constant wherever it is passed. */
struct kind {
    enum data data;
    enum scales scales;
    int width, tiles; /* of the block; done at once */
};

/* The chain of inputs [first, last) of n columns from `column` on. */
SIMD void multiply_chain(struct kind kind, int n, int column, int32_t first, int32_t last,
                         const struct tile_job *job)
{
    const size_t unit_size = unit_bytes(kind.data, kind.scales);
    const int per_unit = unit_inputs(kind.scales);
    const uint8_t *unit =
        job->tile + head_bytes(kind.scales) + (size_t)(first / per_unit) * unit_size;
    const uint8_t *group = unit + scales_bytes(kind.scales);
    const float *x = (const float *)job->inputs + first * kind.width + column;
    vf acc[TILES_MAX][BLOCK_COLUMNS];
    UNROLL
    for (int i = 0; i < kind.tiles; i++) {
        UNROLL
        for (int c = 0; c < n; c++)
            acc[i][c] = vf_zero();
    }
    for (int32_t k = first; k < last; k += GROUP, x += GROUP * kind.width) {
        multiply_group(kind.data, kind.tiles, n, group, job->bytes, x, (size_t)kind.width, acc);
        group += data_bytes(kind.data, GROUP);
    }
    const uint8_t *scales = kind.scales == SCALES_ROW ? job->tile : unit;
    UNROLL
    for (int i = 0; i < kind.tiles; i++) {
        UNROLL
        for (int c = 0; c < n; c++)
            put_chain(kind.scales, scales + (size_t)i * job->bytes, first == 0, acc[i][c],
                      job->out + (i * kind.width + column + c) * PACKED_ROWS);
    }
}

/* As many columns at once as there are registers for. */
COPIED void multiply_tile(struct kind kind, const struct tile_job *job)
{
    const int width = kind.width;
    const int n = width <= FLOAT_COLUMNS ? width : width % 4 ? 3 : 4;
    const int32_t chain = chain_inputs(kind.scales, job->K);
    for (int32_t first = 0; first < job->K; first += chain)
        for (int column = 0; column < width; column += n)
            multiply_chain(kind, n, column, first, first + chain, job);
}

#define KERNEL(name, data, scales, width)                                          \
    static void name##_##width(const struct tile_job *job)                         \
    {                                                                              \
        multiply_tile((struct kind){DATA_##data, SCALES_##scales, width, 1}, job); \
    }
#define KERNEL_OF_TILES(name, data, scales, width, tiles)                              \
    static void name##_##width##_many(const struct tile_job *job)                      \
    {                                                                                  \
        multiply_tile((struct kind){DATA_##data, SCALES_##scales, width, tiles}, job); \
    }
#define LAYOUT(name, data, scales)
#define FLOAT_LAYOUT(name, data, scales)      \
    KERNEL(name, data, scales, 1)             \
    KERNEL(name, data, scales, 2)             \
    KERNEL(name, data, scales, 3)             \
    KERNEL(name, data, scales, 4)             \
    KERNEL(name, data, scales, 6)             \
    KERNEL(name, data, scales, 8)             \
    KERNEL_OF_TILES(name, data, scales, 1, 4) \
    KERNEL_OF_TILES(name, data, scales, 2, 4) \
    KERNEL_OF_TILES(name, data, scales, 3, 2) \
    KERNEL_OF_TILES(name, data, scales, 4, 2)
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
#define FLOAT_LAYOUT(name, data, scales)                      \
    {MANY(name##_1, 4), MANY(name##_2, 4), MANY(name##_3, 2), \
     MANY(name##_4, 2), ONE(name##_6),     ONE(name##_8)},
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT
};

/* Bytes of a line less a zero point as 4 vectors of values, inputs 0 .. 3. */
static void line_values(enum data data, vi line, int high, vi zero, vf out[4])
{
    if (is_nibbles(data))
        line = vi_and(vi_shr(line, high ? 4 : 0), vi_set1(0x0f0f0f0f));
    for (int j = 0; j < 4; j++) {
        vi q = vi_shl(line, 24 - 8 * j);
        q = is_signed_byte(data) ? vi_sar(q, 24) : vi_shr(q, 24);
        out[j] = vf_of_vi(vi_sub(q, zero));
    }
}

/* Group g of a unit as floats, laid out like f32. */
static void unpack_group(const struct layout_info *info, const uint8_t *unit, int g, float *out)
{
    const struct group_scales s = group_scales(info->scales, unit, (size_t)g);
    const vi zero = has_zeros(info->scales) ? group_zeros(info->scales, unit, (size_t)g)
                                            : vi_set1(stored_bias(info->data));
    const uint8_t *line = unit + scales_bytes(info->scales);
    line += (is_nibbles(info->data) ? g / 2 : g) * 8 * LINE_BYTES;
    for (int i = 0; i < 8; i++, line += LINE_BYTES) {
        vf value[4], d = info->scales == SCALES_K16 && i >= 4 ? s.d2 : s.d;
        line_values(info->data, vi_load(line), g % 2, zero, value);
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
        const uint8_t *unit = job->tile + head_bytes(info->scales) +
                              (size_t)(g / per_unit) * unit_bytes(info->data, info->scales);
        unpack_group(info, unit, g % per_unit, weights);
        multiply_unpacked(weights, x, width, job->out);
    }
    if (info->scales != SCALES_ROW)
        return;
    vf scale = vf_load((const float *)(const void *)job->tile);
    for (int i = 0; i < width; i++)
        vf_store(job->out + i * PACKED_ROWS, vf_mul(vf_load(job->out + i * PACKED_ROWS), scale));
}

struct tile_kernel TILE_FN(float_kernel)(enum layout layout, int width_index)
{
    if (is_float(layout_info[layout].data))
        return kernels[layout - LAYOUT_f32][width_index];
    return (struct tile_kernel){unpacked_tile, unpacked_tile, 1};
}
