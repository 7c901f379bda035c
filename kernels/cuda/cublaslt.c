/* dlopen, dlsym; descriptors and choices of the library. */
#define _GNU_SOURCE
#include "cublaslt.h"

#include <dlfcn.h>
#include <string.h>

/* The one that the host has already, from wherever it came, or else the system's. It has a CUDA
 * runtime within itself, whose code is called when the process ends, so it stays (NODELETE). */
static void *open_library(void)
{
    void *library = dlopen(CUBLASLT_LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    return library ? library : dlopen(CUBLASLT_LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

/* C does not convert between pointers to data and to code; POSIX has both of one size. */
static bool find(void *library, const char *symbol, void *function)
{
    void *at = dlsym(library, symbol);
    memcpy(function, &at, sizeof at);
    return at;
}

static int32_t find_all(struct cublaslt *lt, struct err *err)
{
    const char *missing = NULL;
#define CUBLASLT(symbol)                          \
    if (!find(lt->library, #symbol, &lt->symbol)) \
        missing = #symbol;
#include "cublaslt.def"
#undef CUBLASLT
    if (missing)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, CUBLASLT_LIBRARY " has no %s", missing);
    lt->version = lt->cublasLtGetVersion();
    if (lt->version < CUBLASLT_VERSION_LEAST)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "cuBLASLt is of version %zu.%zu.%zu, at least %d.%d is needed",
                       lt->version / 10000, lt->version / 100 % 100, lt->version % 100,
                       CUBLASLT_VERSION_LEAST / 10000, CUBLASLT_VERSION_LEAST / 100 % 100);
    return INFLIGHT_OK;
}

static cublasStatus_t describe_product(struct cublaslt *lt)
{
    const int32_t transposed = CUBLAS_OP_T;
    cublasStatus_t status = lt->cublasLtMatmulDescInit_internal(&lt->product, sizeof lt->product,
                                                                CUBLAS_COMPUTE_32F, CUDA_R_32F);
    return status ? status
                  : lt->cublasLtMatmulDescSetAttribute(&lt->product, CUBLASLT_MATMUL_DESC_TRANSA,
                                                       &transposed, sizeof transposed);
}

static cublasStatus_t describe_preference(struct cublaslt *lt)
{
    const uint64_t workspace = CUBLASLT_WORKSPACE;
    const uint32_t in = CUBLASLT_ALIGNMENT_IN, out = CUBLASLT_ALIGNMENT_OUT;
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        const void *value;
        size_t bytes;
    } rows[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &in, sizeof in},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &in, sizeof in},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &out, sizeof out},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &out, sizeof out},
    };
    cublasStatus_t status =
        lt->cublasLtMatmulPreferenceInit_internal(&lt->preference, sizeof lt->preference);
    for (size_t i = 0; !status && i < sizeof rows / sizeof *rows; i++)
        status = lt->cublasLtMatmulPreferenceSetAttribute(&lt->preference, rows[i].attribute,
                                                          rows[i].value, rows[i].bytes);
    return status;
}

static int32_t start(struct cublaslt *lt, struct err *err)
{
    if (find_all(lt, err))
        return err->code;
    cublasStatus_t status = lt->cublasLtCreate(&lt->handle);
    if (status)
        lt->handle = NULL;
    if (!status)
        status = describe_product(lt);
    if (!status)
        status = describe_preference(lt);
    return status ? err_set(err, INFLIGHT_E_DEVICE, "cuBLASLt does not start: %s",
                            lt->cublasLtGetStatusName(status))
                  : INFLIGHT_OK;
}

int32_t cublaslt_open(struct cublaslt *lt, struct err *err)
{
    *lt = (struct cublaslt){.library = open_library()};
    if (!lt->library) {
        const char *why = dlerror();
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "no cuBLASLt: %s",
                       why ? why : CUBLASLT_LIBRARY);
    }
    if (start(lt, err)) {
        cublaslt_close(lt);
        return err->code;
    }
    return INFLIGHT_OK;
}

void cublaslt_close(struct cublaslt *lt)
{
    if (lt->handle)
        (void)lt->cublasLtDestroy(lt->handle);
    if (lt->library)
        dlclose(lt->library);
    lt->handle = NULL;
    lt->library = NULL;
}

/* ---- Choices */

static bool is_of(const struct cublaslt_choice *choice, const struct cublaslt_shape *shape)
{
    return memcmp(&choice->shape, shape, sizeof *shape) == 0;
}

/* A step's shapes come again in the same order, layer after layer: the search begins behind the
 * latest. */
static struct cublaslt_choice *find_choice(struct cublaslt *lt, const struct cublaslt_shape *shape)
{
    for (int32_t i = 0; i < lt->n_choice; i++) {
        const int32_t at = (lt->latest + i) % lt->n_choice;
        if (!is_of(&lt->choice[at], shape))
            continue;
        lt->latest = at;
        return &lt->choice[at];
    }
    return NULL;
}

static struct cublaslt_choice *place_for(struct cublaslt *lt)
{
    if (lt->n_choice < SHAPES_MOST)
        lt->latest = lt->n_choice++;
    else
        lt->latest = lt->oldest++ % SHAPES_MOST;
    return &lt->choice[lt->latest];
}

static cublasStatus_t ask(struct cublaslt *lt, struct cublaslt_choice *choice)
{
    const struct cublaslt_shape *shape = &choice->shape;
    cublasLtMatmulHeuristicResult_t result = {.state = CUBLAS_STATUS_NOT_SUPPORTED};
    int n = 0;
    const cudaDataType_t in = shape->is_fp8 ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
    const struct {
        cublasLtMatrixLayout_t layout;
        cudaDataType_t type;
        int32_t rows, columns, ld;
    } matrices[] = {
        {&choice->w, in, shape->k, shape->m, shape->k},
        {&choice->x, in, shape->k, shape->n, shape->ldx},
        {&choice->d, CUDA_R_32F, shape->m, shape->n, shape->ldd},
    };
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    for (size_t i = 0; !status && i < sizeof matrices / sizeof *matrices; i++)
        status = lt->cublasLtMatrixLayoutInit_internal(
            matrices[i].layout, sizeof choice->w, matrices[i].type, (uint64_t)matrices[i].rows,
            (uint64_t)matrices[i].columns, matrices[i].ld);
    if (!status)
        status = lt->cublasLtMatmulAlgoGetHeuristic(lt->handle, &lt->product, &choice->w,
                                                    &choice->x, &choice->d, &choice->d,
                                                    &lt->preference, 1, &result, &n);
    choice->algo = result.algo;
    return status ? status : n < 1 ? CUBLAS_STATUS_NOT_SUPPORTED : result.state;
}

const struct cublaslt_choice *cublaslt_choose(struct cublaslt *lt,
                                              const struct cublaslt_shape *shape)
{
    struct cublaslt_choice *choice = find_choice(lt, shape);
    if (!choice) {
        choice = place_for(lt);
        *choice = (struct cublaslt_choice){.shape = *shape};
        choice->is_there = ask(lt, choice) == CUBLAS_STATUS_SUCCESS;
    }
    return choice->is_there ? choice : NULL;
}

cublasStatus_t cublaslt_multiply(struct cublaslt *lt, const struct cublaslt_choice *choice,
                                 const void *w, const void *x, float *d, void *workspace,
                                 cudaStream_t stream)
{
    const float one = 1, beta = choice->shape.adds ? 1 : 0;
    /* The library takes descriptors that it only reads by pointers to what may change. */
    struct cublaslt_choice *c = (struct cublaslt_choice *)(uintptr_t)choice;
    return lt->cublasLtMatmul(lt->handle, &lt->product, &one, w, &c->w, x, &c->x, &beta, d, &c->d,
                              d, &c->d, &c->algo, workspace, CUBLASLT_WORKSPACE, stream);
}
