/* Between launch.c and warp.c: a warp's turn. */
#pragma once

#include "exec.h"

enum warp_state {
    WARP_DONE,  /* every lane has exited */
    WARP_WAITS, /* has come to a barrier: w->barrier_instr */
    WARP_HELD,  /* at griddepcontrol.wait, of a block that runs ahead: w->held */
};

/* Fills a warp's register file and starts its lanes at the function's first instruction. */
void warp_start(struct warp *w, uint32_t id, const struct launch_config *config);

/* Runs the warp until it is done or waits at a barrier. */
enum warp_state warp_run(struct warp *w);

/* Barriers of a CTA (barrier.c). A warp that warp_run left waiting enters its barrier, which lets
 * all that wait there go on (warp->waits) if it is the last. */
void barrier_wait(struct warp *w);
/* When no warp can run: warps may have exited that were waited for. False: none goes on. */
bool barrier_settle(struct cta *cta);
/* No warp can run and none goes on: raises the fault if one waits. */
void barrier_check_deadlock(struct cta *cta);
void barrier_clear(struct cta *cta);
size_t barrier_bytes(void); /* of cta->barrier */
ptx_find find_barrier;
