/* Rows of a weight format -> the tensors that a folder keeps of a matrix (N, K), by the conventions
 * of compressed-tensors:
 *
 *   fp8       weight F8_E4M3 (N, K)        weight_scale F32 (N, 1), or (1) of all rows
 *   fp8_128   weight F8_E4M3 (N, K)        weight_scale F32 (N / 128 rounded up, K / 128)
 *   int8      weight I8 (N, K)             weight_scale F32 (N, 1)
 *   int8, is_in_words: weight_packed I32 (N, K / 4 rounded up), of q + 128
 *             weight_scale F32 (N, 1)    weight_shape I64 (2)
 *   q8_0      weight_packed I32 (N, K / 4), of q + 128
 *             weight_scale BF16 or F16 (N, K / 32)    weight_shape I64 (2)
 *   int4_g    weight_packed I32 (N, K / 8) weight_scale BF16 or F16 (N, K / g)
 *             weight_shape I64 (2)         and, with zero points,
 *             weight_zero_point I32 (N / 8 rounded up, K / g)
 *
 * Values of 4 bits lie in a word from its lowest bits on, of a row in weight_packed, of eight rows
 * in weight_zero_point; those of 8 bits likewise. Source: pack_quantized of compressed-tensors.
 *
 * ModelOpt keeps fp8 alone, with the scales as (N), or as a number without dimensions. Source:
 * its export of unified Hugging Face checkpoints. */
#pragma once

#include "../quant.h"

#include <stdbool.h>

#define PACK_TENSORS 4
#define PACK_ROWS    128 /* rows that pack_rows takes at once begin at a multiple of this */

enum convention { COMPRESSED_TENSORS, MODELOPT };

struct packed_tensor {
    const char *suffix; /* after the module's name and "." */
    const char *dtype;  /* of safetensors */
    int64_t shape[2];
    int32_t n_dims;
    uint64_t offset, bytes; /* in the memory of all of the matrix */
};

struct packing {
    enum fmt fmt;
    int64_t N, K;
    enum convention convention;
    bool has_one_scale; /* fp8: the same of all rows */
    bool is_symmetric;  /* int4: there are no zero points */
    bool is_bf16;       /* int4 and q8_0: scales are */
    bool is_in_words;   /* int8: as a format of weights alone has it */
    struct packed_tensor tensor[PACK_TENSORS];
    int32_t n;
    uint64_t bytes; /* of all tensors */
};

/* Says what tensors there are; of what stands before them. */
void pack_plan(struct packing *p);

/* Writes rows [first, first + n) into the memory, (bytes), which was zeros; several threads may
 * write other rows. rows: fmt_row_bytes each. */
void pack_rows(const struct packing *p, int64_t first, int64_t n, const uint8_t *rows,
               uint8_t *memory);
