#define _GNU_SOURCE
#include "thread.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NICE_LOW 10 /* about a tenth of a core that one other thread wants too */

int32_t thread_start(struct thread *thread, const char *name, void *(*body)(void *), void *arg,
                     struct err *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&thread->id, NULL, body, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc)
        return err_set(err, INFLIGHT_E_NOMEM, "cannot start thread %s: %s", name, strerror(rc));
    (void)pthread_setname_np(thread->id, name);
    thread->started = true;
    return INFLIGHT_OK;
}

/* For one thread; the C function setpriority is for a process, if taken at its word. */
static void be_nice(int nice)
{
    pid_t self = (pid_t)syscall(SYS_gettid);
    /* The kernel answers 20 - nice, so that an error is told from it. */
    long now = syscall(SYS_getpriority, PRIO_PROCESS, self);
    if (now > 20 - nice)
        (void)syscall(SYS_setpriority, PRIO_PROCESS, self, nice);
}

void thread_lower(enum thread_priority priority)
{
    int policy;
    struct sched_param param;
    if (pthread_getschedparam(pthread_self(), &policy, &param))
        return;
    bool realtime = policy == SCHED_FIFO || policy == SCHED_RR;
    int wanted = policy == SCHED_IDLE || priority == THREAD_IDLE ? SCHED_IDLE
                 : priority == THREAD_LOW                        ? SCHED_BATCH
                 : realtime                                      ? SCHED_OTHER
                                                                 : policy;
    param.sched_priority = 0;
    if (wanted != policy)
        (void)pthread_setschedparam(pthread_self(), wanted, &param);
    if (priority == THREAD_LOW)
        be_nice(NICE_LOW);
}

void thread_join(struct thread *thread)
{
    if (thread->started)
        pthread_join(thread->id, NULL);
    thread->started = false;
}

uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes))
        return false;
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    bool ok = pthread_cond_init(condition, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    return ok;
}

void condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t deadline_ns)
{
    if (deadline_ns == UINT64_MAX) {
        pthread_cond_wait(condition, mutex);
        return;
    }
    struct timespec t = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                         .tv_nsec = (long)(deadline_ns % 1000000000u)};
    pthread_cond_timedwait(condition, mutex, &t);
}

/* The first unsigned number in a small file of /proc or /sys, or -1. */
static long read_number(const char *path)
{
    char text[64] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    long value = 0;
    if (n <= 0 || text[0] < '0' || text[0] > '9')
        return -1;
    for (char *p = text; *p >= '0' && *p <= '9' && value < 1000000000; p++)
        value = value * 10 + (*p - '0');
    return value;
}

/* CPU quota of the control group in whole cores, rounded up; 0: none. */
static int cgroup_cores(void)
{
    char text[64] = {0};
    int fd = open("/sys/fs/cgroup/cpu.max", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    long value[2] = {0, 0};
    int field = 0;
    for (char *p = text; n > 0 && *p && field < 2; p++) {
        if (*p >= '0' && *p <= '9' && value[field] < 1000000000)
            value[field] = value[field] * 10 + (*p - '0');
        else if (*p == ' ')
            field++;
        else
            break; /* "max": no quota */
    }
    return value[0] && value[1] ? (int)((value[0] + value[1] - 1) / value[1]) : 0;
}

int cores_available(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set))
        return 1;
    int cores = 0;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &set))
            continue;
        char path[96];
        (void)snprintf(path, sizeof path,
                       "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
        long first = read_number(path);
        bool sibling_counted = first >= 0 && first < (long)cpu && CPU_ISSET((size_t)first, &set);
        cores += !sibling_counted;
    }
    int quota = cgroup_cores();
    if (quota && quota < cores)
        cores = quota;
    return MAX(cores, 1);
}
