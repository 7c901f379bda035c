#include "dense.h"

#include "device.h"

#include "../../plugin/base/base.h"

#include <stdarg.h>
#include <stdio.h>

#define ROWS_STEP 128 /* of chunks, for the library's tiles, where there is room */

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

/* Bytes of a row of part i in scratch. */
static uint64_t row_bytes(const struct product_args *args, const struct dense_group *group,
                          int32_t i)
{
    const uint64_t width = (uint64_t)dense_width(group->part[i].layout, args->K);
    return group->is_fp8 ? width : width * sizeof(uint16_t);
}

/* As few chunks as there is room for, of about as many rows each. */
static int32_t rows_of(const struct product_args *args, const struct dense_group *group,
                       uint64_t room_bytes)
{
    const int32_t N = group->part[0].N;
    uint64_t row = group->is_in_place ? 0 : (uint64_t)group->n * (uint64_t)args->T * sizeof(float);
    for (int32_t i = 0; i < group->n; i++)
        row += row_bytes(args, group, i);
    const int32_t room = (int32_t)(room_bytes / row);
    const int32_t step = room >= ROWS_STEP ? ROWS_STEP : STRIP_ROWS, most = room / step * step;
    if (most == 0)
        return 0;
    const int32_t chunks = (N + most - 1) / most;
    return ROUND_UP((N + chunks - 1) / chunks, step);
}

/* The group that begins with part i. Sums of E4M3 have yet to be multiplied by scales. */
static struct dense_group group_of(const struct dense *dense, const struct product_args *args,
                                   int32_t i, bool is_fp8)
{
    const struct product_part *part = &args->part[i];
    struct dense_group group = {
        .part = part, .n = product_is_gated(args->epilogue) ? 2 : 1, .is_fp8 = is_fp8};
    group.is_in_place = (args->epilogue == EPILOGUE_STORE || args->epilogue == EPILOGUE_ADD) &&
                        !is_fp8 && !part->bias && is_aligned(args, part);
    group.rows = rows_of(args, &group, dense->room);
    return group;
}

static int32_t rows_from(const struct dense_group *group, int32_t first)
{
    return MIN(group->rows, group->part[0].N - first);
}

/* Of rows [first, ...) of part i of the group; of E4M3 with the zeros that fill its last strip. */
static struct cublaslt_shape shape_of(const struct product_args *args,
                                      const struct dense_group *group, int32_t i, int32_t first)
{
    const int32_t rows = rows_from(group, first);
    return (struct cublaslt_shape){.m = group->is_fp8 ? ROUND_UP(rows, STRIP_ROWS) : rows,
                                   .n = args->T,
                                   .k = dense_width(group->part[i].layout, args->K),
                                   .ldx = args->padded,
                                   .ldd = group->is_in_place ? args->ldy : group->rows,
                                   .adds = group->is_in_place && args->epilogue == EPILOGUE_ADD,
                                   .is_fp8 = group->is_fp8};
}

static bool can_multiply(struct dense *dense, const struct product_args *args,
                         const struct dense_group *group)
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

/* By E4M3 where weights are and the library can, else by bfloat16. False: by neither. */
static bool find_group(struct device *device, const struct product_args *args, int32_t i,
                       struct dense_group *group)
{
    const int32_t n = product_is_gated(args->epilogue) ? 2 : 1;
    bool is_fp8 = device->makes_fp8;
    for (int32_t j = 0; j < n; j++)
        is_fp8 = is_fp8 && dense_can_be_fp8(args->part[i + j].layout);
    *group = group_of(device->dense, args, i, is_fp8);
    if (is_fp8 && !can_multiply(device->dense, args, group)) {
        is_fp8 = false;
        *group = group_of(device->dense, args, i, is_fp8);
    }
    return is_fp8 || can_multiply(device->dense, args, group);
}

/* Recorded steps are queued later, as graphs: there the library has no place. */
bool dense_takes(struct device *device, const struct product_args *args, struct dense_plan *plan)
{
    struct dense *dense = device->dense;
    int32_t from = DENSE_FROM_BF16;
    for (int32_t i = 0; i < args->n_part; i++)
        if (args->part[i].layout != LAYOUT_BF16)
            from = DENSE_FROM_OTHERS;
    if (!dense || dense->is_off || args->T < from || device->graphs.is_recording)
        return false;
    plan->n_group = 0;
    for (int32_t i = 0; i < args->n_part;) {
        struct dense_group *group = &plan->group[plan->n_group++];
        if (!find_group(device, args, i, group))
            return false;
        i += group->n;
    }
    return true;
}

bool dense_x_is_fp8(const struct dense_plan *plan, const struct product_part *part)
{
    for (int32_t i = 0; i < plan->n_group; i++) {
        const struct dense_group *group = &plan->group[i];
        if (part >= group->part && part < group->part + group->n)
            return group->is_fp8;
    }
    return false;
}

/* ---- Launching */

/* Scratch: the rows of each part, then the sums of each. */
static CUdeviceptr rows_at(const struct device *device, const struct product_args *args,
                           const struct dense_group *group, int32_t i)
{
    CUdeviceptr at = device->dense->scratch;
    for (int32_t j = 0; j < i; j++)
        at += (CUdeviceptr)group->rows * row_bytes(args, group, j);
    return at;
}

static float *sums_at(const struct device *device, const struct product_args *args,
                      const struct dense_group *group, int32_t i)
{
    const CUdeviceptr sums = rows_at(device, args, group, group->n);
    return (float *)(uintptr_t)sums + (size_t)i * (size_t)args->T * (size_t)group->rows;
}

/* Row `first` of a part as it is packed, the first of a strip. */
static const uint8_t *strip_at(const struct product_args *args, const struct product_part *part,
                               int32_t first)
{
    return part->weight + (size_t)(first / STRIP_ROWS) * layout_strip_bytes(part->layout, args->K);
}

static int launch_unpack(struct device *device, const struct product_args *args,
                         const struct dense_group *group, int32_t i, int32_t first)
{
    const struct product_part *part = &group->part[i];
    const int32_t rows = rows_from(group, first);
    const int32_t of_block = DENSE_THREADS / WARP * UNPACK_TILES;
    struct dense_unpack_args unpack = {.weight = strip_at(args, part, first),
                                       .out = (void *)(uintptr_t)rows_at(device, args, group, i),
                                       .layout = part->layout,
                                       .K = args->K,
                                       .is_fp8 = group->is_fp8};
    struct grid grid = {
        .x = (uint32_t)layout_strips(rows),
        .y = (uint32_t)((layout_tiles(part->layout, args->K) + of_block - 1) / of_block),
        .z = 1,
        .threads = DENSE_THREADS};
    CLEAR_PADDING(&unpack, dense_unpack_args, is_fp8, sizeof unpack);
    return cuda_launch(device, KERNEL_dense_unpack, grid, &unpack);
}

static int launch_finish(struct device *device, const struct product_args *args,
                         const struct dense_group *group, int32_t first)
{
    const struct product_part *part = group->part;
    struct dense_finish_args finish = {.sum = sums_at(device, args, group, 0),
                                       .y = args->y + part->column + first,
                                       .K = args->K,
                                       .T = args->T,
                                       .n = rows_from(group, first),
                                       .ld = group->rows,
                                       .ldy = args->ldy,
                                       .epilogue = args->epilogue};
    if (group->n == 2)
        finish.up = sums_at(device, args, group, 1);
    for (int32_t i = 0; i < group->n; i++) {
        finish.bias[i] = part[i].bias ? part[i].bias + first : NULL;
        finish.weight[i] = group->is_fp8 ? strip_at(args, &part[i], first) : NULL;
    }
    finish.x_scale = group->is_fp8 ? args->x_scale : NULL;
    CLEAR_PADDING(&finish, dense_finish_args, epilogue, sizeof finish);
    struct grid grid = {.x = (uint32_t)((finish.n + DENSE_THREADS - 1) / DENSE_THREADS),
                        .y = (uint32_t)((args->T + FINISH_TOKENS - 1) / FINISH_TOKENS),
                        .z = 1,
                        .threads = DENSE_THREADS};
    return cuda_launch(device, KERNEL_dense_finish, grid, &finish);
}

/* The library's kernels say nothing of when the next may begin: that one waits for their end. */
static int multiply(struct device *device, const struct product_args *args,
                    const struct dense_group *group, int32_t i, int32_t first)
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
                                   group->is_fp8 ? args->x_fp8 : args->x, d,
                                   (void *)(uintptr_t)dense->workspace, device->stream);
    if (status == CUBLAS_STATUS_SUCCESS)
        return 0;
    dense->is_off = true;
    describe(device, ": a product of %d x %d by %d tokens failed: %s; own products from here on",
             shape.m, shape.k, shape.n, dense->lt.cublasLtGetStatusName(status));
    return INFLIGHT_E_DEVICE;
}

static int launch_chunk(struct device *device, const struct product_args *args,
                        const struct dense_group *group, int32_t first)
{
    int rc = 0;
    for (int32_t i = 0; i < group->n && !rc; i++)
        rc = launch_unpack(device, args, group, i, first);
    for (int32_t i = 0; i < group->n && !rc; i++)
        rc = multiply(device, args, group, i, first);
    return rc || group->is_in_place ? rc : launch_finish(device, args, group, first);
}

int dense_launch(struct device *device, const struct product_args *args,
                 const struct dense_plan *plan)
{
    for (int32_t i = 0; i < plan->n_group; i++) {
        const struct dense_group *group = &plan->group[i];
        for (int32_t first = 0; first < group->part[0].N; first += group->rows) {
            int rc = launch_chunk(device, args, group, first);
            if (rc)
                return rc;
        }
    }
    return 0;
}
