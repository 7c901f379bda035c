/* Copies and sets. One that waits is its asynchronous form on the default stream, and a wait.
 *
 * What host memory is read when (CUDA Driver API, "API synchronization behavior"): pageable
 * memory is copied to a staging buffer by the call; pinned memory is read when the stream comes
 * to the copy, so a caller that writes to it in between is found out. A copy to pageable memory
 * returns when it is done. */
#include "driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- What is done when the stream comes to it */

static CUresult copy_row(const struct work *work, size_t row, struct context *context)
{
    size_t width = work->copy.width;
    uint64_t to = work->copy.to + row * work->copy.to_pitch;
    uint64_t from = work->copy.from + row * work->copy.from_pitch;
    const void *host =
        work->copy.staged ? work->copy.staged + row * width : (const void *)(uintptr_t)from;
    bool uninitialised = false, done = false;
    switch (work->copy.kind) {
    case COPY_TO_DEVICE:
        done = memory_write(to, host, width, context->id);
        break;
    case COPY_TO_HOST:
        done = memory_read((void *)(uintptr_t)to, from, width, context->id, &uninitialised);
        break;
    case COPY_ON_DEVICE:
        done = memory_copy(to, from, width, context->id);
        break;
    }
    if (uninitialised && driver.counts.uninitialised++ == 0)
        fprintf(stderr, "gpu: a copy to the host of %zu bytes reads some that nobody wrote\n",
                width);
    return done ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
}

CUresult copy_now(const struct work *work, struct context *context)
{
    CUresult rc = CUDA_SUCCESS;
    for (size_t row = 0; !rc && row < work->copy.height; row++)
        rc = copy_row(work, row, context);
    uint64_t bytes = work->copy.width * work->copy.height;
    driver.counts.copies_to_device += work->copy.kind == COPY_TO_DEVICE;
    driver.counts.copies_to_host += work->copy.kind == COPY_TO_HOST;
    driver.counts.copies_on_device += work->copy.kind == COPY_ON_DEVICE;
    driver.counts.bytes_to_device += work->copy.kind == COPY_TO_DEVICE ? bytes : 0;
    driver.counts.bytes_to_host += work->copy.kind == COPY_TO_HOST ? bytes : 0;
    driver.counts.bytes_on_device += work->copy.kind == COPY_ON_DEVICE ? bytes : 0;
    return rc;
}

CUresult set_now(const struct work *work, struct context *context)
{
    driver.counts.sets++;
    return memory_set(work->set.to, work->set.value, work->set.element, work->set.n, context->id)
               ? CUDA_SUCCESS
               : CUDA_ERROR_ILLEGAL_ADDRESS;
}

/* ---- What is checked when it is queued */

/* Bytes from the first to behind the last; false: more than an address can say. */
static bool extent(size_t width, size_t height, size_t pitch, size_t *out)
{
    return !__builtin_mul_overflow(height - 1, pitch, out) &&
           !__builtin_add_overflow(*out, width, out);
}

static bool on_device(const struct context *context, uint64_t address, size_t bytes)
{
    uint64_t base;
    size_t size;
    return memory_range(address, bytes, context->id, &base, &size);
}

/* Whether the first and the last byte can be read: memory that was given back, or never was,
 * cannot. A system that forbids to ask is believed. */
static bool is_mapped(uint64_t address, size_t bytes)
{
    uint8_t local[2];
    void *first = (void *)(uintptr_t)address, *last = (void *)(uintptr_t)(address + bytes - 1);
    const struct iovec to = {local, sizeof local}, from[] = {{first, 1}, {last, 1}};
    ssize_t n = process_vm_readv(getpid(), &to, 1, from, 2, 0);
    return n == sizeof local || (n < 0 && errno != EFAULT);
}

/* Host memory that a copy may touch: pinned, or the process's and not the device's. */
static bool on_host(const struct context *context, uint64_t address, size_t bytes)
{
    if (!address || bytes > UINT64_MAX - address)
        return false;
    return pinned_find(context, address, bytes) ||
           (!on_device(context, address, 1) && is_mapped(address, bytes));
}

static bool copy_valid(const struct work *work, const struct context *context)
{
    size_t to_bytes, from_bytes;
    return extent(work->copy.width, work->copy.height, work->copy.to_pitch, &to_bytes) &&
           extent(work->copy.width, work->copy.height, work->copy.from_pitch, &from_bytes) &&
           (work->copy.kind == COPY_TO_HOST ? on_host : on_device)(context, work->copy.to,
                                                                   to_bytes) &&
           (work->copy.kind == COPY_TO_DEVICE ? on_host : on_device)(context, work->copy.from,
                                                                     from_bytes);
}

static bool is_pageable(const struct work *work, const struct context *context)
{
    bool reads = work->copy.kind == COPY_TO_DEVICE;
    return work->copy.kind != COPY_ON_DEVICE &&
           !pinned_find(context, reads ? work->copy.from : work->copy.to, 1);
}

static bool stage(struct work *work)
{
    size_t width = work->copy.width;
    work->copy.staged = malloc(width * work->copy.height);
    for (size_t row = 0; work->copy.staged && row < work->copy.height; row++)
        memcpy(work->copy.staged + row * width,
               (const uint8_t *)(uintptr_t)work->copy.from + row * work->copy.from_pitch, width);
    return work->copy.staged;
}

/* The host waits until the stream has come to its copy. */
static CUresult wait_for(struct stream *stream)
{
    driver.counts.syncs++;
    return queue_drain(stream);
}

/* A graph reads host memory, of whatever kind, each time it is launched. */
static CUresult submit_copy(struct stream *stream, struct work *work, struct context *context,
                            bool waits)
{
    if (!work->copy.width || !work->copy.height)
        return CUDA_SUCCESS;
    if (!copy_valid(work, context))
        return CUDA_ERROR_INVALID_VALUE;
    CUresult rc = fail_now(FAIL_COPY, context);
    bool pageable = !waits && !stream->capture && is_pageable(work, context);
    if (!rc && pageable && work->copy.kind == COPY_TO_DEVICE && !stage(work))
        rc = CUDA_ERROR_OUT_OF_MEMORY;
    bool to_pageable = pageable && work->copy.kind == COPY_TO_HOST;
    if (!rc)
        rc = stream_submit(stream, work);
    return !rc && (waits || to_pageable) ? wait_for(stream) : rc;
}

static CUresult submit_set(struct stream *stream, struct work *work, struct context *context)
{
    size_t bytes;
    if (!work->set.n)
        return CUDA_SUCCESS;
    if (__builtin_mul_overflow(work->set.n, (size_t)work->set.element, &bytes) ||
        work->set.to % work->set.element || !on_device(context, work->set.to, bytes))
        return CUDA_ERROR_INVALID_VALUE;
    CUresult rc = fail_now(FAIL_COPY, context);
    return rc ? rc : stream_submit(stream, work);
}

static CUresult submit(struct stream *stream, struct work *work, struct context *context,
                       bool waits)
{
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    return work->kind == WORK_SET ? submit_set(stream, work, context)
                                  : submit_copy(stream, work, context, waits);
}

/* ---- The calls */

/* A set does not make the host wait; a copy within the device does not either, but few rely on
 * it and many do not know: it waits here. */
static CUresult now(struct work work)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    if (!rc)
        rc = capture_allows_legacy(context);
    if (!rc)
        rc = capture_allows_unsafe();
    if (!rc)
        rc = submit(context->legacy, &work, context, true);
    return leave(rc);
}

static CUresult later(struct work work, CUstream stream)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    if (!rc)
        rc = submit(stream_find(context, stream), &work, context, false);
    return leave(rc);
}

static struct work copy_of(enum copy_kind kind, uint64_t to, uint64_t from, size_t bytes)
{
    return (struct work){
        .kind = WORK_COPY,
        .copy = {.kind = kind, .to = to, .from = from, .width = bytes, .height = 1}};
}

CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t bytes)
{
    return now(copy_of(COPY_TO_DEVICE, to, (uint64_t)(uintptr_t)from, bytes));
}

CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t bytes)
{
    return now(copy_of(COPY_TO_HOST, (uint64_t)(uintptr_t)to, from, bytes));
}

CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return now(copy_of(COPY_ON_DEVICE, to, from, bytes));
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    return later(copy_of(COPY_TO_DEVICE, to, (uint64_t)(uintptr_t)from, bytes), stream);
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return later(copy_of(COPY_TO_HOST, (uint64_t)(uintptr_t)to, from, bytes), stream);
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return later(copy_of(COPY_ON_DEVICE, to, from, bytes), stream);
}

/* Start of one side of a 2D copy; false: a kind of memory that is not served. */
static bool start_of(CUmemorytype type, const void *host, CUdeviceptr device, bool *is_host,
                     uint64_t *out)
{
    *is_host = type == CU_MEMORYTYPE_HOST;
    *out = *is_host ? (uint64_t)(uintptr_t)host : device;
    return *is_host || type == CU_MEMORYTYPE_DEVICE;
}

/* A pitch of 0 is that of rows without a gap. */
static CUresult copy_2d(const CUDA_MEMCPY2D *copy, struct work *out)
{
    bool to_host, from_host;
    uint64_t to, from;
    if (!copy || !start_of(copy->dstMemoryType, copy->dstHost, copy->dstDevice, &to_host, &to) ||
        !start_of(copy->srcMemoryType, copy->srcHost, copy->srcDevice, &from_host, &from) ||
        (to_host && from_host))
        return CUDA_ERROR_INVALID_VALUE;
    size_t to_pitch = copy->dstPitch ? copy->dstPitch : copy->WidthInBytes + copy->dstXInBytes;
    size_t from_pitch = copy->srcPitch ? copy->srcPitch : copy->WidthInBytes + copy->srcXInBytes;
    if (to_pitch < copy->WidthInBytes + copy->dstXInBytes ||
        from_pitch < copy->WidthInBytes + copy->srcXInBytes || to_pitch > INT32_MAX ||
        from_pitch > INT32_MAX || copy->dstY > INT32_MAX || copy->srcY > INT32_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    enum copy_kind kind = to_host ? COPY_TO_HOST : from_host ? COPY_TO_DEVICE : COPY_ON_DEVICE;
    *out = copy_of(kind, to + copy->dstY * to_pitch + copy->dstXInBytes,
                   from + copy->srcY * from_pitch + copy->srcXInBytes, copy->WidthInBytes);
    out->copy.height = copy->Height;
    out->copy.to_pitch = to_pitch;
    out->copy.from_pitch = from_pitch;
    return CUDA_SUCCESS;
}

/* What is wrong with the state of the driver comes before what is wrong with the call. */
static CUresult refuse(CUresult code)
{
    CUresult rc = enter();
    return leave(rc ? rc : code);
}

CUresult cuMemcpy2D(const CUDA_MEMCPY2D *copy)
{
    struct work work;
    CUresult rc = copy_2d(copy, &work);
    return rc ? refuse(rc) : now(work);
}

CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D *copy, CUstream stream)
{
    struct work work;
    CUresult rc = copy_2d(copy, &work);
    return rc ? refuse(rc) : later(work, stream);
}

static struct work set_of(uint64_t to, uint32_t value, uint32_t element, size_t n)
{
    return (struct work){.kind = WORK_SET,
                         .set = {.to = to, .value = value, .element = element, .n = n}};
}

CUresult cuMemsetD8(CUdeviceptr to, unsigned char value, size_t n)
{
    return now(set_of(to, value, 1, n));
}

CUresult cuMemsetD16(CUdeviceptr to, unsigned short value, size_t n)
{
    return now(set_of(to, value, 2, n));
}

CUresult cuMemsetD32(CUdeviceptr to, unsigned int value, size_t n)
{
    return now(set_of(to, value, 4, n));
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t n, CUstream stream)
{
    return later(set_of(to, value, 1, n), stream);
}

CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t n, CUstream stream)
{
    return later(set_of(to, value, 2, n), stream);
}

CUresult cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t n, CUstream stream)
{
    return later(set_of(to, value, 4, n), stream);
}
