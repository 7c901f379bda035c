/* What is supported: cuBLAS 13.1 documentation, cublasLtMatmul, its tables of types and its
 * requirements of FP8, and cublasLt.h. Of what is, only products in float that a language model may
 * want are here: no batches, no integers, no complex numbers, no block scales, and of the epilogues
 * the bias. All else is NOT_SUPPORTED. */
#include "cublaslt_stand_in.h"

#include <string.h>

enum { A, B, C, D };

#define TENSOR_BYTES 16 /* pointers and leading dimensions that tensor cores are fed from */

int lt_type_bytes(uint32_t type)
{
    switch (type) {
    case CUDA_R_32F:
        return 4;
    case CUDA_R_16F:
    case CUDA_R_16BF:
        return 2;
    case CUDA_R_8F_E4M3:
    case CUDA_R_8F_E5M2:
        return 1;
    default:
        return 0;
    }
}

static bool is_fp8(uint32_t type)
{
    return lt_type_bytes(type) == 1;
}

static bool are_types_supported(const uint32_t type[4])
{
    const uint32_t out = type[D];
    if (type[C] != out || lt_type_bytes(out) < 2)
        return false;
    if (is_fp8(type[A]))
        return is_fp8(type[B]) && !(type[A] == CUDA_R_8F_E5M2 && type[B] == CUDA_R_8F_E5M2);
    return type[A] == type[B] && lt_type_bytes(type[A]) && (out == type[A] || out == CUDA_R_32F);
}

/* One scale of a tensor from 8.9 on; a vector of scales along m and along n, of both or neither, on
 * 9.0 alone. */
static bool are_scales_supported(const struct lt_product *product, const uint32_t type[4],
                                 int capability)
{
    const int32_t a = product->scale_mode[A], b = product->scale_mode[B];
    if (!is_fp8(type[A]))
        return !product->scale[A] && !product->scale[B] && !a && !b && !product->fast_accumulation;
    if (a == CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F)
        return b == a && capability == 90 && product->scale[A] && product->scale[B];
    return a == CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F && b == a;
}

/* "A must be transposed and B non-transposed (The 'TN' format)" on 8.9, 9.0 and 12.x; dimensions
 * such that 16 bytes are aligned, of which the library checks m and k. */
static bool is_fp8_supported(const struct lt_problem *p, int capability)
{
    return capability >= 89 && p->transposed[A] && !p->transposed[B] && p->m % 16 == 0 &&
           p->k % 16 == 0;
}

static cublasStatus_t check_layouts(const struct lt_layout *const layout[4], struct lt_problem *out)
{
    for (int i = 0; i < 4; i++) {
        const struct lt_layout *l = layout[i];
        if (!l || l->magic != LT_LAYOUT || !l->rows || !l->columns || l->rows > INT32_MAX ||
            l->columns > INT32_MAX)
            return CUBLAS_STATUS_INVALID_VALUE;
        if (l->order != CUBLASLT_ORDER_COL || l->batch != 1 || l->plane || l->batch_mode)
            return CUBLAS_STATUS_NOT_SUPPORTED;
        if (l->ld < (int64_t)l->rows)
            return CUBLAS_STATUS_INVALID_VALUE;
        out->ld[i] = l->ld;
        out->type[i] = l->type;
    }
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_sizes(const struct lt_product *product,
                                  const struct lt_layout *const layout[4], struct lt_problem *out)
{
    const struct lt_layout *a = layout[A], *b = layout[B];
    out->transposed[A] = product->transa == CUBLAS_OP_T;
    out->transposed[B] = product->transb == CUBLAS_OP_T;
    out->m = (int64_t)(out->transposed[A] ? a->columns : a->rows);
    out->k = (int64_t)(out->transposed[A] ? a->rows : a->columns);
    out->n = (int64_t)(out->transposed[B] ? b->rows : b->columns);
    bool agree = out->k == (int64_t)(out->transposed[B] ? b->columns : b->rows);
    for (int i = C; i <= D; i++)
        agree =
            agree && (int64_t)layout[i]->rows == out->m && (int64_t)layout[i]->columns == out->n;
    return agree ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

static cublasStatus_t check_epilogue(const struct lt_product *product, struct lt_problem *out)
{
    out->bias_type = -1;
    if (product->epilogue == CUBLASLT_EPILOGUE_DEFAULT)
        return CUBLAS_STATUS_SUCCESS;
    if (product->epilogue != CUBLASLT_EPILOGUE_BIAS)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    out->bias_type = product->bias_type < 0 ? (int32_t)out->type[D] : product->bias_type;
    /* Of D's type, but for FP8 with a D in float: bfloat16. */
    const uint32_t want =
        is_fp8(out->type[A]) && out->type[D] == CUDA_R_32F ? CUDA_R_16BF : out->type[D];
    return (uint32_t)out->bias_type == want ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t lt_check(const struct lt_product *product, const struct lt_layout *const layout[4],
                        int capability, struct lt_problem *out)
{
    memset(out, 0, sizeof *out); /* padding too: problems are told apart by all bytes */
    if (!product || product->magic != LT_PRODUCT)
        return CUBLAS_STATUS_INVALID_VALUE;
    cublasStatus_t status = check_layouts(layout, out);
    if (!status)
        status = check_sizes(product, layout, out);
    if (!status)
        status = check_epilogue(product, out);
    if (status)
        return status;
    bool can = product->compute_type == CUBLAS_COMPUTE_32F && product->scale_type == CUDA_R_32F &&
               product->pointer_mode == CUBLASLT_POINTER_MODE_HOST &&
               product->transa != CUBLAS_OP_C && product->transb != CUBLAS_OP_C &&
               product->transc == CUBLAS_OP_N && are_types_supported(out->type) &&
               are_scales_supported(product, out->type, capability) &&
               (!is_fp8(out->type[A]) || is_fp8_supported(out, capability));
    /* The real one has slower ways without this, which are not to be met by accident. */
    for (int i = 0; i < 4; i++)
        can = can && out->ld[i] * lt_type_bytes(out->type[i]) % TENSOR_BYTES == 0;
    out->scale_mode[A] = product->scale_mode[A];
    out->scale_mode[B] = product->scale_mode[B];
    return can ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}
