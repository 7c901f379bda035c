/* How many warps of each kernel an SM holds, by NVIDIA's own calculator (cuda_occupancy.h) from
 * what ptxas says of registers and shared memory in the logs that make leaves. A number below the
 * one in the table fails: a change took registers or shared memory that cost residency. */
#include "t.h"

#include "kernels/cuda/attend.h"

#include <cuda_occupancy.h>
#include <limits.h>
#include <stdlib.h>

enum { ARCHS = 4, WARP = 32 };

/* CUDA C++ Programming Guide 13.0, table "Technical Specifications per Compute Capability". */
static const struct {
    int capability, threads, shared_kib, shared_block_kib;
} arch[ARCHS] = {
    {80, 2048, 164, 163}, {89, 1536, 100, 99}, {90, 2048, 228, 227}, {120, 1536, 100, 99}};

/* Below 25 of 100, and why:
 *   skinny_64      about 156 registers: sums of 16 rows and 64 tokens, and two tiles, which are
 *                  2 KiB of weights in flight for each warp.
 *   tile_int*      sums of a slice and of the slices before it, for 16 rows and 64 tokens: 64
 *                  registers before anything else. Two blocks need 128 registers and would spill.
 *   decode_*_128, _256   keys and values of a tile stand in shared memory as bfloat16: 40 and 76
 *                  KiB a block. Copies in flight are a whole tile a block, not a few words a warp.
 *   prefill_*      sums of a split and those before it, for 16 rows and all columns, in
 *                  registers. */
static const struct {
    const char *name;
    int threads, shared; /* of a block; dynamic bytes */
    int target[ARCHS];   /* warps of an SM, of 64 or 48 */
} kernels[] = {
#define DECODE(W, int8)  ATTEND_SHARED(W, DECODE_ROWS, int8, true)
#define PREFILL(W, int8) ATTEND_SHARED(W, PREFILL_ROWS, int8, false)
    {"embed", 256, 0, {64, 48, 64, 48}},
    {"prepare", 256, 0, {64, 48, 64, 48}},
    {"skinny_8", 256, 0, {16, 16, 16, 16}},
    {"skinny_16", 256, 0, {16, 16, 16, 16}},
    {"skinny_32", 256, 0, {16, 16, 16, 16}},
    {"skinny_64", 256, 0, {8, 8, 8, 8}},
    {"tile_bf16", 256, 0, {16, 16, 16, 16}},
    {"tile_int4_d", 256, 0, {8, 8, 8, 8}},
    {"tile_int4_dm", 256, 0, {8, 8, 8, 8}},
    {"tile_int4_k", 256, 0, {8, 8, 8, 8}},
    {"tile_int8_d", 256, 0, {8, 8, 8, 8}},
    {"tile_int8_dm", 256, 0, {8, 8, 8, 8}},
    {"tile_int8_k", 256, 0, {8, 8, 8, 8}},
    {"tile_int8_k16", 256, 0, {8, 8, 8, 8}},
    {"head_notes", 256, 0, {64, 48, 64, 48}},
    {"rotate_bf16", 256, 0, {48, 48, 48, 48}},
    {"rotate_int8", 256, 0, {48, 48, 48, 48}},
    {"decode_bf16_64", 128, DECODE(64, false), {24, 16, 24, 16}},
    {"decode_bf16_128", 128, DECODE(128, false), {12, 8, 20, 8}},
    {"decode_bf16_256", 128, DECODE(256, false), {8, 4, 8, 4}},
    {"decode_int8_64", 128, DECODE(64, true), {20, 16, 20, 16}},
    {"decode_int8_128", 128, DECODE(128, true), {12, 8, 16, 8}},
    {"decode_int8_256", 128, DECODE(256, true), {8, 4, 8, 4}},
    {"decode_merge", 256, 0, {64, 48, 64, 48}},
    {"prefill_bf16_64", 128, PREFILL(64, false), {12, 12, 12, 8}},
    {"prefill_bf16_128", 128, PREFILL(128, false), {8, 8, 8, 8}},
    {"prefill_bf16_256", 256, PREFILL(256, false), {8, 8, 8, 8}},
    {"prefill_int8_64", 128, PREFILL(64, true), {8, 8, 8, 8}},
    {"prefill_int8_128", 128, PREFILL(128, true), {8, 8, 8, 8}},
    {"prefill_int8_256", 256, PREFILL(256, true), {8, 8, 8, 8}},
};

enum { KERNELS = sizeof kernels / sizeof *kernels };

/* Of one kernel for one architecture; registers 0: in no log. */
struct usage {
    int registers, shared; /* static bytes */
};

static struct usage usage[KERNELS][ARCHS];

static int find_kernel(const char *name)
{
    int i = 0;
    while (i < KERNELS && strcmp(kernels[i].name, name) != 0)
        i++;
    return i;
}

static int find_arch(int capability)
{
    int i = 0;
    while (i < ARCHS && arch[i].capability != capability)
        i++;
    return i;
}

/* "Compiling entry function 'NAME' for 'sm_80'" and, further on, "Used N registers, ... M bytes
 * smem". Kernels and architectures that the tables lack are passed over. */
static void read_log(FILE *log)
{
    char line[512], name[128];
    int capability, kernel = KERNELS, at = ARCHS;
    while (fgets(line, sizeof line, log)) {
        const char *entry = strstr(line, "entry function '"), *used = strstr(line, "Used ");
        if (entry &&
            sscanf(entry, "entry function '%127[^']' for 'sm_%d'", name, &capability) == 2) {
            kernel = find_kernel(name);
            at = find_arch(capability);
        }
        if (!used || kernel == KERNELS || at == ARCHS)
            continue;
        const char *end = strstr(used, " bytes smem");
        while (end && end > used && end[-1] >= '0' && end[-1] <= '9')
            end--;
        usage[kernel][at] = (struct usage){atoi(used + strlen("Used ")), end ? atoi(end) : 0};
    }
}

/* One for each .cu; false: make has left none. */
static bool read_logs(void)
{
    static const char *const names[] = {"decode",  "embed",  "head",   "prefill",
                                        "prepare", "rotate", "skinny", "tile"};
    const char *build = getenv("BUILD");
    int n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        (void)snprintf(path, sizeof path, "%s/cuda/%s.log", build ? build : "build", names[i]);
        FILE *log = fopen(path, "r");
        if (!log)
            continue;
        read_log(log);
        (void)fclose(log);
        n++;
    }
    return n > 0;
}

/* Warps that an SM holds; -1: it can hold no block. */
static int resident_warps(int kernel, int at, int *limit)
{
    const cudaOccDeviceProp device = {
        .computeMajor = arch[at].capability / 10,
        .computeMinor = arch[at].capability % 10,
        .maxThreadsPerBlock = 1024,
        .maxThreadsPerMultiprocessor = arch[at].threads,
        .regsPerBlock = 65536,
        .regsPerMultiprocessor = 65536,
        .warpSize = WARP,
        .sharedMemPerBlock = 48 << 10,
        .sharedMemPerMultiprocessor = (size_t)arch[at].shared_kib << 10,
        .numSms = 1,
        .sharedMemPerBlockOptin = (size_t)arch[at].shared_block_kib << 10,
        .reservedSharedMemPerBlock = 1 << 10,
    };
    const cudaOccFuncAttributes function = {
        .maxThreadsPerBlock = INT_MAX,
        .numRegs = usage[kernel][at].registers,
        .sharedSizeBytes = (size_t)usage[kernel][at].shared,
        .partitionedGCConfig = PARTITIONED_GC_OFF,
        .shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN,
        .maxDynamicSharedSizeBytes = (size_t)kernels[kernel].shared,
        .numBlockBarriers = 1,
    };
    const cudaOccDeviceState state = {.carveoutConfig = SHAREDMEM_CARVEOUT_DEFAULT};
    cudaOccResult result;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state,
                                                kernels[kernel].threads,
                                                (size_t)kernels[kernel].shared))
        return -1;
    *limit = (int)result.limitingFactors;
    return result.activeBlocksPerMultiprocessor * kernels[kernel].threads / WARP;
}

static const char *limit_name(int limit)
{
    return limit & OCC_LIMIT_REGISTERS       ? "reg"
           : limit & OCC_LIMIT_SHARED_MEMORY ? "smem"
           : limit & OCC_LIMIT_WARPS         ? "-"
                                             : "block";
}

static void check_kernel(int kernel)
{
    printf("  %-18s", kernels[kernel].name);
    for (int at = 0; at < ARCHS; at++) {
        const int all = arch[at].threads / WARP;
        int limit = 0;
        if (!usage[kernel][at].registers) { /* not among CUDA_ARCHS */
            printf("  %18s", "");
            continue;
        }
        const int warps = resident_warps(kernel, at, &limit);
        printf("  %3d of %d %3d%% %-5s", warps, all, 100 * warps / all, limit_name(limit));
        if (warps < kernels[kernel].target[at])
            t_fail(__FILE__, __LINE__, "%s on sm_%d: %d warps, %d are the least",
                   kernels[kernel].name, arch[at].capability, warps, kernels[kernel].target[at]);
    }
    printf("\n");
}

TEST(occupancy, is_what_the_table_says)
{
    static const char *const every[] = {
#define KERNEL(name) #name,
#include "kernels/cuda/kernels.def"
#undef KERNEL
    };
    if (!read_logs()) {
        t_skip("no logs of ptxas: make");
        return;
    }
    printf("  %-18s  warps of an SM, and what is the limit: sm_80, sm_89, sm_90, sm_120\n", "");
    for (int i = 0; i < KERNELS; i++)
        check_kernel(i);
    for (size_t i = 0; i < sizeof every / sizeof *every; i++) {
        const int kernel = find_kernel(every[i]);
        bool found = false;
        for (int at = 0; at < ARCHS && kernel < KERNELS; at++)
            found = found || usage[kernel][at].registers;
        if (!found)
            t_fail(__FILE__, __LINE__, "%s is in no log or not in the table", every[i]);
    }
}
