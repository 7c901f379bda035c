/* Opening and closing what is behind a handle. Everything that can be refused is refused
 * before anything is started; closing is the same steps backwards. */
#define _GNU_SOURCE
#include "instance.h"

#include "abi_struct.h"
#include "../file/file.h"

#include <stdatomic.h>
#include <string.h>

#define CONFIG_MOST (1u << 20) /* bytes of a configuration */
#define PATH_MOST   4096u

/* ---- What the host gave */

struct checked {
    inflight_init_params params;
    struct hooks hooks;
    struct str config, path; /* one of them is not empty */
};

static int32_t check_hooks(struct checked *c, struct err *err)
{
    const inflight_init_params *p = &c->params;
    int32_t rc = INFLIGHT_OK;
    c->hooks.user = p->user;
    c->hooks.log = p->log;
    c->hooks.wakeup = p->wakeup;
    if (p->alloc)
        rc = struct_in(&c->hooks.alloc, sizeof c->hooks.alloc, p->alloc, "params.alloc", err);
    if (!rc && p->io)
        rc = struct_in(&c->hooks.io, sizeof c->hooks.io, p->io, "params.io", err);
    if (rc)
        return rc;
    if (p->alloc && (!c->hooks.alloc.alloc || !c->hooks.alloc.release))
        return err_set(err, INFLIGHT_E_ARG, "params.alloc: both functions must be set");
    if (p->io && (!c->hooks.io.open || !c->hooks.io.pread || !c->hooks.io.close))
        return err_set(err, INFLIGHT_E_ARG, "params.io: all three functions must be set");
    return INFLIGHT_OK;
}

static int32_t check_params(struct checked *c, const inflight_init_params *params, struct err *err)
{
    memset(c, 0, sizeof *c);
    inflight_init_params *p = &c->params;
    int32_t rc = struct_in(p, sizeof *p, params, "params", err);
    if (!rc)
        rc = str_in(&c->config, p->config, CONFIG_MOST, "params.config", err);
    if (!rc)
        rc = str_in(&c->path, p->config_path, PATH_MOST, "params.config_path", err);
    if (rc)
        return rc;
    if (!c->config.len == !c->path.len)
        return err_set(err, INFLIGHT_E_ARG,
                       "exactly one of params.config and params.config_path must be set");
    if (c->path.len && memchr(c->path.ptr, 0, c->path.len))
        return err_set(err, INFLIGHT_E_ARG, "params.config_path contains a NUL");
    if (p->flags & ~(uint32_t)INFLIGHT_INIT_PLAN_ONLY || p->reserved)
        return err_set(err, INFLIGHT_E_NEWER, "params.flags %#x: this library knows %#x", p->flags,
                       (unsigned)INFLIGHT_INIT_PLAN_ONLY);
    return check_hooks(c, err);
}

/* ---- Opening */

static int32_t parse_file(struct config *config, const struct checked *c, const inflight_io *io,
                          struct arena *arena, struct err *err)
{
    struct file file = {0};
    struct buf scratch;
    buf_init(&scratch, arena->mem);
    char *path = arena_copy_text(arena, c->path.ptr, c->path.len);
    if (!path)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the configuration");
    int32_t rc = file_open(&file, path, io, err);
    if (rc)
        return rc;
    const void *text = "";
    if (file.bytes > CONFIG_MOST)
        rc = err_set(err, INFLIGHT_E_CONFIG, "%s: %llu bytes, a configuration has at most %u", path,
                     (unsigned long long)file.bytes, CONFIG_MOST);
    else if (file.bytes && !(text = file_view(&file, 0, (size_t)file.bytes, &scratch, err)))
        rc = err->code;
    if (!rc)
        rc = config_parse(config, (struct str){text, (size_t)file.bytes}, path, arena, err);
    buf_release(&scratch);
    file_close(&file);
    return rc;
}

static int32_t open_engine(struct instance *i, const struct checked *c, struct err *err)
{
    struct config config;
    struct arena arena;
    struct engine_host host = {
        .mem = i->mem,
        .io = hooks_io(&i->hooks),
        .user = &i->hooks,
        .log = i->hooks.log ? hooks_log : NULL,
        .wakeup = i->hooks.wakeup ? hooks_wakeup : NULL,
        .plan_only = c->params.flags & INFLIGHT_INIT_PLAN_ONLY,
        .cuda_context = c->params.cuda_context,
    };
    arena_init(&arena, &i->mem);
    int32_t rc = c->path.len ? parse_file(&config, c, host.io, &arena, err)
                             : config_parse(&config, c->config, NULL, &arena, err);
    if (!rc)
        rc = engine_open(&i->engine, &host, &config, &arena, err);
    arena_release(&arena);
    if (rc)
        return rc;
    i->queue = engine_queue(i->engine);
    i->ring = engine_ring(i->engine);
    return INFLIGHT_OK;
}

/* All but the pin, which the caller must give back last. */
static void release(struct instance *i)
{
    if (i->engine)
        (void)engine_close(i->engine); /* not on a thread of its own: see instance_close */
    fork_guard_release(&i->guard);
    pthread_mutex_destroy(&i->lock);
    /* The memory goes back through the hooks that lie in it. */
    struct hooks hooks = i->hooks;
    struct mem mem = hooks_mem(&hooks);
    mem_give(&mem, i, sizeof *i);
}

int32_t instance_open(const inflight_init_params *params, inflight_engine **handle, struct err *err)
{
    struct checked c;
    int32_t rc = check_params(&c, params, err);
    if (rc)
        return rc;
    struct mem mem = hooks_mem(&c.hooks);
    struct instance *i = mem_take_zeroed(&mem, sizeof *i, CACHE_LINE);
    if (!i)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for an engine");
    i->hooks = c.hooks;
    i->mem = hooks_mem(&i->hooks);
    i->mem.taken = &i->taken;
    atomic_init(&i->taken, sizeof *i);
    pthread_mutex_init(&i->lock, NULL);
    fork_guard_init(&i->guard);
    rc = open_engine(i, &c, err);
    if (!rc)
        rc = live_add(i, handle, err);
    if (rc) {
        release(i);
        return rc;
    }
    i->pin = pin_take();
    return INFLIGHT_OK;
}

/* ---- Closing */

struct farewell instance_close(inflight_engine *handle)
{
    struct instance *i;
    struct farewell bye = {NULL, INFLIGHT_OK};
    if (!handle)
        return bye;
    bye.status = INFLIGHT_E_BUSY;
    if (hooks_inside())
        return bye;
    bye.status = instance_enter(handle, &i);
    if (bye.status)
        return bye;
    instance_leave(handle);
    bye.status = live_retire(handle, &i);
    if (bye.status)
        return bye;
    ring_shut(i->ring);
    live_drain(handle);
    bye.pin = i->pin;
    release(i);
    live_remove(handle);
    return bye;
}

/* ---- Calls */

int32_t instance_enter(const inflight_engine *handle, struct instance **instance)
{
    int32_t rc = live_enter(handle, instance);
    if (rc || !fork_guard_broken(&(*instance)->guard))
        return rc;
    live_leave(handle);
    return INFLIGHT_E_FORKED;
}

void instance_leave(const inflight_engine *handle)
{
    live_leave(handle);
}

int32_t instance_fail(struct instance *instance, const struct err *err)
{
    pthread_mutex_lock(&instance->lock);
    instance->last = *err;
    pthread_mutex_unlock(&instance->lock);
    return err->code;
}

void instance_last(struct instance *instance, struct err *err)
{
    pthread_mutex_lock(&instance->lock);
    *err = instance->last;
    pthread_mutex_unlock(&instance->lock);
}
