#include "ahead.h"

#include "device.h"

int32_t ahead_open(struct device *device, struct err *err)
{
    struct ahead *ahead = &device->ahead;
    const size_t bytes = (size_t)ahead_bytes(&device->config);
    /* The host has the step behind under way: it may sleep until this one has ended. */
    const unsigned flags = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING;
    void *chosen = NULL;
    if (cuda_alloc(device, bytes, "tokens", &device->chosen, err) ||
        cuda_alloc(device, STEP_EDITS * sizeof(float), "edits", &device->raw, err) ||
        cuda_alloc_pinned(device, bytes, "tokens", &chosen, err))
        return err->code;
    ahead->chosen = chosen;
    for (int i = 0; i < STEPS_AHEAD; i++) {
        CUresult result = device->driver->cuEventCreate(&ahead->settled[i], flags);
        if (result)
            return driver_refuse(device->driver, result, "making an event", err);
    }
    return INFLIGHT_OK;
}

void ahead_close(struct device *device)
{
    struct ahead *ahead = &device->ahead;
    void *chosen = ahead->chosen;
    for (int i = 0; i < STEPS_AHEAD; i++)
        if (ahead->settled[i])
            (void)device->driver->cuEventDestroy(ahead->settled[i]);
    cuda_free_pinned(device, &chosen);
    cuda_free(device, &device->raw);
    cuda_free(device, &device->chosen);
}

/* Behind the step: what it has chosen to the host, and the event that says that they are there. */
static CUresult queue_end(struct device *device)
{
    struct ahead *ahead = &device->ahead;
    const uint64_t half = ahead->n_launched % STEPS_AHEAD;
    const size_t first = (size_t)half * (size_t)ahead_stride(&device->config);
    const size_t bytes = (size_t)ahead->places[half] * sizeof(int32_t) +
                         (size_t)ahead->reports[half] * sizeof(struct row_report);
    CUresult result = CUDA_SUCCESS;
    if (bytes)
        result = device->driver->cuMemcpyDtoHAsync(
            ahead->chosen + first, device->chosen + first * sizeof(int32_t), bytes, device->stream);
    return result ? result : device->driver->cuEventRecord(ahead->settled[half], device->stream);
}

/* What was queued of a step that cannot be launched whole is waited for: its arrays are needed. */
static int abandon(struct device *device, int rc)
{
    (void)cuda_wait(device);
    cuda_note_failure(device, device->failed ? device->failed : device->lost);
    device->failed = CUDA_SUCCESS;
    return rc ? rc : INFLIGHT_E_DEVICE;
}

int ahead_launch(struct device *device, int (*body)(struct lane *lane, void *arg), void *arg)
{
    struct ahead *ahead = &device->ahead;
    struct lane lane = {device};
    const uint64_t half = ahead->n_launched % STEPS_AHEAD;
    if (ahead->n_launched - ahead->n_settled == STEPS_AHEAD)
        return INFLIGHT_E_INTERNAL;
    if (!cuda_enter_step(device))
        return INFLIGHT_E_DEVICE;
    cuda_begin_step(device, (int32_t)half);
    int rc = body(&lane, arg);
    (void)graph_end(device, rc != 0);
    ahead->rows[half] = device->step.rows;
    ahead->places[half] = device->step.view.R;
    ahead->reports[half] = device->step.view.n_report;
    if (!rc && !device->failed)
        device->failed = queue_end(device);
    if (rc || device->failed)
        rc = abandon(device, rc);
    else
        ahead->n_launched++;
    cuda_leave(device);
    return rc;
}

static void read_half(const struct device *device, uint64_t half, struct sample_output *output)
{
    const struct ahead *ahead = &device->ahead;
    const int32_t *token = ahead->chosen + half * (uint64_t)ahead_stride(&device->config);
    const struct row_report *report = (const void *)(token + ahead->places[half]);
    for (int32_t r = 0; r < ahead->rows[half]; r++) {
        output[r].token = token[r];
        output[r].n_top = 0;
    }
    for (int32_t i = 0; i < ahead->reports[half]; i++)
        output[report[i].row] = report[i].output;
}

int ahead_settle(struct device *device, struct sample_output *output)
{
    struct ahead *ahead = &device->ahead;
    const uint64_t half = ahead->n_settled % STEPS_AHEAD;
    if (ahead->n_settled == ahead->n_launched)
        return INFLIGHT_E_INTERNAL;
    ahead->n_settled++;
    if (!cuda_enter_step(device))
        return INFLIGHT_E_DEVICE;
    CUresult result = device->driver->cuEventSynchronize(ahead->settled[half]);
    cuda_leave(device);
    if (result) {
        device->lost = result;
        cuda_note_failure(device, result);
        return INFLIGHT_E_DEVICE;
    }
    read_half(device, half, output);
    return 0;
}
