/* Products for many tokens, tile.h. */
#include "tile.cuh"

/* bounds: threads, and blocks of an SM if ptxas must know how many registers it may take, for it
 * would else settle for fewer and spill. */
#define TILE(name, L, MT, ...)                                            \
    extern "C" __global__ void __launch_bounds__(__VA_ARGS__)             \
        name(const __grid_constant__ tile_args a)                         \
    {                                                                     \
        const auto gate_of = [&](float gate, float up) {                  \
            return gated(a.product.epilogue, gate, up);                   \
        };                                                                \
        tile_product<L, MT>(a, a.product, part_of(a.product, blockIdx.y), \
                            blockIdx.x * shape<L, MT>::TOKENS, gate_of);  \
    }

#define TILES(name, L)              \
    TILE(tile_32_##name, L, 4, 320) \
    TILE(tile_64_##name, L, 8, THREADS_MOST)

TILE(tile_32_bf16, LAYOUT_BF16, 4, THREADS_MOST, 2)
TILE(tile_64_bf16, LAYOUT_BF16, 8, 320)
TILE(tile_128_bf16, LAYOUT_BF16, 16, THREADS_MOST)
TILE(tile_32_int8_row, LAYOUT_INT8_ROW, 4, THREADS_MOST, 2)
TILE(tile_64_int8_row, LAYOUT_INT8_ROW, 8, THREADS_MOST)
TILE(tile_32_fp8_row, LAYOUT_FP8_ROW, 4, THREADS_MOST, 2)
TILE(tile_64_fp8_row, LAYOUT_FP8_ROW, 8, THREADS_MOST)
TILE(tile_32_fp8_128, LAYOUT_FP8_128, 4, THREADS_MOST, 1)
TILE(tile_64_fp8_128, LAYOUT_FP8_128, 8, THREADS_MOST, 1)
TILES(int4_d, LAYOUT_INT4_D)
TILES(int4_dm, LAYOUT_INT4_DM)
TILES(int4_k, LAYOUT_INT4_K)
TILES(int4_z, LAYOUT_INT4_Z)
TILES(int4_z128, LAYOUT_INT4_Z128)
TILES(e2m1, LAYOUT_E2M1)
TILES(e2m1_16, LAYOUT_E2M1_16)
TILES(int8_d, LAYOUT_INT8_D)
TILES(int8_dm, LAYOUT_INT8_DM)
TILES(int8_k, LAYOUT_INT8_K)
TILES(int8_k16, LAYOUT_INT8_K16)
