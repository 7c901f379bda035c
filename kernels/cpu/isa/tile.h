/* The inner kernels: one tile of 16 rows, or a few, times one block of columns.
 *
 * A result is one chain of fused multiply-adds over the inputs in order, started at
 * zero and the same in every kernel, so it does not depend on the width of the block, on
 * the tile's neighbours or on who computes it:
 *   int8 inputs:  for each group g:  y = fma(m[g], scaled_sum[g], y)      (if it has m)
 *                                    y = fma(dot[g], d[g] * scale[g], y)
 *                 with dot[g] an exact integer; K16 and E4, whose halves differ in scale:
 *                                    y = fma(fma(upper, d2, lower * d), scale[g], y)
 *                 with zero points taken off in it, if there are any; where four groups
 *                 share their scale (Z128):
 *                                    y = fma(chain of dot[g] * scale[g], d, y)
 *   float inputs: for each input k:  y = fma(w[k], x[k], y)
 *   pairs:        for each pair, its odd input first:  y = fma(w[k], x[k], y)
 * Where rows have one scale each the result is times it; where blocks of floats have scales,
 * each block is such a chain by itself, and   y = fma(chain, scale, y). */
#pragma once

#include "quantize.h"

struct tile_job {
    const uint8_t *tile;
    size_t bytes; /* of a tile: where the next one begins */
    int32_t K;
    enum layout layout;
    int width_index;
    const uint8_t *inputs; /* the block's records of the kernel's kind */
    int blocks;            /* of that width, one after the other */
    size_t block_bytes;    /* from the records of one to those of the next */
    float *out;            /* (blocks, tiles, width, 16), 64-byte aligned */
    size_t ahead;          /* bytes from what is read of tiles to what is fetched; 0: nothing is */
};

typedef void tile_fn(const struct tile_job *job);

/* many does `tiles` consecutive ones at once, to hide the latency of the chains; both do up to
 * `blocks` blocks. */
struct tile_kernel {
    tile_fn *one, *many;
    int tiles, blocks;
};

#define TILE_KERNEL(one_fn, many_fn, n_tiles, n_blocks)                      \
    {                                                                        \
        .one = one_fn, .many = many_fn, .tiles = n_tiles, .blocks = n_blocks \
    }

#define TILES_MAX   4
#define BLOCKS_MAX  8
#define TILE_FLOATS (2 * BLOCKS_MAX * PACKED_ROWS * BLOCK_COLUMNS) /* most that a kernel writes */

/* For int8 inputs; layout of integers. */
extern const struct tile_kernel TILE_FN(int8_kernels)[][WIDTHS];
#if DOT_PAIRS
/* For pairs; layouts from bf16 on. */
extern const struct tile_kernel ISA_FN(pair_kernels)[][WIDTHS];
#endif
/* For float inputs; any layout. */
struct tile_kernel TILE_FN(float_kernel)(enum layout layout, int width_index);

SIMD int32_t load_int32(const uint8_t *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* Line j of a group, of the lines that have its low four and its upper bits. */
SIMD vi joined_line(enum data data, vi line, vi upper, bool is_odd, int j)
{
    const int place = upper_place(data, j);
    const vi mask = vi_set1(upper_bits(data) == 1 ? 0x10101010 : 0x30303030);
    upper = place < 4 ? vi_shl(upper, 4 - place) : vi_shr(upper, place - 4);
    return vi_or(vi_low(is_odd ? vi_shr(line, 4) : line), vi_and(upper, mask));
}

/* Line j of a group of the pair at p, its bytes as they are stored; of E2M1 numbers plus that. */
SIMD vi stored_line(enum data data, const uint8_t *p, bool is_odd, int j)
{
    vi line = vi_load(p + line_offset(data, is_odd, j));
    if (!has_nibbles(data))
        return line;
    if (data == DATA_E2M1)
        return vi_e2m1(vi_low(is_odd ? vi_shr(line, 4) : line));
    if (!upper_bits(data))
        return vi_low(is_odd ? vi_shr(line, 4) : line);
    return joined_line(data, line, vi_load(p + upper_offset(data, is_odd, j)), is_odd, j);
}

/* Scales of the 16 rows in one group: weight = d q + m, exactly; K16, E4: d2 for the upper half.
 * One that is of the whole row is left to the end. */
struct group_scales {
    vf d, d2, m;
};

/* Whether sums of integers have to get their m. */
SIMD bool has_offset(enum scales scales)
{
    return scales == SCALES_DM || scales == SCALES_K;
}

/* Whether scales of integers are applied to the sums of a whole unit. */
SIMD bool has_unit_scale(enum scales scales)
{
    return scales == SCALES_Z128;
}

/* Halves of E4M3 numbers, without signs, of 16 bytes at p: as bits of a float they are less by a
 * power of two. */
SIMD vf half_e4m3(const uint8_t *p)
{
    return vf_mul(vi_as_vf(vi_shl(vi_load_u8(p), 20)), vf_set1(0x1p119f));
}

/* Group g of the unit at p. */
SIMD struct group_scales group_scales(enum scales scales, const uint8_t *p, size_t g)
{
    struct group_scales s = {vf_zero(), vf_zero(), vf_zero()};
    const uint16_t *half = (const uint16_t *)p;
    const uint16_t *super = (const uint16_t *)(p + 16 * PACKED_ROWS);
    if (scales == SCALES_D) {
        s.d = vf_load_f16(half + g * PACKED_ROWS);
    } else if (scales == SCALES_DM) {
        s.d = vf_load_f16(half + 2 * g * PACKED_ROWS);
        s.m = vf_load_f16(half + (2 * g + 1) * PACKED_ROWS);
    } else if (scales == SCALES_K) {
        vf minus = vf_sub(vf_zero(), vf_load_f16(super + PACKED_ROWS));
        s.d = vf_mul(vf_load_f16(super), vf_of_vi(vi_load_u8(p + g * PACKED_ROWS)));
        s.m = vf_mul(minus, vf_of_vi(vi_load_u8(p + (8 + g) * PACKED_ROWS)));
    } else if (scales == SCALES_K16) {
        const int8_t *scale = (const int8_t *)p + 2 * g * PACKED_ROWS;
        vf d = vf_load_f16(super);
        s.d = vf_mul(d, vf_of_vi(vi_load_s8(scale)));
        s.d2 = vf_mul(d, vf_of_vi(vi_load_s8(scale + PACKED_ROWS)));
    } else if (scales == SCALES_E8) {
        /* Halves of powers of two; that of e = 0 has no exponent of its own. */
        const vi bits = vi_shl(vi_load_u8(p + g * PACKED_ROWS), 23);
        const vf power = vf_max(vi_as_vf(bits), vi_as_vf(vi_set1(1 << 22)));
        s.d = vf_mul(power, vf_set1(0.5f));
    } else if (scales == SCALES_E4) {
        s.d = half_e4m3(p + 2 * g * PACKED_ROWS);
        s.d2 = half_e4m3(p + (2 * g + 1) * PACKED_ROWS);
    } else if (has_zeros(scales)) {
        vi zero = vi_load_u8(p + zero_offset(scales, (int)g, 0));
        s.d = vf_load_f16((const uint16_t *)(p + zero_scale_offset(scales, (int)g, 0)));
        s.m = vf_mul(s.d, vf_sub(vf_zero(), vf_of_vi(zero)));
    } else if (scales == SCALES_ROW) {
        s.d = vf_set1(1.0f);
    }
    return s;
}

/* Inputs that are summed before they are scaled. */
SIMD int32_t chain_inputs(enum scales scales, int32_t K)
{
    return scales == SCALES_F128 ? 128 : K;
}

/* A chain of floats, of the unit (or tile, if its rows are scaled) at p, to its place. first: of
 * the row. Numbers that come with a scale are E4M3, divided by E4M3_FACTOR / E4M3_LIFT. */
SIMD void put_chain(enum scales scales, const uint8_t *p, bool first, vf sum, float *out)
{
    if (scales != SCALES_NONE) {
        vf scale = vf_load((const float *)(const void *)p);
        sum = vf_mul(sum, vf_set1(E4M3_FACTOR / E4M3_LIFT));
        sum = first ? vf_mul(sum, scale) : vf_fma(sum, scale, vf_load(out));
    }
    vf_store(out, sum);
}
