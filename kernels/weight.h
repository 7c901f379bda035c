/* A weight matrix as a back end keeps it: repacked once at load from the file's
 * format into the layout its kernels stream. */
#pragma once

#include "../quant/quant.h"

#include <stddef.h>
#include <stdint.h>

struct weight {
    enum fmt fmt;     /* format in the file */
    int32_t layout;   /* private to the back end */
    int32_t N, K;     /* rows (outputs) and columns (inputs) */
    const void *data; /* packed; owned by whoever gave the memory to pack() */
    size_t bytes;
};
