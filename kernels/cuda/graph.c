/* Recording, capturing and launching; which graphs there are. */
#include "graph.h"

#include "device.h"

#include "../../plugin/base/hash.h"

#include <string.h>

#define ARGS_MOST 256 /* bytes of the arguments of any kernel */

/* Launches of a step that there is room for: of a layer, and beside the layers. What comes
 * beyond is queued at once, after what was recorded. */
#define LAYER_LAUNCHES 24
#define STEP_LAUNCHES  16

struct recorded {
    uint64_t args[ARGS_MOST / sizeof(uint64_t)];
    enum kernel kernel;
    struct grid grid;
};

static int32_t capacity_of(const struct device_config *config)
{
    return config->L * LAYER_LAUNCHES + STEP_LAUNCHES;
}

uint64_t graph_bytes(const struct device_config *config)
{
    return (uint64_t)capacity_of(config) * sizeof(struct recorded);
}

/* Bytes of the one parameter of each kernel. */
static int32_t measure_args(struct device *device, struct err *err)
{
    for (int i = 0; i < KERNEL_COUNT; i++) {
        size_t offset = 0, bytes = 0;
        CUresult result = device->driver->cuFuncGetParamInfo(device->kernel[i], 0, &offset, &bytes);
        if (result)
            return driver_refuse(device->driver, result, "asking for a kernel's arguments", err);
        if (bytes > ARGS_MOST)
            return err_set(err, INFLIGHT_E_INTERNAL, "a kernel takes %zu bytes of arguments",
                           bytes);
        device->args_bytes[i] = (uint32_t)bytes;
    }
    return INFLIGHT_OK;
}

int32_t graph_open(struct device *device, struct err *err)
{
    struct graphs *graphs = &device->graphs;
    int32_t rc = measure_args(device, err);
    if (rc)
        return rc;
    graphs->recorded = mem_take(device->mem, (size_t)graph_bytes(&device->config), CACHE_LINE);
    if (!graphs->recorded)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the launches of a step");
    graphs->capacity = capacity_of(&device->config);
    return INFLIGHT_OK;
}

static void destroy(struct device *device, struct graph_entry *entry)
{
    if (entry->exec)
        (void)device->driver->cuGraphExecDestroy(entry->exec);
    entry->exec = NULL;
}

void graph_close(struct device *device)
{
    struct graphs *graphs = &device->graphs;
    for (int32_t i = 0; i < graphs->n_entry; i++)
        destroy(device, &graphs->entry[i]);
}

void graph_free(struct device *device)
{
    struct graphs *graphs = &device->graphs;
    mem_give(device->mem, graphs->recorded, (size_t)graph_bytes(&device->config));
    *graphs = (struct graphs){0};
}

/* ---- Recording */

void graph_begin(struct device *device, const struct batch *batch)
{
    struct graphs *graphs = &device->graphs;
    graphs->n = 0;
    graphs->key = 0;
    device->after_kernel = false; /* the step's arrays are copied next */
    graphs->is_recording = batch->T == batch->S && !graphs->is_off;
}

int32_t graph_round(int32_t n, int32_t least, int32_t most)
{
    int32_t power = least;
    while (power < n && power < most)
        power *= 2;
    return MAX(n, MIN(power, most));
}

static uint64_t key_of(const struct device *device, const struct recorded *r, uint64_t key)
{
    const uint32_t head[] = {(uint32_t)r->kernel, r->grid.x,       r->grid.y,
                             r->grid.z,           r->grid.threads, r->grid.shared};
    return hash_bytes(r->args, device->args_bytes[r->kernel], hash_bytes(head, sizeof head, key));
}

bool graph_record(struct device *device, int32_t kernel, const struct grid *grid, const void *args)
{
    struct graphs *graphs = &device->graphs;
    if (graphs->is_recording && graphs->n == graphs->capacity)
        (void)graph_end(device, false);
    if (!graphs->is_recording)
        return false;
    struct recorded *r = &graphs->recorded[graphs->n++];
    r->kernel = (enum kernel)kernel;
    r->grid = *grid;
    memcpy(r->args, args, device->args_bytes[kernel]);
    graphs->key = key_of(device, r, graphs->key);
    return true;
}

/* ---- Queueing */

static CUresult queue_all(struct device *device)
{
    struct graphs *graphs = &device->graphs;
    CUresult result = CUDA_SUCCESS;
    for (int32_t i = 0; i < graphs->n && !result; i++) {
        struct recorded *r = &graphs->recorded[i];
        result = cuda_queue(device, r->kernel, &r->grid, r->args);
    }
    return result;
}

/* What other threads of the host do with the driver meanwhile does not matter: thread-local. */
static CUresult capture(struct device *device, CUgraph *graph)
{
    const struct driver *driver = device->driver;
    CUresult result =
        driver->cuStreamBeginCapture(device->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    if (result)
        return result;
    device->after_kernel = false; /* nothing is before a graph's first node */
    result = queue_all(device);
    /* In any case: the stream must not be left capturing. */
    CUresult ended = driver->cuStreamEndCapture(device->stream, graph);
    return result ? result : ended;
}

static CUresult instantiate(struct device *device, CUgraphExec *exec)
{
    const struct driver *driver = device->driver;
    CUgraph graph = NULL;
    CUresult result = capture(device, &graph);
    if (!result)
        result = driver->cuGraphInstantiate(exec, graph, 0);
    if (graph)
        (void)driver->cuGraphDestroy(graph);
    if (result)
        *exec = NULL;
    return result;
}

static struct graph_entry *find(struct graphs *graphs)
{
    for (int32_t i = 0; i < graphs->n_entry; i++)
        if (graphs->entry[i].key == graphs->key)
            return &graphs->entry[i];
    return NULL;
}

/* For what is recorded, in place of what was not seen for longest. */
static void add(struct device *device)
{
    struct graphs *graphs = &device->graphs;
    struct graph_entry *entry = &graphs->entry[0];
    if (graphs->n_entry < GRAPHS_MOST)
        entry = &graphs->entry[graphs->n_entry++];
    for (int32_t i = 1; i < graphs->n_entry; i++)
        if (graphs->entry[i].last < entry->last)
            entry = &graphs->entry[i];
    destroy(device, entry);
    *entry = (struct graph_entry){.key = graphs->key, .last = graphs->step};
}

/* The graph of what is recorded; NULL: there is none, or none can be made, which costs speed
 * alone. */
static CUgraphExec graph_of(struct device *device)
{
    struct graphs *graphs = &device->graphs;
    struct graph_entry *entry = find(graphs);
    graphs->step++;
    if (!entry) {
        add(device);
        return NULL;
    }
    entry->last = graphs->step;
    if (!entry->exec && instantiate(device, &entry->exec))
        graphs->is_off = true;
    return entry->exec;
}

int graph_end(struct device *device, bool has_failed)
{
    struct graphs *graphs = &device->graphs;
    if (!graphs->is_recording)
        return 0;
    graphs->is_recording = false;
    if (has_failed || graphs->n == 0)
        return 0;
    CUgraphExec exec = graph_of(device);
    device->queued = true;
    CUresult result =
        exec ? device->driver->cuGraphLaunch(exec, device->stream) : queue_all(device);
    if (exec)
        device->after_kernel = false;
    if (result && !device->failed)
        device->failed = result;
    return result ? INFLIGHT_E_DEVICE : 0;
}
