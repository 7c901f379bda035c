/* Work of stand-ins of libraries. */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the work that runs, under the driver's lock. */
static uint32_t context_id;

int gpu_library_submit(void *handle, gpu_library_work *run, const void *arg, size_t bytes)
{
    struct context *context;
    CUresult rc = enter_context(&context, CALL_SAFE);
    struct stream *stream = rc ? NULL : stream_find(context, handle);
    if (!rc && !stream)
        rc = CUDA_ERROR_INVALID_HANDLE;
    if (!rc)
        rc = fail_now(FAIL_LIBRARY, context);
    struct work work = {.kind = WORK_LIBRARY, .library = {run, NULL, bytes}};
    if (!rc && !(work.library.arg = malloc(bytes ? bytes : 1)))
        rc = CUDA_ERROR_OUT_OF_MEMORY;
    if (!rc) {
        memcpy(work.library.arg, arg, bytes);
        rc = stream_submit(stream, &work);
    }
    return (int)leave(rc);
}

CUresult library_now(const struct work *work, struct context *context)
{
    driver.counts.library_works++;
    context_id = context->id;
    return work->library.run(work->library.arg) ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
}

static bool report(const char *what, const char *verb, size_t bytes, uint64_t address,
                   const char *why)
{
    driver.counts.faults++;
    fprintf(stderr, "gpu: a library %s %zu bytes of %s at %#llx, %s\n", verb, bytes, what,
            (unsigned long long)address, why);
    return false;
}

bool gpu_library_read(void *to, uint64_t from, size_t bytes, const char *what)
{
    bool uninitialised = false;
    if (!memory_read(to, from, bytes, context_id, &uninitialised))
        return report(what, "reads", bytes, from, "which are not of one allocation");
    return !uninitialised || report(what, "reads", bytes, from, "some of which nobody wrote");
}

bool gpu_library_write(uint64_t to, const void *from, size_t bytes, const char *what)
{
    return memory_write(to, from, bytes, context_id) ||
           report(what, "writes", bytes, to, "which are not of one allocation");
}
