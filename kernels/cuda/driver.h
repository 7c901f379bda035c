/* NVIDIA's driver, found when it is wanted: nothing links it, so that the plugin loads on
 * machines without one. cuda.h gives the types at build time only. */
#pragma once

#include "../../plugin/base/err.h"

#include <cuda.h>

/* What the embedded kernels and the types of the calls are made for: CUDA 13.0. */
#define DRIVER_VERSION_LEAST 13000

struct driver {
    void *library; /* of dlopen */
#define DRIVER(symbol) __typeof__(symbol) *symbol;
#include "driver.def"
#undef DRIVER
};

/* Finds and starts the driver; INFLIGHT_E_UNSUPPORTED with the reason if there is none, or
 * an old one. Nothing is left open on failure. */
int32_t driver_open(struct driver *driver, struct err *err);
void driver_close(struct driver *driver);

/* Whatever the driver failed with, as "<what> failed: <text> (<name>)". Out of memory is
 * INFLIGHT_E_NOMEM, everything else INFLIGHT_E_DEVICE. */
int32_t driver_refuse(const struct driver *driver, CUresult result, const char *what,
                      struct err *err);
