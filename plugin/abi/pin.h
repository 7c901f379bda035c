/* Staying mapped, and noticing fork. */
#pragma once

#include "../base/err.h"

/* One more reference to the object this code is in, or NULL (not in an object that can be
 * unloaded, or a build where pin_drop could not be the last thing that runs). */
void *pin_take(void);

/* A page that the kernel clears in a child of fork, or else the process's number. */
struct fork_guard {
    volatile unsigned char *page; /* or NULL */
    int32_t process;
};

void fork_guard_init(struct fork_guard *guard);
void fork_guard_release(struct fork_guard *guard);

/* This process is a child of the one that made the guard. */
bool fork_guard_broken(const struct fork_guard *guard);
