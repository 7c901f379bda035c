/* dlopen, dlsym and the driver's error texts. */
#define _GNU_SOURCE
#include "driver.h"

#include <dlfcn.h>
#include <string.h>

#define LIBRARY "libcuda.so.1"

/* The one that the host has already, from wherever it came, or else the system's. The driver
 * starts threads that outlive every handle, so its code stays (NODELETE). */
static void *open_library(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    return library ? library : dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

/* C does not convert between pointers to data and to code; POSIX has both of one size. */
static bool find(void *library, const char *symbol, void *function)
{
    void *at = dlsym(library, symbol);
    memcpy(function, &at, sizeof at);
    return at;
}

static int32_t find_all(struct driver *driver, struct err *err)
{
    const char *missing = NULL;
#define DRIVER(symbol)                                    \
    if (!find(driver->library, #symbol, &driver->symbol)) \
        missing = #symbol;
#include "driver.def"
#undef DRIVER
    if (missing)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "the CUDA driver has no %s: it is too old",
                       missing);
    return INFLIGHT_OK;
}

static int32_t check_version(const struct driver *driver, struct err *err)
{
    int version = 0;
    CUresult result = driver->cuDriverGetVersion(&version);
    if (result)
        return driver_refuse(driver, result, "asking the driver for its version", err);
    if (version < DRIVER_VERSION_LEAST)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "the driver is of CUDA %d.%d, at least %d.%d is needed", version / 1000,
                       version % 1000 / 10, DRIVER_VERSION_LEAST / 1000,
                       DRIVER_VERSION_LEAST % 1000 / 10);
    return INFLIGHT_OK;
}

static int32_t start(struct driver *driver, struct err *err)
{
    /* Before everything else: an old driver lacks functions, and its version says it better. */
    if (!find(driver->library, "cuDriverGetVersion", &driver->cuDriverGetVersion) ||
        !find(driver->library, "cuGetErrorName", &driver->cuGetErrorName) ||
        !find(driver->library, "cuGetErrorString", &driver->cuGetErrorString))
        return err_set(err, INFLIGHT_E_UNSUPPORTED, LIBRARY " is no CUDA driver");
    if (check_version(driver, err) || find_all(driver, err))
        return err->code;
    CUresult result = driver->cuInit(0);
    return result ? driver_refuse(driver, result, "starting the CUDA driver", err) : INFLIGHT_OK;
}

int32_t driver_open(struct driver *driver, struct err *err)
{
    struct err unheard;
    err = err ? err : &unheard;
    *driver = (struct driver){.library = open_library()};
    if (!driver->library) {
        const char *why = dlerror();
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "no CUDA driver: %s", why ? why : LIBRARY);
    }
    if (start(driver, err)) {
        driver_close(driver);
        return err->code;
    }
    return INFLIGHT_OK;
}

void driver_close(struct driver *driver)
{
    if (driver->library)
        dlclose(driver->library);
    *driver = (struct driver){0};
}

int32_t driver_refuse(const struct driver *driver, CUresult result, const char *what,
                      struct err *err)
{
    const char *name = NULL, *text = NULL;
    bool known = !driver->cuGetErrorName(result, &name) && name;
    known = known && !driver->cuGetErrorString(result, &text) && text;
    int32_t code = result == CUDA_ERROR_OUT_OF_MEMORY ? INFLIGHT_E_NOMEM : INFLIGHT_E_DEVICE;
    return err_set(err, code, "%s failed: %s (%s %d)", what, known ? text : "unknown error",
                   known ? name : "CUresult", (int)result);
}
