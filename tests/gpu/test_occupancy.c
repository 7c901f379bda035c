/* How many warps of each kernel an SM holds, by NVIDIA's own calculator (cuda_occupancy.h) from
 * what ptxas says of registers and shared memory in the logs that make leaves. A number below the
 * one in the table fails: a change took registers or shared memory that cost residency. */
#include "t.h"

#include "kernels/cuda/attend.h"
#include "kernels/cuda/skinny.h"

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
 *   skinny_8, _16  each warp has 4 KiB and more of weights on their way to shared memory; sums of
 *                  16 rows and the activations of a chunk in registers. Two blocks of an SM are
 *                  launched.
 *   tile_*         sums of 32 rows and all tokens of the block in registers. Two blocks need 128
 *   experts_*      registers and would spill; shared memory, whose stages are as many as fit
 *                  (tile_cut_of), is not counted here.
 *   choose         a block of 1024 threads for each row, of which there are few.
 *   decode_*       keys and values of one or two tiles stand in shared memory, 24 to 79 KiB a
 *                  block. Copies in flight are whole tiles of a block, not a few words of a warp.
 *   prefill_*      sums of a split and those before it, for 16 rows and all columns, in
 *                  registers. */
static const struct {
    const char *name;
    int threads, shared; /* of a block; dynamic bytes */
    int tokens, layout;  /* of skinny.h, whose shared memory is for rows of 4096 */
    int target[ARCHS];   /* warps of an SM, of 64 or 48 */
} kernels[] = {
#define DECODE(W, int8)  DECODE_SHARED(W, int8, 1)
#define PREFILL(W, int8) PREFILL_SHARED(W, int8)
    {.name = "embed", .threads = 256, .target = {64, 48, 64, 48}},
    {.name = "prepare", .threads = 256, .target = {24, 24, 24, 24}},
    {.name = "add_norm", .threads = 256, .target = {24, 24, 24, 24}},
    {.name = "gate", .threads = 256, .target = {64, 48, 64, 48}},
    {.name = "dense_unpack", .threads = 256, .target = {32, 32, 32, 32}},
    {.name = "dense_finish", .threads = 256, .target = {64, 48, 64, 48}},
    {.name = "skinny_1_bf16",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_BF16,
     .target = {24, 16, 32, 16}},
    {.name = "skinny_1_int4_d",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_INT4_D,
     .target = {16, 16, 32, 16}},
    {.name = "skinny_1_int4_dm",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_INT4_DM,
     .target = {16, 8, 32, 8}},
    {.name = "skinny_1_int4_k",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_INT4_K,
     .target = {16, 16, 32, 16}},
    {.name = "skinny_1_int4_z",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_INT4_Z,
     .target = {16, 8, 32, 8}},
    {.name = "skinny_1_int4_z128",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_INT4_Z128,
     .target = {24, 16, 32, 16}},
    {.name = "skinny_1_e2m1",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_E2M1,
     .target = {16, 16, 32, 16}},
    {.name = "skinny_1_e2m1_16",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_E2M1_16,
     .target = {16, 16, 32, 16}},
    {.name = "skinny_1_int8_d",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_INT8_D,
     .target = {24, 16, 32, 16}},
    {.name = "skinny_1_int8_dm",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_INT8_DM,
     .target = {24, 16, 32, 16}},
    {.name = "skinny_1_int8_k",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_INT8_K,
     .target = {16, 16, 32, 16}},
    {.name = "skinny_1_int8_k16",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_INT8_K16,
     .target = {24, 16, 32, 16}},
    {.name = "skinny_1_int8_row",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_INT8_ROW,
     .target = {24, 16, 32, 16}},
    {.name = "skinny_1_fp8_row",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_FP8_ROW,
     .target = {24, 16, 32, 16}},
    {.name = "skinny_1_fp8_128",
     .threads = 256,
     .tokens = 1,
     .layout = LAYOUT_FP8_128,
     .target = {24, 16, 32, 16}},
    {.name = "skinny_8_bf16",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_BF16,
     .target = {32, 16, 32, 16}},
    {.name = "skinny_8_int4_d",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_INT4_D,
     .target = {16, 16, 16, 16}},
    {.name = "skinny_8_int4_dm",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_INT4_DM,
     .target = {16, 16, 16, 16}},
    {.name = "skinny_8_int4_k",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_INT4_K,
     .target = {16, 16, 16, 16}},
    {.name = "skinny_8_int4_z",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_INT4_Z,
     .target = {16, 16, 16, 16}},
    {.name = "skinny_8_int4_z128",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_INT4_Z128,
     .target = {16, 16, 16, 16}},
    {.name = "skinny_8_e2m1",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_E2M1,
     .target = {16, 16, 16, 16}},
    {.name = "skinny_8_e2m1_16",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_E2M1_16,
     .target = {16, 16, 16, 16}},
    {.name = "skinny_8_int8_d",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_INT8_D,
     .target = {24, 16, 24, 16}},
    {.name = "skinny_8_int8_dm",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_INT8_DM,
     .target = {24, 16, 24, 16}},
    {.name = "skinny_8_int8_k",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_INT8_K,
     .target = {24, 16, 16, 16}},
    {.name = "skinny_8_int8_k16",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_INT8_K16,
     .target = {16, 16, 16, 16}},
    {.name = "skinny_8_int8_row",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_INT8_ROW,
     .target = {24, 16, 32, 16}},
    {.name = "skinny_8_fp8_row",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_FP8_ROW,
     .target = {24, 16, 32, 16}},
    {.name = "skinny_8_fp8_128",
     .threads = 256,
     .tokens = 8,
     .layout = LAYOUT_FP8_128,
     .target = {24, 16, 24, 16}},
    {.name = "skinny_16_bf16",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_BF16,
     .target = {24, 16, 32, 16}},
    {.name = "skinny_16_int4_d",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_INT4_D,
     .target = {16, 8, 16, 8}},
    {.name = "skinny_16_int4_dm",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_INT4_DM,
     .target = {16, 8, 16, 8}},
    {.name = "skinny_16_int4_k",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_INT4_K,
     .target = {16, 8, 16, 8}},
    {.name = "skinny_16_int4_z",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_INT4_Z,
     .target = {16, 8, 16, 8}},
    {.name = "skinny_16_int4_z128",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_INT4_Z128,
     .target = {16, 8, 16, 8}},
    {.name = "skinny_16_e2m1",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_E2M1,
     .target = {16, 8, 16, 8}},
    {.name = "skinny_16_e2m1_16",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_E2M1_16,
     .target = {16, 8, 16, 8}},
    {.name = "skinny_16_int8_d",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_INT8_D,
     .target = {16, 8, 16, 8}},
    {.name = "skinny_16_int8_dm",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_INT8_DM,
     .target = {16, 8, 16, 8}},
    {.name = "skinny_16_int8_k",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_INT8_K,
     .target = {16, 8, 16, 8}},
    {.name = "skinny_16_int8_k16",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_INT8_K16,
     .target = {16, 8, 16, 8}},
    {.name = "skinny_16_int8_row",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_INT8_ROW,
     .target = {16, 8, 16, 8}},
    {.name = "skinny_16_fp8_row",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_FP8_ROW,
     .target = {16, 8, 16, 8}},
    {.name = "skinny_16_fp8_128",
     .threads = 256,
     .tokens = 16,
     .layout = LAYOUT_FP8_128,
     .target = {16, 8, 16, 8}},
    {.name = "tile_32_bf16", .threads = 256, .target = {16, 16, 16, 16}},
    {.name = "tile_32_int4_d", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_32_int4_dm", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_32_int4_k", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_32_int4_z", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_32_int4_z128", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_32_e2m1", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_32_e2m1_16", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_32_int8_d", .threads = 256, .target = {8, 8, 16, 8}},
    {.name = "tile_32_int8_dm", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_32_int8_k", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_32_int8_k16", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_32_int8_row", .threads = 256, .target = {16, 16, 16, 16}},
    {.name = "tile_32_fp8_row", .threads = 256, .target = {16, 16, 16, 16}},
    {.name = "tile_32_fp8_128", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_bf16", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_int4_d", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_int4_dm", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_int4_k", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_int4_z", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_int4_z128", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_e2m1", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_e2m1_16", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_int8_d", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_int8_dm", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_int8_k", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_int8_k16", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_int8_row", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_fp8_row", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_64_fp8_128", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "tile_128_bf16", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_choose", .threads = 256, .target = {64, 48, 64, 48}},
    {.name = "experts_slots", .threads = 1024, .target = {64, 32, 64, 32}},
    {.name = "experts_bf16", .threads = 256, .target = {16, 16, 16, 16}},
    {.name = "experts_int4_d", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_int4_dm", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_int4_k", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_int4_z", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_int4_z128", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_e2m1", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_e2m1_16", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_int8_d", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_int8_dm", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_int8_k", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_int8_k16", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_int8_row", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_fp8_row", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_fp8_128", .threads = 256, .target = {8, 8, 8, 8}},
    {.name = "experts_add", .threads = 256, .target = {64, 48, 64, 48}},
    {.name = "head_notes", .threads = 256, .target = {64, 48, 64, 48}},
    {.name = "choose", .threads = 1024, .target = {32, 32, 32, 32}},
    {.name = "rotate_bf16", .threads = 256, .target = {40, 40, 40, 40}},
    {.name = "rotate_int8", .threads = 256, .target = {40, 40, 40, 40}},
    {.name = "rotate_fp8", .threads = 256, .target = {40, 40, 40, 40}},
    {.name = "decode_bf16_64",
     .threads = 128,
     .shared = DECODE(64, false),
     .target = {16, 8, 16, 8}},
    {.name = "decode_bf16_128",
     .threads = 128,
     .shared = DECODE(128, false),
     .target = {8, 4, 12, 4}},
    {.name = "decode_bf16_256",
     .threads = 128,
     .shared = DECODE(256, false),
     .target = {8, 4, 8, 4}},
    {.name = "decode_int8_64",
     .threads = 128,
     .shared = DECODE(64, true),
     .target = {16, 16, 16, 16}},
    {.name = "decode_fp8_64",
     .threads = 128,
     .shared = DECODE(64, true),
     .target = {16, 16, 16, 16}},
    {.name = "decode_int8_128",
     .threads = 128,
     .shared = DECODE(128, true),
     .target = {12, 8, 12, 8}},
    {.name = "decode_fp8_128",
     .threads = 128,
     .shared = DECODE(128, true),
     .target = {12, 8, 12, 8}},
    {.name = "decode_int8_256",
     .threads = 128,
     .shared = DECODE(256, true),
     .target = {8, 4, 8, 4}},
    {.name = "decode_fp8_256", .threads = 128, .shared = DECODE(256, true), .target = {8, 4, 8, 4}},
    {.name = "prefill_bf16_64",
     .threads = 128,
     .shared = PREFILL(64, false),
     .target = {12, 8, 12, 8}},
    {.name = "prefill_bf16_128",
     .threads = 256,
     .shared = PREFILL(128, false),
     .target = {8, 8, 8, 8}},
    {.name = "prefill_bf16_256",
     .threads = 256,
     .shared = PREFILL(256, false),
     .target = {8, 8, 8, 8}},
    {.name = "prefill_int8_64",
     .threads = 128,
     .shared = PREFILL(64, true),
     .target = {12, 12, 12, 12}},
    {.name = "prefill_fp8_64",
     .threads = 128,
     .shared = PREFILL(64, true),
     .target = {12, 12, 12, 12}},
    {.name = "prefill_int8_128",
     .threads = 256,
     .shared = PREFILL(128, true),
     .target = {8, 8, 8, 8}},
    {.name = "prefill_fp8_128",
     .threads = 256,
     .shared = PREFILL(128, true),
     .target = {8, 8, 8, 8}},
    {.name = "prefill_int8_256",
     .threads = 256,
     .shared = PREFILL(256, true),
     .target = {8, 8, 8, 8}},
    {.name = "prefill_fp8_256",
     .threads = 256,
     .shared = PREFILL(256, true),
     .target = {8, 8, 8, 8}},
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
    static const char *const names[] = {"decode",   "dense",   "embed",  "head", "prefill",
                                        "prepare",  "rotate",  "skinny", "tile", "choose",
                                        "add_norm", "experts", "gate"};
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
    const int tokens = kernels[kernel].tokens;
    const int shared = tokens ? skinny_shared(kernels[kernel].layout, tokens, 1, 4096,
                                              arch_has_fp8(arch[at].capability))
                              : kernels[kernel].shared;
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
        .maxDynamicSharedSizeBytes = (size_t)shared,
        .numBlockBarriers = 1,
    };
    const cudaOccDeviceState state = {.carveoutConfig = SHAREDMEM_CARVEOUT_DEFAULT};
    cudaOccResult result;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state,
                                                kernels[kernel].threads, (size_t)shared))
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
