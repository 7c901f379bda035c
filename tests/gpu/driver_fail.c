/* Failures on demand. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    CUresult code;
    bool sticky; /* the context is broken from then on, as by a fault of a kernel */
} kinds[FAIL_KINDS] = {
    [FAIL_ALLOC] = {"alloc", CUDA_ERROR_OUT_OF_MEMORY, false},
    [FAIL_HOST] = {"host", CUDA_ERROR_OUT_OF_MEMORY, false},
    [FAIL_LAUNCH] = {"launch", CUDA_ERROR_LAUNCH_FAILED, true},
    [FAIL_COPY] = {"copy", CUDA_ERROR_ILLEGAL_ADDRESS, true},
    [FAIL_SYNC] = {"sync", CUDA_ERROR_LAUNCH_FAILED, true},
    [FAIL_GRAPH] = {"graph", CUDA_ERROR_LAUNCH_FAILED, true},
    [FAIL_CAPTURE] = {"capture", CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, false},
    [FAIL_MODULE] = {"module", CUDA_ERROR_NO_BINARY_FOR_GPU, false},
    [FAIL_LIBRARY] = {"library", CUDA_ERROR_LAUNCH_FAILED, false},
    [FAIL_LOST] = {"lost", CUDA_ERROR_UNKNOWN, false},
};

/* Calls until the one that fails; 0: none does. */
static uint64_t left[FAIL_KINDS];

static int kind_of(const char *name, size_t length)
{
    for (int i = 0; i < FAIL_KINDS; i++)
        if (strlen(kinds[i].name) == length && memcmp(kinds[i].name, name, length) == 0)
            return i;
    return -1;
}

static bool parse(const char *text, uint64_t out[FAIL_KINDS])
{
    while (*text) {
        const char *colon = strchr(text, ':');
        int kind = colon ? kind_of(text, (size_t)(colon - text)) : -1;
        char *end = NULL;
        uint64_t n = kind >= 0 ? strtoull(colon + 1, &end, 10) : 0;
        if (!n || (*end && *end != ','))
            return false;
        out[kind] = n;
        text = *end ? end + 1 : end;
    }
    return true;
}

bool fail_set(const char *what)
{
    uint64_t asked[FAIL_KINDS] = {0};
    if (what && !parse(what, asked))
        return false;
    for (int i = 0; i < FAIL_KINDS; i++)
        left[i] = what && *what ? (asked[i] ? asked[i] : left[i]) : 0;
    if (!what || !*what)
        driver.lost = false;
    return true;
}

bool gpu_fail(const char *what)
{
    driver_lock();
    bool understood = fail_set(what);
    driver_unlock();
    return understood;
}

CUresult fail_now(enum fail kind, struct context *context)
{
    bool fails = left[kind] && --left[kind] == 0;
    if (kind == FAIL_LOST && fails)
        driver.lost = true;
    if (driver.lost)
        return kinds[FAIL_LOST].code;
    if (!fails)
        return CUDA_SUCCESS;
    if (context && kinds[kind].sticky)
        context_break(context, kinds[kind].code);
    return kinds[kind].code;
}
