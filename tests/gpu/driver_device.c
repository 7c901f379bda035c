/* The one device, as a card of the faked compute capability describes itself. Limits are those
 * of CUDA's table "Technical Specifications per Compute Capability"; the rest (multiprocessors,
 * clocks, caches) is as commonly quoted for A100 40 GB, RTX 4090, H100 SXM and RTX 5090, and was
 * not read off a card. */
#include "driver.h"

#include <stdio.h>
#include <string.h>

static const struct device_limits devices[] = {
    {80, 108, 163 * KIB, 164 * KIB, 2048, 32, 40 << 20, 1410000, 1215000, 5120},
    {89, 128, 99 * KIB, 100 * KIB, 1536, 24, 72 << 20, 2520000, 10501000, 384},
    {90, 132, 227 * KIB, 228 * KIB, 2048, 32, 50 << 20, 1980000, 2619000, 5120},
    {120, 170, 99 * KIB, 100 * KIB, 1536, 24, 96 << 20, 2407000, 14001000, 512},
};

static const struct device_limits *find(int capability)
{
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
        if (devices[i].capability == capability)
            return &devices[i];
    return NULL;
}

bool device_known(int capability)
{
    return find(capability);
}

const struct device_limits *device_limits(void)
{
    return find(driver.settings.capability);
}

CUresult cuDeviceGetCount(int *count)
{
    CUresult rc = enter();
    if (!rc && !count)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        *count = 1;
    return leave(rc);
}

/* Checks what all queries take: out is there and the device is the one there is. */
static CUresult enter_device(const void *out, CUdevice device)
{
    CUresult rc = enter();
    if (!rc && !out)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc && device != 0)
        rc = CUDA_ERROR_INVALID_DEVICE;
    return rc;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    CUresult rc = enter_device(device, ordinal);
    if (!rc)
        *device = 0;
    return leave(rc);
}

CUresult cuDeviceGetName(char *name, int bytes, CUdevice device)
{
    CUresult rc = enter_device(name, device);
    if (!rc && bytes <= 0)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        snprintf(name, (size_t)bytes, "Simulated GPU (sm_%d)", driver.settings.capability);
    return leave(rc);
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
    CUresult rc = enter_device(bytes, device);
    if (!rc)
        *bytes = driver.settings.memory;
    return leave(rc);
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
    CUresult rc = enter_device(uuid, device);
    if (!rc) {
        memcpy(uuid->bytes, "simulated gpu 00", sizeof uuid->bytes);
        uuid->bytes[sizeof uuid->bytes - 1] = (char)driver.settings.capability;
    }
    return leave(rc);
}

CUresult cuDeviceGetPCIBusId(char *id, int bytes, CUdevice device)
{
    static const char text[] = "0000:01:00.0";
    CUresult rc = enter_device(id, device);
    if (!rc && bytes < (int)sizeof text)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc)
        memcpy(id, text, sizeof text);
    return leave(rc);
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
    CUresult rc = enter_device(can, device);
    if (!rc && peer != 0)
        rc = CUDA_ERROR_INVALID_DEVICE;
    if (!rc)
        *can = 0; /* of itself a device is no peer */
    return leave(rc);
}

/* Attributes that the capability decides. False: not one of them. */
static bool limit_of(CUdevice_attribute attribute, int *out)
{
    const struct device_limits *limits = device_limits();
    switch ((int)attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        return *out = limits->capability / 10, true;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        return *out = limits->capability % 10, true;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        return *out = limits->n_sm, true;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        return *out = limits->shared_per_block, true;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
        return *out = limits->shared_per_sm, true;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
        return *out = limits->threads_per_sm, true;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
        return *out = limits->blocks_per_sm, true;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
        return *out = limits->l2_bytes, true;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
        return *out = limits->clock_khz, true;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
        return *out = limits->memory_clock_khz, true;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
        return *out = limits->bus_bits, true;
    default:
        return false;
    }
}

/* The same at every capability; what is not named is a feature that the simulation lacks, 0. */
static const int fixed[CU_DEVICE_ATTRIBUTE_MAX] = {
    [CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK] = THREADS_PER_BLOCK,
    [CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X] = BLOCK_X_MOST,
    [CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y] = BLOCK_Y_MOST,
    [CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z] = BLOCK_Z_MOST,
    [CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X] = GRID_X_MOST,
    [CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y] = GRID_YZ_MOST,
    [CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z] = GRID_YZ_MOST,
    [CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK] = SHARED_WITHOUT_OPT_IN,
    [CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK] = SHARED_RESERVED,
    [CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY] = 64 * KIB,
    [CU_DEVICE_ATTRIBUTE_WARP_SIZE] = WARP_LANES,
    [CU_DEVICE_ATTRIBUTE_MAX_PITCH] = INT32_MAX,
    [CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK] = REGISTERS_PER_SM,
    [CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR] = REGISTERS_PER_SM,
    [CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT] = 512,
    [CU_DEVICE_ATTRIBUTE_GPU_OVERLAP] = 1,
    [CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT] = 2,
    [CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY] = 1,
    [CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS] = 1,
    [CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING] = 1,
    [CU_DEVICE_ATTRIBUTE_PCI_BUS_ID] = 1,
    [CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED] = 1,
};

CUresult cuDeviceGetAttribute(int *out, CUdevice_attribute attribute, CUdevice device)
{
    CUresult rc = enter_device(out, device);
    if (!rc && ((int)attribute <= 0 || attribute >= CU_DEVICE_ATTRIBUTE_MAX))
        rc = CUDA_ERROR_INVALID_VALUE;
    if (!rc && !limit_of(attribute, out))
        *out = fixed[attribute];
    return leave(rc);
}
