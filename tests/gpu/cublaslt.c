/* Entry points. */
#define __CUDA_API_PUSH_VISIBILITY_DEFAULT
#include <cuda.h>

#include "cublaslt_stand_in.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

enum { A, B, C, D };

#define VERSION     130100
#define VERSION_OLD 120901
/* Of this kind are the results of asking. */
#define ALGORITHM UINT64_C(0x436f696365536f21)
/* Products of fewer outputs are split along K, with their sums in the workspace. */
#define SPLIT_BELOW (256 * 1024)

/* What a handle stands for. */
struct cublasLtContext {
    void *library; /* the driver */
    struct lt_driver driver;
    int capability;
};

/* What is kept in an algorithm. */
struct algorithm {
    uint64_t magic, problem; /* a hash */
    uint64_t workspace;
    uint32_t alignment[4];
};
_Static_assert(sizeof(struct algorithm) <= sizeof(cublasLtMatmulAlgo_t), "it fits the caller's");

static uint64_t asked;

static bool is_set(const char *what)
{
    const char *value = getenv("GPU_CUBLASLT");
    return value && strcmp(value, what) == 0;
}

CUBLASLT_EXPORT uint64_t gpu_cublaslt_asked(void)
{
    return asked;
}

CUBLASLT_EXPORT size_t cublasLtGetVersion(void)
{
    return is_set("old") ? VERSION_OLD : VERSION;
}

CUBLASLT_EXPORT const char *cublasLtGetStatusName(cublasStatus_t status)
{
    switch (status) {
#define NAME(status) \
    case status:     \
        return #status;
        NAME(CUBLAS_STATUS_SUCCESS)
        NAME(CUBLAS_STATUS_NOT_INITIALIZED)
        NAME(CUBLAS_STATUS_ALLOC_FAILED)
        NAME(CUBLAS_STATUS_INVALID_VALUE)
        NAME(CUBLAS_STATUS_ARCH_MISMATCH)
        NAME(CUBLAS_STATUS_MAPPING_ERROR)
        NAME(CUBLAS_STATUS_EXECUTION_FAILED)
        NAME(CUBLAS_STATUS_INTERNAL_ERROR)
        NAME(CUBLAS_STATUS_NOT_SUPPORTED)
        NAME(CUBLAS_STATUS_LICENSE_ERROR)
#undef NAME
    }
    return "unrecognized status";
}

/* ---- Handles */

static bool find(void *library, const char *name, void *function)
{
    void *at = dlsym(library, name);
    memcpy(function, &at, sizeof at);
    return at;
}

static bool find_driver(struct cublasLtContext *context)
{
    __typeof__(cuCtxGetDevice) *get_device;
    __typeof__(cuDeviceGetAttribute) *get_attribute;
    CUdevice device;
    int major = 0, minor = 0;
    context->library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    bool found = context->library && find(context->library, "cuCtxGetDevice", &get_device) &&
                 find(context->library, "cuDeviceGetAttribute", &get_attribute) &&
                 find(context->library, "gpu_library_submit", &context->driver.submit) &&
                 find(context->library, "gpu_library_read", &context->driver.read) &&
                 find(context->library, "gpu_library_write", &context->driver.write) &&
                 !get_device(&device) &&
                 !get_attribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device) &&
                 !get_attribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
    context->capability = 10 * major + minor;
    return found;
}

CUBLASLT_EXPORT cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    if (!handle)
        return CUBLAS_STATUS_INVALID_VALUE;
    struct cublasLtContext *context = calloc(1, sizeof *context);
    if (!context)
        return CUBLAS_STATUS_ALLOC_FAILED;
    *handle = context;
    if (!is_set("create") && find_driver(context))
        return CUBLAS_STATUS_SUCCESS;
    *handle = NULL;
    (void)cublasLtDestroy(context);
    return CUBLAS_STATUS_NOT_INITIALIZED;
}

CUBLASLT_EXPORT cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    if (handle && handle->library)
        dlclose(handle->library);
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- Choices */

/* FNV-1a. */
static uint64_t hash_of(const struct lt_problem *problem)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    const uint8_t *bytes = (const uint8_t *)problem;
    for (size_t i = 0; i < sizeof *problem; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static cublasStatus_t check(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                            const cublasLtMatrixLayout_t layouts[4], struct lt_problem *problem)
{
    const struct lt_layout *layout[4];
    for (int i = 0; i < 4; i++)
        layout[i] = (const struct lt_layout *)(const void *)layouts[i];
    return handle ? lt_check((const struct lt_product *)(const void *)product, layout,
                             handle->capability, problem)
                  : CUBLAS_STATUS_NOT_INITIALIZED;
}

CUBLASLT_EXPORT cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t handle, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a,
    cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
    cublasLtMatmulPreference_t preferences, int most, cublasLtMatmulHeuristicResult_t results[],
    int *n)
{
    const cublasLtMatrixLayout_t layouts[4] = {a, b, c, d};
    const struct lt_preference *preference =
        (const struct lt_preference *)(const void *)preferences;
    struct lt_problem problem;
    asked++;
    if (!results || !n || most < 1 || !preference || preference->magic != LT_PREFERENCE)
        return CUBLAS_STATUS_INVALID_VALUE;
    *n = 0;
    cublasStatus_t status = check(handle, product, layouts, &problem);
    if (status || is_set("heuristic") || (is_set("bf16") && lt_type_bytes(problem.type[A]) == 1))
        return status ? status : CUBLAS_STATUS_NOT_SUPPORTED;
    const uint64_t sums = (uint64_t)(problem.m * problem.n) * sizeof(float);
    struct algorithm algorithm = {.magic = ALGORITHM, .problem = hash_of(&problem)};
    if (problem.m * problem.n < SPLIT_BELOW && sums <= preference->workspace)
        algorithm.workspace = sums;
    memcpy(algorithm.alignment, preference->alignment, sizeof algorithm.alignment);
    memset(&results[0], 0, sizeof results[0]);
    memcpy(&results[0].algo, &algorithm, sizeof algorithm);
    results[0].workspaceSize = algorithm.workspace;
    results[0].state = CUBLAS_STATUS_SUCCESS;
    results[0].wavesCount = 1;
    *n = 1;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- Products */

static bool is_sound(const struct algorithm *algorithm, const struct lt_job *job, size_t bytes)
{
    bool sound = algorithm->magic == ALGORITHM && algorithm->workspace <= bytes &&
                 (!bytes || (job->workspace && job->workspace % 256 == 0));
    for (int i = 0; i < 4; i++)
        sound = sound && job->matrix[i] && job->matrix[i] % algorithm->alignment[i] == 0;
    /* In place or apart. */
    return sound && (job->matrix[C] != job->matrix[D] || job->problem.ld[C] == job->problem.ld[D]);
}

CUBLASLT_EXPORT cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                              const void *alpha, const void *a,
                                              cublasLtMatrixLayout_t a_layout, const void *b,
                                              cublasLtMatrixLayout_t b_layout, const void *beta,
                                              const void *c, cublasLtMatrixLayout_t c_layout,
                                              void *d, cublasLtMatrixLayout_t d_layout,
                                              const cublasLtMatmulAlgo_t *algo, void *workspace,
                                              size_t workspace_bytes, cudaStream_t stream)
{
    const cublasLtMatrixLayout_t layouts[4] = {a_layout, b_layout, c_layout, d_layout};
    const struct lt_product *of = (const struct lt_product *)(const void *)product;
    struct algorithm algorithm;
    struct lt_job job = {
        .matrix = {(uintptr_t)a, (uintptr_t)b, (uintptr_t)c, (uintptr_t)d},
        .workspace = (uintptr_t)workspace,
    };
    cublasStatus_t status = check(handle, product, layouts, &job.problem);
    if (status)
        return status;
    if (!alpha || !beta || !algo)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(&algorithm, algo, sizeof algorithm);
    if (!is_sound(&algorithm, &job, workspace_bytes))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (algorithm.problem != hash_of(&job.problem))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    job.driver = &handle->driver;
    job.workspace_bytes = algorithm.workspace;
    memcpy(&job.alpha, alpha, sizeof job.alpha);
    memcpy(&job.beta, beta, sizeof job.beta);
    job.scale[A] = of->scale[A];
    job.scale[B] = of->scale[B];
    job.bias = job.problem.bias_type < 0 ? 0 : of->bias;
    return handle->driver.submit(stream, lt_multiply, &job, sizeof job)
               ? CUBLAS_STATUS_EXECUTION_FAILED
               : CUBLAS_STATUS_SUCCESS;
}
