#include "ahead.h"

#include "device.h"

int32_t ahead_open(struct device *device, struct err *err)
{
    struct ahead *ahead = &device->ahead;
    const size_t bytes = (size_t)ahead_bytes(&device->config);
    /* The host has the step behind under way: it may sleep until this one has ended. */
    const unsigned flags = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING;
    void *token = NULL;
    if (cuda_alloc(device, bytes, "tokens", &device->chosen, err) ||
        cuda_alloc_pinned(device, bytes, "tokens", &token, err))
        return err->code;
    ahead->token = token;
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
    void *token = ahead->token;
    for (int i = 0; i < STEPS_AHEAD; i++)
        if (ahead->settled[i])
            (void)device->driver->cuEventDestroy(ahead->settled[i]);
    cuda_free_pinned(device, &token);
    cuda_free(device, &device->chosen);
}

/* Behind the step: its tokens to the host, and the event that says that they are there. */
static CUresult queue_end(struct device *device)
{
    struct ahead *ahead = &device->ahead;
    const uint64_t half = ahead->n_launched % STEPS_AHEAD;
    const size_t first = (size_t)half * (size_t)device->config.max_rows;
    const size_t rows = (size_t)ahead->rows[half];
    CUresult result = CUDA_SUCCESS;
    if (rows)
        result = device->driver->cuMemcpyDtoHAsync(ahead->token + first,
                                                   device->chosen + first * sizeof(int32_t),
                                                   rows * sizeof(int32_t), device->stream);
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
    ahead->rows[half] = device->step.view.R;
    if (!rc && !device->failed)
        device->failed = queue_end(device);
    if (rc || device->failed)
        rc = abandon(device, rc);
    else
        ahead->n_launched++;
    cuda_leave(device);
    return rc;
}

int ahead_settle(struct device *device, int32_t *token)
{
    struct ahead *ahead = &device->ahead;
    const uint64_t half = ahead->n_settled % STEPS_AHEAD;
    const size_t first = (size_t)half * (size_t)device->config.max_rows;
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
    memcpy(token, ahead->token + first, (size_t)ahead->rows[half] * sizeof *token);
    return 0;
}
