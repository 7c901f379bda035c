/* The object holds a reference to itself from init to free. A host that unloads it while
 * an engine lives therefore unmaps nothing under the engine's threads; the last act of
 * free gives the reference back with a jump to dlclose that never returns into text that
 * is gone (see inflight_free). Without that jump the pin would be the very fault it
 * prevents, so builds that do not make it (no optimisation, sanitizers) do without. */
#define _GNU_SOURCE
#include "pin.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES 4096u

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if !defined(__OPTIMIZE__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                     \
    __has_feature(memory_sanitizer)
#define CAN_PIN false
#else
#define CAN_PIN true
#endif

void *pin_take(void)
{
    Dl_info info;
    static const char inside; /* an address of this object */
    if (!CAN_PIN || !dladdr(&inside, &info) || !info.dli_fname)
        return NULL;
    /* The name the loader knows it by: no file is looked for. */
    return dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
}

void fork_guard_init(struct fork_guard *guard)
{
    *guard = (struct fork_guard){NULL, (int32_t)getpid()};
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return;
    if (madvise(page, PAGE_BYTES, MADV_WIPEONFORK)) {
        munmap(page, PAGE_BYTES);
        return; /* a kernel before 4.14: one system call per call into the library */
    }
    guard->page = page;
    *guard->page = 1;
}

void fork_guard_release(struct fork_guard *guard)
{
    if (guard->page)
        munmap((void *)guard->page, PAGE_BYTES);
    guard->page = NULL;
}

bool fork_guard_broken(const struct fork_guard *guard)
{
    return guard->page ? *guard->page == 0 : guard->process != (int32_t)getpid();
}
