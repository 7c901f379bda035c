/* A host that has CUDA itself lends its context. Where there is no driver, or the object has no
 * device cuda, the tests are skipped; the simulated GPU is a driver. */
#include "validator.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* As in NVIDIA's cuda.h: a CUcontext is a pointer, a CUdevice and a CUresult are ints. */
struct cuda {
    int (*init)(unsigned);
    int (*create)(void **context, void *params, unsigned flags, int device);
    int (*destroy)(void *context);
    int (*current)(void **context);
    int (*pop)(void **context);
    int (*memory)(size_t *free, size_t *total);
    bool is_simulated;
};

static void find(void *library, const char *name, void *function)
{
    void *at = dlsym(library, name);
    if (!at)
        skip("the CUDA driver is too old");
    memcpy(function, &at, sizeof at);
}

/* A context of the host's, current on this thread. */
static void *context_open(struct cuda *cuda, const inflight_api *api)
{
    char caps[4096] = "";
    void *library = dlopen("libcuda.so.1", RTLD_NOW), *context = NULL;
    (void)api->query(NULL, INFLIGHT_Q_CAPS, caps, sizeof caps);
    if (!strstr(caps, "\"init.cuda_context\"") || !strstr(caps, "\"device.cuda\""))
        skip("the object has no device cuda");
    if (!library)
        skip("no CUDA driver");
    find(library, "cuInit", &cuda->init);
    find(library, "cuCtxCreate_v4", &cuda->create);
    find(library, "cuCtxDestroy_v2", &cuda->destroy);
    find(library, "cuCtxGetCurrent", &cuda->current);
    find(library, "cuCtxPopCurrent_v2", &cuda->pop);
    find(library, "cuMemGetInfo_v2", &cuda->memory);
    cuda->is_simulated = dlsym(library, "gpu_counts");
    if (cuda->init(0) || cuda->create(&context, NULL, 0, 0))
        skip("no context can be made");
    return context;
}

/* Opens an engine with this context; READY's data goes to text. */
static inflight_engine *start_in(const inflight_api *api, void *context, char *text, size_t room)
{
    inflight_init_params p = default_params();
    p.cuda_context = context;
    inflight_engine *engine = engine_start(api, &p);
    inflight_event e = {0};
    for (double end = now_ms() + 60000; e.type != INFLIGHT_EV_READY;) {
        int32_t n = api->poll(engine, &e, sizeof e, 1, 100000000);
        WANT(n >= 0 && now_ms() < end);
        if (n == 0)
            e.type = 0;
    }
    WANT_EQ(e.status, INFLIGHT_OK);
    (void)snprintf(text, room, "%.*s", (int)e.data_len, e.data);
    return engine;
}

static size_t free_bytes(const struct cuda *cuda)
{
    size_t bytes = 0, total;
    WANT_EQ(cuda->memory(&bytes, &total), 0);
    return bytes;
}

static void lent_context(void)
{
    struct object o = object_open(target.object);
    struct cuda cuda;
    static struct watch w;
    void *context = context_open(&cuda, o.api), *current = NULL;
    char ready[1024];
    const size_t before = free_bytes(&cuda);
    inflight_engine *e = start_in(o.api, context, ready, sizeof ready);
    if (!strstr(ready, "\"device\":\"cuda "))
        fail("a good context is not used: %s", ready);
    WANT(free_bytes(&cuda) < before);
    watch_init(&w, o.api, e);
    for (int i = 0; i < 3; i++)
        watch_submit(&w, long_request(8));
    watch_drain(&w, 60000);
    for (uint32_t i = 0; i < w.n; i++)
        WANT_EQ(w.item[i].status, INFLIGHT_OK);
    WANT_EQ(cuda.current(&current), 0);
    WANT(current == context);
    WANT_EQ(o.api->free(e), INFLIGHT_OK);
    WANT_EQ(cuda.current(&current), 0);
    WANT(current == context);
    if (cuda.is_simulated) /* a real driver keeps the memory of local variables, for instance */
        WANT_EQ(free_bytes(&cuda), before);
    WANT_EQ(cuda.pop(&current), 0);
    WANT(current == context);
    WANT_EQ(cuda.destroy(context), 0);
    note("%s", ready);
    object_close(&o);
}

/* The default is device.kind auto, which goes on and says why. */
static void bad_context(void)
{
    struct object o = object_open(target.object);
    struct cuda cuda;
    static uint64_t bytes[64];
    void *context = context_open(&cuda, o.api);
    char ready[1024];
    if (!cuda.is_simulated)
        skip("a real driver is not given what is no context");
    inflight_engine *e = start_in(o.api, bytes, ready, sizeof ready);
    WANT(strstr(ready, "\"device\":\"cpu "));
    WANT(strstr(ready, "\"fallback\":\"cuda: using the host's CUDA context failed: "));
    WANT_EQ(o.api->free(e), INFLIGHT_OK);
    WANT_EQ(cuda.destroy(context), 0);
}

const struct test tests_context[] = {
    {"cuda-context", "device cuda in a context of the host's", lent_context, 120},
    {"cuda-context-bad", "what is no context", bad_context, 120},
    {0},
};
