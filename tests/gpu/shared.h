/* Shared memory of a CTA and its shadow: who wrote and who read each byte since the last
 * barrier, which bytes were ever written, which are the target of a cp.async in flight. */
#pragma once

#include "exec.h"

/* Offsets from the start of the CTA's shared memory. Each checks bounds, alignment,
 * initialisation, cp.async in flight and races with other warps, and gives the host address. */
uint8_t *shared_read(struct warp *w, const struct ptx_instr *in, int lane, uint64_t offset,
                     uint32_t bytes);
uint8_t *shared_write(struct warp *w, const struct ptx_instr *in, int lane, uint64_t offset,
                      uint32_t bytes);
/* A read-modify-write that is atomic: two of them do not race with each other. */
uint8_t *shared_atomic(struct warp *w, const struct ptx_instr *in, int lane, uint64_t offset,
                       uint32_t bytes);

/* The same checks for every lane of mask (not 0) at once; offset is read for these only. */
void shared_read_lanes(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                       const uint64_t *offset, uint32_t bytes);
void shared_write_lanes(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                        const uint64_t *offset, uint32_t bytes);

/* cp.async: from issue on its bytes must be neither read nor written, until the warp that
 * issued it has waited (then the copy itself happens: shared_write is not called for it). */
void shared_begin_async(struct warp *w, const struct ptx_instr *in, int lane, uint64_t offset,
                        uint32_t bytes);
uint8_t *shared_end_async(struct warp *w, uint64_t offset, uint32_t bytes);

/* All warps of the CTA have met: what was written before is seen after. */
void shared_barrier(struct cta *cta);

/* A barrier of some warps: each brings what it has done and seen (seen, of one barrier, zero
 * before the first), and those that wait take that with them when it is complete. */
void shared_arrive(struct shared_state *state, uint32_t warp, uint32_t *seen);
void shared_depart(struct shared_state *state, uint32_t warp, const uint32_t *seen);

/* Taken with the CTA, cleared for each new one. */
struct shared_state *shared_open(uint32_t bytes);
/* For a function of which no access is of fewer bytes than this power of two, so that one record
 * can serve so many bytes. */
struct shared_state *shared_open_coarse(uint32_t bytes, uint32_t granule);
void shared_clear(struct shared_state *state);
void shared_close(struct shared_state *state);
