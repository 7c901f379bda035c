/* The table of threads in hooks is open-addressed by thread, lock-free, and as large as
 * any number of threads that could be in hooks at once; a thread that finds no place is
 * not noted, which costs no more than the check. Thread-local storage would be simpler,
 * but the loader takes a library's block at first touch and ends the process if there is
 * no memory for it. */
#define _GNU_SOURCE
#include "hooks.h"

#include <pthread.h>
#include <stdatomic.h>

#define PLACES  256u
#define NOWHERE PLACES

static _Atomic uintptr_t inside[PLACES];

static uint32_t first_place(uintptr_t thread)
{
    return (uint32_t)((thread >> 12) * 0x9e3779b1u >> 8) % PLACES;
}

static uint32_t enter(void)
{
    uintptr_t me = (uintptr_t)pthread_self();
    uint32_t at = first_place(me);
    for (uint32_t i = 0; i < PLACES; i++, at = (at + 1) % PLACES) {
        uintptr_t none = 0;
        if (atomic_compare_exchange_strong(&inside[at], &none, me))
            return at;
    }
    return NOWHERE;
}

static void leave(uint32_t place)
{
    if (place != NOWHERE)
        atomic_store(&inside[place], 0);
}

bool hooks_inside(void)
{
    uintptr_t me = (uintptr_t)pthread_self();
    for (uint32_t i = 0; i < PLACES; i++)
        if (atomic_load(&inside[i]) == me)
            return true;
    return false;
}

static void *alloc_trampoline(void *user, uint64_t bytes, uint64_t align)
{
    const struct hooks *hooks = user;
    uint32_t place = enter();
    void *ptr = hooks->alloc.alloc(hooks->alloc.user, bytes, align);
    leave(place);
    return ptr;
}

static void release_trampoline(void *user, void *ptr, uint64_t bytes)
{
    const struct hooks *hooks = user;
    uint32_t place = enter();
    hooks->alloc.release(hooks->alloc.user, ptr, bytes);
    leave(place);
}

static void *open_trampoline(void *user, const char *path, uint64_t *bytes)
{
    const struct hooks *hooks = user;
    uint32_t place = enter();
    void *file = hooks->io.open(hooks->io.user, path, bytes);
    leave(place);
    return file;
}

static int64_t pread_trampoline(void *user, void *file, void *dst, uint64_t n, uint64_t offset)
{
    const struct hooks *hooks = user;
    uint32_t place = enter();
    int64_t got = hooks->io.pread(hooks->io.user, file, dst, n, offset);
    leave(place);
    return got;
}

static void close_trampoline(void *user, void *file)
{
    const struct hooks *hooks = user;
    uint32_t place = enter();
    hooks->io.close(hooks->io.user, file);
    leave(place);
}

struct mem hooks_mem(struct hooks *hooks)
{
    if (!hooks->alloc.alloc)
        return mem_system;
    inflight_alloc wrapped = {
        {sizeof wrapped, INFLIGHT_ABI}, hooks, alloc_trampoline, release_trampoline};
    return mem_of_host(&wrapped);
}

const inflight_io *hooks_io(struct hooks *hooks)
{
    if (!hooks->io.open)
        return NULL;
    hooks->io_wrapped = (inflight_io){{sizeof(inflight_io), INFLIGHT_ABI},
                                      hooks,
                                      open_trampoline,
                                      pread_trampoline,
                                      close_trampoline};
    return &hooks->io_wrapped;
}

void hooks_log(void *user, int32_t level, const char *line, uint64_t len)
{
    const struct hooks *hooks = user;
    uint32_t place = enter();
    hooks->log(hooks->user, level, line, len);
    leave(place);
}

void hooks_wakeup(void *user)
{
    const struct hooks *hooks = user;
    uint32_t place = enter();
    hooks->wakeup(hooks->user);
    leave(place);
}
