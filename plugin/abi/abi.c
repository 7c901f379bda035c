/* The exported functions of inflight.h: each checks what the host gave, converts it and
 * calls the engine's parts. Nothing is decided here. */
#define _GNU_SOURCE
#include "abi_frame.h"
#include "abi_struct.h"
#include "abi_text.h"
#include "build_info.h"
#include "instance.h"
#include "thread_error.h"

#include <dlfcn.h>
#include <string.h>

#define INPUT_MOST   (64u << 20) /* bytes of a request's input */
#define OPTIONS_MOST (1u << 20)
#define STRIDE_LEAST 40u /* an event's type, request, user, seq and time */
#define STRIDE_MOST  4096u

/* Ends a call that failed with a sentence. */
static int32_t refuse(const inflight_engine *engine, struct instance *i, const struct err *err)
{
    int32_t rc = instance_fail(i, err);
    instance_leave(engine);
    return rc;
}

/* ---- init, free */

int32_t inflight_init(const inflight_init_params *params, inflight_engine **engine)
{
    struct err err = {0};
    int32_t rc;
    if (engine) {
        *engine = NULL;
        rc = instance_open(params, engine, &err);
    } else {
        rc = err_set(&err, INFLIGHT_E_ARG, "engine is NULL");
    }
    if (rc)
        thread_error_set(&err);
    return rc;
}

/* The reference to this object is given back with a jump: dlclose, which may unmap this
 * function, returns to the host directly. A test looks at the machine code. gcc is told to
 * make the jump, clang demands it; that takes two functions of one type, and the two
 * differ only in what their pointer points to. */
#if defined(__clang__)
#define WITH_TAIL_CALLS
#define TAIL_RETURN __attribute__((musttail)) return
#else
#define WITH_TAIL_CALLS __attribute__((optimize("optimize-sibling-calls")))
#define TAIL_RETURN     return
#endif

WITH_TAIL_CALLS int32_t inflight_free(inflight_engine *engine)
{
    int32_t (*unload)(inflight_engine *) = (int32_t(*)(inflight_engine *))dlclose;
    struct farewell bye = instance_close(engine);
    if (!bye.pin)
        return bye.status;
    TAIL_RETURN unload(bye.pin); /* 0, as INFLIGHT_OK */
}

/* ---- submit, cancel */

static int32_t check_request(inflight_request *r, struct err *err)
{
    struct str input, options;
    int32_t rc = str_in(&input, r->input, INPUT_MOST, "request.input", err);
    if (!rc)
        rc = str_in(&options, r->options, OPTIONS_MOST, "request.options", err);
    if (rc)
        return rc;
    if (!input.len)
        return err_set(err, INFLIGHT_E_ARG, "request.input is empty");
    if (r->kind > INFLIGHT_PROMPT)
        return err_set(err, INFLIGHT_E_ARG, "request.kind is %u, 0 or 1 is known", r->kind);
    if (r->overflow > INFLIGHT_OVERFLOW_FAIL)
        return err_set(err, INFLIGHT_E_ARG, "request.overflow is %u, 0 to 2 is known", r->overflow);
    if (r->priority > 255)
        return err_set(err, INFLIGHT_E_ARG, "request.priority is %u, at most 255", r->priority);
    if (r->flags & ~(uint32_t)INFLIGHT_REQ_NO_COALESCE || r->reserved)
        return err_set(err, INFLIGHT_E_NEWER, "request.flags %#x: this library knows %#x", r->flags,
                       (unsigned)INFLIGHT_REQ_NO_COALESCE);
    r->input = (inflight_str){input.ptr, input.len};
    r->options = (inflight_str){options.ptr, options.len};
    return INFLIGHT_OK;
}

int32_t inflight_submit(inflight_engine *engine, const inflight_request *request, inflight_req *req)
{
    struct instance *i;
    struct err err = {0};
    inflight_request r;
    int32_t rc = instance_enter(engine, &i);
    if (rc)
        return rc;
    rc = req ? struct_in(&r, sizeof r, request, "request", &err)
             : err_set(&err, INFLIGHT_E_ARG, "req is NULL");
    if (!rc)
        rc = check_request(&r, &err);
    if (!rc)
        rc = queue_submit(i->queue, &r, req, &err);
    if (rc)
        return refuse(engine, i, &err);
    instance_leave(engine);
    return INFLIGHT_OK;
}

int32_t inflight_cancel(inflight_engine *engine, inflight_req req)
{
    struct instance *i;
    int32_t rc = instance_enter(engine, &i);
    if (rc)
        return rc;
    rc = queue_cancel(i->queue, req);
    if (rc) {
        struct err err;
        (void)err_set(&err, rc, "request %#llx is over", (unsigned long long)req);
        return refuse(engine, i, &err);
    }
    instance_leave(engine);
    return INFLIGHT_OK;
}

/* ---- poll */

static int32_t poll_failed(const inflight_engine *engine, struct instance *i, int32_t rc,
                           uint32_t stride)
{
    struct err err;
    if (rc == INFLIGHT_E_BUSY)
        (void)err_set(&err, rc, "poll is running on another thread");
    else if (rc == INFLIGHT_E_ARG)
        (void)err_set(&err, rc,
                      "poll: events is NULL, or stride %u is not a multiple of 8 from %u to %u",
                      stride, STRIDE_LEAST, STRIDE_MOST);
    else
        (void)err_set(&err, rc, "poll: %s", inflight_strerror(rc));
    return refuse(engine, i, &err);
}

int32_t inflight_poll(inflight_engine *engine, inflight_event *events, uint32_t stride,
                      uint32_t cap, uint64_t timeout_ns)
{
    struct instance *i;
    int32_t n = instance_enter(engine, &i);
    if (n)
        return n;
    if (!events || stride < STRIDE_LEAST || stride > STRIDE_MOST || stride % 8)
        n = INFLIGHT_E_ARG;
    else
        n = ring_poll(i->ring, events, stride, cap, timeout_ns);
    if (n < 0)
        return poll_failed(engine, i, n, stride);
    instance_leave(engine);
    return n;
}

int32_t inflight_event_fd(inflight_engine *engine)
{
    struct instance *i;
    int32_t rc = instance_enter(engine, &i);
    if (rc)
        return rc;
    int32_t fd = ring_fd(i->ring);
    instance_leave(engine);
    return fd;
}

/* ---- query, control */

/* The rule of text answers. Negative if there is nowhere to write. */
static int32_t give_text(const char *text, size_t len, void *out, uint64_t out_size)
{
    if (!out && out_size)
        return INFLIGHT_E_ARG;
    if (out_size) {
        size_t n = (size_t)MIN((uint64_t)len, out_size - 1);
        if (n)
            memcpy(out, text, n);
        ((char *)out)[n] = '\0';
    }
    return (int32_t)MIN(len, (size_t)INT32_MAX);
}

/* What can be answered without an engine. */
static int32_t query_build(uint32_t what, void *out, uint64_t out_size)
{
    struct buf text;
    buf_init(&text, &mem_system);
    if (what == INFLIGHT_Q_BUILD)
        build_info_print(&text);
    else
        build_caps_print(&text);
    int32_t rc = text.failed ? INFLIGHT_E_NOMEM : give_text(text.ptr, text.len, out, out_size);
    buf_release(&text);
    return rc;
}

static int32_t query_thread_error(void *out, uint64_t out_size)
{
    struct err err;
    thread_error_get(&err);
    return give_text(err.text, strlen(err.text), out, out_size);
}

static int32_t query_stats(struct instance *i, void *out, uint64_t out_size, struct err *err)
{
    if (out_size < sizeof(inflight_hdr))
        return err_set(err, INFLIGHT_E_ARG, "query: room for %llu bytes of an inflight_stats",
                       (unsigned long long)out_size);
    int32_t rc = struct_out_check(out, "stats", err);
    if (rc)
        return rc;
    inflight_stats stats = {.h = {sizeof stats, INFLIGHT_ABI}};
    inflight_hdr h;
    memcpy(&h, out, sizeof h);
    if (h.struct_size > out_size)
        return err_set(err, INFLIGHT_E_ARG, "query: stats of %u bytes, but room for %llu",
                       h.struct_size, (unsigned long long)out_size);
    engine_stats(i->engine, &stats);
    struct_out(out, &stats, sizeof stats);
    return INFLIGHT_OK;
}

static int32_t query_text(struct instance *i, uint32_t what, void *out, uint64_t out_size,
                          struct err *err)
{
    struct buf text;
    buf_init(&text, &i->mem);
    int32_t rc = engine_text(i->engine, what, &text);
    if (!rc && text.failed)
        rc = INFLIGHT_E_NOMEM;
    if (!rc)
        rc = give_text(text.ptr, text.len, out, out_size);
    if (rc < 0)
        (void)err_set(err, rc, "query %u: %s", what, inflight_strerror(rc));
    buf_release(&text);
    return rc;
}

static int32_t query_engine(struct instance *i, uint32_t what, void *out, uint64_t out_size,
                            struct err *err)
{
    struct err last;
    switch (what) {
    case INFLIGHT_Q_ERROR:
        instance_last(i, &last);
        return give_text(last.text, strlen(last.text), out, out_size);
    case INFLIGHT_Q_CONFIG:
    case INFLIGHT_Q_PLAN:
    case INFLIGHT_Q_MODEL:
        return query_text(i, what, out, out_size, err);
    case INFLIGHT_Q_STATS:
        return query_stats(i, out, out_size, err);
    default:
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "query: nothing has the number %u", what);
    }
}

int32_t inflight_query(inflight_engine *engine, uint32_t what, void *out, uint64_t out_size)
{
    struct instance *i;
    struct err err = {0};
    if (!engine && what == INFLIGHT_Q_ERROR)
        return query_thread_error(out, out_size);
    bool of_build = what == INFLIGHT_Q_BUILD || what == INFLIGHT_Q_CAPS;
    if (!engine && of_build)
        return query_build(what, out, out_size);
    int32_t rc = instance_enter(engine, &i);
    if (rc)
        return rc;
    rc = of_build ? query_build(what, out, out_size) : query_engine(i, what, out, out_size, &err);
    if (err.code)
        return refuse(engine, i, &err);
    instance_leave(engine);
    return rc;
}

static int32_t control_value(uint32_t op, const void *in, uint64_t in_size, uint32_t *value,
                             struct err *err)
{
    *value = 0;
    if (op == INFLIGHT_CTL_RESUME)
        return in ? err_set(err, INFLIGHT_E_ARG, "control: resume takes no value") : INFLIGHT_OK;
    if (op < INFLIGHT_CTL_PAUSE || op > INFLIGHT_CTL_BATCHING)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "control: nothing has the number %u", op);
    if (!in || in_size != sizeof *value)
        return err_set(err, INFLIGHT_E_ARG, "control %u takes a uint32_t, not %llu bytes", op,
                       (unsigned long long)in_size);
    memcpy(value, in, sizeof *value);
    return INFLIGHT_OK;
}

int32_t inflight_control(inflight_engine *engine, uint32_t op, const void *in, uint64_t in_size)
{
    struct instance *i;
    struct err err = {0};
    uint32_t value;
    int32_t rc = instance_enter(engine, &i);
    if (rc)
        return rc;
    rc = control_value(op, in, in_size, &value, &err);
    if (!rc)
        rc = engine_control(i->engine, op, value, &err);
    if (rc)
        return refuse(engine, i, &err);
    instance_leave(engine);
    return INFLIGHT_OK;
}

/* ---- Without an engine */

const void *inflight_extension(const char *id)
{
    if (id && strcmp(id, INFLIGHT_EXT_TEXT) == 0)
        return &abi_text_table;
    if (id && strcmp(id, INFLIGHT_EXT_FRAME) == 0)
        return &abi_frame_table;
    return NULL;
}

const char *inflight_strerror(int32_t status)
{
    switch (status) {
#define STATUS(name, sentence) \
    case INFLIGHT_##name:      \
        return sentence;
#include "status.def"
#undef STATUS
    default:
        return "not a status of this library";
    }
}

static const inflight_api table = {
    .h = {sizeof table, INFLIGHT_ABI},
    .init = inflight_init,
    .submit = inflight_submit,
    .poll = inflight_poll,
    .cancel = inflight_cancel,
    .free = inflight_free,
    .event_fd = inflight_event_fd,
    .query = inflight_query,
    .control = inflight_control,
    .extension = inflight_extension,
    .strerror = inflight_strerror,
};

const inflight_api *inflight_get_api(uint32_t abi)
{
    return abi >> 16 == INFLIGHT_ABI_MAJOR ? &table : NULL;
}
