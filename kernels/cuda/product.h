/* What the kernels of products take, skinny.cu and tile.cu alike.
 *
 *   y[t][column + n] = epilogue(sum over k of x[t][k] * w[n][k])
 *
 * for up to three matrices that share x. The sum is that of the file's own values: products of
 * exact numbers are summed in float over a group of one scale, but no more than a tile, then
 * multiplied by it and added to the sum of the slice; a scale of the row multiplies the sum of the
 * slices. Slices and their order are those of layout.h, and an output depends on its own row and
 * token alone: both kernels give the same bits.
 *
 * x is bfloat16; of E4M3 weights it is E4M3 too on cards that multiply these, with a scale of each
 * token (prepare.h), which multiplies the sum after the row's scale. There also weights with a
 * scale of the row are summed a tile at a time: such tensor cores keep a sum in fewer bits than a
 * float has (arXiv 2411.10958 finds 13 of its fraction), so that what they add up is short and the
 * rest is added in float. */
#pragma once

#include "layout.h"

#include "../ops.h"

struct product_part {
    const uint8_t *weight; /* packed, layout.h */
    const float *bias;     /* (N) or NULL */
    int32_t layout;        /* enum layout */
    int32_t N, column;
    int32_t first_block; /* blocks of rows of the parts before it */
};

struct product_args {
    const void *x;     /* (rows, padded) bfloat16, prepare.h; here and below if parts want it */
    const float *sums; /* (padded / 128, 4 rows), layout.h */
    const void *x_fp8; /* (rows, padded) E4M3, and a scale of each row */
    const float *x_scale;
    float *y; /* (T, ldy) */
    int32_t T;
    int32_t rows;   /* T rounded up to what the kernel reads; those from T on are zeros */
    int32_t K;      /* columns of the matrices */
    int32_t padded; /* K rounded up to WIDTH_STEP */
    int32_t ldy;
    int32_t epilogue; /* enum epilogue */
    int32_t n_part;   /* gated: 2, of one N */
    struct product_part part[3];
};

/* What becomes of x first: prepare.h. */
struct product_input {
    const float *x;
    const int32_t *row, *live;
    const float *norm, *norm_bias;
    float eps;
    int32_t norm_kind; /* enum norm */
};

/* epilogue_is_gated, for nvcc too. */
LAYOUT_FN bool product_is_gated(int epilogue)
{
    return epilogue == EPILOGUE_GLU_SILU || epilogue == EPILOGUE_GLU_GELU;
}

/* Outputs are made from what y holds: of a gate whose two matrices do not go together, its first
 * matrix's. */
LAYOUT_FN bool product_reads_y(int epilogue)
{
    return epilogue == EPILOGUE_ADD || product_is_gated(epilogue);
}

#ifndef __CUDACC__
struct device;

struct dense_plan;

/* Prepares the input in the device's scratch, as args->rows, padded and the parts' layouts say,
 * which it then has. plan: of cuBLASLt, or NULL. linear.c */
int product_prepare(struct device *device, const struct product_input *input,
                    struct product_args *args, enum sums_order order,
                    const struct dense_plan *plan);

/* Prepares the input in the device's scratch and queues the product; args: all but what the
 * scratch and the kernel say. linear.c */
int product_launch(struct device *device, const struct product_input *input,
                   struct product_args *args);

/* The most tokens whose products take the same kernels and the same work as those of T: rows that
 * are only there to make it so many cost little. linear.c */
int32_t product_bucket(int32_t T);

/* Sets first_block for blocks of some rows; the number of blocks of all parts. */
static inline uint32_t product_blocks(struct product_args *args, int32_t rows)
{
    int32_t n = 0;
    for (int32_t i = 0; i < args->n_part; i++) {
        args->part[i].first_block = n;
        if (!product_is_gated(args->epilogue) || i == 0)
            n += (args->part[i].N + rows - 1) / rows;
    }
    return (uint32_t)n;
}
#endif
