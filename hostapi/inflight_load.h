/* SPDX-License-Identifier: MIT
 *
 * Loads Inflight at run time. Take this file and inflight_load.c into your program,
 * beside inflight.h; link with -ldl where the C library still asks for it. */
#ifndef INFLIGHT_LOAD_H
#define INFLIGHT_LOAD_H

#include "inflight.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct inflight_library {
    void *handle;            /* of dlopen */
    const inflight_api *api; /* valid until inflight_unload */
} inflight_library;

/* path: of libinflight.so.1, or its bare name for the system's search path. Returns
 * INFLIGHT_OK, or a negative status with a sentence in error (cut to error_size, may be
 * NULL) and library zeroed. */
int32_t inflight_load(inflight_library *library, const char *path, char *error,
                      uint64_t error_size);

/* Free every engine first. A zeroed library is allowed. */
void inflight_unload(inflight_library *library);

#ifdef __cplusplus
}
#endif

#endif
