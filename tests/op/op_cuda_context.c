/* A context that the host lends: the device works in it beside the host's own work, leaves what
 * is the host's as it was and takes along what is its own; and what is said of one that cannot be
 * used. */
#include "on_cuda.h"

#ifdef INFLIGHT_CUDA
#include "../../kernels/cuda/device.h"
#include "../gpu/gpu.h"

#include <dlfcn.h>
#include <pthread.h>

static struct device_config small(void *context)
{
    return (struct device_config){.threads = 2,
                                  .max_tokens = 24,
                                  .max_rows = 8,
                                  .max_context = 128,
                                  .max_width = 256,
                                  .L = 1,
                                  .H = 2,
                                  .K = 1,
                                  .dim = 64,
                                  .kv_type = KV_BF16,
                                  .kv_pages = 9,
                                  .cuda_context = context};
}

/* The host: a program that had CUDA before the engine came. */
struct host {
    void *library;
    CUcontext context;
    CUdevice card;
    CUresult (*init)(unsigned);
    CUresult (*create)(CUcontext *, CUctxCreateParams *, unsigned, CUdevice);
    CUresult (*destroy)(CUcontext);
    CUresult (*current)(CUcontext *);
    CUresult (*set_current)(CUcontext);
    CUresult (*alloc)(CUdeviceptr *, size_t);
    CUresult (*release)(CUdeviceptr);
    CUresult (*set)(CUdeviceptr, unsigned, size_t, CUstream);
    CUresult (*read)(void *, CUdeviceptr, size_t, CUstream);
    CUresult (*stream)(CUstream *, unsigned);
    CUresult (*stream_end)(CUstream);
    CUresult (*wait)(CUstream);
    CUresult (*begin_capture)(CUstream, CUstreamCaptureMode);
    CUresult (*end_capture)(CUstream, CUgraph *);
    CUresult (*graph_end)(CUgraph);
    void (*counts)(struct gpu_counts *); /* NULL: a real card */
    bool (*fail)(const char *);
};

static void find(const struct host *host, const char *name, void *function)
{
    void *at = dlsym(host->library, name);
    memcpy(function, &at, sizeof at);
}

/* False, and the test is skipped, where there is no card. The context is current on this thread. */
static bool host_open(struct host *host)
{
    static struct err err;
    *host = (struct host){0};
    if (backend_cuda.probe(&err)) {
        t_skip(err.text);
        return false;
    }
    host->library = dlopen("libcuda.so.1", RTLD_NOW);
    find(host, "cuInit", &host->init);
    find(host, "cuCtxCreate_v4", &host->create);
    find(host, "cuCtxDestroy_v2", &host->destroy);
    find(host, "cuCtxGetCurrent", &host->current);
    find(host, "cuCtxSetCurrent", &host->set_current);
    find(host, "cuMemAlloc_v2", &host->alloc);
    find(host, "cuMemFree_v2", &host->release);
    find(host, "cuMemsetD32Async", &host->set);
    find(host, "cuMemcpyDtoHAsync_v2", &host->read);
    find(host, "cuStreamCreate", &host->stream);
    find(host, "cuStreamDestroy_v2", &host->stream_end);
    find(host, "cuStreamSynchronize", &host->wait);
    find(host, "cuStreamBeginCapture_v2", &host->begin_capture);
    find(host, "cuStreamEndCapture", &host->end_capture);
    find(host, "cuGraphDestroy", &host->graph_end);
    find(host, "gpu_counts", &host->counts);
    find(host, "gpu_fail", &host->fail);
    CHECK_EQ(host->init(0), 0);
    CHECK_EQ(host->create(&host->context, NULL, 0, host->card), 0);
    return true;
}

static void host_close(struct host *host)
{
    if (host->context)
        CHECK_EQ(host->destroy(host->context), 0);
    dlclose(host->library);
}

static CUcontext current(const struct host *host)
{
    CUcontext context = NULL;
    CHECK_EQ(host->current(&context), 0);
    return context;
}

/* Living allocations and other objects; nothing is known of a real card's. */
static uint64_t living(const struct host *host)
{
    struct gpu_counts counts = {0};
    if (host->counts)
        host->counts(&counts);
    return counts.living + counts.objects;
}

static struct device *open_in(CUcontext context)
{
    const struct device_config config = small(context);
    struct device *device = NULL;
    struct err err = {0};
    if (backend_cuda.open(&config, &mem_system, &device, &err))
        t_fail(__FILE__, __LINE__, "%s", err.text);
    return device;
}

/* ---- A step, and its first logit */

static const int32_t token[] = {3}, position[] = {0}, page[] = {2};
static const struct batch_seq seq = {.n = 1, .page = page};
static const struct batch batch = {
    .T = 1, .S = 1, .token = token, .position = position, .seq = &seq};

static int embed_body(struct lane *lane, void *arg)
{
    return backend_cuda.embed(lane, arg, &batch);
}

/* Token 3 of a table that the device packs: whether its row comes out. */
static void check_steps(struct device *device)
{
    enum { V = 64, D = 64 };
    const struct device_config config = small(NULL);
    static uint16_t file[V * D];
    float x[D], freq[32] = {0};
    struct err err = {0};
    for (int i = 0; i < V * D; i++)
        file[i] = bf16_of_float((float)(i / D * 100 + i % D));
    const struct weight_source source = {.fmt = FMT_bf16, .N = V, .K = D, .data = file};
    const size_t bytes = backend_cuda.packed_bytes(&config, FMT_bf16, V, D);
    struct weight table = {.data = cuda_array(device, NULL, bytes), .bytes = bytes};
    CHECK_EQ(backend_cuda.pack(device, &source, &table, &err), 0);
    struct op_embed op = {.x = cuda_array(device, NULL, sizeof x),
                          .table = &table,
                          .scale = 1,
                          .rotary = {{.out = cuda_array(device, NULL, sizeof x),
                                      .freq = cuda_array(device, freq, sizeof freq),
                                      .scale = 1,
                                      .dim = 64}},
                          .D = D};
    for (int step = 0; step < 3; step++) /* the second and third as a graph */
        CHECK_EQ(backend_cuda.run(device, embed_body, &op), 0);
    CHECK_EQ(backend_cuda.read(device, x, op.x, sizeof x), 0);
    for (int i = 0; i < D; i++)
        CHECK_EQ(x[i], bf16_to_float(file[3 * D + i]));
    cuda_drop(device, op.rotary[0].freq, sizeof freq);
    cuda_drop(device, op.rotary[0].out, sizeof x);
    cuda_drop(device, op.x, sizeof x);
    cuda_drop(device, table.data, bytes);
}

/* ---- Working */

TEST(cuda_context, the_hosts_is_used_and_nothing_is_left_in_it)
{
    struct host host;
    if (!host_open(&host))
        return;
    const uint64_t before = living(&host);
    struct gpu_counts counts = {0};
    for (int i = 0; i < 2; i++) {
        struct device *device = open_in(host.context);
        if (!device)
            break;
        CHECK(device->context == host.context);
        CHECK(current(&host) == host.context);
        check_steps(device);
        if (host.counts)
            host.counts(&counts);
        CHECK(!host.counts || counts.contexts == 1); /* no other was made */
        CHECK(!host.counts || living(&host) > before);
        backend_cuda.close(device);
        CHECK(current(&host) == host.context);
        CHECK_EQ(living(&host), before);
    }
    host_close(&host);
}

TEST(cuda_context, a_thread_without_one_has_none_afterwards)
{
    struct host host;
    if (!host_open(&host))
        return;
    CHECK_EQ(host.set_current(NULL), 0);
    struct device *device = open_in(host.context);
    CHECK(current(&host) == NULL);
    if (device) {
        check_steps(device);
        CHECK(current(&host) == NULL);
        backend_cuda.close(device);
    }
    CHECK(current(&host) == NULL);
    CHECK_EQ(host.set_current(host.context), 0);
    host_close(&host);
}

/* The host's memory and stream are in the same context, with work that nobody has waited for. */
TEST(cuda_context, the_hosts_own_work_goes_on_beside)
{
    enum { N = 1000 };
    static uint32_t value[N];
    struct host host;
    CUdeviceptr memory;
    CUstream stream;
    if (!host_open(&host))
        return;
    CHECK_EQ(host.alloc(&memory, sizeof value), 0);
    CHECK_EQ(host.stream(&stream, CU_STREAM_NON_BLOCKING), 0);
    const uint64_t before = living(&host);
    CHECK_EQ(host.set(memory, 7, N, stream), 0);
    struct device *device = open_in(host.context);
    if (device)
        check_steps(device);
    CHECK_EQ(host.read(value, memory, sizeof value, stream), 0);
    backend_cuda.close(device);
    CHECK_EQ(living(&host), before);
    CHECK_EQ(host.wait(stream), 0);
    for (int i = 0; i < N; i++)
        CHECK_EQ(value[i], 7);
    CHECK_EQ(host.stream_end(stream), 0);
    CHECK_EQ(host.release(memory), 0);
    host_close(&host);
}

/* Opens and steps, on a thread that is not the host's. */
static void *work(void *arg)
{
    const struct host *host = arg;
    struct device *device = open_in(host->context);
    if (device)
        check_steps(device);
    backend_cuda.close(device);
    return NULL;
}

/* PyTorch captures so by default: what is called on other threads meanwhile, memory taken above
 * all, would fail and spoil the graph. */
TEST(cuda_context, a_capture_of_the_hosts_and_the_devices_work_are_not_in_each_others_way)
{
    struct host host;
    CUdeviceptr memory;
    CUstream stream;
    CUgraph graph = NULL;
    pthread_t thread;
    if (!host_open(&host))
        return;
    CHECK_EQ(host.alloc(&memory, 64), 0);
    CHECK_EQ(host.stream(&stream, CU_STREAM_NON_BLOCKING), 0);
    CHECK_EQ(host.begin_capture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), 0);
    CHECK_EQ(host.set(memory, 7, 4, stream), 0);
    CHECK_EQ(pthread_create(&thread, NULL, work, &host), 0);
    pthread_join(thread, NULL);
    CHECK_EQ(host.set(memory, 8, 4, stream), 0);
    CHECK_EQ(host.end_capture(stream, &graph), 0);
    CHECK(graph != NULL);
    CHECK_EQ(host.graph_end(graph), 0);
    CHECK_EQ(host.stream_end(stream), 0);
    CHECK_EQ(host.release(memory), 0);
    host_close(&host);
}

/* ---- What cannot be used */

/* Of the sentence that says why; both before anything is taken and at opening. */
static void check_refused(const struct host *host, void *context, const char *why)
{
    const struct device_config config = small(context);
    const uint64_t before = living(host);
    struct device_bytes bytes;
    struct device *device;
    struct err err = {0};
    CHECK_EQ(backend_cuda.measure(&config, &bytes, &err), INFLIGHT_E_DEVICE);
    CHECK(strstr(err.text, "using the host's CUDA context failed: ") == err.text);
    CHECK(strstr(err.text, why));
    CHECK_EQ(backend_cuda.open(&config, &mem_system, &device, &err), INFLIGHT_E_DEVICE);
    CHECK(strstr(err.text, why));
    CHECK(device == NULL);
    CHECK_EQ(living(host), before);
}

TEST(cuda_context, what_is_no_context_is_refused)
{
    static uint64_t bytes[64];
    struct host host;
    if (!host_open(&host))
        return;
    if (host.counts) /* the driver may follow what it takes for a context */
        check_refused(&host, bytes, "CUDA_ERROR_INVALID_CONTEXT");
    else
        t_skip("a real driver is not given what is no context");
    CHECK(current(&host) == host.context);
    host_close(&host);
}

TEST(cuda_context, one_that_the_host_has_lost_is_refused)
{
    struct host host;
    if (!host_open(&host))
        return;
    if (!host.fail) {
        t_skip("only the simulated GPU fails on demand");
    } else {
        CHECK(host.fail("sync:1"));
        CHECK(host.wait(NULL) != 0);
        check_refused(&host, host.context, "CUDA_ERROR_LAUNCH_FAILED");
    }
    if (host.fail)
        host.fail(NULL);
    host_close(&host);
}

TEST(cuda_context, one_that_is_lost_while_steps_run_fails_them_and_closes)
{
    struct host host;
    struct sample_output chosen;
    if (!host_open(&host))
        return;
    struct device *device = host.fail ? open_in(host.context) : NULL;
    if (!device) {
        t_skip("only the simulated GPU fails on demand");
    } else {
        struct op_embed op = {0};
        check_steps(device);
        CHECK(host.fail("sync:1"));
        CHECK(host.wait(NULL) != 0);
        CHECK_EQ(backend_cuda.run(device, embed_body, &op), INFLIGHT_E_DEVICE);
        CHECK(backend_cuda.is_lost(device));
        CHECK_EQ(backend_cuda.settle(device, &chosen), INFLIGHT_E_INTERNAL);
        backend_cuda.close(device);
        CHECK(current(&host) == host.context);
        host.fail(NULL);
    }
    host_close(&host);
}

/* Forbidden, but a host's mistake at its end must not take the process along where the driver
 * answers with an error. */
TEST(cuda_context, one_that_the_host_destroys_too_early_fails_steps_and_closes)
{
    struct host host;
    if (!host_open(&host))
        return;
    struct device *device = host.counts ? open_in(host.context) : NULL;
    if (!device) {
        t_skip("a real driver is not given what is no context");
    } else {
        struct op_embed op = {0};
        CHECK_EQ(host.destroy(host.context), 0);
        host.context = NULL;
        CHECK_EQ(backend_cuda.run(device, embed_body, &op), INFLIGHT_E_DEVICE);
        CHECK(backend_cuda.is_lost(device));
        CHECK(strstr(backend_cuda.describe(device), "CUDA_ERROR_INVALID_CONTEXT"));
        CHECK(backend_cuda.take(device, 64) == NULL);
        backend_cuda.close(device);
        CHECK_EQ(living(&host), 0);
    }
    host_close(&host);
}
#else
TEST(cuda_context, none)
{
    t_skip("this build has no device cuda");
}
#endif
