/* What an instruction cost, added up over all launches of its function. The numbers are what
 * a warp instruction asks of the memory system, not times. */
#pragma once

#include "exec.h"

struct ptx_counts {
    uint64_t warps;      /* executions by a warp (a part of one counts) */
    uint64_t lanes;      /* active lanes of them */
    uint64_t bytes;      /* asked for by the lanes, global and shared */
    uint64_t sectors;    /* 32-byte sectors of global memory touched */
    uint64_t fresh;      /* of them, those that their launch had not read, or written, before */
    uint64_t wavefronts; /* shared memory: passes over the 32 banks of 4 bytes */
    uint64_t divergent;  /* branches that parted a warp's lanes */
};

/* One warp-wide access: the lanes' addresses and the width of each, for lanes of mask. */
void count_global(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                  const uint64_t *address, uint32_t bytes, bool writes);
void count_shared(struct warp *w, const struct ptx_instr *in, uint32_t mask, const uint64_t *offset,
                  uint32_t bytes);

struct function_totals {
    uint64_t launches, warp_instructions, lane_instructions;
    uint64_t global_bytes_read, global_bytes_written;
    uint64_t sectors_read, sectors_written;
    uint64_t fresh_read, fresh_written;
    uint64_t shared_requests, wavefronts;
    uint64_t mma, divergent;
};

/* Takes function->counts if there is none yet; false: no memory. The last of them counts
 * launches, in warps. */
bool counters_open(const struct ptx_function *function);

void counters_sum(const struct ptx_function *function, struct function_totals *out);
void counters_reset(const struct ptx_function *function);
