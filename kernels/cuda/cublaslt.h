/* NVIDIA's library of matrix products, found when it is wanted: nothing links it. cublasLt.h gives
 * the types at build time only.
 *
 *   d[t][i] = (adds ? d[t][i] : 0) + sum over k of x[t][k] * w[i][k]
 *
 * w (m, k) and x (n, ldx) both bfloat16 or both E4M3, d (n, ldd) float. In the library's terms,
 * where a matrix stands by columns: A is w, (k, m) transposed, B is x, (k, n), and C and D are d,
 * (m, n). The sum is in float, in an order that depends on the shape: an output's bits are a
 * function of m, n and k too.
 *
 * What the library chooses for a shape is kept. Asking costs the host about a tenth of a
 * millisecond, once for each shape until SHAPES_MOST others have come; a product costs it a few
 * microseconds. Both may be done while a step is queued: neither waits for the card nor takes its
 * memory, but the library loads the code of a kernel when it is first used. */
#pragma once

#include "../../plugin/base/err.h"

#include <cublasLt.h>
#include <stdbool.h>
#include <stdint.h>

#define CUBLASLT_LIBRARY       "libcublasLt.so.13"
#define CUBLASLT_VERSION_LEAST 130000 /* major * 10000 + minor * 100 + patch */

/* What NVIDIA advises for Hopper; a choice for an earlier card takes less of it. */
#define CUBLASLT_WORKSPACE ((size_t)32 << 20)
/* Addresses of w and x, and of d. */
#define CUBLASLT_ALIGNMENT_IN  256
#define CUBLASLT_ALIGNMENT_OUT 16

struct cublaslt_shape {
    int32_t m, n, k;
    int32_t ldx, ldd; /* values; ldd a multiple of 4, ldx of 8, of E4M3 of 16 */
    int32_t adds;     /* bool */
    int32_t is_fp8;   /* bool: w and x are E4M3, from 8.9 on; m and k multiples of 16 */
};

struct cublaslt_choice {
    struct cublaslt_shape shape;
    cublasLtMatrixLayoutOpaque_t w, x, d;
    cublasLtMatmulAlgo_t algo;
    bool is_there; /* the library can do it */
};

#define SHAPES_MOST 256

struct cublaslt {
    void *library; /* of dlopen */
    cublasLtHandle_t handle;
    cublasLtMatmulDescOpaque_t product;
    cublasLtMatmulPreferenceOpaque_t preference;
    size_t version;
    struct cublaslt_choice choice[SHAPES_MOST];
    int32_t n_choice, latest; /* the one that was asked for last; where the next one goes if full */
    int32_t oldest;
#define CUBLASLT(symbol) __typeof__(symbol) *symbol;
#include "cublaslt.def"
#undef CUBLASLT
};

/* Finds and starts the library for the current context. INFLIGHT_E_UNSUPPORTED with the reason if
 * there is none, or an old one; INFLIGHT_E_DEVICE if it does not start. Nothing is left open. */
int32_t cublaslt_open(struct cublaslt *lt, struct err *err);
void cublaslt_close(struct cublaslt *lt);

/* What the library does for a shape; NULL: it cannot. Valid until the next call. */
const struct cublaslt_choice *cublaslt_choose(struct cublaslt *lt,
                                              const struct cublaslt_shape *shape);

/* Queues a product. workspace: CUBLASLT_WORKSPACE bytes that no other stream uses. */
cublasStatus_t cublaslt_multiply(struct cublaslt *lt, const struct cublaslt_choice *choice,
                                 const void *w, const void *x, float *d, void *workspace,
                                 cudaStream_t stream);
