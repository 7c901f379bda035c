/* Tiles times float inputs: see tile.h for the order of operations. Floats directly;
 * integers by unpacking one group at a time, which is slow and only for measuring what
 * int8 inputs cost. */
#include "tile.h"

/* What a kernel is made for; constant wherever it is passed. */
struct kind {
    enum data data;
    enum scales scales;
    int width, tiles; /* of the block; done at once */
};

/* Inputs k and k + 1 (k even) of floats; E4M3 divided by E4M3_FACTOR. */
SIMD void load_pair(enum data data, const uint8_t *p, int k, vf *even, vf *odd)
{
    if (data == DATA_E4M3) {
        const uint8_t *run = p + k / E4M3_RUN * E4M3_RUN * PACKED_ROWS;
        vf_load_e4m3(unknown(run), k % E4M3_RUN / 2, even, odd);
    } else if (data == DATA_BF16) {
        vi pairs = vi_load(p + k * 2 * PACKED_ROWS);
        *even = vf_bf16_even(pairs);
        *odd = vf_bf16_odd(pairs);
    } else if (data == DATA_F16) {
        *even = vf_load_f16((const uint16_t *)p + k * PACKED_ROWS);
        *odd = vf_load_f16((const uint16_t *)p + (k + 1) * PACKED_ROWS);
    } else {
        *even = vf_load((const float *)p + k * PACKED_ROWS);
        *odd = vf_load((const float *)p + (k + 1) * PACKED_ROWS);
    }
}

/* Whether E4M3 numbers are so small as they are loaded that inputs are made larger for them. */
SIMD bool is_lifted(enum data data)
{
    return data == DATA_E4M3 && E4M3_LIFT != 1.0f;
}

/* n inputs times E4M3_LIFT. */
SIMD const float *lift(const float *x, int n, float *out)
{
    for (int i = 0; i < n; i += LANES)
        vf_store(out + i, vf_mul(vf_load(x + i), vf_set1(E4M3_LIFT)));
    return out;
}

/* acc[i][c] += row i of the tiles at unit + i * bytes, times columns x[0 .. n). */
SIMD void multiply_group(struct kind kind, int n, const uint8_t *unit, size_t bytes, const float *x,
                         vf acc[TILES_MAX][BLOCK_COLUMNS])
{
    const int step = kind.data == DATA_E4M3 ? E4M3_RUN : 2;
    for (int k = 0; k < GROUP; k += step, x += step * kind.width) {
        const uint8_t *p = unit + data_bytes(kind.data, k);
        UNROLL
        for (int i = 0; i < kind.tiles; i++) {
            UNROLL
            for (int j = 0; j < step; j += 2) {
                vf even, odd;
                load_pair(kind.data, p + (size_t)i * bytes, j, &even, &odd);
                UNROLL
                for (int c = 0; c < n; c++)
                    acc[i][c] = vf_add_times(acc[i][c], even, &x[j * kind.width + c]);
                UNROLL
                for (int c = 0; c < n; c++)
                    acc[i][c] = vf_add_times(acc[i][c], odd, &x[(j + 1) * kind.width + c]);
            }
        }
    }
}

/* The chain of inputs [first, last) of n columns from `column` on. */
SIMD void multiply_chain(struct kind kind, int n, int column, int32_t first, int32_t last,
                         const struct tile_job *job)
{
    const size_t unit_size = unit_bytes(kind.data, kind.scales);
    const int per_unit = unit_inputs(kind.scales);
    const uint8_t *unit =
        job->tile + head_bytes(kind.scales) + (size_t)(first / per_unit) * unit_size;
    const uint8_t *group = unit + scales_bytes(kind.scales);
    const float *x = (const float *)job->inputs + first * kind.width;
    _Alignas(LINE_BYTES) float lifted[GROUP * BLOCK_COLUMNS];
    vf acc[TILES_MAX][BLOCK_COLUMNS];
    UNROLL
    for (int i = 0; i < kind.tiles; i++) {
        UNROLL
        for (int c = 0; c < n; c++)
            acc[i][c] = vf_zero();
    }
    for (int32_t k = first; k < last; k += GROUP, x += GROUP * kind.width) {
        const float *inputs = is_lifted(kind.data) ? lift(x, GROUP * kind.width, lifted) : x;
        multiply_group(kind, n, group, job->bytes, inputs + column, acc);
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

/* ---- E4M3 with several blocks of more columns than there are registers for: a piece of the tile
 * becomes bfloat16 once for all of them. */

#define PIECE_INPUTS 512 /* what the first cache holds beside inputs */

/* n inputs at p as pairs of bfloat16, times what inputs are not: exact. */
SIMD void write_piece(const uint8_t *p, int n, uint8_t *out)
{
    const vf factor = vf_set1(E4M3_LIFT);
    for (int k = 0; k < n; k += 4, p += data_bytes(DATA_E4M3, 4)) {
        UNROLL
        for (int j = 0; j < 4; j += 2) {
            vf even, odd;
            load_pair(DATA_E4M3, p, j, &even, &odd);
            if (is_lifted(DATA_E4M3)) {
                even = vf_mul(even, factor);
                odd = vf_mul(odd, factor);
            }
            vi_store(out + (k + j) * 2 * PACKED_ROWS,
                     vi_or(vi_shr(vf_as_vi(even), 16), vf_as_vi(odd)));
        }
    }
}

/* A piece of the chains of a tile. */
struct piece {
    const uint8_t *weights; /* as in bf16 */
    const float *x;         /* (n, width), of the first block */
    const uint8_t *scales;  /* of the chain */
    int n;
    bool begins, ends; /* the chain */
    bool first;        /* of the row */
};

/* n columns of a block from x on. */
SIMD void multiply_piece(struct kind kind, int n, const struct piece *piece, const float *x,
                         float *out)
{
    const struct kind pairs = {DATA_BF16, SCALES_NONE, kind.width, 1};
    const uint8_t *group = piece->weights;
    vf acc[TILES_MAX][BLOCK_COLUMNS];
    UNROLL
    for (int c = 0; c < n; c++)
        acc[0][c] = piece->begins ? vf_zero() : vf_load(out + c * PACKED_ROWS);
    for (int k = 0; k < piece->n; k += GROUP, x += GROUP * kind.width) {
        multiply_group(pairs, n, group, 0, x, acc);
        group += data_bytes(DATA_BF16, GROUP);
    }
    UNROLL
    for (int c = 0; c < n; c++) {
        if (piece->ends)
            put_chain(kind.scales, piece->scales, piece->first, acc[0][c], out + c * PACKED_ROWS);
        else
            vf_store(out + c * PACKED_ROWS, acc[0][c]);
    }
}

/* All columns of all blocks, n at once. */
SIMD void multiply_blocks(struct kind kind, int n, const struct tile_job *job,
                          const struct piece *piece)
{
    const float *x = piece->x;
    float *out = job->out;
    for (int b = 0; b < job->blocks; b++, x += job->block_bytes / sizeof *x)
        for (int c = 0; c < kind.width; c += n, out += n * PACKED_ROWS)
            multiply_piece(kind, n, piece, x + c, out);
}

SIMD void multiply_pieces(struct kind kind, int n, const struct tile_job *job)
{
    const int32_t chain = chain_inputs(kind.scales, job->K);
    const uint8_t *p = job->tile + head_bytes(kind.scales), *scales = job->tile;
    const int32_t most = chain < PIECE_INPUTS ? chain : PIECE_INPUTS;
    _Alignas(LINE_BYTES) uint8_t weights[PIECE_INPUTS * 2 * PACKED_ROWS];
    for (int32_t k = 0, last; k < job->K; k = last) {
        last = k + most < job->K ? k + most : job->K;
        if (kind.scales == SCALES_F128) {
            scales = p;
            p += scales_bytes(kind.scales);
        }
        struct piece piece = {
            .weights = weights,
            .x = (const float *)job->inputs + k * kind.width,
            .scales = scales,
            .n = last - k,
            .begins = k % chain == 0,
            .ends = last % chain == 0,
            .first = k < chain,
        };
        write_piece(p, last - k, weights);
        p += data_bytes(DATA_E4M3, last - k);
        multiply_blocks(kind, n, job, &piece);
    }
}

/* Blocks that a kernel does at once. */
#define BLOCKS(width, data) ((data) == DATA_E4M3 && (width) > FLOAT_COLUMNS ? BLOCKS_MAX : 1)

/* As many columns at once as there are registers for. */
COPIED void multiply_tile(struct kind kind, const struct tile_job *job)
{
    const int32_t chain = chain_inputs(kind.scales, job->K);
    const int n = kind.width <= FLOAT_COLUMNS ? kind.width : kind.width % 4 ? 3 : 4;
    if (BLOCKS(kind.width, kind.data) > 1 && job->blocks > 1) {
        multiply_pieces(kind, n, job);
        return;
    }
    for (int32_t first = 0; first < job->K; first += chain)
        for (int column = 0; column < kind.width; column += n)
            multiply_chain(kind, n, column, first, first + chain, job);
}

#define FLOAT_TILES(width) ((width) < 3 ? 4 : (width) < 5 ? 2 : 1)
#define KERNEL(width, name, data, scales)                                                         \
    static void name##_##width(const struct tile_job *job)                                        \
    {                                                                                             \
        multiply_tile((struct kind){DATA_##data, SCALES_##scales, width, 1}, job);                \
    }                                                                                             \
    static void name##_##width##_many(const struct tile_job *job)                                 \
    {                                                                                             \
        if (FLOAT_TILES(width) == 1)                                                              \
            name##_##width(job);                                                                  \
        else                                                                                      \
            multiply_tile((struct kind){DATA_##data, SCALES_##scales, width, FLOAT_TILES(width)}, \
                          job);                                                                   \
    }
#define LAYOUT(name, data, scales)
#define FLOAT_LAYOUT(name, data, scales) EACH_WIDTH(KERNEL, name, data, scales)
#include "layouts.def"
#undef LAYOUT
#undef FLOAT_LAYOUT

#define ENTRY(width, name, data)                                           \
    TILE_KERNEL(name##_##width, name##_##width##_many, FLOAT_TILES(width), \
                BLOCKS(width, DATA_##data)),
static const struct tile_kernel kernels[][WIDTHS] = {
#define LAYOUT(name, data, scales)
#define FLOAT_LAYOUT(name, data, scales) {EACH_WIDTH(ENTRY, name, data)},
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
    return (struct tile_kernel)TILE_KERNEL(unpacked_tile, unpacked_tile, 1, 1);
}
