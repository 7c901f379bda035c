/* What a module is loaded from: nvcc's fatbin, the wrapper around one, or PTX as text. */
#pragma once

#include <stddef.h>

/* The PTX for a device: image is what cuModuleLoadData() gets, capability 80 for 8.0. Of a
 * fatbin's PTX the one for the highest architecture that is not above it. The result has *bytes
 * bytes and lies in the image, or in *owned, which the caller frees (NULL: nothing to free).
 * NULL: error says why. */
const char *fatbin_ptx(const void *image, int capability, size_t *bytes, void **owned, char *error,
                       size_t error_bytes);
