/* What the pool costs: a barrier, and a run from hot and from idle. Arguments: lanes, 2. */
#define _GNU_SOURCE
#include "../../kernels/cpu/pool.h"
#include "../../plugin/base/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS    9
#define BARRIERS  20000
#define RUNS      5000
#define IDLE_RUNS 50

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_ns(const char *what, double *ns)
{
    qsort(ns, ROUNDS, sizeof *ns, by_value);
    printf("%-24s %9.0f ns [%.0f..%.0f]\n", what, ns[ROUNDS / 2], ns[0], ns[ROUNDS - 1]);
}

static int barriers(struct lane *lane, void *arg)
{
    for (int i = 0; i < *(int *)arg; i++)
        lane_barrier(lane);
    return 0;
}

static double run_ns(struct pool *pool, int runs, long idle_us, int n_barriers)
{
    uint64_t total = 0;
    for (int i = 0; i < runs; i++) {
        if (idle_us)
            nanosleep(&(struct timespec){0, idle_us * 1000}, NULL);
        uint64_t start = clock_ns();
        pool_run(pool, barriers, &n_barriers);
        total += clock_ns() - start;
    }
    return (double)total / runs;
}

int main(int argc, char **argv)
{
    int lanes = argc > 1 ? atoi(argv[1]) : 2;
    static struct device device;
    struct err err = {0};
    if (pool_open(&device.pool, lanes, &device, &mem_system, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return EXIT_FAILURE;
    }
    double barrier[ROUNDS], hot[ROUNDS], idle[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        barrier[round] = run_ns(device.pool, 1, 0, BARRIERS) / BARRIERS;
        hot[round] = run_ns(device.pool, RUNS, 0, 0);
        idle[round] = run_ns(device.pool, IDLE_RUNS, 1000, 0);
    }
    printf("%d lanes, %d cores\n", lanes, cores_available());
    print_ns("barrier", barrier);
    print_ns("run, hot", hot);
    print_ns("run, after 1 ms idle", idle);
    pool_close(device.pool);
    return EXIT_SUCCESS;
}
