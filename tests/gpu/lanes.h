/* Reading and writing lanes in the warp-wide instructions. Results are written for the lanes of a
 * mask; an operand may be the register of the result, so a handler computes into an array of its
 * own and stores at the end. */
#pragma once

#include "exec.h"

/* A result nobody wants (PTX_NONE) is NULL. */
static inline void store_lanes(uint32_t *to, const uint32_t *from, uint32_t mask)
{
    if (!to)
        return;
    for (uint32_t l = 0; l < WARP_LANES; l++)
        to[l] = mask >> l & 1 ? from[l] : to[l];
}

static inline void store_uniform(uint32_t *to, uint32_t value, uint32_t mask)
{
    if (!to)
        return;
    for (uint32_t l = 0; l < WARP_LANES; l++)
        to[l] = mask >> l & 1 ? value : to[l];
}

static inline void store_pred(uint32_t *to, uint32_t lanes, uint32_t mask)
{
    if (to)
        *to = (*to & ~mask) | (lanes & mask);
}

/* Lane l's address from the operand in slot k, [x + offset]. In 32 bits the sum wraps around: x
 * alone may lie before the start of shared memory. */
static inline uint64_t lane_address(const struct warp *w, const struct ptx_instr *in, int k,
                                    bool is32, int64_t offset, int lane)
{
    if (is32)
        return slot32(w, in, k)[lane] + (uint32_t)offset;
    return slot64(w, in, k)[lane] + (uint64_t)offset;
}
