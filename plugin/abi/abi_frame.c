/* Extension "inflight.frame/1": when the engine's threads may compute. */
#include "abi_frame.h"

#include "instance.h"

static int32_t run_until(inflight_engine *engine, uint64_t until_ns)
{
    struct instance *i;
    int32_t rc = instance_enter(engine, &i);
    if (rc)
        return rc;
    engine_run_until(i->engine, until_ns);
    instance_leave(engine);
    return INFLIGHT_OK;
}

const inflight_frame_api abi_frame_table = {{sizeof(inflight_frame_api), INFLIGHT_ABI}, run_until};
