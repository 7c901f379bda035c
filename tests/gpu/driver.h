/* The stand-in driver from the inside: what its files share. Everything here is guarded by one
 * lock, which every entry point takes with enter() and gives back with leave().
 *
 *   driver_object.c   handles and the objects behind them
 *   driver_init.c     cuInit, names of errors, functions by name, the lock
 *   driver_device.c   the device's attributes
 *   driver_context.c  contexts, current ones of threads, sticky errors
 *   driver_memory.c   device memory; driver_host.c pinned memory
 *   driver_copy.c     copies and sets
 *   driver_module.c   modules, libraries; driver_function.c their functions
 *   driver_launch.c   launches
 *   driver_work.c     what streams and graphs execute
 *   driver_stream.c   streams; driver_queue.c the order in which their work is done
 *   driver_event.c    events
 *   driver_capture.c  stream capture; driver_graph.c graphs
 *   driver_library.c  work of stand-ins of NVIDIA's libraries
 *   driver_fail.c     failures on demand
 *   driver_report.c   counts, table at the end */
#pragma once

#include "exec.h"
#include "gpu.h"
#include "memory.h"

/* Entry points are declared by cuda.h: these are to be seen from outside, and no others. */
#define __CUDA_API_PUSH_VISIBILITY_DEFAULT
#include <cuda.h>

#include <pthread.h>

#define KIB                   1024
#define SHARED_WITHOUT_OPT_IN (48 * KIB)
#define DRIVER_VERSION        13000
#define DRIVER_PTX_MAJOR      9 /* newest PTX it takes: 9.0 */
#define DRIVER_PTX_MINOR      0
/* CUDA C++ Programming Guide 13.0, "Technical Specifications per Compute Capability". */
#define BLOCK_X_MOST         1024
#define BLOCK_Y_MOST         1024
#define BLOCK_Z_MOST         64
#define GRID_X_MOST          INT32_MAX
#define GRID_YZ_MOST         65535
#define SHARED_RESERVED      KIB /* of each block, by the system */
#define REGISTERS_PER_SM     65536
#define REGISTERS_PER_THREAD 255
#define THREADS_PER_BLOCK    1024

/* ---- Settings and state of the process */

struct settings {
    int capability;  /* 80, 89, 90, 120 */
    uint64_t seed;   /* 0: as late as possible, in order */
    uint64_t memory; /* bytes of the device */
    bool split, races;
    uint64_t count; /* 1: what kernels cost, 2: and their lines */
    int threads;
};

struct driver_state {
    bool initialized; /* cuInit was called */
    bool lost;        /* the device is gone: every call fails */
    uint64_t random;  /* state of the generator that seed starts */
    uint64_t order;   /* of the next task, over all streams */
    uint64_t early;   /* kernels that could begin before the one before had run */
    struct settings settings;
    struct gpu_counts counts;
    struct fault fault;       /* the last one */
    struct stream *streams;   /* of all contexts */
    struct capture *captures; /* under way */
};

extern struct driver_state driver;

/* The next number of the seed's sequence. */
uint64_t driver_random(void);

/* Numbers of nodes of a graph. */
struct node_list {
    uint32_t *node;
    uint32_t n, capacity;
};

/* ---- Objects and handles, driver_object.c */

enum object_kind {
    OBJECT_CONTEXT,
    OBJECT_STREAM,
    OBJECT_EVENT,
    OBJECT_MODULE,
    OBJECT_FUNCTION,
    OBJECT_GRAPH,
    OBJECT_EXEC,
    OBJECT_KINDS
};

/* First member of what a handle stands for. The handle is a number that is never used again, so
 * that one of a dead object is known as such. The object itself lives until the last work that
 * needs it is done. */
struct object {
    enum object_kind kind;
    uint32_t holds;
    uint64_t handle;                        /* 0: no longer valid outside */
    struct context *context;                /* whose it is; NULL of contexts themselves */
    void (*release)(struct object *object); /* frees its content and itself */
    struct object *previous, *next;         /* living ones of its kind, the latest first */
};

/* An object of bytes bytes, zeroed but for its head, held once; NULL: no memory. */
void *object_new(enum object_kind kind, size_t bytes, struct context *context,
                 void (*release)(struct object *object));
void object_hold(struct object *object);
void object_drop(struct object *object);
/* Ends its handle's life and drops the hold that object_new gave. */
void object_retire(struct object *object);
/* The object of a handle if it is of that kind, else NULL. */
void *object_find(const void *handle, enum object_kind kind);
/* The living object of a kind and context (NULL: any) made before another, which may be of any
 * context; NULL: the latest. NULL behind the last. */
void *object_next(enum object_kind kind, const struct context *context, const void *after);
void object_retire_all(const struct context *context);
uint64_t objects_living(void); /* of contexts, which are not counted themselves */
void *object_handle(const struct object *object);
void objects_end(void); /* forgets the table, when the library is closed */

/* ---- Entry and exit, driver_init.c and driver_context.c */

/* What a call asks of the state, besides that the device is there. */
enum call {
    CALL_SAFE,
    CALL_UNSAFE, /* may not be made while streams are captured */
};

/* Takes the lock. Not CUDA_SUCCESS: the call fails with it. leave() is needed in any case. */
CUresult enter(void);
/* And there is a current context, which has no fault. */
CUresult enter_context(struct context **context, enum call call);
CUresult leave(CUresult result); /* gives the lock back, returns result */
/* Guard of functions that are no entry points of CUDA. */
void driver_lock(void);
void driver_unlock(void);
/* A host function of a stream is running on this thread, which may not call the driver. */
extern _Thread_local bool in_host_function;

/* ---- Device, driver_device.c */

struct device_limits {
    int capability, n_sm;
    int shared_per_block; /* most, opted in */
    int shared_per_sm;
    int threads_per_sm, blocks_per_sm;
    int l2_bytes, clock_khz, memory_clock_khz, bus_bits;
};

const struct device_limits *device_limits(void);
bool device_known(int capability);

/* ---- Contexts, driver_context.c */

struct context {
    struct object object;
    uint32_t id; /* as memory.h knows it */
    unsigned flags;
    bool primary;
    CUresult fault;        /* what every call returns from then on */
    struct stream *legacy; /* the default stream */
    struct pinned *pinned;
    uint64_t n_allocated; /* living allocations of cuMemAlloc and its like */
};

/* Marks the context broken; the first fault stays. Returns the code. */
CUresult context_break(struct context *context, CUresult code);

/* ---- Pinned memory, driver_host.c */

struct pinned {
    struct pinned *next;
    uint64_t address;
    size_t bytes;
    unsigned flags;
    bool registered; /* the caller's own memory */
};

/* The pinned range that holds [address, address + bytes), or NULL. */
struct pinned *pinned_find(const struct context *context, uint64_t address, size_t bytes);
/* Gives all back; returns how many there were. */
uint64_t pinned_give_all(struct context *context);
uint64_t pinned_bytes(void); /* taken from the device's memory for them */

/* ---- Modules, driver_module.c */

struct module {
    struct object object;
    struct ptx_module *ptx;
    struct function *functions; /* those that were asked for */
};

struct function {
    struct object object;
    struct function *next;
    struct module *module; /* held */
    const struct ptx_function *ptx;
    int dynamic_most; /* dynamic shared bytes of a launch */
    int carveout;
};

/* Whether the address is that of a variable of one of the context's modules. */
bool module_owns(const struct context *context, uint64_t address);
/* The kernel of a name, the same one each time it is asked for. */
CUresult function_get(struct module *module, const char *name, struct function **out);
struct function *function_find(const struct context *context, const void *handle);
void functions_retire(struct module *module);
int function_threads_most(const struct ptx_function *ptx);
void report_add(const struct ptx_function *function); /* before it is freed, driver_report.c */

/* driver_cache.c: a module of that text that was given before, NULL: there is none. */
struct ptx_module *cache_take(const char *text, size_t bytes);
void cache_give(struct ptx_module *ptx); /* takes it over; NULL is allowed */
void cache_end(void);

/* ---- Work, driver_work.c */

enum work_kind {
    WORK_NOTHING, /* records of events and waits for them */
    WORK_KERNEL,
    WORK_COPY,
    WORK_SET,
    WORK_HOST,
    WORK_LIBRARY,
    WORK_FREE,
    WORK_GRAPH,
};

enum copy_kind { COPY_TO_DEVICE, COPY_TO_HOST, COPY_ON_DEVICE };

struct work {
    enum work_kind kind;
    union {
        struct {
            struct function *function; /* held */
            uint32_t grid[3], block[3], shared;
            uint8_t *param;      /* owned */
            bool begins_early;   /* has the attribute of programmatic serialization */
            struct ahead *ahead; /* blocks that run already; owned; NULL: none */
        } kernel;
        struct {
            enum copy_kind kind;
            uint64_t to, from; /* device or host addresses */
            size_t width, height, to_pitch, from_pitch;
            uint8_t *staged; /* owned: what pageable memory held when it was queued, or NULL */
        } copy;
        struct {
            uint64_t to;
            uint32_t value, element;
            size_t n;
        } set;
        struct {
            CUhostFn function;
            void *data;
        } host;
        struct {
            gpu_library_work *run;
            void *arg; /* owned */
            size_t bytes;
        } library;
        uint64_t address;  /* FREE */
        struct exec *exec; /* GRAPH, held */
    };
};

/* A copy with memory and holds of its own; false: no memory. */
bool work_copy(struct work *to, const struct work *from);
void work_release(struct work *work);
/* Does it. Faults are printed and returned as the driver's code. */
/* before: the kernels of the same stream or graph that may still run, before and after it. */
CUresult work_run(struct work *work, struct context *context, struct unfinished *before);
/* driver_launch.c */
CUresult launch_now(struct work *work, struct context *context, struct unfinished *before);
/* Lets some blocks of a kernel run up to their griddepcontrol.wait, now and then, if `first`, the
 * work just before it that has not run yet, is a kernel that allows it. */
void launch_early(struct work *work, const struct work *first, struct context *context);
CUresult copy_now(const struct work *work, struct context *context); /* driver_copy.c */
CUresult free_now(const struct work *work, struct context *context); /* driver_memory.c */
CUresult set_now(const struct work *work, struct context *context);
CUresult library_now(const struct work *work, struct context *context); /* driver_library.c */
CUresult exec_run(struct exec *exec, struct context *context);          /* driver_graph.c */

/* ---- Streams, driver_stream.c and driver_queue.c */

/* A task may wait until a counter reaches a value and may set one when it is done: events, and
 * launches of one graph, which run one after the other. */
struct counter {
    struct object *owner; /* held by the task; NULL: there is none */
    uint64_t *at;
    uint64_t value;
};

struct task {
    struct task *next;
    uint64_t order;
    struct work work;
    struct counter gate, signal;
    struct event *record; /* gets the time; the owner of signal */
};

#define PRIORITY_LEAST    0
#define PRIORITY_GREATEST (-5)

struct stream {
    struct object object;
    struct stream *next; /* of driver.streams */
    bool legacy;
    unsigned flags;
    int priority;
    struct task *first, **last;
    struct unfinished unfinished; /* kernels that what comes next may run beside */
    struct capture *capture;      /* NULL: none */
    struct node_list nodes;       /* of the capture, which its next node waits for */
};

/* The stream of a handle: NULL and CU_STREAM_LEGACY are the context's default stream. NULL if it
 * is dead or another context's. */
struct stream *stream_find(struct context *context, CUstream handle);
struct stream *stream_new(struct context *context, unsigned flags, int priority);

/* Queues work, or makes it a node of the capture. Takes work over, also on failure. */
CUresult stream_submit(struct stream *stream, struct work *work);
/* Queues a copy of a task, whose work it takes over, also on failure; it holds the owners. */
CUresult queue_task(struct stream *stream, struct task *task);
CUresult queue_drain(struct stream *stream); /* until nothing of the stream is left */
CUresult queue_drain_context(struct context *context);
/* Lets one task be done, towards the end of the stream, or towards a counter's value. */
CUresult queue_advance(struct context *context, const uint64_t *counter, uint64_t value);
CUresult queue_step(struct stream *stream);
void queue_drop(struct stream *stream); /* forgets what is left */

/* ---- Events, driver_event.c */

struct event {
    struct object object;
    unsigned flags;
    uint64_t recorded, done; /* numbers of records: queued, executed */
    uint64_t time_ns;        /* of the last that was executed */
    uint64_t capture;        /* id of the capture in which it was last recorded, 0 */
    struct node_list nodes;  /* what it stands for there */
};

/* ---- Capture and graphs, driver_capture.c and driver_graph.c */

struct capture {
    struct capture *next; /* of driver.captures */
    uint64_t id;
    struct stream *origin;
    struct graph *graph; /* what it has so far */
    CUstreamCaptureMode mode;
    pthread_t thread;
    bool invalid;
};

struct node {
    struct work work;
    struct node_list after; /* earlier nodes it waits for */
};

struct nodes {
    struct node *node;
    uint32_t n, capacity;
};

struct graph {
    struct object object;
    struct nodes nodes;
};

struct exec {
    struct object object;
    struct nodes nodes;
    uint64_t launched, done;
};

/* Work for a stream that is captured. Takes it over. */
CUresult capture_add(struct stream *stream, struct work *work);
/* Whether a call that is unsafe during captures may be made now; if not the captures that
 * forbid it become invalid. */
CUresult capture_allows_unsafe(void);
/* The legacy stream is used: it must not wait for a stream that is captured. */
CUresult capture_allows_legacy(const struct context *context);
CUresult capture_invalidate(struct stream *stream, CUresult code);
CUresult capture_record(struct stream *stream, struct event *event);
CUresult capture_wait(struct stream *stream, struct event *event);
void capture_abandon(struct capture *capture); /* its context ends */
bool list_add(struct node_list *list, uint32_t node);
bool list_copy(struct node_list *to, const struct node_list *from);
void list_release(struct node_list *list);
struct graph *graph_new(struct context *context);
void nodes_release(struct nodes *nodes);
bool nodes_copy(struct nodes *to, const struct nodes *from);

/* ---- Failures on demand, driver_fail.c */

enum fail {
    FAIL_ALLOC,
    FAIL_HOST,
    FAIL_LAUNCH,
    FAIL_COPY,
    FAIL_SYNC,
    FAIL_GRAPH,
    FAIL_CAPTURE,
    FAIL_MODULE,
    FAIL_LIBRARY,
    FAIL_LOST,
    FAIL_KINDS
};

/* Counts a call of that kind. Not CUDA_SUCCESS: it must fail with it; the context (may be NULL)
 * is marked broken where the kind says so. */
CUresult fail_now(enum fail kind, struct context *context);
bool fail_set(const char *what); /* gpu_fail without the lock */
