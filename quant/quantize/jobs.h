/* Work in pieces that do not depend on one another, on several threads. */
#pragma once

#include <stdint.h>

#define JOB_THREADS_MOST 256

/* thread: below that of jobs_run, of one thread at a time; for its scratch memory. */
typedef void job(void *arg, int64_t piece, int32_t thread);

/* Returns when all n pieces are done. The caller takes pieces as well, so that threads which the
 * system does not give are missed in nothing but time. One caller at a time, and none from
 * within a job: of a program, not of what others load. */
void jobs_run(int32_t threads, int64_t n, job *body, void *arg);
