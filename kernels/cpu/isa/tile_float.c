/* Tiles times float inputs: see tile.h for the order of operations. Floats directly; integers by
 * unpacking a group at a time, for all blocks, which is for measuring what int8 inputs cost and for
 * calibration. */
#include "tile.h"

/* What a kernel is made for; constant wherever it is passed. */
struct kind {
    enum data data;
    enum scales scales;
    int width, tiles; /* of the block; done at once */
};

/* Inputs that are loaded together, by load_pair in order. */
SIMD int step_of(enum data data)
{
    return data == DATA_E4M3 ? E4M3_STEP : 2;
}

/* Inputs k and k + 1 (k even) of floats; E4M3 divided by E4M3_FACTOR, by way of room. */
SIMD void load_pair(enum data data, const uint8_t *p, int k, uint8_t *room, vf *even, vf *odd)
{
    if (data == DATA_E4M3) {
        const uint8_t *step = p + k / E4M3_STEP * E4M3_STEP * PACKED_ROWS;
        vf_load_e4m3(step, k % E4M3_STEP / 2, room, even, odd);
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

/* Groups of tiles that are done together. */
struct group {
    const uint8_t *weights; /* of the first tile */
    size_t bytes;           /* from one tile to the next */
    size_t ahead;           /* bytes from what is used to what is fetched */
};

/* The bytes of a step that come g->ahead later, of each tile. */
SIMD void fetch_ahead(struct kind kind, const struct group *g, const uint8_t *p)
{
    UNROLL
    for (int i = 0; i < kind.tiles; i++, p += g->bytes) {
        UNROLL
        for (size_t at = 0; at < data_bytes(kind.data, step_of(kind.data)); at += LINE_BYTES)
            __builtin_prefetch(p + g->ahead + at);
    }
}

/* Inputs j and j + 1 of the step at p: all tiles share the broadcast of a column's input. */
SIMD void multiply_shared(struct kind kind, int n, const struct group *g, const uint8_t *p, int j,
                          const float *x, uint8_t room[TILES_MAX][E4M3_ROOM],
                          vf acc[TILES_MAX][BLOCK_COLUMNS])
{
    vf w[2][TILES_MAX];
    UNROLL
    for (int i = 0; i < kind.tiles; i++)
        load_pair(kind.data, p + (size_t)i * g->bytes, j, room[i], &w[0][i], &w[1][i]);
    UNROLL
    for (int odd = 0; odd < 2; odd++, x += kind.width) {
        UNROLL
        for (int c = 0; c < n; c++) {
            const vf input = vf_set1(x[c]);
            UNROLL
            for (int i = 0; i < kind.tiles; i++)
                acc[i][c] = vf_add_product(acc[i][c], w[odd][i], input);
        }
    }
}

/* The same of one tile. */
SIMD void multiply_alone(struct kind kind, int n, const uint8_t *p, int j, const float *x,
                         uint8_t room[E4M3_ROOM], vf acc[BLOCK_COLUMNS])
{
    vf even, odd;
    load_pair(kind.data, p, j, room, &even, &odd);
    UNROLL
    for (int c = 0; c < n; c++)
        acc[c] = vf_add_times(acc[c], even, &x[c]);
    UNROLL
    for (int c = 0; c < n; c++)
        acc[c] = vf_add_times(acc[c], odd, &x[kind.width + c]);
}

/* acc[i][c] += row i of the tiles times columns x[0 .. n). fetch: weights come from memory. */
SIMD void multiply_group(struct kind kind, int n, const struct group *g, bool fetch, const float *x,
                         vf acc[TILES_MAX][BLOCK_COLUMNS])
{
    const int step = step_of(kind.data);
    uint8_t room[TILES_MAX][E4M3_ROOM];
    for (int k = 0; k < GROUP; k += step, x += step * kind.width) {
        const uint8_t *p = g->weights + data_bytes(kind.data, k);
        if (fetch)
            fetch_ahead(kind, g, p);
        if (SHARED_INPUTS && kind.tiles > 1) {
            UNROLL
            for (int j = 0; j < step; j += 2)
                multiply_shared(kind, n, g, p, j, &x[j * kind.width], room, acc);
            continue;
        }
        UNROLL
        for (int i = 0; i < kind.tiles; i++) {
            UNROLL
            for (int j = 0; j < step; j += 2)
                multiply_alone(kind, n, p + (size_t)i * g->bytes, j, &x[j * kind.width], room[i],
                               acc[i]);
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
    struct group group = {
        .weights = unit + scales_bytes(kind.scales), .bytes = job->bytes, .ahead = job->ahead};
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
        multiply_group(kind, n, &group, FLOAT_AHEAD != 0, inputs + column, acc);
        group.weights += data_bytes(kind.data, GROUP);
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

/* ---- Several blocks of columns: a piece of each tile is unpacked once for all of them, to
 * bfloat16 or floats, of which loops full of multiply-adds have little or nothing to unpack. */

#define PIECE_BYTES (PIECE_INPUTS * PACKED_ROWS * (PIECE_DATA == DATA_F32 ? 4 : 2)) /* of a tile */

/* n inputs of a tile at p, in full: exact. */
SIMD void write_piece(enum data data, const uint8_t *p, int n, uint8_t *out)
{
    const vf factor = vf_set1(E4M3_LIFT);
    const enum data to = PIECE_DATA;
    uint8_t room[E4M3_ROOM];
    for (int k = 0; k < n; k += 4, p += data_bytes(data, 4)) {
        UNROLL
        for (int j = 0; j < 4; j += 2, out += data_bytes(to, 2)) {
            vf even, odd;
            load_pair(data, p, j, room, &even, &odd);
            if (is_lifted(data)) {
                even = vf_mul(even, factor);
                odd = vf_mul(odd, factor);
            }
            if (to == DATA_BF16) {
                vi_store(out, vi_or(vi_shr(vf_as_vi(even), 16), vf_as_vi(odd)));
            } else {
                vf_store((float *)(void *)out, even);
                vf_store((float *)(void *)(out + LINE_BYTES), odd);
            }
        }
    }
}

/* A piece of the chains of tiles. */
struct piece {
    const uint8_t *weights; /* (tiles, PIECE_INPUTS) */
    const float *x;         /* (n, width), of the first block */
    const uint8_t *scales;  /* of the chain of the first tile */
    size_t bytes;           /* from one tile to the next */
    int n;
    bool begins, ends; /* the chain */
    bool first;        /* of the row */
};

/* Memory that is wanted soon, into the first cache or the second. */
SIMD void fetch_lines(const void *from, size_t bytes, bool first)
{
    const uint8_t *p = from;
    for (size_t at = 0; at < bytes; at += LINE_BYTES) {
        if (first)
            __builtin_prefetch(p + at, 0, 3);
        else
            __builtin_prefetch(p + at, 0, 2);
    }
}

/* n columns of a block from x on; out: theirs of the first tile; next: what is next in the
 * place of x. */
SIMD void multiply_piece(struct kind kind, int n, const struct piece *piece, const float *x,
                         const float *next, float *out)
{
    const struct kind unpacked = {PIECE_DATA, SCALES_NONE, kind.width, kind.tiles};
    const int tile = kind.width * PACKED_ROWS;
    struct group group = {.weights = piece->weights, .bytes = PIECE_BYTES};
    vf acc[TILES_MAX][BLOCK_COLUMNS];
    UNROLL
    for (int i = 0; i < kind.tiles; i++) {
        UNROLL
        for (int c = 0; c < n; c++)
            acc[i][c] = piece->begins ? vf_zero() : vf_load(out + i * tile + c * PACKED_ROWS);
    }
    for (int k = 0; k < piece->n; k += GROUP, x += GROUP * kind.width, next += GROUP * kind.width) {
        if (FLOAT_AHEAD != 0)
            fetch_lines(next, (size_t)(GROUP * kind.width) * sizeof *next, true);
        multiply_group(unpacked, n, &group, false, x, acc);
        group.weights += data_bytes(PIECE_DATA, GROUP);
    }
    UNROLL
    for (int i = 0; i < kind.tiles; i++) {
        UNROLL
        for (int c = 0; c < n; c++) {
            float *to = out + i * tile + c * PACKED_ROWS;
            if (piece->ends)
                put_chain(kind.scales, piece->scales + (size_t)i * piece->bytes, piece->first,
                          acc[i][c], to);
            else
                vf_store(to, acc[i][c]);
        }
    }
}

/* All columns of all blocks, n at once. */
SIMD void multiply_blocks(struct kind kind, int n, const struct tile_job *job,
                          const struct piece *piece)
{
    const float *x = piece->x;
    float *out = job->out;
    for (int b = 0; b < job->blocks; b++) {
        const float *next = x + job->block_bytes / sizeof *x;
        if (b == job->blocks - 1)
            next = piece->x + piece->n * kind.width;
        for (int c = 0; c < kind.width; c += n)
            multiply_piece(kind, n, piece, x + c, next, out + c * PACKED_ROWS);
        out += kind.tiles * kind.width * PACKED_ROWS;
        x = next;
    }
}

SIMD void multiply_pieces(struct kind kind, int n, const struct tile_job *job)
{
    const int32_t chain = chain_inputs(kind.scales, job->K);
    const uint8_t *p = job->tile + head_bytes(kind.scales), *scales = job->tile;
    const int32_t most = chain < PIECE_INPUTS ? chain : PIECE_INPUTS;
    _Alignas(LINE_BYTES) uint8_t weights[PIECE_TILES * PIECE_BYTES];
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
            .bytes = job->bytes,
            .n = last - k,
            .begins = k % chain == 0,
            .ends = last % chain == 0,
            .first = k < chain,
        };
        for (int i = 0; i < kind.tiles; i++)
            write_piece(kind.data, p + (size_t)i * job->bytes, last - k, weights + i * PIECE_BYTES);
        p += data_bytes(kind.data, last - k);
        for (int i = 0; FLOAT_AHEAD != 0 && job->ahead && i < kind.tiles; i++)
            fetch_lines(p + (size_t)i * job->bytes, data_bytes(kind.data, most), false);
        multiply_blocks(kind, n, job, &piece);
    }
}

/* Blocks that a kernel does at once. */
#define BLOCKS(width, data) ((width) == BLOCK_COLUMNS && HAS_PIECES(data) ? BLOCKS_MAX : 1)

/* Columns that there are registers for. */
SIMD int columns_at_once(int width)
{
    return width <= FLOAT_COLUMNS ? width : width % 4 ? 3 : 4;
}

COPIED void multiply_tile(struct kind kind, const struct tile_job *job)
{
    const int32_t chain = chain_inputs(kind.scales, job->K);
    const int n = columns_at_once(kind.width);
    if (BLOCKS(kind.width, kind.data) > 1 && job->blocks > 1) {
        multiply_pieces(kind, n, job);
        return;
    }
    for (int32_t first = 0; first < job->K; first += chain)
        for (int column = 0; column < kind.width; column += n)
            multiply_chain(kind, n, column, first, first + chain, job);
}

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

/* The bytes of a line as 4 vectors of values, inputs 0 .. 3. */
static void line_values(enum data data, vi line, vf out[4])
{
    const vi bias = vi_set1(stored_bias(data));
    for (int j = 0; j < 4; j++) {
        vi q = vi_shl(line, 24 - 8 * j);
        q = is_signed_byte(data) ? vi_sar(q, 24) : vi_shr(q, 24);
        out[j] = vf_of_vi(vi_sub(q, bias));
    }
}

/* Group g of a unit as floats, laid out like f32. */
static void unpack_group(const struct layout_info *info, const uint8_t *unit, int g, float *out)
{
    const struct group_scales s = group_scales(info->scales, unit, (size_t)g);
    const uint8_t *pair =
        unit + scales_bytes(info->scales) + (size_t)(g / 2) * pair_bytes(info->data);
    for (int i = 0; i < 8; i++) {
        vf value[4], d = has_halves(info->scales) && i >= 4 ? s.d2 : s.d;
        line_values(info->data, stored_line(info->data, pair, g % 2, i), value);
        for (int j = 0; j < 4; j++, out += PACKED_ROWS)
            vf_store(out, vf_fma(value[j], d, s.m));
    }
}

/* y (n, 16) += the unpacked group times n columns of a block from x on. */
SIMD void multiply_unpacked(const float *weights, int width, int n, const float *x, float *y)
{
    vf acc[BLOCK_COLUMNS];
    UNROLL
    for (int c = 0; c < n; c++)
        acc[c] = vf_load(y + c * PACKED_ROWS);
    for (int k = 0; k < GROUP; k++, x += width) {
        const vf w = vf_load(weights + k * PACKED_ROWS);
        UNROLL
        for (int c = 0; c < n; c++)
            acc[c] = vf_add_times(acc[c], w, &x[c]);
    }
    UNROLL
    for (int c = 0; c < n; c++)
        vf_store(y + c * PACKED_ROWS, acc[c]);
}

/* Of all blocks, n columns at once. */
SIMD void multiply_unpacked_blocks(const float *weights, int width, int n,
                                   const struct tile_job *job, int32_t input)
{
    const float *x = (const float *)job->inputs + input * width;
    float *y = job->out;
    for (int b = 0; b < job->blocks; b++) {
        for (int c = 0; c < width; c += n)
            multiply_unpacked(weights, width, n, x + c, y + c * PACKED_ROWS);
        x += job->block_bytes / sizeof *x;
        y += width * PACKED_ROWS;
    }
}

COPIED void unpack_and_multiply(int width, const struct tile_job *job)
{
    const struct layout_info *info = &layout_info[job->layout];
    const int per_unit = unit_inputs(info->scales) / GROUP;
    const int columns = job->blocks * width;
    _Alignas(LINE_BYTES) float weights[GROUP * PACKED_ROWS];
    for (int i = 0; i < columns; i++)
        vf_store(job->out + i * PACKED_ROWS, vf_zero());
    for (int32_t g = 0; g < job->K / GROUP; g++) {
        const uint8_t *unit = job->tile + head_bytes(info->scales) +
                              (size_t)(g / per_unit) * unit_bytes(info->data, info->scales);
        unpack_group(info, unit, g % per_unit, weights);
        multiply_unpacked_blocks(weights, width, columns_at_once(width), job, g * GROUP);
    }
    if (!has_row_scale(info->scales))
        return;
    vf scale = vf_load((const float *)(const void *)job->tile);
    for (int i = 0; i < columns; i++)
        vf_store(job->out + i * PACKED_ROWS, vf_mul(vf_load(job->out + i * PACKED_ROWS), scale));
}

#define UNPACKED(width, name)                              \
    static void name##_##width(const struct tile_job *job) \
    {                                                      \
        unpack_and_multiply(width, job);                   \
    }
EACH_WIDTH(UNPACKED, unpacked)

#define UNPACKED_ENTRY(width, name) \
    TILE_KERNEL(name##_##width, name##_##width, 1, (width) == BLOCK_COLUMNS ? BLOCKS_MAX : 1),
static const struct tile_kernel unpacked_kernels[WIDTHS] = {EACH_WIDTH(UNPACKED_ENTRY, unpacked)};

struct tile_kernel TILE_FN(float_kernel)(enum layout layout, int width_index)
{
    if (is_float(layout_info[layout].data))
        return kernels[layout - LAYOUT_f32][width_index];
    return unpacked_kernels[width_index];
}
