/* Controls: checked on the host's thread, applied by the engine thread between steps. */
#include "state.h"

static int32_t check(const struct engine *e, uint32_t op, uint32_t value, struct err *err)
{
    uint32_t low = 0, high = 1;
    const char *name = "pause";
    switch (op) {
    case INFLIGHT_CTL_PAUSE:
        break;
    case INFLIGHT_CTL_RESUME:
        return INFLIGHT_OK;
    case INFLIGHT_CTL_THREADS:
        name = "threads";
        low = 1;
        high = (uint32_t)e->threads;
        break;
    case INFLIGHT_CTL_BATCHING:
        name = "batching";
        break;
    default:
        return err_set(err, INFLIGHT_E_ARG, "there is no control %u", op);
    }
    if (value < low || value > high)
        return err_set(err, INFLIGHT_E_ARG, "control %s takes %u .. %u, not %u", name, low, high,
                       value);
    return INFLIGHT_OK;
}

int32_t engine_control(struct engine *e, uint32_t op, uint32_t value, struct err *err)
{
    if (check(e, op, value, err))
        return INFLIGHT_E_ARG;
    if (!board_put_control(e->board, (struct board_control){op, value}))
        return err_set(err, INFLIGHT_E_BUSY, "%d controls are waiting for the next step already",
                       BOARD_CONTROLS);
    queue_wake(e->queue);
    return INFLIGHT_OK;
}

/* A paused engine keeps every sequence and its pages. Level 1 also forgets what only the
 * prefix cache remembers and lets the system have the memory that no sequence needs; the
 * blocks stay taken, so resuming cannot fail. */
static void pause_steps(struct engine *e, uint32_t level)
{
    e->paused = true;
    if (level == 0)
        return;
    while (prefix_evict(&e->prefix))
        continue;
    model_discard(e->model, e->kv.n_free == e->kv.n_pages);
    rows_discard(&e->rows);
}

static void apply(struct engine *e, struct board_control control)
{
    uint32_t in_force = control.value;
    switch (control.op) {
    case INFLIGHT_CTL_PAUSE:
        pause_steps(e, control.value);
        break;
    case INFLIGHT_CTL_RESUME:
        e->paused = false;
        in_force = 0;
        break;
    case INFLIGHT_CTL_THREADS:
        e->active_threads = (int32_t)control.value;
        model_backend(e->model)->set_threads(model_device(e->model), (int)control.value);
        break;
    default:
        sched_set_static(&e->sched, control.value == BATCHING_STATIC);
    }
    ring_budget(e->ring, INFLIGHT_OK, in_force);
}

void control_apply(struct engine *e)
{
    struct board_control control[BOARD_CONTROLS];
    int32_t n = board_take_controls(e->board, control);
    if (n)
        step_settle(e);
    for (int32_t i = 0; i < n; i++) {
        if (e->failed.code)
            ring_budget(e->ring, INFLIGHT_E_STATE, 0);
        else
            apply(e, control[i]);
    }
}
