/* Sectors and wavefronts of warp-wide accesses, and sums over a function. */
#include "counters.h"

#include "sectors.h"

#include <stdlib.h>
#include <string.h>

#define BANKS 32 /* of 4 bytes */

static struct ptx_counts *counts_of(struct warp *w, const struct ptx_instr *in)
{
    return &w->cta->counts[in - w->cta->config->function->instr];
}

/* Distinct values among n. */
static uint32_t distinct(uint64_t *value, uint32_t n)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = 0;
        while (k < kept && value[k] != value[i])
            k++;
        if (k == kept)
            value[kept++] = value[i];
    }
    return kept;
}

void count_global(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                  const uint64_t *address, uint32_t bytes, bool writes)
{
    uint64_t sector[2 * WARP_LANES];
    uint32_t n = 0;
    struct ptx_counts *c = counts_of(w, in);
    for (int l = 0; l < WARP_LANES; l++) {
        if (!(mask >> l & 1))
            continue;
        uint64_t first = address[l] / SECTOR, last = (address[l] + bytes - 1) / SECTOR;
        sector[n++] = first;
        if (last != first)
            sector[n++] = last;
    }
    c->bytes += (uint64_t)bytes * (uint64_t)__builtin_popcount(mask);
    n = distinct(sector, n);
    c->sectors += n;
    c->fresh += sectors_touch(w->cta->launch_number, sector, n, writes);
}

/* Passes for the lanes of one phase: the most distinct words that one bank must give. */
static uint32_t phase_wavefronts(const uint64_t *word, uint32_t n)
{
    uint32_t most = 0, of_bank[BANKS] = {0};
    uint64_t copy[4 * WARP_LANES];
    memcpy(copy, word, n * sizeof *word);
    n = distinct(copy, n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t *count = &of_bank[copy[i] % BANKS];
        ++*count;
        most = *count > most ? *count : most;
    }
    return most;
}

/* Accesses of 8 bytes are served by half warps, of 16 bytes by quarters. */
void count_shared(struct warp *w, const struct ptx_instr *in, uint32_t mask, const uint64_t *offset,
                  uint32_t bytes)
{
    uint32_t words = bytes <= 4 ? 1 : bytes / 4, lanes = WARP_LANES / words;
    struct ptx_counts *c = counts_of(w, in);
    for (uint32_t first = 0; first < WARP_LANES; first += lanes) {
        uint64_t word[4 * WARP_LANES];
        uint32_t n = 0;
        for (uint32_t l = first; l < first + lanes; l++)
            for (uint32_t i = 0; i < words && (mask >> l & 1); i++)
                word[n++] = offset[l] / 4 + i;
        c->wavefronts += phase_wavefronts(word, n);
    }
    c->bytes += (uint64_t)bytes * (uint64_t)__builtin_popcount(mask);
}

void counters_reset(const struct ptx_function *function)
{
    if (function->counts)
        memset(function->counts, 0, (function->n_instr + 1) * sizeof *function->counts);
}

/* The counts are the one thing of a function that changes after loading. */
bool counters_open(const struct ptx_function *function)
{
    struct ptx_function *f = (struct ptx_function *)(uintptr_t)function;
    if (!f->counts)
        f->counts = calloc(f->n_instr + 1, sizeof *f->counts);
    return f->counts;
}

/* Behind the predicate of a line, if there is one. */
static const char *opcode_of(const char *line)
{
    line += strspn(line, " \t");
    if (*line == '@')
        line += strcspn(line, " \t");
    return line + strspn(line, " \t");
}

/* What an instruction is, by its text: forms keep no names. */
static void add(const struct ptx_function *f, uint32_t i, struct function_totals *out)
{
    char line[160];
    const struct ptx_counts *c = &f->counts[i];
    ptx_line(f->module, f->instr[i].line, line, sizeof line);
    const char *opcode = opcode_of(line);
    bool copy = strncmp(opcode, "cp.async", 8) == 0, store = strncmp(opcode, "st.", 3) == 0;
    bool global = c->sectors; /* a generic address may be one of global memory, too */
    out->warp_instructions += c->warps;
    out->lane_instructions += c->lanes;
    out->divergent += c->divergent;
    out->mma += strstr(line, "mma.sync") ? c->warps : 0;
    out->wavefronts += c->wavefronts;
    out->shared_requests += c->wavefronts ? c->warps : 0;
    if (global && store) {
        out->global_bytes_written += c->bytes;
        out->sectors_written += c->sectors;
        out->fresh_written += c->fresh;
    } else if (global) {
        out->global_bytes_read += copy ? c->bytes / 2 : c->bytes;
        out->sectors_read += c->sectors;
        out->fresh_read += c->fresh;
    }
}

void counters_sum(const struct ptx_function *function, struct function_totals *out)
{
    *out = (struct function_totals){0};
    out->launches = function->counts ? function->counts[function->n_instr].warps : 0;
    for (uint32_t i = 0; out->launches && i < function->n_instr; i++)
        if (function->counts[i].warps)
            add(function, i, out);
}
