/* Matrices of the file in another format: rows are made when the back end's threads come for
 * them, a few at a time in memory of the thread, so that a matrix never stands in memory twice. */
#pragma once

#include "../base/mem.h"
#include "../../kernels/backend.h"
#include "../../quant/encode.h"

struct convert_worker;

struct converter {
    const struct mem *mem;
    struct weight_source from; /* the matrix under way */
    enum fmt to;
    int32_t step;                  /* most rows at once */
    struct convert_worker *worker; /* (n), owned */
    int32_t n;
    float *memory; /* of all workers, owned, (bytes) */
    size_t bytes;
};

/* What rows of K values become where fmt is asked for: int4 in the largest groups that they consist
 * of and that are not larger, or int8; fp8 in place of fp8_128. */
enum fmt convert_fmt(enum fmt fmt, int64_t K);

/* For matrices of at most max_width values a row that become convert_fmt of fmt, and threads that
 * make rows at once. What has been taken when it fails stays until convert_close. */
int32_t convert_open(struct converter *c, enum fmt fmt, int32_t threads, int32_t max_width,
                     const struct mem *mem, struct err *err);
void convert_close(struct converter *c); /* zeroed is allowed */

/* A source that makes the rows of from in format to; both live until the next one. */
struct weight_source convert_begin(struct converter *c, const struct weight_source *from,
                                   enum fmt to);

/* Of the matrix under way, all of whose rows have been made: the root of the sum of squares of the
 * errors over that of the values; 0 if these are all zero. */
double convert_error(const struct converter *c);

/* Rows could not be made: says in err which value is in the way. Leaves err as it is if none is, or
 * the source cannot make the rows that have it. */
int32_t convert_explain(struct converter *c, struct err *err);
