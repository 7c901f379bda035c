/* Matrices: pieces of them are packed by as many threads as the configuration has, each of which
 * fills one of its two pinned buffers while the device copies the other by itself. */
#include "device.h"
#include "layout.h"
#include "workers.h"

/* Large enough to be copied at the full rate, small enough for all threads to get some. */
#define BUFFER_BYTES ((size_t)1 << 20)

/* A worker's buffers, which it takes in turns. */
struct upload_lane {
    void *buffer[2];
    CUevent copied[2];
    int next;
};

/* The widest strip of 16 rows must fit. */
static size_t buffer_bytes(const struct device_config *config)
{
    size_t most = BUFFER_BYTES;
    for (int32_t fmt = 0; fmt < FMT_COUNT; fmt++) {
        int32_t K = ROUND_UP(config->max_width, fmt_info[fmt].n);
        most = MAX(most, cuda_packed_bytes((enum fmt)fmt, STRIP_ROWS, K));
    }
    return most;
}

static int32_t open_lane(struct device *device, int i, struct err *err)
{
    struct upload *u = &device->upload;
    for (int side = 0; side < 2; side++) {
        u->lane[i].buffer[side] = (char *)u->memory + (size_t)(2 * i + side) * u->bytes;
        CUresult result =
            device->driver->cuEventCreate(&u->lane[i].copied[side], CU_EVENT_DISABLE_TIMING);
        if (result)
            return driver_refuse(device->driver, result, "making an event", err);
    }
    return INFLIGHT_OK;
}

/* What has been taken when it fails stays until cuda_close_upload. */
static int32_t open_upload(struct device *device, struct err *err)
{
    struct upload *u = &device->upload;
    u->workers = workers_open(device->config.threads, device->mem);
    if (!u->workers)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for threads that load");
    u->n = workers_count(u->workers);
    u->bytes = buffer_bytes(&device->config);
    u->lane = mem_take_zeroed(device->mem, (size_t)u->n * sizeof *u->lane, CACHE_LINE);
    if (!u->lane)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for threads that load");
    if (cuda_alloc_pinned(device, 2 * (size_t)u->n * u->bytes, "copying", &u->memory, err))
        return err->code;
    for (int i = 0; i < u->n; i++)
        if (open_lane(device, i, err))
            return err->code;
    return INFLIGHT_OK;
}

void cuda_close_upload(struct device *device)
{
    struct upload *u = &device->upload;
    for (int i = 0; u->lane && i < u->n; i++)
        for (int side = 0; side < 2; side++)
            if (u->lane[i].copied[side])
                (void)device->driver->cuEventDestroy(u->lane[i].copied[side]);
    cuda_free_pinned(device, &u->memory);
    cuda_free_upload(device);
}

void cuda_free_upload(struct device *device)
{
    struct upload *u = &device->upload;
    workers_close(u->workers, device->mem);
    mem_give(device->mem, u->lane, (size_t)u->n * sizeof *u->lane);
    *u = (struct upload){0};
}

/* A matrix that all workers load. */
struct job {
    struct device *device;
    const struct weight_source *source;
    CUdeviceptr to;
    size_t strip_bytes;
    int32_t rows;            /* of a piece */
    _Atomic int32_t next;    /* piece */
    _Atomic CUresult failed; /* with what, if any */
    _Atomic bool no_rows;    /* the source has none */
};

/* Rows first .. last - 1 into a buffer; returns the bytes, 0 if they cannot be had. */
static size_t pack_piece(struct job *job, int worker, int32_t first, int32_t last, void *buffer)
{
    size_t bytes = 0;
    for (int32_t row = first, n; row < last; row += n) {
        struct weight_source rows;
        n = MIN(weight_source_step(job->source), last - row);
        if (!weight_source_rows(job->source, worker, row, n, &rows)) {
            job->no_rows = true;
            return 0;
        }
        bytes += cuda_pack_rows(&rows, 0, n, (char *)buffer + bytes);
    }
    return bytes;
}

/* Piece i through a buffer that may still be on its way from before. */
static CUresult load_piece(struct job *job, int worker, int32_t i)
{
    struct upload_lane *lane = &job->device->upload.lane[worker];
    const struct driver *driver = job->device->driver;
    const int32_t first = i * job->rows, last = MIN(first + job->rows, job->source->N);
    const CUdeviceptr to = job->to + (size_t)(first / STRIP_ROWS) * job->strip_bytes;
    const int side = lane->next;
    lane->next = !side;
    CUresult result = driver->cuEventSynchronize(lane->copied[side]);
    if (result)
        return result;
    size_t bytes = pack_piece(job, worker, first, last, lane->buffer[side]);
    if (!bytes)
        return CUDA_SUCCESS;
    result = driver->cuMemcpyHtoDAsync(to, lane->buffer[side], bytes, job->device->stream);
    return result ? result : driver->cuEventRecord(lane->copied[side], job->device->stream);
}

static void load_pieces(void *arg, int worker)
{
    struct job *job = arg;
    const int32_t n = (job->source->N + job->rows - 1) / job->rows;
    if (!cuda_enter(job->device)) {
        job->failed = CUDA_ERROR_INVALID_CONTEXT;
        return;
    }
    for (int32_t i; !job->failed && !job->no_rows && (i = job->next++) < n;) {
        CUresult result = load_piece(job, worker, i);
        if (result)
            job->failed = result;
    }
    cuda_leave(job->device);
}

static int32_t upload_matrix(struct device *device, const struct weight_source *source,
                             struct weight *out, struct err *err)
{
    struct upload *u = &device->upload;
    struct job job = {.device = device,
                      .source = source,
                      .to = (CUdeviceptr)(uintptr_t)out->data,
                      .strip_bytes = cuda_packed_bytes(source->fmt, STRIP_ROWS, source->K)};
    const int32_t strips = (int32_t)(u->bytes / job.strip_bytes);
    if (strips == 0)
        return err_set(err, INFLIGHT_E_INTERNAL, "%d values a row are more than the widest matrix",
                       source->K);
    job.rows = strips * STRIP_ROWS;
    const int32_t step = weight_source_step(source);
    if (step > 0 && job.rows > step)
        job.rows -= job.rows % step;
    device->queued = true;
    workers_run(u->workers, (source->N + job.rows - 1) / job.rows, load_pieces, &job);
    if (job.failed)
        return driver_refuse(device->driver, job.failed, "copying weights", err);
    return job.no_rows ? err_set(err, INFLIGHT_E_MODEL, "rows of a matrix cannot be had")
                       : INFLIGHT_OK;
}

int32_t cuda_upload(struct device *device, const struct weight_source *source, struct weight *out,
                    struct err *err)
{
    struct err unheard;
    err = err ? err : &unheard;
    size_t need = cuda_packed_bytes(source->fmt, source->N, source->K);
    if (need == 0)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s cannot hold a matrix of %d x %d %s",
                       device->description, source->N, source->K,
                       (unsigned)source->fmt < FMT_COUNT ? fmt_info[source->fmt].name : "?");
    if (out->bytes < need)
        return err_set(err, INFLIGHT_E_INTERNAL, "a packed matrix takes %zu bytes, given %zu", need,
                       out->bytes);
    if (!cuda_enter(device))
        return err_set(err, INFLIGHT_E_DEVICE, "the device is lost");
    int32_t rc = device->upload.workers ? INFLIGHT_OK : open_upload(device, err);
    if (!rc)
        rc = upload_matrix(device, source, out, err);
    else
        cuda_close_upload(device);
    cuda_leave(device);
    *out = (struct weight){.fmt = source->fmt,
                           .layout = cuda_layout(source->fmt),
                           .N = source->N,
                           .K = source->K,
                           .data = out->data,
                           .bytes = out->bytes};
    return rc;
}
