/* The smallest host: one question, one streamed answer. Run at the root of the repository. */
#include "inflight_load.h"
#include <stdio.h>

int main(int argc, char **argv)
{
    const char *config =
        "{version: 1, model: {path: build/models/SmolLM2-135M-Instruct.Q4_1.gguf}}";
    char error[512];
    inflight_library lib;
    inflight_engine *engine;
    if (argc != 2 || argv[1][0] == '-')
        return puts("usage: hello \"a question\""), 2;
    if (inflight_load(&lib, "build/libinflight.so.1", error, sizeof error))
        return puts(error), 1;
    inflight_init_params init = {{sizeof init, INFLIGHT_ABI}, .config = {config, INFLIGHT_NTS}};
    if (lib.api->init(&init, &engine))
        return lib.api->query(NULL, INFLIGHT_Q_ERROR, error, sizeof error), puts(error), 1;
    inflight_request ask = {{sizeof ask, INFLIGHT_ABI}, .input = {argv[1], INFLIGHT_NTS}};
    inflight_event ev = {0};
    if (lib.api->submit(engine, &ask, &ev.req) == INFLIGHT_OK)
        while (ev.type != INFLIGHT_EV_DONE)
            if (lib.api->poll(engine, &ev, sizeof ev, 1, 1000000000) == 1 && ev.req)
                fwrite(ev.data, 1, ev.data_len, stdout);
    return lib.api->free(engine), puts(""), 0;
}
