/* What tests of the CUDA back end's operations need of a device: opening one, arrays in its
 * memory, and the values that its matrices stand for. */
#pragma once

#include "../t.h"

#include "../../plugin/base/base.h"
#include "../../quant/bf16.h"
#include "matrix.h"

#ifdef INFLIGHT_CUDA
#include "../../kernels/cuda/prepare.h"
#include "../../quant/e4m3.h"

#include <math.h>

extern const struct backend backend_cuda;

/* NULL, and the test is skipped, where there is no card. */
static inline struct device *cuda_device(const struct device_config *config)
{
    static struct err err; /* t_skip keeps the text */
    struct device *device = NULL;
    if (backend_cuda.probe(&err))
        t_skip(err.text);
    else if (backend_cuda.open(config, &mem_system, &device, &err))
        t_fail(__FILE__, __LINE__, "%s", err.text);
    return device;
}

/* An array in the device's memory; values NULL: undefined. Given back with cuda_drop. */
static inline void *cuda_array(struct device *device, const void *values, size_t bytes)
{
    void *array = backend_cuda.take(device, bytes);
    CHECK(array != NULL);
    if (values)
        CHECK_EQ(backend_cuda.write(device, array, values, bytes), 0);
    return array;
}

static inline void cuda_drop(struct device *device, const void *array, size_t bytes)
{
    if (array)
        backend_cuda.give(device, (void *)(uintptr_t)array, bytes);
}

/* The matrix on the device; its data is an array. */
static inline struct weight cuda_matrix(struct device *device, const struct device_config *config,
                                        const struct matrix *m)
{
    struct err err = {0};
    size_t bytes = backend_cuda.packed_bytes(config, m->source.fmt, m->source.N, m->source.K);
    struct weight weight = {.data = cuda_array(device, NULL, bytes), .bytes = bytes};
    if (backend_cuda.pack(device, &m->source, &weight, &err))
        t_fail(__FILE__, __LINE__, "%s", err.text);
    return weight;
}

/* prepare.h: a row of n as E4M3 with its scale. */
static inline void round_to_fp8(const float *row, int n, double *out)
{
    float most = 0;
    for (int k = 0; k < n; k++)
        most = fmaxf(most, fabsf(row[k]));
    const float scale = fmaxf(most / E4M3_MAX, FP8_SCALE_LEAST), factor = 1 / scale;
    for (int k = 0; k < n; k++)
        out[k] = (double)scale * (double)e4m3_to_float(e4m3_of_float(row[k] * factor));
}
#endif

/* The values that stand in the device for those of a matrix: float32 and float16 are rounded to
 * bfloat16, all other formats are exact. */
static inline void round_matrix(struct matrix *m)
{
    size_t n = (size_t)m->source.N * (size_t)m->source.K;
    if (m->source.fmt == FMT_f32 || m->source.fmt == FMT_f16)
        for (size_t i = 0; i < n; i++)
            m->value[i] = bf16_to_float(bf16_of_float(m->value[i]));
}
