/* Matrices: the rows are packed on this thread into one pinned buffer while the device copies
 * the other by itself. */
#include "device.h"
#include "layout.h"

#define BUFFER_BYTES ((size_t)4 << 20)

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

static int32_t open_upload(struct device *device, struct err *err)
{
    struct upload *u = &device->upload;
    u->bytes = buffer_bytes(&device->config);
    for (int i = 0; i < 2; i++) {
        if (cuda_alloc_pinned(device, u->bytes, "copying", &u->buffer[i], err))
            return err->code;
        CUresult result = device->driver->cuEventCreate(&u->copied[i], CU_EVENT_DISABLE_TIMING);
        if (result)
            return driver_refuse(device->driver, result, "making an event", err);
    }
    return INFLIGHT_OK;
}

void cuda_close_upload(struct device *device)
{
    struct upload *u = &device->upload;
    for (int i = 0; i < 2; i++) {
        if (u->copied[i])
            (void)device->driver->cuEventDestroy(u->copied[i]);
        u->copied[i] = NULL;
        cuda_free_pinned(device, &u->buffer[i]);
    }
}

/* Rows [first, last) to `to`, through buffer i, which may still be on its way from before.
 * *bytes are what they take. */
static int32_t upload_rows(struct device *device, const struct weight_source *source, int32_t first,
                           int32_t last, int i, CUdeviceptr to, size_t *bytes, struct err *err)
{
    const struct driver *driver = device->driver;
    struct upload *u = &device->upload;
    *bytes = 0;
    CUresult result = driver->cuEventSynchronize(u->copied[i]);
    if (!result) {
        *bytes = cuda_pack_rows(source, first, last, u->buffer[i]);
        result = driver->cuMemcpyHtoDAsync(to, u->buffer[i], *bytes, device->stream);
    }
    if (!result)
        result = driver->cuEventRecord(u->copied[i], device->stream);
    return result ? driver_refuse(driver, result, "copying weights", err) : INFLIGHT_OK;
}

static int32_t upload_matrix(struct device *device, const struct weight_source *source,
                             struct weight *out, struct err *err)
{
    size_t strip = cuda_packed_bytes(source->fmt, STRIP_ROWS, source->K), done = 0, bytes;
    int32_t rows = (int32_t)(device->upload.bytes / strip) * STRIP_ROWS;
    CUdeviceptr to = (CUdeviceptr)(uintptr_t)out->data;
    device->queued = true;
    if (rows == 0)
        return err_set(err, INFLIGHT_E_INTERNAL, "%d values a row are more than the widest matrix",
                       source->K);
    for (int32_t first = 0, i = 0; first < source->N; first += rows, i = !i) {
        int32_t last = MIN(first + rows, source->N);
        if (upload_rows(device, source, first, last, i, to + done, &bytes, err))
            return err->code;
        done += bytes;
    }
    return INFLIGHT_OK;
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
    int32_t rc = device->upload.buffer[0] ? INFLIGHT_OK : open_upload(device, err);
    if (!rc)
        rc = upload_matrix(device, source, out, err);
    cuda_leave(device);
    *out = (struct weight){.fmt = source->fmt,
                           .layout = cuda_layout(source->fmt),
                           .N = source->N,
                           .K = source->K,
                           .data = out->data,
                           .bytes = out->bytes};
    return rc;
}
