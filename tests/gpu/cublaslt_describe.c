/* Descriptors. An attribute takes a value of exactly its size, as the real library does. */
#include "cublaslt_stand_in.h"

#include <string.h>

struct attribute {
    int id;
    size_t bytes, offset;
};

#define ROW(id, type, member)                                              \
    {                                                                      \
        id, sizeof((struct type){0}.member), offsetof(struct type, member) \
    }
#define DESC(id, member)   ROW(CUBLASLT_MATMUL_DESC_##id, lt_product, member)
#define LAYOUT(id, member) ROW(CUBLASLT_MATRIX_LAYOUT_##id, lt_layout, member)
#define PREF(id, member)   ROW(CUBLASLT_MATMUL_PREF_##id, lt_preference, member)

static const struct attribute of_product[] = {
    DESC(COMPUTE_TYPE, compute_type),
    DESC(SCALE_TYPE, scale_type),
    DESC(POINTER_MODE, pointer_mode),
    DESC(TRANSA, transa),
    DESC(TRANSB, transb),
    DESC(TRANSC, transc),
    DESC(FILL_MODE, fill_mode),
    DESC(EPILOGUE, epilogue),
    DESC(BIAS_POINTER, bias),
    DESC(BIAS_BATCH_STRIDE, bias_stride),
    DESC(EPILOGUE_AUX_POINTER, aux),
    DESC(EPILOGUE_AUX_LD, aux_ld),
    DESC(EPILOGUE_AUX_BATCH_STRIDE, aux_stride),
    DESC(ALPHA_VECTOR_BATCH_STRIDE, alpha_stride),
    DESC(SM_COUNT_TARGET, sm_count),
    ROW(16, lt_product, unused), /* the library has one that the header does not name */
    DESC(A_SCALE_POINTER, scale[0]),
    DESC(B_SCALE_POINTER, scale[1]),
    DESC(C_SCALE_POINTER, scale[2]),
    DESC(D_SCALE_POINTER, scale[3]),
    DESC(AMAX_D_POINTER, amax),
    DESC(EPILOGUE_AUX_DATA_TYPE, aux_type),
    DESC(EPILOGUE_AUX_SCALE_POINTER, aux_scale),
    DESC(EPILOGUE_AUX_AMAX_POINTER, aux_amax),
    DESC(FAST_ACCUM, fast_accumulation),
    DESC(BIAS_DATA_TYPE, bias_type),
    DESC(A_SCALE_MODE, scale_mode[0]),
    DESC(B_SCALE_MODE, scale_mode[1]),
    DESC(C_SCALE_MODE, scale_mode[2]),
    DESC(D_SCALE_MODE, scale_mode[3]),
    DESC(EPILOGUE_AUX_SCALE_MODE, aux_scale_mode),
    DESC(D_OUT_SCALE_POINTER, d_out_scale),
    DESC(D_OUT_SCALE_MODE, d_out_scale_mode),
    DESC(EMULATION_DESCRIPTOR, emulation),
};

static const struct attribute of_layout[] = {
    LAYOUT(TYPE, type),
    LAYOUT(ORDER, order),
    LAYOUT(ROWS, rows),
    LAYOUT(COLS, columns),
    LAYOUT(LD, ld),
    LAYOUT(BATCH_COUNT, batch),
    LAYOUT(STRIDED_BATCH_OFFSET, stride),
    LAYOUT(PLANE_OFFSET, plane),
    LAYOUT(BATCH_MODE, batch_mode),
};

static const struct attribute of_preference[] = {
    PREF(SEARCH_MODE, search),
    PREF(MAX_WORKSPACE_BYTES, workspace),
    PREF(REDUCTION_SCHEME_MASK, reduction),
    PREF(MIN_ALIGNMENT_A_BYTES, alignment[0]),
    PREF(MIN_ALIGNMENT_B_BYTES, alignment[1]),
    PREF(MIN_ALIGNMENT_C_BYTES, alignment[2]),
    PREF(MIN_ALIGNMENT_D_BYTES, alignment[3]),
    PREF(MAX_WAVES_COUNT, waves),
    PREF(IMPL_MASK, kinds),
};

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static cublasStatus_t set(const struct attribute *rows, size_t n, uint32_t magic, void *descriptor,
                          int id, const void *value, size_t bytes)
{
    uint32_t is;
    if (!descriptor || !value)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(&is, descriptor, sizeof is);
    for (size_t i = 0; is == magic && i < n; i++)
        if (rows[i].id == id && rows[i].bytes == bytes) {
            memcpy((uint8_t *)descriptor + rows[i].offset, value, bytes);
            return CUBLAS_STATUS_SUCCESS;
        }
    return CUBLAS_STATUS_INVALID_VALUE;
}

CUBLASLT_EXPORT cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                                              cublasLtMatmulDescAttributes_t id,
                                                              const void *value, size_t bytes)
{
    return set(of_product, COUNT_OF(of_product), LT_PRODUCT, desc, (int)id, value, bytes);
}

CUBLASLT_EXPORT cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                                cublasLtMatrixLayoutAttribute_t id,
                                                                const void *value, size_t bytes)
{
    return set(of_layout, COUNT_OF(of_layout), LT_LAYOUT, layout, (int)id, value, bytes);
}

CUBLASLT_EXPORT cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t id,
    const void *value, size_t bytes)
{
    return set(of_preference, COUNT_OF(of_preference), LT_PREFERENCE, preference, (int)id, value,
               bytes);
}

/* Into the caller's memory, of `size` bytes that it says it has. */
static cublasStatus_t init(void *to, size_t size, const void *from, size_t whole, size_t bytes)
{
    if (!to || size < whole)
        return CUBLAS_STATUS_ALLOC_FAILED;
    memset(to, 0, whole);
    memcpy(to, from, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

_Static_assert(sizeof(struct lt_product) <= sizeof(cublasLtMatmulDescOpaque_t) &&
                   sizeof(struct lt_layout) <= sizeof(cublasLtMatrixLayoutOpaque_t) &&
                   sizeof(struct lt_preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t),
               "descriptors fit the caller's");

CUBLASLT_EXPORT cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t desc,
                                                               size_t size,
                                                               cublasComputeType_t compute,
                                                               cudaDataType_t scale)
{
    const struct lt_product product = {.magic = LT_PRODUCT,
                                       .compute_type = (int32_t)compute,
                                       .scale_type = (int32_t)scale,
                                       .transa = CUBLAS_OP_N,
                                       .transb = CUBLAS_OP_N,
                                       .transc = CUBLAS_OP_N,
                                       .epilogue = CUBLASLT_EPILOGUE_DEFAULT,
                                       .aux_type = -1,
                                       .bias_type = -1};
    return init(desc, size, &product, sizeof *desc, sizeof product);
}

CUBLASLT_EXPORT cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t out,
                                                                 size_t size, cudaDataType type,
                                                                 uint64_t rows, uint64_t columns,
                                                                 int64_t ld)
{
    const struct lt_layout layout = {.magic = LT_LAYOUT,
                                     .type = (uint32_t)type,
                                     .order = CUBLASLT_ORDER_COL,
                                     .batch = 1,
                                     .rows = rows,
                                     .columns = columns,
                                     .ld = ld};
    return init(out, size, &layout, sizeof *out, sizeof layout);
}

CUBLASLT_EXPORT cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t out,
                                                                     size_t size)
{
    const struct lt_preference preference = {.magic = LT_PREFERENCE,
                                             .search = CUBLASLT_SEARCH_BEST_FIT,
                                             .reduction = CUBLASLT_REDUCTION_SCHEME_MASK,
                                             .alignment = {256, 256, 256, 256},
                                             .kinds = ~UINT64_C(0)};
    return init(out, size, &preference, sizeof *out, sizeof preference);
}
