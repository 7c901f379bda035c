/* The header alone, in C: compiled with every warning an application may use. */
#include "../../include/inflight.h"
#include "../../include/inflight.h"

int header_is_enough(const inflight_api *api);

int header_is_enough(const inflight_api *api)
{
    inflight_init_params p = {
        {sizeof p, INFLIGHT_ABI}, {"", INFLIGHT_NTS}, {0, 0}, 0, 0, 0, 0, 0, 0, 0, 0};
    inflight_engine *engine;
    return api->init(&p, &engine);
}
