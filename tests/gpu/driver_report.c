/* Counts and the report at the end of the process. What a kernel cost is added up by its name,
 * since a function ends with its module. */
#include "driver.h"
#include "counters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
    struct row *next;
    struct gpu_kernel_counts sums;
    char name[];
};

static struct row *rows; /* by name */

static struct row *row_of(const char *name)
{
    struct row **link = &rows;
    int order = -1;
    while (*link && (order = strcmp((*link)->name, name)) < 0)
        link = &(*link)->next;
    if (*link && order == 0)
        return *link;
    size_t bytes = strlen(name) + 1;
    struct row *row = calloc(1, sizeof *row + bytes);
    if (!row)
        return NULL;
    memcpy(row->name, name, bytes);
    row->next = *link;
    return *link = row;
}

static void add(struct gpu_kernel_counts *to, const struct function_totals *from)
{
    to->launches += from->launches;
    to->warp_instructions += from->warp_instructions;
    to->lane_instructions += from->lane_instructions;
    to->global_bytes_read += from->global_bytes_read;
    to->global_bytes_written += from->global_bytes_written;
    to->sectors_read += from->sectors_read;
    to->sectors_written += from->sectors_written;
    to->shared_requests += from->shared_requests;
    to->wavefronts += from->wavefronts;
    to->mma += from->mma;
    to->divergent += from->divergent;
}

void report_add(const struct ptx_function *function)
{
    if (!function->is_entry || !driver.settings.count)
        return;
    struct function_totals totals;
    counters_sum(function, &totals);
    struct row *row = totals.launches ? row_of(function->name) : NULL;
    if (row)
        add(&row->sums, &totals);
    counters_reset(function);
}

static void collect(void)
{
    const struct module *module;
    for (size_t i = 0; (module = object_nth(OBJECT_MODULE, NULL, i)); i++)
        for (uint32_t k = 0; k < module->ptx->n_function; k++)
            report_add(&module->ptx->function[k]);
}

bool gpu_kernel_counts(const char *name, struct gpu_kernel_counts *out)
{
    driver_lock();
    collect();
    const struct row *row = rows;
    while (row && strcmp(row->name, name) != 0)
        row = row->next;
    if (row)
        *out = row->sums;
    driver_unlock();
    return row;
}

void gpu_counts(struct gpu_counts *out)
{
    driver_lock();
    *out = driver.counts;
    driver_unlock();
}

void gpu_counts_reset(void)
{
    driver_lock();
    driver.counts =
        (struct gpu_counts){.contexts = driver.counts.contexts, .living = driver.counts.living};
    driver.fault = (struct fault){.kind = FAULT_NONE};
    driver_unlock();
}

int gpu_last_fault(char *text, size_t bytes)
{
    driver_lock();
    int kind = (int)driver.fault.kind;
    if (text && bytes)
        snprintf(text, bytes, "%s", driver.fault.text);
    driver_unlock();
    return kind;
}

static void print_row(const struct row *row)
{
    const struct gpu_kernel_counts *s = &row->sums;
    fprintf(stderr,
            "gpu: %-32s %8llu %12llu %12llu %12llu %10llu %10llu %10llu %10llu %8llu %8llu\n",
            row->name, (unsigned long long)s->launches, (unsigned long long)s->warp_instructions,
            (unsigned long long)s->global_bytes_read, (unsigned long long)s->global_bytes_written,
            (unsigned long long)s->sectors_read, (unsigned long long)s->sectors_written,
            (unsigned long long)s->shared_requests, (unsigned long long)s->wavefronts,
            (unsigned long long)s->mma, (unsigned long long)s->divergent);
}

static void print(void)
{
    fprintf(stderr, "gpu: %-32s %8s %12s %12s %12s %10s %10s %10s %10s %8s %8s\n", "kernel",
            "launches", "warp instr", "bytes read", "written", "sectors rd", "wr", "shared rq",
            "wavefronts", "mma", "diverged");
    for (const struct row *row = rows; row; row = row->next)
        print_row(row);
}

/* Where the process ends, other threads may still call: what runs is waited for, and what comes
 * then waits for ever. */
__attribute__((destructor)) static void end(void)
{
    driver_lock();
    if (driver.settings.count) {
        collect();
        print();
    }
    for (struct row *next; rows; rows = next) {
        next = rows->next;
        free(rows);
    }
    objects_end();
    memory_end();
}
