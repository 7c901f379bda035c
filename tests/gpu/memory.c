/* Allocations are mappings of their own with inaccessible pages around them, entered in one
 * table sorted by address. What was given back keeps its place in the table and its addresses,
 * so that a later use is known for what it is; its memory goes to the system.
 *
 * The table changes only under the lock, and never while a grid runs (the driver runs grids
 * under its own lock); instructions search it without. */
#include "memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GUARD   ((size_t)4096) /* before and behind, inaccessible */
#define PAGE    ((size_t)4096)
#define ALIGN   ((size_t)512)
#define MARKS   ((uint64_t)UINT8_MAX - MARK_WRITTEN) /* of launches */
#define RECORDS 32768 /* taken at once: too many for the heap to keep among others */

struct allocation {
    uint64_t base; /* the device pointer */
    size_t bytes;  /* asked for */
    uint8_t *map;  /* GUARD, data, GUARD, shadow */
    size_t map_bytes;
    uint8_t *shadow;            /* (bytes) */
    struct race_record *record; /* of each RACE_BYTES, or NULL */
    uint32_t context;
    bool freed;
};

struct records {
    struct records *next;
    size_t n;
    struct allocation record[RECORDS];
};

static struct {
    pthread_mutex_t lock;
    struct records *records;
    struct allocation **allocation; /* (n) by base */
    size_t n, room;
    uint64_t total, used;
    bool keeps_records;
    uint64_t launches; /* so far */
    uint64_t unmarked; /* launches, the first ones, that have no mark any more */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER, .total = UINT64_C(16) << 30};

void memory_init(uint64_t total)
{
    pthread_mutex_lock(&table.lock);
    table.total = total;
    pthread_mutex_unlock(&table.lock);
}

void memory_keep_records(bool keeps)
{
    pthread_mutex_lock(&table.lock);
    table.keeps_records = keeps;
    pthread_mutex_unlock(&table.lock);
}

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* The number of allocations that begin at or below address. */
static size_t rank_of(uint64_t address)
{
    size_t low = 0, high = table.n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (table.allocation[middle]->base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The allocation, living or freed, that address lies in or just behind; NULL: far from all. */
static struct allocation *near(uint64_t address)
{
    size_t rank = rank_of(address);
    return rank ? table.allocation[rank - 1] : NULL;
}

static bool insert(struct allocation *a)
{
    if (table.n == table.room) {
        size_t room = table.room ? 2 * table.room : (size_t)RECORDS;
        struct allocation **grown = realloc(table.allocation, room * sizeof *grown);
        if (!grown)
            return false;
        table.allocation = grown;
        table.room = room;
    }
    size_t at = rank_of(a->base);
    memmove(table.allocation + at + 1, table.allocation + at,
            (table.n - at) * sizeof *table.allocation);
    table.allocation[at] = a;
    table.n++;
    return true;
}

/* Records stay as long as the library, so they lie apart from what the heap gives and takes. */
static struct allocation *new_record(void)
{
    struct records *chunk = table.records;
    if (!chunk || chunk->n == RECORDS) {
        void *map =
            mmap(NULL, sizeof *chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (map == MAP_FAILED)
            return NULL;
        chunk = map;
        chunk->next = table.records;
        table.records = chunk;
    }
    return &chunk->record[chunk->n++];
}

static size_t record_bytes(size_t bytes)
{
    return round_up(bytes, RACE_BYTES) / RACE_BYTES * sizeof(struct race_record);
}

/* Pages come as they are touched. */
static struct race_record *map_records(size_t bytes)
{
    void *map = mmap(NULL, record_bytes(bytes), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return map == MAP_FAILED ? NULL : map;
}

/* Data begins GUARD behind the start, plus what keeps its end within a few bytes of the guard. */
static struct allocation *map_allocation(size_t bytes, uint32_t context)
{
    size_t data = round_up(bytes, PAGE), slack = (data - bytes) / ALIGN * ALIGN;
    struct allocation *a = new_record();
    if (!a)
        return NULL;
    a->map_bytes = GUARD + data + GUARD + round_up(bytes, PAGE);
    a->map = mmap(NULL, a->map_bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (a->map == MAP_FAILED)
        return NULL;
    (void)mprotect(a->map, GUARD, PROT_NONE);
    (void)mprotect(a->map + GUARD + data, GUARD, PROT_NONE);
    a->base = (uint64_t)(uintptr_t)(a->map + GUARD + slack);
    a->bytes = bytes;
    a->shadow = a->map + GUARD + data + GUARD;
    a->context = context;
    a->record = table.keeps_records ? map_records(bytes) : NULL;
    return a;
}

static void unmap_allocation(struct allocation *a)
{
    (void)munmap(a->map, a->map_bytes);
    if (a->record)
        (void)munmap(a->record, record_bytes(a->bytes));
}

void memory_end(void)
{
    for (size_t i = 0; i < table.n; i++)
        unmap_allocation(table.allocation[i]);
    free(table.allocation);
    for (struct records *chunk = table.records, *next; chunk; chunk = next) {
        next = chunk->next;
        (void)munmap(chunk, sizeof *chunk);
    }
}

uint64_t memory_take(size_t bytes, uint32_t context)
{
    uint64_t base = 0;
    pthread_mutex_lock(&table.lock);
    if (bytes && bytes <= table.total - table.used) {
        struct allocation *a = map_allocation(bytes, context);
        if (a && insert(a)) {
            base = a->base;
            table.used += bytes;
        } else if (a) {
            unmap_allocation(a);
        }
    }
    pthread_mutex_unlock(&table.lock);
    return base;
}

/* Keeps the addresses, lets go of the memory. */
static void retire(struct allocation *a)
{
    (void)mmap(a->map, a->map_bytes, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (a->record)
        (void)munmap(a->record, record_bytes(a->bytes));
    a->record = NULL;
    a->freed = true;
    table.used -= a->bytes;
}

bool memory_give(uint64_t address, uint32_t context)
{
    pthread_mutex_lock(&table.lock);
    struct allocation *a = near(address);
    bool found = a && a->base == address && !a->freed && a->context == context;
    if (found)
        retire(a);
    pthread_mutex_unlock(&table.lock);
    return found;
}

void memory_give_all(uint32_t context)
{
    pthread_mutex_lock(&table.lock);
    for (size_t i = 0; i < table.n; i++)
        if (table.allocation[i]->context == context && !table.allocation[i]->freed)
            retire(table.allocation[i]);
    pthread_mutex_unlock(&table.lock);
}

uint64_t memory_used(void)
{
    pthread_mutex_lock(&table.lock);
    uint64_t used = table.used;
    pthread_mutex_unlock(&table.lock);
    return used;
}

uint32_t memory_leaks(uint32_t context)
{
    uint32_t n = 0;
    pthread_mutex_lock(&table.lock);
    for (size_t i = 0; i < table.n; i++)
        n += table.allocation[i]->context == context && !table.allocation[i]->freed;
    pthread_mutex_unlock(&table.lock);
    return n;
}

/* ---- The host's side */

/* The living allocation of the context that holds the range, or NULL. */
static struct allocation *holding(uint64_t address, size_t bytes, uint32_t context)
{
    struct allocation *a = near(address);
    bool inside = a && !a->freed && a->context == context && address - a->base <= a->bytes &&
                  bytes <= a->bytes - (address - a->base);
    return inside ? a : NULL;
}

bool memory_range(uint64_t address, size_t bytes, uint32_t context, uint64_t *base, size_t *size)
{
    pthread_mutex_lock(&table.lock);
    const struct allocation *a = holding(address, bytes, context);
    if (a) {
        *base = a->base;
        *size = a->bytes;
    }
    pthread_mutex_unlock(&table.lock);
    return a;
}

static uint8_t *host_of(uint64_t address)
{
    return (uint8_t *)(uintptr_t)address;
}

static uint8_t *shadow_of(const struct allocation *a, uint64_t address)
{
    return a->shadow + (address - a->base);
}

bool memory_write(uint64_t to, const void *from, size_t bytes, uint32_t context)
{
    pthread_mutex_lock(&table.lock);
    const struct allocation *a = holding(to, bytes, context);
    if (a) {
        memcpy(host_of(to), from, bytes);
        memset(shadow_of(a, to), MARK_WRITTEN, bytes);
    }
    pthread_mutex_unlock(&table.lock);
    return a;
}

bool memory_read(void *to, uint64_t from, size_t bytes, uint32_t context, bool *uninitialised)
{
    pthread_mutex_lock(&table.lock);
    const struct allocation *a = holding(from, bytes, context);
    if (a) {
        memcpy(to, host_of(from), bytes);
        if (uninitialised)
            *uninitialised = memchr(shadow_of(a, from), 0, bytes) != NULL;
    }
    pthread_mutex_unlock(&table.lock);
    return a;
}

/* What was not written stays so in the copy. */
bool memory_copy(uint64_t to, uint64_t from, size_t bytes, uint32_t context)
{
    pthread_mutex_lock(&table.lock);
    const struct allocation *a = holding(to, bytes, context), *b = holding(from, bytes, context);
    if (a && b) {
        memmove(host_of(to), host_of(from), bytes);
        memmove(shadow_of(a, to), shadow_of(b, from), bytes);
    }
    pthread_mutex_unlock(&table.lock);
    return a && b;
}

bool memory_set(uint64_t to, uint32_t value, size_t element_bytes, size_t n, uint32_t context)
{
    pthread_mutex_lock(&table.lock);
    const struct allocation *a =
        n <= SIZE_MAX / element_bytes ? holding(to, n * element_bytes, context) : NULL;
    if (a && element_bytes == 1)
        memset(host_of(to), (int)(value & 0xff), n);
    for (size_t i = 0; a && element_bytes > 1 && i < n; i++)
        memcpy(host_of(to) + i * element_bytes, &value, element_bytes);
    if (a)
        memset(shadow_of(a, to), MARK_WRITTEN, n * element_bytes);
    pthread_mutex_unlock(&table.lock);
    return a;
}

/* ---- Launches */

uint8_t memory_mark(uint64_t number)
{
    return number > table.unmarked && number - table.unmarked <= MARKS
               ? (uint8_t)(MARK_WRITTEN + number - table.unmarked)
               : MARK_WRITTEN;
}

static bool has_launch_mark(const uint8_t *shadow)
{
    uint64_t word;
    memcpy(&word, shadow, sizeof word);
    return word & ~(UINT64_C(0x0101010101010101) * MARK_WRITTEN);
}

/* Gives the marks of the earlier half back. Of one allocation: what they marked was written. Most
 * bytes, weights and memory that nobody touched, have none and are not written to. */
static void unmark(const struct allocation *a)
{
    for (size_t i = 0; i < a->bytes; i++) {
        uint8_t *mark = &a->shadow[i];
        if (i % 8 == 0 && a->bytes - i >= 8 && !has_launch_mark(mark))
            i += 7;
        else if (*mark > MARK_WRITTEN + MARKS / 2)
            *mark = (uint8_t)(*mark - MARKS / 2);
        else if (*mark)
            *mark = MARK_WRITTEN;
    }
}

uint64_t memory_launch(uint8_t *mark)
{
    pthread_mutex_lock(&table.lock);
    uint64_t number = ++table.launches;
    if (number - table.unmarked > MARKS) {
        for (size_t i = 0; i < table.n; i++)
            if (!table.allocation[i]->freed)
                unmark(table.allocation[i]);
        table.unmarked += MARKS / 2;
    }
    *mark = memory_mark(number);
    pthread_mutex_unlock(&table.lock);
    return number;
}

/* ---- The instructions' side */

static bool usable(const struct allocation *a, uint64_t address, uint64_t bytes, uint32_t context)
{
    return a && !a->freed && a->context == context && address - a->base < a->bytes &&
           bytes <= a->bytes - (address - a->base);
}

/* Most accesses of a warp are to the allocation of the one before. */
static const struct allocation *allocation_of(struct warp *w, uint64_t address, uint64_t bytes)
{
    if (!usable(w->latest, address, bytes, w->cta->config->context))
        w->latest = near(address);
    return w->latest;
}

static _Noreturn void raise_outside(struct warp *w, const struct ptx_instr *in, int lane,
                                    uint64_t address, uint32_t bytes, const char *what)
{
    const struct allocation *a = near(address);
    if (a && address - a->base < a->bytes + GUARD)
        fault_raise(w, in, lane, a->freed ? FAULT_FREED : FAULT_OUT_OF_BOUNDS,
                    "%s of %u bytes, %llu behind the start of an allocation of %zu%s", what, bytes,
                    (unsigned long long)(address - a->base), a->bytes,
                    a->freed ? ", given back" : "");
    size_t rank = rank_of(address);
    if (rank < table.n && table.allocation[rank]->base - address <= GUARD)
        fault_raise(w, in, lane, FAULT_OUT_OF_BOUNDS,
                    "%s of %u bytes, %llu before the start of an allocation of %zu", what, bytes,
                    (unsigned long long)(table.allocation[rank]->base - address),
                    table.allocation[rank]->bytes);
    fault_raise(w, in, lane, FAULT_OUT_OF_BOUNDS, "%s of %u bytes at 0x%llx, in no allocation",
                what, bytes, (unsigned long long)address);
}

static const struct allocation *check(struct warp *w, const struct ptx_instr *in, int lane,
                                      uint64_t address, uint32_t bytes, const char *what)
{
    const struct allocation *a = allocation_of(w, address, bytes);
    if (!usable(a, address, bytes, w->cta->config->context)) {
        if (usable(a, address, bytes, a ? a->context : 0))
            fault_raise(w, in, lane, FAULT_OUT_OF_BOUNDS, "%s in the memory of another context",
                        what);
        raise_outside(w, in, lane, address, bytes, what);
    }
    if (address & (bytes - 1))
        fault_raise(w, in, lane, FAULT_MISALIGNED, "%s of %u bytes at 0x%llx", what, bytes,
                    (unsigned long long)address);
    return a;
}

static struct race_record *record_of(const struct allocation *a, uint64_t address)
{
    return a->record + (address - a->base) / RACE_BYTES;
}

static uint8_t mark_of(const struct warp *w)
{
    const struct overlap *overlap = w->cta->config->overlap;
    return overlap ? overlap->mark : MARK_WRITTEN;
}

/* One lane's bytes: a length that the compiler knows is a single store. */
static inline void put_mark(uint8_t *shadow, uint8_t mark, uint32_t bytes)
{
    if (bytes == 4)
        memset(shadow, mark, 4);
    else if (bytes == 16)
        memset(shadow, mark, 16);
    else
        memset(shadow, mark, bytes);
}

/* No byte is 0: of a word of such, none borrows when 1 is taken from each (Mycroft). */
static inline bool all_written(const uint8_t *shadow, uint64_t bytes)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t zeros = 0;
    for (; bytes >= 8; bytes -= 8, shadow += 8) {
        uint64_t part;
        memcpy(&part, shadow, sizeof part);
        zeros |= (part - ones) & ~part & ones << 7;
    }
    for (uint64_t i = 0; i < bytes; i++)
        zeros |= !shadow[i];
    return !zeros;
}

static _Noreturn void raise_unwritten(struct warp *w, const struct ptx_instr *in, int lane,
                                      const struct allocation *a, uint64_t address, uint32_t bytes)
{
    fault_raise(w, in, lane, FAULT_UNINITIALISED,
                "read of %u bytes, %llu behind the start of an allocation of %zu", bytes,
                (unsigned long long)(address - a->base), a->bytes);
}

uint8_t *global_read(struct warp *w, const struct ptx_instr *in, int lane, uint64_t address,
                     uint32_t bytes)
{
    const struct allocation *a = check(w, in, lane, address, bytes, "read");
    bool early = w->early >> (lane & 31) & 1;
    if (early && w->cta->runs_ahead) {
        overlap_keep_read(w, in, lane, address, bytes);
        return host_of(address);
    }
    if (early)
        overlap_check_read(w, in, lane, address, shadow_of(a, address), bytes);
    if (!all_written(shadow_of(a, address), bytes))
        raise_unwritten(w, in, lane, a, address, bytes);
    if (a->record)
        race_read(w, in, lane, record_of(a, address), bytes);
    return host_of(address);
}

void global_read_again(const struct early_read *r)
{
    const struct allocation *a = check(r->warp, r->instr, r->lane, r->address, r->bytes, "read");
    overlap_check_read(r->warp, r->instr, r->lane, r->address, shadow_of(a, r->address), r->bytes);
    if (!all_written(shadow_of(a, r->address), r->bytes))
        raise_unwritten(r->warp, r->instr, r->lane, a, r->address, r->bytes);
    if (a->record)
        race_read(r->warp, r->instr, r->lane, record_of(a, r->address), r->bytes);
}

uint8_t *global_write(struct warp *w, const struct ptx_instr *in, int lane, uint64_t address,
                      uint32_t bytes)
{
    const struct allocation *a = check(w, in, lane, address, bytes, "write");
    if (w->early >> (lane & 31) & 1)
        overlap_refuse_write(w, in, lane, bytes);
    put_mark(shadow_of(a, address), mark_of(w), bytes);
    if (a->record)
        race_write(w, in, lane, record_of(a, address), bytes);
    return host_of(address);
}

uint8_t *global_atomic(struct warp *w, const struct ptx_instr *in, int lane, uint64_t address,
                       uint32_t bytes, uint32_t fences)
{
    const struct allocation *a = check(w, in, lane, address, bytes, "atomic access");
    if (w->early >> (lane & 31) & 1)
        overlap_refuse_write(w, in, lane, bytes);
    if (!all_written(shadow_of(a, address), bytes))
        raise_unwritten(w, in, lane, a, address, bytes);
    put_mark(shadow_of(a, address), mark_of(w), bytes);
    if (a->record)
        race_atomic(w, in, lane, record_of(a, address), address, bytes, fences);
    return host_of(address);
}

/* Where the lanes' accesses lie together. */
struct extent {
    uint64_t low, bytes;
    bool aligned;
};

static struct extent extent_of(uint32_t mask, const uint64_t *address, uint32_t bytes)
{
    uint64_t first = address[__builtin_ctz(mask)], low = first, high = first, bits = 0;
    for (uint32_t l = 0; l < WARP_LANES; l++) {
        uint64_t a = mask >> l & 1 ? address[l] : first;
        low = a < low ? a : low;
        high = a > high ? a : high;
        bits |= a;
    }
    return (struct extent){low, high - low + bytes, !(bits & (bytes - 1))};
}

/* The allocation that all lanes' accesses lie in as they should, or NULL: ask for each. */
static const struct allocation *common(struct warp *w, const struct extent *e)
{
    if (!e->aligned)
        return NULL;
    const struct allocation *a = allocation_of(w, e->low, e->bytes);
    return usable(a, e->low, e->bytes, w->cta->config->context) ? a : NULL;
}

void global_read_lanes(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                       const uint64_t *address, uint32_t bytes)
{
    struct extent e = extent_of(mask, address, bytes);
    const struct allocation *a = common(w, &e);
    bool early = w->early & mask, apart = early || (a && a->record);
    if (a && !apart && e.bytes <= (uint64_t)2 * WARP_LANES * bytes &&
        all_written(shadow_of(a, e.low), e.bytes))
        return;
    for (uint32_t left = mask; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        if (!a || apart || !all_written(shadow_of(a, address[l]), bytes))
            (void)global_read(w, in, l, address[l], bytes);
    }
}

void global_write_lanes(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                        const uint64_t *address, uint32_t bytes)
{
    struct extent e = extent_of(mask, address, bytes);
    const struct allocation *a = common(w, &e);
    if (w->early & mask)
        overlap_refuse_write(w, in, __builtin_ctz(w->early & mask), bytes);
    uint64_t gaps = a && !a->record && mask == UINT32_MAX ? 0 : 1;
    for (uint64_t l = 0; l < WARP_LANES && !gaps; l++)
        gaps |= address[l] ^ (address[0] + l * bytes);
    if (!gaps) {
        memset(shadow_of(a, e.low), mark_of(w), e.bytes);
        return;
    }
    for (uint32_t left = mask; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        if (a && !a->record)
            put_mark(shadow_of(a, address[l]), mark_of(w), bytes);
        else
            (void)global_write(w, in, l, address[l], bytes);
    }
}
