/* The ceilings of this machine at this moment, as one JSON object:
 *
 *   ceilings [threads] [repetitions]
 *
 * read_gbs: memory of which every thread reads a part of its own; vnni_gops, avx2_gops,
 * bf16_gops, fma512_gops, fma256_gops: see probe.h, null where the processor has none. Each is
 * the median of the repetitions, which take turns. */
#include "probe.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define THREADS_MAX     256
#define REPETITIONS_MAX 99
#define DOT_CALLS       8

enum { READ, FIRST_DOT, PROBES = FIRST_DOT + PROBE_DOTS };

struct run {
    int threads, repetitions;
    char *cold;
    pthread_barrier_t barrier;
    double rate[PROBES][REPETITIONS_MAX]; /* 1e9 bytes or operations a second */
};

struct worker {
    struct run *run;
    int id;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What one thread does of a probe; returns bytes or operations. */
static double probe(struct run *run, int id, int which)
{
    double work = 0;
    if (which == READ) {
        size_t share = PROBE_COLD_BYTES / (size_t)run->threads / 256 * 256;
        probe_read(run->cold + (size_t)id * share, share);
        return (double)share;
    }
    for (int i = 0; i < DOT_CALLS; i++)
        work += probe_dot((enum probe_dot)(which - FIRST_DOT));
    return work;
}

/* All threads begin and end each probe together; the first one writes down what it took. */
static void *work(void *arg)
{
    struct worker *w = arg;
    struct run *run = w->run;
    for (int i = 0; i < run->repetitions; i++)
        for (int which = 0; which < PROBES; which++) {
            pthread_barrier_wait(&run->barrier);
            double start = now();
            double amount = probe(run, w->id, which);
            pthread_barrier_wait(&run->barrier);
            if (w->id == 0)
                run->rate[which][i] = amount * run->threads / (now() - start) * 1e-9;
        }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print(struct run *run)
{
    static const char *const name[PROBES] = {"read_gbs",  "vnni_gops",   "avx2_gops",
                                             "bf16_gops", "fma512_gops", "fma256_gops"};
    printf("{\"threads\": %d", run->threads);
    for (int which = 0; which < PROBES; which++) {
        double *rate = run->rate[which];
        qsort(rate, (size_t)run->repetitions, sizeof *rate, by_value);
        if (rate[run->repetitions / 2] > 0)
            printf(", \"%s\": %.1f", name[which], rate[run->repetitions / 2]);
        else
            printf(", \"%s\": null", name[which]);
    }
    printf("}\n");
}

static int number(int argc, char **argv, int i, int otherwise, int most)
{
    int n = argc > i ? atoi(argv[i]) : otherwise;
    return n < 1 ? 1 : n > most ? most : n;
}

int main(int argc, char **argv)
{
    static struct run run;
    static struct worker worker[THREADS_MAX];
    pthread_t thread[THREADS_MAX];
    run.threads = number(argc, argv, 1, 1, THREADS_MAX);
    run.repetitions = number(argc, argv, 2, 5, REPETITIONS_MAX);
    run.cold =
        mmap(NULL, PROBE_COLD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (run.cold == MAP_FAILED) {
        fprintf(stderr, "ceilings: no memory\n");
        return EXIT_FAILURE;
    }
    (void)madvise(run.cold, PROBE_COLD_BYTES, MADV_HUGEPAGE);
    memset(run.cold, 1, PROBE_COLD_BYTES);
    pthread_barrier_init(&run.barrier, NULL, (unsigned)run.threads);
    for (int i = 0; i < run.threads; i++) {
        worker[i] = (struct worker){&run, i};
        if (pthread_create(&thread[i], NULL, work, &worker[i])) {
            fprintf(stderr, "ceilings: thread %d did not start\n", i);
            return EXIT_FAILURE;
        }
    }
    for (int i = 0; i < run.threads; i++)
        pthread_join(thread[i], NULL);
    print(&run);
    return EXIT_SUCCESS;
}
