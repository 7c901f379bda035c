/* A stand-in for libcublasLt.so.13 from the inside: what its files share.
 *
 *   cublaslt.c            entry points, choices
 *   cublaslt_describe.c   descriptors and their attributes
 *   cublaslt_rules.c      what NVIDIA documents to be supported, and what is not
 *   cublaslt_multiply.c   the product, when the stream comes to it
 *
 * It has the functions that the plugin calls. Where the documentation leaves open whether
 * something works, it does not work here. Products are queued on the simulated GPU's streams.
 *
 * Environment: GPU_CUBLASLT=old: it says that it is of version 12.9.1; create: no handle can be
 * made; heuristic: there is no way to do any product; bf16: any of FP8. Products fail with
 * GPU_FAIL=library:n. */
#pragma once

#include "gpu.h"

#define CUBLASLT_EXPORT __attribute__((visibility("default")))

#include <cublasLt.h>

/* Descriptors as they stand in the caller's memory; a number says that they are initialized. */
struct lt_product {
    uint32_t magic;
    int32_t compute_type, scale_type, pointer_mode, transa, transb, transc, fill_mode;
    uint32_t epilogue;
    int32_t sm_count, unused, aux_type, bias_type;
    int32_t scale_mode[4], aux_scale_mode, d_out_scale_mode; /* of A, B, C, D */
    uint64_t bias, aux, amax, aux_scale, aux_amax, d_out_scale, emulation;
    uint64_t scale[4]; /* of A, B, C, D */
    int64_t bias_stride, aux_ld, aux_stride, alpha_stride;
    int8_t fast_accumulation;
};

struct lt_layout {
    uint32_t magic;
    uint32_t type;
    int32_t order, batch;
    uint64_t rows, columns;
    int64_t ld, stride, plane;
    uint32_t batch_mode;
};

struct lt_preference {
    uint32_t magic;
    uint32_t search, reduction, alignment[4]; /* of A, B, C, D */
    float waves;
    uint64_t workspace, kinds;
};

#define LT_PRODUCT    0x50726f64u
#define LT_LAYOUT     0x4c61796fu
#define LT_PREFERENCE 0x50726566u

/* A product that may be done: D (m, n) = alpha op(A) (m, k) op(B) (k, n) + beta C (m, n). */
struct lt_problem {
    int64_t m, n, k;
    int64_t ld[4]; /* of A, B, C, D */
    uint32_t type[4];
    int32_t transposed[2]; /* A, B */
    int32_t scale_mode[2];
    int32_t bias_type; /* -1: no bias */
};

/* Fills the problem, or says with the documentation's status why there is none. capability: 89. */
cublasStatus_t lt_check(const struct lt_product *product, const struct lt_layout *const layout[4],
                        int capability, struct lt_problem *out);
int lt_type_bytes(uint32_t type); /* 0: not known here */

/* The driver's functions that it needs. */
struct lt_driver {
    __typeof__(gpu_library_submit) *submit;
    __typeof__(gpu_library_read) *read;
    __typeof__(gpu_library_write) *write;
};

struct lt_job {
    const struct lt_driver *driver;
    struct lt_problem problem;
    uint64_t matrix[4]; /* A, B, C, D */
    uint64_t scale[2];  /* of A and B; 0: 1 */
    uint64_t bias, workspace;
    size_t workspace_bytes; /* that are written to */
    float alpha, beta;
};

bool lt_multiply(const void *job); /* a gpu_library_work */

/* How often ways to do a product were asked for. Found by name, as those of gpu.h are. */
CUBLASLT_EXPORT uint64_t gpu_cublaslt_asked(void);
