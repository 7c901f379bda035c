/* The lock, the settings, cuInit, functions by name. */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MEMORY (UINT64_C(4) << 30)
#define PINNED_MOST    (UINT64_C(4) << 30) /* bytes that are not the device's */

struct driver_state driver;
_Thread_local bool in_host_function;

static pthread_mutex_t mutex;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

/* "8.9" is 89. */
static int capability_of(const char *text)
{
    char *end;
    long major = strtol(text, &end, 10);
    long minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
    int capability = (int)(10 * major + minor);
    if (device_known(capability))
        return capability;
    fprintf(stderr, "gpu: GPU_CC=%s is not known, 8.0 is taken\n", text);
    return 80;
}

static void read_settings(struct settings *settings)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const char *capability = getenv("GPU_CC");
    settings->capability = capability_of(capability ? capability : "8.0");
    settings->seed = number_of("GPU_SEED", 0);
    settings->memory = number_of("GPU_MEMORY", DEFAULT_MEMORY);
    settings->split = number_of("GPU_SPLIT", 0) != 0;
    settings->count = number_of("GPU_COUNTERS", 0);
    settings->races = number_of("GPU_RACES", 0) != 0;
    settings->threads = (int)number_of("GPU_THREADS", cores > 0 ? (uint64_t)cores : 1);
}

/* Recursive: a host function that calls the driver must find an error, not a deadlock. */
static void init(void)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&mutex, &attr);
    pthread_mutexattr_destroy(&attr);
    read_settings(&driver.settings);
    driver.random = driver.settings.seed;
    memory_init(driver.settings.memory + PINNED_MOST);
    memory_keep_records(driver.settings.races);
    if (!fail_set(getenv("GPU_FAIL")))
        fprintf(stderr, "gpu: GPU_FAIL is not understood\n");
}

void driver_lock(void)
{
    pthread_once(&once, init);
    pthread_mutex_lock(&mutex);
}

void driver_unlock(void)
{
    pthread_mutex_unlock(&mutex);
}

CUresult enter(void)
{
    driver_lock();
    if (in_host_function)
        return CUDA_ERROR_NOT_PERMITTED;
    if (!driver.initialized)
        return CUDA_ERROR_NOT_INITIALIZED;
    return fail_now(FAIL_LOST, NULL);
}

CUresult leave(CUresult result)
{
    driver_unlock();
    return result;
}

/* splitmix64. */
uint64_t driver_random(void)
{
    uint64_t z = driver.random += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

CUresult cuInit(unsigned int flags)
{
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    enter();
    driver.initialized = true;
    return leave(driver.lost ? CUDA_ERROR_UNKNOWN : CUDA_SUCCESS);
}

CUresult cuDriverGetVersion(int *version)
{
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    *version = DRIVER_VERSION;
    return CUDA_SUCCESS;
}

typedef void entry(void);

/* The names are those without a version, as cuda.h's macros take them. */
static const struct {
    const char *name;
    int since; /* CUDA version of this form of it */
    entry *function;
} entries[] = {
#define ENTRY(name, since)          {#name, since, (entry *)name},
#define FORM(name, function, since) {#name, since, (entry *)function},
#include "driver_entries.def"
#undef FORM
#undef ENTRY
};

CUresult cuGetProcAddress(const char *symbol, void **out, int version, cuuint64_t flags,
                          CUdriverProcAddressQueryResult *status)
{
    const cuuint64_t known =
        CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    if (!symbol || !out || flags & ~known || version > DRIVER_VERSION)
        return CUDA_ERROR_INVALID_VALUE;
    int newest = 0;
    bool known_name = false;
    *out = NULL;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        if (strcmp(symbol, entries[i].name) != 0)
            continue;
        known_name = true;
        if (entries[i].since > version || entries[i].since < newest)
            continue;
        newest = entries[i].since;
        memcpy(out, &entries[i].function, sizeof *out);
    }
    if (status)
        *status = *out         ? CU_GET_PROC_ADDRESS_SUCCESS
                  : known_name ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                               : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return CUDA_SUCCESS;
}
