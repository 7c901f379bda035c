#include "encode.h"

#include "nearest.h"

#include "../encode.h"
#include "../vectors.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MOST 256

/* What the threads share. */
struct task {
    const struct packing *packing;
    enum fmt from;
    const uint8_t *rows; /* of the model */
    uint8_t *memory;
    _Atomic int64_t next;    /* rows that no thread has taken yet */
    _Atomic int64_t bad_row; /* one that cannot be encoded; -1: none */
};

struct worker {
    struct task *task;
    float *value, *back; /* (PACK_ROWS, K), (K) */
    uint8_t *row;        /* (PACK_ROWS) rows of the format */
    double error, square;
};

typedef float lanes __attribute__((vector_size(32))); /* that the processor adds at once */

enum { LANES = 8, PART = 32 * LANES };

INTO_BOTH void add_lanes(const float *value, const float *back, lanes *error, lanes *square)
{
    lanes from, off;
    memcpy(&from, value, sizeof from);
    memcpy(&off, back, sizeof off);
    off -= from;
    *error += off * off;
    *square += from * from;
}

/* In floats over parts of a row that are short enough for these, beyond that in doubles. */
INTO_BOTH void add_errors(struct worker *w, const float *value, int64_t K)
{
    for (int64_t first = 0; first < K; first += PART) {
        const int64_t n = MIN(K - first, PART), whole = n / LANES * LANES;
        const float *from = value + first, *back = w->back + first;
        float rest[2][LANES] = {{0}};
        lanes error = {0}, square = {0};
        for (int64_t i = 0; i < whole; i += LANES)
            add_lanes(from + i, back + i, &error, &square);
        memcpy(rest[0], from + whole, (size_t)(n - whole) * sizeof *from);
        memcpy(rest[1], back + whole, (size_t)(n - whole) * sizeof *back);
        add_lanes(rest[0], rest[1], &error, &square);
        for (int j = 0; j < LANES; j++) {
            w->error += (double)error[j];
            w->square += (double)square[j];
        }
    }
}

AVX2 static void add_errors_avx2(struct worker *w, const float *value, int64_t K)
{
    add_errors(w, value, K);
}

static void add_error(struct worker *w, const float *value, int64_t K)
{
    if (has_avx2())
        add_errors_avx2(w, value, K);
    else
        add_errors(w, value, K);
}

/* Rows [first, first + n): false if one has what is not a number, or too large a one. */
static bool encode_rows(struct worker *w, int64_t first, int64_t n)
{
    const struct task *task = w->task;
    const struct packing *p = task->packing;
    const size_t from = fmt_row_bytes(task->from, p->K), to = fmt_row_bytes(p->fmt, p->K);
    float largest[PACK_ROWS];
    for (int64_t r = 0; r < n; r++) {
        float *value = w->value + r * p->K;
        fmt_decode_row(task->from, task->rows + (size_t)(first + r) * from, p->K, value);
        largest[r] = encode_largest(value, p->K);
        if (!(largest[r] <= encode_most(p->fmt)))
            return false;
    }
    nearest_rows(p, w->value, n, largest, w->row);
    for (int64_t r = 0; r < n; r++) {
        fmt_decode_row(p->fmt, w->row + (size_t)r * to, p->K, w->back);
        add_error(w, w->value + r * p->K, p->K);
    }
    pack_rows(p, first, n, w->row, task->memory);
    return true;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct task *task = w->task;
    for (int64_t first; (first = atomic_fetch_add(&task->next, PACK_ROWS)) < task->packing->N;)
        if (!encode_rows(w, first, MIN(PACK_ROWS, task->packing->N - first))) {
            atomic_store(&task->bad_row, first);
            break;
        }
    return NULL;
}

static bool take_memory(struct worker *w, const struct packing *p)
{
    w->value = malloc((size_t)(PACK_ROWS * p->K) * sizeof *w->value);
    w->back = malloc((size_t)p->K * sizeof *w->back);
    w->row = malloc(PACK_ROWS * fmt_row_bytes(p->fmt, p->K));
    return w->value && w->back && w->row;
}

static int32_t run_workers(struct task *task, int32_t n, struct output *o, struct err *err)
{
    struct worker worker[THREADS_MOST];
    struct thread thread[THREADS_MOST] = {{0}};
    double error = 0, square = 0;
    int32_t rc = INFLIGHT_OK;
    memset(worker, 0, sizeof worker);
    for (int32_t i = 0; i < n && !rc; i++) {
        worker[i].task = task;
        if (!take_memory(&worker[i], task->packing))
            rc = err_set(err, INFLIGHT_E_NOMEM, "no memory for rows of %lld values",
                         (long long)task->packing->K);
        else if (i > 0)
            rc = thread_start(&thread[i], "quantize", work, &worker[i], err);
    }
    if (!rc)
        (void)work(&worker[0]);
    for (int32_t i = 0; i < n; i++) {
        thread_join(&thread[i]);
        error += worker[i].error;
        square += worker[i].square;
        free(worker[i].value);
        free(worker[i].back);
        free(worker[i].row);
    }
    o->error = square > 0 ? sqrt(error / square) : 0;
    return rc;
}

void encoder_init(struct encoder *e, int32_t threads)
{
    e->threads = MIN(threads, THREADS_MOST);
    buf_init(&e->memory, &mem_system);
    buf_init(&e->source, &mem_system);
}

void encoder_release(struct encoder *e)
{
    buf_release(&e->memory);
    buf_release(&e->source);
}

int32_t encoder_run(struct encoder *e, const struct tensors *tensors, struct output *o,
                    struct err *err)
{
    struct task task = {.packing = &o->packing, .from = o->from->fmt, .bad_row = -1};
    task.rows = tensors_view(tensors, o->from, &e->source, err);
    if (!task.rows)
        return err->code;
    e->memory.len = 0;
    task.memory = (uint8_t *)buf_room(&e->memory, o->packing.bytes);
    if (!task.memory)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %s", o->module);
    memset(task.memory, 0, o->packing.bytes);
    int32_t rc = run_workers(&task, e->threads, o, err);
    tensors_done(tensors, o->from);
    if (!rc && task.bad_row >= 0)
        rc = err_set(err, INFLIGHT_E_MODEL,
                     "%s.weight has what is not a number, or is too large, among rows %lld to %lld",
                     o->module, (long long)task.bad_row,
                     (long long)MIN(task.bad_row + PACK_ROWS, o->packing.N) - 1);
    return rc;
}
