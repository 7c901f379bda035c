/* Counts and the report at the end of the process. What a kernel cost is added up by its name,
 * since a function ends with its module. */
#include "driver.h"
#include "counters.h"
#include "lines.h"
#include "sectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_PRINTED 12 /* of each kernel */

struct row {
    struct row *next;
    struct gpu_kernel_counts sums;
    struct gpu_line_counts *line; /* (n_line) by file and line; owned */
    size_t n_line, room;
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
    to->fresh_read += from->fresh_read;
    to->fresh_written += from->fresh_written;
    to->shared_requests += from->shared_requests;
    to->wavefronts += from->wavefronts;
    to->mma += from->mma;
    to->divergent += from->divergent;
}

/* ---- Lines */

static int by_place(const struct gpu_line_counts *line, const char *file, uint32_t number)
{
    int order = strcmp(line->file, file);
    return order ? order : (line->line > number) - (line->line < number);
}

/* The row's line of that place, NULL: no memory. */
static struct gpu_line_counts *line_of(struct row *row, const char *file, uint32_t number)
{
    size_t low = 0, high = row->n_line;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (by_place(&row->line[middle], file, number) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < row->n_line && by_place(&row->line[low], file, number) == 0)
        return &row->line[low];
    if (row->n_line == row->room) {
        size_t room = 2 * row->room + 256;
        struct gpu_line_counts *grown = realloc(row->line, room * sizeof *grown);
        if (!grown)
            return NULL;
        row->line = grown;
        row->room = room;
    }
    struct gpu_line_counts *line = &row->line[low];
    memmove(line + 1, line, (row->n_line++ - low) * sizeof *line);
    *line = (struct gpu_line_counts){.line = number};
    (void)snprintf(line->file, sizeof line->file, "%s", file);
    return line;
}

static void add_line(struct row *row, const struct ptx_function *function, uint32_t i,
                     const char *file, uint32_t line)
{
    const struct ptx_counts *from = &function->counts[i];
    struct gpu_line_counts *to = line_of(row, file, line);
    if (!to)
        return;
    if (!*to->text)
        ptx_line(function->module, function->instr[i].line, to->text, sizeof to->text);
    to->warp_instructions += from->warps;
    to->lane_instructions += from->lanes;
    to->bytes += from->bytes;
    to->sectors += from->sectors;
    to->wavefronts += from->wavefronts;
}

static void add_lines(struct row *row, const struct ptx_function *function)
{
    struct source *source = calloc(function->n_instr, sizeof *source);
    if (!source)
        return;
    lines_find(function, source);
    uint32_t named = UINT32_MAX; /* the number of file */
    char file[sizeof row->line->file];
    for (uint32_t i = 0; i < function->n_instr; i++) {
        if (!function->counts[i].warps)
            continue;
        if (source[i].file != named)
            lines_file(function->module, source[i].file, file, sizeof file);
        named = source[i].file;
        add_line(row, function, i, file, source[i].line);
    }
    free(source);
}

static int by_cost(const void *x, const void *y)
{
    const struct gpu_line_counts *a = x, *b = y;
    if (a->sectors != b->sectors)
        return a->sectors < b->sectors ? 1 : -1;
    if (a->wavefronts != b->wavefronts)
        return a->wavefronts < b->wavefronts ? 1 : -1;
    if (a->warp_instructions != b->warp_instructions)
        return a->warp_instructions < b->warp_instructions ? 1 : -1;
    return by_place(a, b->file, b->line);
}

/* A sorted copy, to be freed; NULL: no memory, or no lines. */
static struct gpu_line_counts *sorted_lines(const struct row *row)
{
    struct gpu_line_counts *line = row->n_line ? calloc(row->n_line, sizeof *line) : NULL;
    if (line) {
        memcpy(line, row->line, row->n_line * sizeof *line);
        qsort(line, row->n_line, sizeof *line, by_cost);
    }
    return line;
}

/* ---- Kernels */

void report_add(const struct ptx_function *function)
{
    if (!function->is_entry || !driver.settings.count)
        return;
    struct function_totals totals;
    counters_sum(function, &totals);
    struct row *row = totals.launches ? row_of(function->name) : NULL;
    if (row)
        add(&row->sums, &totals);
    if (row && driver.settings.count > 1)
        add_lines(row, function);
    counters_reset(function);
}

static void collect(void)
{
    const struct module *module = NULL;
    while ((module = object_next(OBJECT_MODULE, NULL, module)))
        for (uint32_t k = 0; k < module->ptx->n_function; k++)
            report_add(&module->ptx->function[k]);
}

static const struct row *find_row(const char *name)
{
    const struct row *row = rows;
    while (row && strcmp(row->name, name) != 0)
        row = row->next;
    return row;
}

bool gpu_line_counts(const char *name, size_t n, struct gpu_line_counts *out)
{
    driver_lock();
    collect();
    const struct row *row = find_row(name);
    struct gpu_line_counts *line = row && n < row->n_line ? sorted_lines(row) : NULL;
    if (line)
        *out = line[n];
    free(line);
    driver_unlock();
    return line;
}

bool gpu_kernel_counts(const char *name, struct gpu_kernel_counts *out)
{
    driver_lock();
    collect();
    const struct row *row = find_row(name);
    if (row)
        *out = row->sums;
    driver_unlock();
    return row;
}

void gpu_counts(struct gpu_counts *out)
{
    driver_lock();
    *out = driver.counts;
    out->objects = objects_living();
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

static void print_lines(void)
{
    fprintf(stderr, "gpu: %-32s %-24s %12s %14s %12s %12s\n", "kernel", "line", "warp instr",
            "bytes", "sectors", "wavefronts");
    for (const struct row *row = rows; row; row = row->next) {
        struct gpu_line_counts *line = sorted_lines(row);
        for (size_t i = 0; line && i < row->n_line && i < LINES_PRINTED; i++) {
            char place[64];
            (void)snprintf(place, sizeof place, "%s:%u", line[i].file, line[i].line);
            fprintf(stderr, "gpu: %-32s %-24s %12llu %14llu %12llu %12llu  %s\n", row->name, place,
                    (unsigned long long)line[i].warp_instructions,
                    (unsigned long long)line[i].bytes, (unsigned long long)line[i].sectors,
                    (unsigned long long)line[i].wavefronts, line[i].text);
        }
        free(line);
    }
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
    if (driver.settings.count > 1)
        print_lines();
    for (struct row *next; rows; rows = next) {
        next = rows->next;
        free(rows->line);
        free(rows);
    }
    objects_end();
    cache_end();
    memory_end();
    sectors_end();
}
