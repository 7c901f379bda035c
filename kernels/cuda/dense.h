/* Products for many tokens by cuBLASLt (cublaslt.h), where the configuration asks for it.
 *
 * Formula and arguments: product.h. Weights become rows of bfloat16 in scratch, a chunk of rows of
 * a matrix at a time, of a gate the same rows of both its matrices:
 *
 *   dense_unpack   w[row][place(k)] = bfloat16 of (scale * number + min); bfloat16 as it is
 *   the library    sum[t][row] = sum over k of x[t][k] * w[row][k]
 *   dense_finish   y = epilogue(sum + bias), as in tile.cu
 *
 * Weights of E4M3 with a scale of each row stay E4M3, and so are their activations (prepare.h),
 * where the code at hand makes these (arch_makes_fp8): from capability 8.9 on, also on those cards
 * whose other kernels multiply such weights by bfloat16 (arch_has_fp8).
 *
 *   dense_unpack   w[row][place(k)] = the number without its scale
 *   the library    sum[t][row] = sum over k of x_fp8[t][k] * w[row][k], without scales
 *   dense_finish   y = epilogue(sum * scale[row] * scale[t] + bias), rounded as in tile.cu
 *
 * All matrices of a gate are multiplied in one type. What the library refuses in E4M3 is multiplied
 * in bfloat16; it is asked once for each shape (cublaslt.h). It wants numbers of rows and of K that
 * are multiples of 16: whole strips and whole tiles are, whose missing numbers are zeros.
 *
 * Values of K stand in the order in which prepare.h leaves those of x (chunk_place, and of E4M3
 * that of a tile's bytes), for the order of K is of no matter to a product. Outputs that need no
 * more than the sum, or the sum added to what is there, are written by the library itself: without
 * a bias or scales, if y is aligned.
 *
 * What it gives up. Weights of fewer bits are rounded to bfloat16, and where activations become
 * E4M3 for the library alone, steps of many tokens have fewer bits of them than steps of few. A
 * token's bits depend on the shape of the whole product: on how many tokens its step has, and so
 * on how a prompt was cut into steps and on what else was computed with it. Steps of fewer tokens,
 * and steps in which each sequence has one, are computed as ever.
 *
 * Work: dense_unpack has a block of eight warps for a strip of 16 rows and sixteen tiles, two a
 * warp, whose loads are all under way before the kernels before have ended; a lane writes 16 bytes,
 * so that four of them fill 64 bytes of a row. dense_finish has a thread for an output of four
 * tokens.
 * Bytes of a weight: b read (2, or 0.56 to 1.1), 2 written, and 2 read by the library; of E4M3 by
 * E4M3 one each. Of an output that is not written in place: 4 written, 4 read, 4 written.
 * Target: on a card that copies 2.97 TB/s and multiplies 700 TFLOP/s, a weight costs
 * (b + 2) / 2.97 + 2 T / 700 picoseconds: of 4 bits 0.87 + 1.46 at 512 tokens and 0.87 + 5.9 at
 * 2048, which is 440 and 610 TFLOP/s; of bfloat16 1.35 + 1.46 and 1.35 + 5.9, 364 and 567 TFLOP/s.
 * tile.cu has measured 179 to 205 and 250 to 291 there. By the same sum the two are even at about
 * 130 tokens of 4 bits and 300 of bfloat16; fewer tokens leave the library's tiles too few for all
 * of a card, hence DENSE_FROM. E4M3 by E4M3 has not been measured. */
#pragma once

#include "product.h"

#define DENSE_THREADS 256
#define UNPACK_TILES  2 /* of a warp */
#define FINISH_TOKENS 4 /* of a thread */

struct dense_unpack_args {
    const uint8_t *weight; /* packed, from the chunk's first strip on */
    void *out;             /* (rows of the chunk's strips, k) bfloat16 or E4M3 */
    int32_t layout;        /* enum layout */
    int32_t K;             /* columns of the matrix */
    int32_t is_fp8;        /* bool; of layouts that dense_can_be_fp8 */
};

struct dense_finish_args {
    const float *sum;     /* (T, ld) */
    const float *up;      /* (T, ld) of a gate's second matrix, or NULL */
    const float *bias[2]; /* (n) or NULL; [1] of a gate's second matrix */
    /* Of sums of E4M3, else NULL: matrices as they are packed, from the chunk's first strip on, for
     * the scales of their rows, and the scales of tokens. */
    const uint8_t *weight[2];
    const float *x_scale; /* (T) */
    float *y;             /* (T, ldy), from the chunk's first column on */
    int32_t K;            /* columns of the matrices */
    int32_t T, n;         /* n: outputs of the chunk */
    int32_t ld, ldy;
    int32_t epilogue; /* enum epilogue */
};

/* Columns of the rows in scratch: whole tiles. */
LAYOUT_FN int dense_width(int layout, int K)
{
    return layout_tiles(layout, K) * layout_tile_width(layout);
}

/* The library can multiply the numbers by E4M3 as they are: a sum over K has one scale. */
LAYOUT_FN bool dense_can_be_fp8(int layout)
{
    return layout == LAYOUT_FP8_ROW;
}

#ifndef __CUDACC__
#include "cublaslt.h"
#include "driver.h"

struct device;
struct device_config;
struct err;

/* Tokens from which on the library multiplies; of bfloat16, and of other weights. */
#define DENSE_FROM_BF16   384
#define DENSE_FROM_OTHERS 256

#define DENSE_SCRATCH_BYTES ((uint64_t)64 << 20) /* weights and sums of a chunk */

/* Of a device. */
struct dense {
    struct cublaslt lt;
    CUdeviceptr workspace; /* CUBLASLT_WORKSPACE bytes */
    CUdeviceptr scratch;   /* DENSE_SCRATCH_BYTES */
    uint64_t room;         /* bytes of it that a chunk may take */
    bool is_off;           /* the library has failed */
};

/* What is multiplied together: one part, or the two of a gate. */
struct dense_group {
    const struct product_part *part; /* (n) of the arguments */
    int32_t n;
    int32_t rows; /* of a chunk, a multiple of STRIP_ROWS; the last may have fewer; 0: no room */
    bool is_fp8;  /* weights and activations are E4M3, else bfloat16 */
    bool is_in_place; /* the library writes to y */
};

/* How a product is done. */
struct dense_plan {
    struct dense_group group[3];
    int32_t n_group;
};

/* Memory of the device and of the host; 0 if the configuration does not ask for it. */
uint64_t dense_bytes(const struct device_config *config);

/* Finds the library, if the configuration asks for it, and says in the description what became of
 * it: without it there are the own kernels. Fails if there is no memory. Once, at open. */
int32_t dense_open(struct device *device, struct err *err);
void dense_close(struct device *device); /* between enter and leave */
void dense_free(struct device *device);  /* the host's memory, even if there is no entering */

/* Whether the library does the product, and how; args: all but what the scratch says. The plan
 * refers to them. */
bool dense_takes(struct device *device, const struct product_args *args, struct dense_plan *plan);
/* Which activations a part of the arguments reads. */
bool dense_x_is_fp8(const struct dense_plan *plan, const struct product_part *part);
/* Queues it. A failure of the library goes into the description, and there are the own kernels for
 * the steps to come. */
int dense_launch(struct device *device, const struct product_args *args,
                 const struct dense_plan *plan);
#endif
