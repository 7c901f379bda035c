/* Threads of the engine: all signals blocked, named "inflight-...", joined before
 * free returns. Locks and condition variables are plain pthread ones. */
#pragma once

#include "err.h"

#include <pthread.h>

struct thread {
    pthread_t id;
    bool started;
};

/* Starts body(arg). name: at most 15 bytes with the NUL. */
int32_t thread_start(struct thread *thread, const char *name, void *(*body)(void *), void *arg,
                     struct err *err);

/* How a thread stands against all others that want the same cores. */
enum thread_priority {
    THREAD_NORMAL, /* like any other */
    THREAD_LOW,    /* behind others, and never quite without a share */
    THREAD_IDLE,   /* what nobody else wants; gives way at once */
};

/* Lowers the calling thread and the threads it starts from then on; nobody else, and never
 * to more than they had, so it needs no privilege. A real-time policy that was inherited is
 * left in any case: a lane that waits for another would keep the machine from everyone. If
 * the system refuses, all stays as it was. */
void thread_lower(enum thread_priority priority);

/* Waits for its end; a zeroed or joined thread is allowed. */
void thread_join(struct thread *thread);

/* CLOCK_MONOTONIC, nanoseconds. */
uint64_t clock_ns(void);

/* A condition variable that waits on CLOCK_MONOTONIC. False: no memory. */
bool condition_init(pthread_cond_t *condition);

/* Waits with the mutex held until signalled or until deadline_ns (UINT64_MAX: no
 * end). May wake early. */
void condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t deadline_ns);

/* Cores this process may use: affinity mask and cgroup quota, SMT siblings counted
 * once; at least 1. */
int cores_available(void);
