/* Tiles of bfloat16 times pairs of bfloat16 inputs, where an instruction multiplies pairs:
 * see tile.h for the order of operations. Elsewhere these tiles take float inputs. */
#include "tile.h"

#if DOT_PAIRS

/* As many tiles at once as keep enough chains of sums in flight. */
COPIED void multiply_pairs(int tiles, int width, const struct tile_job *job)
{
    const uint8_t *unit = job->tile, *x = job->inputs;
    vf acc[TILES_MAX][BLOCK_COLUMNS];
    UNROLL
    for (int i = 0; i < tiles; i++) {
        UNROLL
        for (int c = 0; c < width; c++)
            acc[i][c] = vf_zero();
    }
    for (int32_t k = 0; k < job->K; k += 2, unit += LINE_BYTES, x += 4 * width) {
        UNROLL
        for (int i = 0; i < tiles; i++) {
            vi w = vi_load(unit + (size_t)i * job->bytes);
            UNROLL
            for (int c = 0; c < width; c++)
                acc[i][c] = vf_dot_pairs(acc[i][c], w, vi_set1(load_int32(x + 4 * c)));
        }
    }
    UNROLL
    for (int i = 0; i < tiles; i++) {
        UNROLL
        for (int c = 0; c < width; c++)
            vf_store(job->out + (i * width + c) * PACKED_ROWS, acc[i][c]);
    }
}

#define KERNEL(width, n)                                         \
    static void pairs_##width(const struct tile_job *job)        \
    {                                                            \
        multiply_pairs(1, width, job);                           \
    }                                                            \
    static void pairs_##width##_many(const struct tile_job *job) \
    {                                                            \
        multiply_pairs(n, width, job);                           \
    }
KERNEL(1, 4)
KERNEL(2, 4)
KERNEL(3, 2)
KERNEL(4, 2)
KERNEL(6, 2)
KERNEL(8, 2)

#define MANY(width, n)                                                 \
    {                                                                  \
        .one = pairs_##width, .many = pairs_##width##_many, .tiles = n \
    }
const struct tile_kernel ISA_FN(pair_kernels)[WIDTHS] = {MANY(1, 4), MANY(2, 4), MANY(3, 2),
                                                         MANY(4, 2), MANY(6, 2), MANY(8, 2)};

#endif
