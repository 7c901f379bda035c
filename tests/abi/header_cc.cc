// The header alone, in C++.
#include "../../include/inflight.h"
#include "../../include/inflight.h"

int header_is_enough(const inflight_api *api)
{
    inflight_init_params p = {};
    p.h.struct_size = sizeof p;
    p.h.abi = INFLIGHT_ABI;
    inflight_engine *engine;
    return api->init(&p, &engine);
}
