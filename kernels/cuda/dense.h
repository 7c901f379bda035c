/* Products for many tokens by cuBLASLt (cublaslt.h), where the configuration asks for it.
 *
 * Formula and arguments: product.h. Weights become rows of bfloat16 in scratch, a chunk of rows of
 * a matrix at a time, of a gate the same rows of both its matrices:
 *
 *   dense_unpack   w[row][place(k)] = bfloat16 of (scale * number + min); bfloat16 as it is
 *   the library    sum[t][row] = sum over k of x[t][k] * w[row][k]
 *   dense_finish   y = epilogue(sum + bias), as in tile.cu
 *
 * Values of K stand in the order in which prepare.h leaves those of x (chunk_place), for the order
 * of K is of no matter to a product. Outputs that need no more than the sum, or the sum added to
 * what is there, are written by the library itself: without a bias, if y is aligned.
 *
 * What it gives up. Weights of fewer bits are rounded to bfloat16, and a token's bits depend on the
 * shape of the whole product: on how many tokens its step has, and so on how a prompt was cut into
 * steps and on what else was computed with it. Steps of fewer tokens, and steps in which each
 * sequence has one, are computed as ever.
 *
 * Work: dense_unpack has a block of eight warps for a strip of 16 rows and sixteen tiles, two a
 * warp, whose loads are all under way before the kernels before have ended; a lane writes 16 bytes,
 * so that four of them fill 64 bytes of a row. dense_finish has a thread for an output of four
 * tokens.
 * Bytes of a weight: b read (2, or 0.56 to 1.1), 2 written, and 2 read by the library. Of an output
 * that is not written in place: 4 written, 4 read, 4 written.
 * Target: on a card that copies 2.97 TB/s and multiplies 700 TFLOP/s, a weight costs
 * (b + 2) / 2.97 + 2 T / 700 picoseconds: of 4 bits 0.87 + 1.46 at 512 tokens and 0.87 + 5.9 at
 * 2048, which is 440 and 610 TFLOP/s; of bfloat16 1.35 + 1.46 and 1.35 + 5.9, 364 and 567 TFLOP/s.
 * tile.cu has measured 179 to 205 and 250 to 291 there. By the same sum the two are even at about
 * 130 tokens of 4 bits and 300 of bfloat16; fewer tokens leave the library's tiles too few for all
 * of a card, hence DENSE_FROM. */
#pragma once

#include "product.h"

#define DENSE_THREADS 256
#define UNPACK_TILES  2 /* of a warp */
#define FINISH_TOKENS 4 /* of a thread */

struct dense_unpack_args {
    const uint8_t *weight; /* packed, from the chunk's first strip on */
    void *out;             /* (rows of the chunk's strips, k) bfloat16 */
    int32_t layout;        /* enum layout */
    int32_t K;             /* columns of the matrix */
};

struct dense_finish_args {
    const float *sum;     /* (T, ld) */
    const float *up;      /* (T, ld) of a gate's second matrix, or NULL */
    const float *bias[2]; /* (n) or NULL; [1] of a gate's second matrix */
    float *y;             /* (T, ldy), from the chunk's first column on */
    int32_t T, n;         /* n: outputs of the chunk */
    int32_t ld, ldy;
    int32_t epilogue; /* enum epilogue */
};

/* Columns of the rows in scratch: whole tiles. */
LAYOUT_FN int dense_width(int layout, int K)
{
    return layout_tiles(layout, K) * layout_tile_width(layout);
}

#ifndef __CUDACC__
#include "cublaslt.h"
#include "driver.h"

struct device_config;

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

/* Memory of the device and of the host; 0 if the configuration does not ask for it. */
uint64_t dense_bytes(const struct device_config *config);

/* Finds the library, if the configuration asks for it, and says in the description what became of
 * it: without it there are the own kernels. Fails if there is no memory. Once, at open. */
int32_t dense_open(struct device *device, struct err *err);
void dense_close(struct device *device); /* between enter and leave */
void dense_free(struct device *device);  /* the host's memory, even if there is no entering */

/* Whether the library does the product; args: all but what the scratch says. */
bool dense_takes(struct device *device, const struct product_args *args);
/* Queues it. A failure of the library goes into the description, and there are the own kernels for
 * the steps to come. */
int dense_launch(struct device *device, const struct product_args *args);
#endif
