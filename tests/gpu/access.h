/* One lane's access in any state space, for mem_access.c and mem_atomic.c. */
#pragma once

#include "memory.h"
#include "shared.h"

enum access_space {
    ACCESS_GENERIC,
    ACCESS_GLOBAL,
    ACCESS_SHARED,
    ACCESS_LOCAL,
    ACCESS_CONST,
    ACCESS_PARAM,
};

enum access_kind { ACCESS_READ, ACCESS_WRITE, ACCESS_ATOMIC };

/* The address resolved to its space and, but for global memory, to its offset in it. */
struct place {
    enum access_space space;
    uint64_t at;
};

struct place access_place(enum access_space space, uint64_t address);

/* The host address of the access, checked for all that its space is checked for. */
uint8_t *access_check(struct warp *w, const struct ptx_instr *in, int lane, struct place place,
                      uint32_t bytes, enum access_kind kind);
/* Of an atomic access; fences: races.h. */
uint8_t *access_check_atomic(struct warp *w, const struct ptx_instr *in, int lane,
                             struct place place, uint32_t bytes, uint32_t fences);

/* Counts one warp-wide access, if the launch counts; place and bytes of the lanes of mask. */
void access_count(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                  const struct place *place, uint32_t bytes, bool writes);

/* Checks and counts the accesses of all lanes of mask (not 0). host, (32), gets where they are;
 * of other lanes what one of mask has, so that a loop over all may read there. */
void access_lanes(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                  enum access_space space, const uint64_t *address, uint32_t bytes,
                  enum access_kind kind, uint64_t *host);

/* Reads the part of an opcode behind its name: "global.nc.v4.f32". Each takes what it knows
 * from *rest and returns true. */
bool access_take(const char **rest, const char *word);
bool access_take_space(const char **rest, enum access_space *space);
/* weak, volatile, relaxed.gpu, acq_rel.sys ...: the simulation has one order of memory. Which
 * fences it brings along: races.h. */
uint32_t access_take_order(const char **rest);
