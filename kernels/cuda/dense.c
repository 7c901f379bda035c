#include "dense.h"

#include "device.h"

#include "../../plugin/base/base.h"

#include <stdarg.h>
#include <stdio.h>

#define ROWS_STEP 128 /* of chunks, for the library's tiles, where there is room */

/* What is multiplied together: one part, or the two of a gate. */
struct group {
    const struct product_part *part; /* (n) */
    int32_t n;
    int32_t rows; /* of a chunk, a multiple of STRIP_ROWS; the last may have fewer; 0: no room */
    bool is_in_place; /* the library writes to y */
};

/* ---- Opening */

uint64_t dense_bytes(const struct device_config *config)
{
    return config->cublaslt ? DENSE_SCRATCH_BYTES + CUBLASLT_WORKSPACE + sizeof(struct dense) : 0;
}

static void describe(struct device *device, const char *format, ...)
{
    const size_t len = strlen(device->description);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(device->description + len, sizeof device->description - len, format, args);
    va_end(args);
}

int32_t dense_open(struct device *device, struct err *err)
{
    struct err why;
    if (!device->config.cublaslt)
        return INFLIGHT_OK;
    device->dense = mem_take_zeroed(device->mem, sizeof *device->dense, CACHE_LINE);
    if (!device->dense)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the choices of cuBLASLt");
    struct dense *dense = device->dense;
    dense->room = DENSE_SCRATCH_BYTES;
    if (cublaslt_open(&dense->lt, &why)) {
        describe(device, ", own products alone: %s", why.text);
        dense_free(device);
        return INFLIGHT_OK;
    }
    if (cuda_alloc(device, CUBLASLT_WORKSPACE, "cuBLASLt", &dense->workspace, err) ||
        cuda_alloc(device, DENSE_SCRATCH_BYTES, "unpacked weights", &dense->scratch, err))
        return err->code;
    describe(device, ", cuBLASLt %zu.%zu.%zu from %d tokens on", dense->lt.version / 10000,
             dense->lt.version / 100 % 100, dense->lt.version % 100, DENSE_FROM_OTHERS);
    return INFLIGHT_OK;
}

void dense_close(struct device *device)
{
    struct dense *dense = device->dense;
    if (!dense)
        return;
    cublaslt_close(&dense->lt);
    cuda_free(device, &dense->workspace);
    cuda_free(device, &dense->scratch);
}

void dense_free(struct device *device)
{
    if (device->dense)
        mem_give(device->mem, device->dense, sizeof *device->dense);
    device->dense = NULL;
}

/* ---- Which products, and in which pieces */

static bool is_aligned(const struct product_args *args, const struct product_part *part)
{
    const float *first = args->y + part->column;
    return (uintptr_t)first % CUBLASLT_ALIGNMENT_OUT == 0 &&
           (size_t)args->ldy * sizeof *first % CUBLASLT_ALIGNMENT_OUT == 0;
}

/* As few chunks as there is room for, of about as many rows each. */
static int32_t rows_of(const struct product_args *args, const struct group *group,
                       uint64_t room_bytes)
{
    const int32_t N = group->part[0].N;
    uint64_t row = group->is_in_place ? 0 : (uint64_t)group->n * (uint64_t)args->T * sizeof(float);
    for (int32_t i = 0; i < group->n; i++)
        row += (uint64_t)dense_width(group->part[i].layout, args->K) * sizeof(uint16_t);
    const int32_t room = (int32_t)(room_bytes / row);
    const int32_t step = room >= ROWS_STEP ? ROWS_STEP : STRIP_ROWS, most = room / step * step;
    if (most == 0)
        return 0;
    const int32_t chunks = (N + most - 1) / most;
    return ROUND_UP((N + chunks - 1) / chunks, step);
}

/* The group that begins with part i. */
static struct group group_of(const struct dense *dense, const struct product_args *args, int32_t i)
{
    const struct product_part *part = &args->part[i];
    struct group group = {.part = part, .n = product_is_gated(args->epilogue) ? 2 : 1};
    group.is_in_place = (args->epilogue == EPILOGUE_STORE || args->epilogue == EPILOGUE_ADD) &&
                        !part->bias && is_aligned(args, part);
    group.rows = rows_of(args, &group, dense->room);
    return group;
}

static int32_t rows_from(const struct group *group, int32_t first)
{
    return MIN(group->rows, group->part[0].N - first);
}

/* Of rows [first, ...) of part i of the group. */
static struct cublaslt_shape shape_of(const struct product_args *args, const struct group *group,
                                      int32_t i, int32_t first)
{
    return (struct cublaslt_shape){.m = rows_from(group, first),
                                   .n = args->T,
                                   .k = dense_width(group->part[i].layout, args->K),
                                   .ldx = args->padded,
                                   .ldd = group->is_in_place ? args->ldy : group->rows,
                                   .adds = group->is_in_place && args->epilogue == EPILOGUE_ADD};
}

static bool can_multiply(struct dense *dense, const struct product_args *args,
                         const struct group *group)
{
    if (group->rows == 0)
        return false;
    for (int32_t first = 0; first < group->part[0].N; first += group->rows)
        for (int32_t i = 0; i < group->n; i++) {
            const struct cublaslt_shape shape = shape_of(args, group, i, first);
            if (!cublaslt_choose(&dense->lt, &shape))
                return false;
        }
    return true;
}

/* Recorded steps are queued later, as graphs: there the library has no place. */
bool dense_takes(struct device *device, const struct product_args *args)
{
    struct dense *dense = device->dense;
    int32_t from = DENSE_FROM_BF16;
    for (int32_t i = 0; i < args->n_part; i++)
        if (args->part[i].layout != LAYOUT_BF16)
            from = DENSE_FROM_OTHERS;
    if (!dense || dense->is_off || args->T < from || device->graphs.is_recording)
        return false;
    struct group group;
    for (int32_t i = 0; i < args->n_part; i += group.n) {
        group = group_of(dense, args, i);
        if (!can_multiply(dense, args, &group))
            return false;
    }
    return true;
}

/* ---- Launching */

/* Scratch: the rows of each part, then the sums of each. */
static CUdeviceptr rows_at(const struct device *device, const struct product_args *args,
                           const struct group *group, int32_t i)
{
    CUdeviceptr at = device->dense->scratch;
    for (int32_t j = 0; j < i; j++)
        at += (CUdeviceptr)group->rows * sizeof(uint16_t) *
              (CUdeviceptr)dense_width(group->part[j].layout, args->K);
    return at;
}

static float *sums_at(const struct device *device, const struct product_args *args,
                      const struct group *group, int32_t i)
{
    const CUdeviceptr sums = rows_at(device, args, group, group->n);
    return (float *)(uintptr_t)sums + (size_t)i * (size_t)args->T * (size_t)group->rows;
}

static int launch_unpack(struct device *device, const struct product_args *args,
                         const struct group *group, int32_t i, int32_t first)
{
    const struct product_part *part = &group->part[i];
    const int32_t strip = first / STRIP_ROWS, rows = rows_from(group, first);
    const int32_t of_block = DENSE_THREADS / WARP * UNPACK_TILES;
    struct dense_unpack_args unpack = {
        .weight = part->weight + (size_t)strip * layout_strip_bytes(part->layout, args->K),
        .out = (void *)(uintptr_t)rows_at(device, args, group, i),
        .layout = part->layout,
        .K = args->K};
    struct grid grid = {
        .x = (uint32_t)layout_strips(rows),
        .y = (uint32_t)((layout_tiles(part->layout, args->K) + of_block - 1) / of_block),
        .z = 1,
        .threads = DENSE_THREADS};
    return cuda_launch(device, KERNEL_dense_unpack, grid, &unpack);
}

static int launch_finish(struct device *device, const struct product_args *args,
                         const struct group *group, int32_t first)
{
    const struct product_part *part = group->part;
    struct dense_finish_args finish = {.sum = sums_at(device, args, group, 0),
                                       .y = args->y + part->column + first,
                                       .T = args->T,
                                       .n = rows_from(group, first),
                                       .ld = group->rows,
                                       .ldy = args->ldy,
                                       .epilogue = args->epilogue};
    if (group->n == 2)
        finish.up = sums_at(device, args, group, 1);
    for (int32_t i = 0; i < group->n; i++)
        finish.bias[i] = part[i].bias ? part[i].bias + first : NULL;
    CLEAR_PADDING(&finish, dense_finish_args, epilogue, sizeof finish);
    struct grid grid = {.x = (uint32_t)((finish.n + DENSE_THREADS - 1) / DENSE_THREADS),
                        .y = (uint32_t)((args->T + FINISH_TOKENS - 1) / FINISH_TOKENS),
                        .z = 1,
                        .threads = DENSE_THREADS};
    return cuda_launch(device, KERNEL_dense_finish, grid, &finish);
}

/* The library's kernels say nothing of when the next may begin: that one waits for their end. */
static int multiply(struct device *device, const struct product_args *args,
                    const struct group *group, int32_t i, int32_t first)
{
    struct dense *dense = device->dense;
    const struct cublaslt_shape shape = shape_of(args, group, i, first);
    const struct cublaslt_choice *choice = cublaslt_choose(&dense->lt, &shape);
    float *d = group->is_in_place ? args->y + group->part[i].column + first
                                  : sums_at(device, args, group, i);
    cublasStatus_t status = CUBLAS_STATUS_NOT_SUPPORTED;
    device->queued = true;
    device->after_kernel = false;
    if (choice)
        status = cublaslt_multiply(&dense->lt, choice,
                                   (const void *)(uintptr_t)rows_at(device, args, group, i),
                                   args->x, d, (void *)(uintptr_t)dense->workspace, device->stream);
    if (status == CUBLAS_STATUS_SUCCESS)
        return 0;
    dense->is_off = true;
    describe(device, ": a product of %d x %d by %d tokens failed: %s; own products from here on",
             shape.m, shape.k, shape.n, dense->lt.cublasLtGetStatusName(status));
    return INFLIGHT_E_DEVICE;
}

static int launch_chunk(struct device *device, const struct product_args *args,
                        const struct group *group, int32_t first)
{
    int rc = 0;
    for (int32_t i = 0; i < group->n && !rc; i++)
        rc = launch_unpack(device, args, group, i, first);
    for (int32_t i = 0; i < group->n && !rc; i++)
        rc = multiply(device, args, group, i, first);
    return rc || group->is_in_place ? rc : launch_finish(device, args, group, first);
}

int dense_launch(struct device *device, const struct product_args *args)
{
    struct group group;
    for (int32_t i = 0; i < args->n_part; i += group.n) {
        group = group_of(device->dense, args, i);
        for (int32_t first = 0; first < group.part[0].N; first += group.rows) {
            int rc = launch_chunk(device, args, &group, first);
            if (rc)
                return rc;
        }
    }
    return 0;
}
