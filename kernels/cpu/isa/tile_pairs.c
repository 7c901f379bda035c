/* Tiles of bfloat16 or E4M3 times pairs of bfloat16 inputs, where an instruction multiplies pairs:
 * see tile.h for the order of operations. Elsewhere these tiles take float inputs. */
#include "tile.h"

#if DOT_PAIRS

/* What a kernel is made for; constant wherever it is passed. */
struct kind {
    enum data data;
    enum scales scales;
    int width, tiles; /* of the block; done at once */
};

/* Two pairs of inputs as bfloat16, E4M3 divided by E4M3_FACTOR. */
SIMD void load_pairs(enum data data, const uint8_t *p, vi out[2])
{
    if (data == DATA_E4M3) {
        vi_load_e4m3_pairs(p, out);
    } else {
        out[0] = vi_load(p);
        out[1] = vi_load(p + LINE_BYTES);
    }
}

/* Four inputs of a tile, into the second cache. */
SIMD void fetch_step(enum data data, const uint8_t *p)
{
    UNROLL
    for (size_t at = 0; at < data_bytes(data, 4); at += LINE_BYTES)
        __builtin_prefetch(p + at, 0, 2);
}

/* The chain of inputs [first, last) of all tiles, which share each broadcast of an input. */
SIMD void multiply_chain(struct kind kind, int32_t first, int32_t last, const struct tile_job *job)
{
    const int width = kind.width, tiles = kind.tiles, per_unit = unit_inputs(kind.scales);
    const uint8_t *unit = job->tile + head_bytes(kind.scales) +
                          (size_t)(first / per_unit) * unit_bytes(kind.data, kind.scales);
    const uint8_t *pairs = unit + scales_bytes(kind.scales);
    const uint8_t *x = job->inputs + (size_t)first * 2 * (size_t)width;
    vf acc[TILES_MAX][BLOCK_COLUMNS];
    UNROLL
    for (int i = 0; i < tiles; i++) {
        UNROLL
        for (int c = 0; c < width; c++)
            acc[i][c] = vf_zero();
    }
    for (int32_t k = first; k < last; k += 4, x += 8 * width) {
        vi w[TILES_MAX][2];
        for (int i = 0; job->ahead && i < tiles; i++)
            fetch_step(kind.data, pairs + (size_t)i * job->bytes + job->ahead);
        UNROLL
        for (int i = 0; i < tiles; i++)
            load_pairs(kind.data, pairs + (size_t)i * job->bytes, w[i]);
        UNROLL
        for (int c = 0; c < 2 * width; c++) {
            const vi input = vi_set1(load_int32(x + 4 * c));
            UNROLL
            for (int i = 0; i < tiles; i++)
                acc[i][c % width] = vf_dot_pairs(acc[i][c % width], w[i][c / width], input);
        }
        pairs += data_bytes(kind.data, 4);
    }
    const uint8_t *scales = kind.scales == SCALES_ROW ? job->tile : unit;
    UNROLL
    for (int i = 0; i < tiles; i++) {
        UNROLL
        for (int c = 0; c < width; c++)
            put_chain(kind.scales, scales + (size_t)i * job->bytes, first == 0, acc[i][c],
                      job->out + (i * width + c) * PACKED_ROWS);
    }
}

COPIED void multiply_pairs(struct kind kind, const struct tile_job *job)
{
    const int32_t chain = chain_inputs(kind.scales, job->K);
    for (int32_t first = 0; first < job->K; first += chain)
        multiply_chain(kind, first, first + chain, job);
}

/* As few tiles at once as keep enough chains in flight: each is a stream of memory. */
#define PAIR_TILES(width, data) ((data) == DATA_BF16 && (width) < BLOCK_COLUMNS ? 1 : 2)
#define KERNEL(width, name, data, scales)                                                       \
    static void name##_##width(const struct tile_job *job)                                      \
    {                                                                                           \
        multiply_pairs((struct kind){DATA_##data, SCALES_##scales, width, 1}, job);             \
    }                                                                                           \
    static void name##_##width##_many(const struct tile_job *job)                               \
    {                                                                                           \
        multiply_pairs(                                                                         \
            (struct kind){DATA_##data, SCALES_##scales, width, PAIR_TILES(width, DATA_##data)}, \
            job);                                                                               \
    }
EACH_WIDTH(KERNEL, bf16, BF16, NONE)
EACH_WIDTH(KERNEL, fp8, E4M3, ROW)
EACH_WIDTH(KERNEL, fp8_128, E4M3, F128)

#define ENTRY(width, name, data) \
    TILE_KERNEL(name##_##width, name##_##width##_many, PAIR_TILES(width, DATA_##data), 1),
const struct tile_kernel ISA_FN(pair_kernels)[][WIDTHS] = {
    [LAYOUT_bf16 - LAYOUT_bf16] = {EACH_WIDTH(ENTRY, bf16, BF16)},
    [LAYOUT_fp8 - LAYOUT_bf16] = {EACH_WIDTH(ENTRY, fp8, E4M3)},
    [LAYOUT_fp8_128 - LAYOUT_bf16] = {EACH_WIDTH(ENTRY, fp8_128, E4M3)},
};

#endif
