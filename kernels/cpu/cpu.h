/* The CPU back end: a device is a pool of threads (lanes), the KV pool and shared
 * scratch. Operations live in isa/, one family per file, compiled once per
 * instruction set; the best table the machine can run is picked at open. */
#pragma once

#include "../backend.h"

#include <stdatomic.h>

/* Each includes those before it; 0 asks for the fastest. */
enum isa { ISA_AUTO, ISA_ID_PLAIN, ISA_ID_AVX2, ISA_ID_AVX512, ISA_ID_AVX512BF16, ISA_COUNT };

/* What one instruction set provides. Tables isa_plain, isa_avx2, ... are
 * defined in isa/table.c, compiled once per instruction set. */
struct isa_table {
    const char *name; /* "avx512-vnni" */

#define OP(name, doc) \
    int (*name)(struct lane * lane, const struct op_##name *op, const struct batch *batch);
#include "../ops.def"
#undef OP

    /* Shared scratch of linear and head, all lanes together; and of attend, per lane. */
    size_t (*linear_scratch_bytes)(const struct device_config *config);
    size_t (*attend_scratch_bytes)(const struct device_config *config);

    /* See struct backend. pack_tiles packs tiles [first, last) of 16 rows. */
    size_t (*packed_bytes)(const struct device_config *config, enum fmt fmt, int32_t N, int32_t K);
    void (*pack_tiles)(const struct device_config *config, const struct weight_source *source,
                       struct weight *out, int32_t first, int32_t last);
};

extern const struct isa_table isa_plain, isa_avx2, isa_avx512, isa_avx512bf16;

/* What kernels do as a processor likes it, whatever the instruction set. */
struct cpu_habits {
    size_t fetch_ahead; /* bytes before their use that weights in integers are best fetched; 0: as
                           many as each instruction set has found for itself */
    bool loads_bound;   /* as many products of int8 a cycle as loads: tiles share their inputs, and
                           6 bits become bytes once for several blocks of columns */
};

struct pool; /* threads and the barrier: pool.c */

struct device {
    struct device_config config;
    const struct mem *mem; /* borrowed */
    const struct isa_table *isa;
    struct cpu_habits habits;
    struct pool *pool;
    char description[128];

    uint8_t *kv; /* (pages, L, K, block): see kv.h */
    size_t kv_bytes;
    size_t kv_page; /* bytes of one */
    void *linear_scratch;
    size_t linear_scratch_bytes;
    void *attend_scratch; /* (threads, attend_scratch_bytes) */
    size_t attend_scratch_bytes;
};

/* One thread of the pool while a body runs. */
struct lane {
    struct device *device;
    int id, count;
};

/* Waits until every lane of the run has come here. The last to come resets the chunk
 * counter. Spins for tens of microseconds, then sleeps. Here, in the next two and in the
 * middle of long shares a lane stops at the end of a time slice. */
void lane_barrier(struct lane *lane);

/* The next number 0, 1, 2, ... handed out to any lane since the last barrier: shares a
 * list of chunks when lanes differ in speed. */
int lane_take(struct lane *lane);

/* The same from a list of the lane `owner`, each of whom has one: who is through with its own goes
 * on with those of others. Only where barriers are between lists, and more lanes than one. */
int lane_take_of(struct lane *lane, int owner);

/* Counts calls at one of LANE_PLACES places for each lane: place 0, 1, ... True for the n-th,
 * which sees what the others wrote before theirs; the count is 0 again. Shares work that
 * needs all pieces of something without a barrier for everything. */
#define LANE_PLACES 2
bool lane_is_last(struct lane *lane, int place, int n);

/* The contiguous share [*first, *last) of n items for this lane. */
static inline void lane_share(const struct lane *lane, int n, int *first, int *last)
{
    *first = (int)((int64_t)n * lane->id / lane->count);
    *last = (int)((int64_t)n * (lane->id + 1) / lane->count);
}
