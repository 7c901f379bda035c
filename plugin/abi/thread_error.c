/* A small table instead of thread-local storage: the loader takes a library's thread-local
 * block at first touch and ends the process if there is no memory for it, and what must
 * report "out of memory" must not need any. The lock is held for a copy of 512 bytes; it
 * is only ever tried, so a child of fork cannot hang on it. */
#define _GNU_SOURCE
#include "thread_error.h"

#include <pthread.h>
#include <sched.h>

#define PLACES 16u
#define TRIES  1000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    pthread_t thread;
    uint64_t age; /* 0: free */
    struct err err;
} places[PLACES];
static uint64_t now;

static bool try_lock(void)
{
    for (int i = 0; i < TRIES; i++) {
        if (pthread_mutex_trylock(&lock) == 0)
            return true;
        sched_yield();
    }
    return false;
}

/* This thread's place, or PLACES. */
static uint32_t find_mine(void)
{
    uint32_t i = 0;
    while (i < PLACES && !(places[i].age && pthread_equal(places[i].thread, pthread_self())))
        i++;
    return i;
}

void thread_error_set(const struct err *err)
{
    if (!try_lock())
        return;
    uint32_t at = find_mine();
    if (at == PLACES) {
        at = 0;
        for (uint32_t i = 1; i < PLACES; i++)
            if (places[i].age < places[at].age)
                at = i;
    }
    places[at].thread = pthread_self();
    places[at].age = ++now;
    places[at].err = *err;
    pthread_mutex_unlock(&lock);
}

void thread_error_get(struct err *err)
{
    *err = (struct err){0};
    if (!try_lock())
        return;
    uint32_t at = find_mine();
    if (at < PLACES)
        *err = places[at].err;
    pthread_mutex_unlock(&lock);
}
