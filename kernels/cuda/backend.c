/* The CUDA back end: checks a configuration, measures it, and lets a step run. */
#include "dense.h"
#include "device.h"

#include "../config.h"

#include <stdio.h>
#include <string.h>

#define WIDEST_HEAD 256

static int32_t cuda_probe(struct err *err)
{
    struct driver driver;
    struct device device = {.driver = &driver};
    int32_t rc = driver_open(&driver, err);
    if (rc)
        return rc;
    rc = cuda_find_device(&driver, &device, err);
    driver_close(&driver);
    return rc;
}

/* A thirty-second of the card is left to the code of the kernels and to fragments. */
static int32_t measure_available(const struct device_config *config, uint64_t *bytes,
                                 struct err *err)
{
    int32_t rc = cuda_free_bytes(config, bytes, err);
    *bytes -= *bytes / 32;
    return rc;
}

static int32_t cuda_measure(const struct device_config *config, struct device_bytes *bytes,
                            struct err *err)
{
    *bytes = (struct device_bytes){0};
    int32_t rc = attend_check(config, err);
    if (!rc)
        rc = device_config_check(config, WIDEST_HEAD, err);
    if (!rc)
        rc = device_config_pool(config, kv_page_bytes(config), bytes, err);
    if (rc)
        return rc;
    /* A step has three copies of its arrays, two of them in the host's memory. */
    bytes->workspace = linear_scratch_bytes(config) + dense_bytes(config) +
                       attend_scratch_bytes(config) + 3 * step_bytes(config) +
                       2 * ahead_bytes(config) + STEP_EDITS * sizeof(float) + graph_bytes(config);
    return measure_available(config, &bytes->available, err);
}

static int32_t cuda_open(const struct device_config *config, const struct mem *mem,
                         struct device **device, struct err *err)
{
    struct device_bytes bytes;
    char need[BYTES_TEXT], have[BYTES_TEXT];
    *device = NULL;
    int32_t rc = cuda_measure(config, &bytes, err);
    if (rc)
        return rc;
    if (bytes.kv + bytes.workspace > bytes.available)
        return err_set(err, INFLIGHT_E_NOMEM,
                       "the device needs %s for key/value pages and scratch, %s are free",
                       bytes_text(bytes.kv + bytes.workspace, need),
                       bytes_text(bytes.available, have));
    return cuda_open_device(config, mem, device, err);
}

static const char *cuda_describe(const struct device *device)
{
    return device->description;
}

static bool cuda_is_lost(const struct device *device)
{
    return device->lost != CUDA_SUCCESS;
}

static size_t cuda_matrix_bytes(const struct device_config *config, enum fmt fmt, int32_t N,
                                int32_t K)
{
    (void)config;
    return cuda_packed_bytes(fmt, N, K);
}

void cuda_note_failure(struct device *device, CUresult result)
{
    struct err err;
    char *description = device->description;
    size_t len = strlen(description);
    if (device->has_failed || !result)
        return;
    device->has_failed = true;
    (void)driver_refuse(device->driver, result, "a step", &err);
    (void)snprintf(description + len, sizeof device->description - len, ": %s", err.text);
}

/* Queues what was kept for the end, and waits. Any error, of a launch or of the context, fails
 * the step. */
static int finish(struct device *device, int rc)
{
    (void)graph_end(device, rc != 0);
    int waited = cuda_wait(device);
    CUresult failed = device->failed ? device->failed : device->lost;
    device->failed = CUDA_SUCCESS;
    if (failed)
        cuda_note_failure(device, failed);
    return rc ? rc : waited || failed ? INFLIGHT_E_DEVICE : 0;
}

void cuda_begin_step(struct device *device, int32_t parity)
{
    /* What runs needs the weights no more to be copied. */
    if (device->upload.workers && !cuda_wait(device))
        cuda_close_upload(device);
    device->step.of = NULL;
    device->step.parity = parity;
    device->step.rows = device->step.view.R = 0;
    device->step.view.n_report = 0;
}

static int cuda_run(struct device *device, int (*body)(struct lane *lane, void *arg), void *arg)
{
    struct lane lane = {device};
    if (!cuda_enter_step(device))
        return INFLIGHT_E_DEVICE;
    cuda_begin_step(device, 0);
    int rc = finish(device, body(&lane, arg));
    cuda_leave(device);
    return rc;
}

static int cuda_lane_id(const struct lane *lane)
{
    (void)lane;
    return 0;
}

static int cuda_lane_count(const struct lane *lane)
{
    (void)lane;
    return 1;
}

/* One lane, and what it queues is in order. */
static void cuda_barrier(struct lane *lane)
{
    (void)lane;
}

static void cuda_set_threads(struct device *device, int threads)
{
    (void)device;
    (void)threads;
}

/* A page is one piece with all its layers. Queued: the next step comes behind it, and fails if
 * this has failed. */
static void cuda_copy_page(struct device *device, int32_t to, int32_t from, int32_t n)
{
    uint64_t bytes = kv_page_bytes(&device->config);
    if (n <= 0 || to == from || !cuda_enter(device))
        return;
    CUresult result = device->driver->cuMemcpyDtoDAsync(device->kv + (uint64_t)to * bytes,
                                                        device->kv + (uint64_t)from * bytes, bytes,
                                                        device->stream);
    device->queued = true;
    device->failed = device->failed ? device->failed : result;
    cuda_leave(device);
}

/* A card's memory cannot go to the system and come back by itself. */
static void cuda_discard(struct device *device, bool pages)
{
    (void)device;
    (void)pages;
}

extern const struct backend backend_cuda;
const struct backend backend_cuda = {
    .name = "cuda",
    .is_host = false,
    .probe = cuda_probe,
    .measure = cuda_measure,
    .open = cuda_open,
    .close = cuda_close_device,
    .describe = cuda_describe,
    .is_lost = cuda_is_lost,
    .take = cuda_take,
    .give = cuda_give,
    .take_host = cuda_take_host,
    .give_host = cuda_give_host,
    .write = cuda_write,
    .read = cuda_read,
    .packed_bytes = cuda_matrix_bytes,
    .pack = cuda_upload,
    .run = cuda_run,
    .fetch = cuda_fetch,
    .launch = ahead_launch,
    .settle = ahead_settle,
    .lane_id = cuda_lane_id,
    .lane_count = cuda_lane_count,
    .barrier = cuda_barrier,
    .set_threads = cuda_set_threads,
    .copy_page = cuda_copy_page,
    .discard = cuda_discard,
#define OP(name, doc) .name = cuda_##name,
#include "../ops.def"
#undef OP
};
