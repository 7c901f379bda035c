/* What a kernel asked of memory, as the simulated GPU counts it, against what it is meant to ask.
 * The counts are of requests and the same in every run; a card has none of them.
 *
 * Global memory: a load counts the bytes of each lane, so a value that all lanes want counts 32
 * times, but a sector once for each warp instruction. Sectors are what L1 and L2 are asked for;
 * what DRAM gives is less where a cache holds what is read again: the sectors that a launch reads,
 * or writes, for the first time.
 * Shared memory: wavefronts, of which a request has at least 1 for 4 bytes a lane, 2 for 8 and 4
 * for 16 and for ldmatrix.x4. */
#pragma once

#include "on_cuda.h"

#ifdef INFLIGHT_CUDA
#include "../../kernels/cuda/cuda.h"
#include "../gpu/gpu.h"

#include <dlfcn.h>
#include <stdlib.h>

#define SECTOR 32 /* bytes */

/* Of one launch or of some. */
struct traffic {
    int64_t read, written;                 /* bytes */
    int64_t sectors_read, sectors_written; /* of SECTOR bytes */
};

static struct {
    bool (*kernel)(const char *name, struct gpu_kernel_counts *out);
    void (*calls)(struct gpu_counts *out);
    bool were_wanted;
    struct gpu_kernel_counts seen[KERNEL_COUNT];
} costs;

/* The simulated GPU reads it with its first call. */
__attribute__((constructor)) static void costs_ask(void)
{
    static char setting[] = "GPU_COUNTERS=1";
    costs.were_wanted = getenv("GPU_COUNTERS");
    if (!costs.were_wanted)
        CHECK_EQ(putenv(setting), 0);
}

/* Runs before the library's own end, which prints a table of all kernels where tests/run.sh looks
 * for the numbers of passed and failed tests. */
__attribute__((destructor)) static void costs_end(void)
{
    if (costs.kernel && !costs.were_wanted)
        CHECK(freopen("/dev/null", "w", stderr) != NULL);
}

/* C does not convert between pointers to data and to code; POSIX has both of one size. */
static inline void costs_find(void *library, const char *symbol, void *function)
{
    void *at = dlsym(library, symbol);
    memcpy(function, &at, sizeof at);
}

/* False, and the test is skipped: there is no driver, or it is a real one. */
static inline bool costs_open(void)
{
    static struct err err; /* t_skip keeps the text */
    if (backend_cuda.probe(&err)) {
        t_skip(err.text);
        return false;
    }
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library) {
        costs_find(library, "gpu_kernel_counts", &costs.kernel);
        costs_find(library, "gpu_counts", &costs.calls);
    }
    if (!costs.kernel || !costs.calls)
        t_skip("a card does not count what kernels ask for");
    return costs.kernel && costs.calls;
}

static inline const char *costs_name(enum kernel kernel)
{
    static const char *const names[] = {
#define KERNEL(name) #name,
#include "../../kernels/cuda/kernels.def"
#undef KERNEL
    };
    return names[kernel];
}

/* Since it was last asked for. */
static inline struct gpu_kernel_counts costs_of(enum kernel kernel)
{
    struct gpu_kernel_counts now = {0}, *seen = &costs.seen[kernel], since;
    if (!costs.kernel(costs_name(kernel), &now) || now.launches == seen->launches)
        t_fail(__FILE__, __LINE__, "%s did not run, or nothing is counted", costs_name(kernel));
    since = (struct gpu_kernel_counts){
        .launches = now.launches - seen->launches,
        .global_bytes_read = now.global_bytes_read - seen->global_bytes_read,
        .global_bytes_written = now.global_bytes_written - seen->global_bytes_written,
        .sectors_read = now.sectors_read - seen->sectors_read,
        .sectors_written = now.sectors_written - seen->sectors_written,
        .fresh_read = now.fresh_read - seen->fresh_read,
        .fresh_written = now.fresh_written - seen->fresh_written,
        .shared_requests = now.shared_requests - seen->shared_requests,
        .wavefronts = now.wavefronts - seen->wavefronts,
        .mma = now.mma - seen->mma,
        .divergent = now.divergent - seen->divergent,
    };
    *seen = now;
    return since;
}

static inline struct traffic traffic_of(const struct gpu_kernel_counts *counts)
{
    return (struct traffic){(int64_t)counts->global_bytes_read,
                            (int64_t)counts->global_bytes_written, (int64_t)counts->sectors_read,
                            (int64_t)counts->sectors_written};
}

/* What is read and written at least, in whole sectors. */
static inline struct traffic traffic_least(int64_t read, int64_t written)
{
    return (struct traffic){read, written, (read + SECTOR - 1) / SECTOR,
                            (written + SECTOR - 1) / SECTOR};
}

static inline void add_read(struct traffic *t, int64_t bytes, int64_t sectors)
{
    t->read += bytes;
    t->sectors_read += sectors;
}

static inline void add_written(struct traffic *t, int64_t bytes, int64_t sectors)
{
    t->written += bytes;
    t->sectors_written += sectors;
}

/* n warps each read one value of 4 bytes that all their lanes want. */
static inline void add_broadcasts(struct traffic *t, int64_t n)
{
    add_read(t, n * WARP * 4, n);
}

/* A line of the table: sectors against the least there must be. */
static inline void print_traffic(const char *what, enum kernel kernel, const struct traffic *got,
                                 const struct traffic *least)
{
    int64_t sectors = got->sectors_read + got->sectors_written;
    int64_t need = least->sectors_read + least->sectors_written;
    printf("  %-16s %-30s bytes %9lld sectors %7lld = %9lld bytes, least %9lld: %.3f\n",
           costs_name(kernel), what, (long long)(got->read + got->written), (long long)sectors,
           (long long)(sectors * SECTOR), (long long)(least->read + least->written),
           (double)sectors / (double)need);
}

/* want is the formula of the design. Bytes must be those of it, and sectors no more than extra
 * beyond it, where a sector may be met twice. */
static inline void check_traffic(const char *what, enum kernel kernel, const struct traffic *got,
                                 const struct traffic *want, int64_t extra)
{
    int64_t read = got->sectors_read - want->sectors_read;
    int64_t written = got->sectors_written - want->sectors_written;
    if (got->read != want->read || got->written != want->written || read < 0 || read > extra ||
        written < 0 || written > extra)
        t_fail(__FILE__, __LINE__,
               "%s, %s: read %lld bytes in %lld sectors, want %lld in %lld; wrote %lld in %lld, "
               "want %lld in %lld",
               costs_name(kernel), what, (long long)got->read, (long long)got->sectors_read,
               (long long)want->read, (long long)want->sectors_read, (long long)got->written,
               (long long)got->sectors_written, (long long)want->written,
               (long long)want->sectors_written);
}

/* What DRAM must move, where L2 holds what is asked for again, in percent of the least there must
 * be; and whether lanes want all that their sectors hold. A value that all lanes want makes the
 * bytes more than the sectors. */
static inline void check_least(const char *what, enum kernel kernel,
                               const struct gpu_kernel_counts *counts, const struct traffic *least,
                               int64_t most_percent)
{
    const int64_t moved = (int64_t)(counts->fresh_read + counts->fresh_written);
    const int64_t need = least->sectors_read + least->sectors_written;
    const int64_t sectors = (int64_t)(counts->sectors_read + counts->sectors_written);
    const int64_t bytes = (int64_t)(counts->global_bytes_read + counts->global_bytes_written);
    printf("  %-16s %-30s moves %lld sectors, least %lld: %.3f; asks for %.3f of its bytes\n",
           costs_name(kernel), what, (long long)moved, (long long)need,
           (double)moved / (double)need, (double)sectors * SECTOR / (double)bytes);
    if (moved * 100 > need * most_percent)
        t_fail(__FILE__, __LINE__, "%s, %s: %lld sectors move, %lld percent of %lld allowed",
               costs_name(kernel), what, (long long)moved, (long long)most_percent,
               (long long)need);
    if (sectors * SECTOR * 100 > bytes * 105)
        t_fail(__FILE__, __LINE__, "%s, %s: %lld sectors for %lld bytes, 105 percent allowed",
               costs_name(kernel), what, (long long)sectors, (long long)bytes);
}

/* Percent of the wavefronts that there would be without a conflict. A few may be less: nvcc joins
 * loads for some architectures. */
static inline void check_wavefronts(const char *what, enum kernel kernel,
                                    const struct gpu_kernel_counts *counts, int64_t ideal,
                                    int64_t most_percent)
{
    printf("  %-16s %-30s wavefronts %7llu, without conflicts %7lld: %.3f\n", costs_name(kernel),
           what, (unsigned long long)counts->wavefronts, (long long)ideal,
           (double)counts->wavefronts / (double)ideal);
    if ((int64_t)counts->wavefronts * 100 > ideal * most_percent ||
        (int64_t)counts->wavefronts * 100 < ideal * 95)
        t_fail(__FILE__, __LINE__, "%s, %s: %llu wavefronts, %lld to %lld percent of that allowed",
               costs_name(kernel), what, (unsigned long long)counts->wavefronts, (long long)ideal,
               (long long)most_percent);
}
#endif
