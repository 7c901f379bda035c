/* SPDX-License-Identifier: MIT
 *
 * dlopen, one dlsym, one check of the version. */
#include "inflight_load.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef const inflight_api *get_api(uint32_t abi);

static int32_t fail(inflight_library *library, int32_t status, char *error, uint64_t error_size,
                    const char *path, const char *why)
{
    if (error && error_size)
        (void)snprintf(error, (size_t)error_size, "%s: %s", path, why ? why : "cannot be loaded");
    inflight_unload(library);
    return status;
}

int32_t inflight_load(inflight_library *library, const char *path, char *error, uint64_t error_size)
{
    memset(library, 0, sizeof *library);
    library->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library->handle)
        return fail(library, INFLIGHT_E_IO, error, error_size, path, dlerror());

    /* ISO C has no conversion from an object pointer to a function pointer; POSIX
     * promises that the bytes are the same. */
    void *symbol = dlsym(library->handle, "inflight_get_api");
    get_api *get = NULL;
    memcpy(&get, &symbol, sizeof get);
    if (!get)
        return fail(library, INFLIGHT_E_ABI, error, error_size, path, "is not Inflight");

    library->api = get(INFLIGHT_ABI);
    if (!library->api)
        return fail(library, INFLIGHT_E_ABI, error, error_size, path,
                    "serves another major version than the host was built for");
    if (library->api->h.struct_size < sizeof *library->api)
        return fail(library, INFLIGHT_E_ABI, error, error_size, path,
                    "is older than the header the host was built with");
    return INFLIGHT_OK;
}

void inflight_unload(inflight_library *library)
{
    if (library->handle)
        (void)dlclose(library->handle);
    memset(library, 0, sizeof *library);
}
