/* The shadow of a CTA's shared memory.
 *
 * Time is a number that grows with every barrier. A record says which warps last wrote and read
 * its bytes, and when. Every warp knows up to which time it has seen the others, by the barriers
 * it met them at: what another did later than that races with what it does now. A group of
 * reading warps keeps only the time of its latest: where warps meet at barriers of some of them
 * only, an earlier reader that was met can be taken for one that was not. */
#include "shared.h"

#include <stdlib.h>
#include <string.h>

#define WARPS_MOST 32 /* 1024 threads */

/* Where a constant length must reach the loop. */
#define INLINE static inline __attribute__((always_inline))

/* Of a state byte. */
#define WRITTEN   1u
#define IN_FLIGHT 2u
#define ATOMIC    4u /* the last write was */

struct shared_state {
    uint32_t bytes;
    uint32_t shift; /* a record is for 1 << shift bytes */
    uint32_t n;     /* records */
    uint32_t now;
    uint32_t known[WARPS_MOST][WARPS_MOST]; /* [a][b]: until when a has seen what b did */
    uint32_t floor[WARPS_MOST];             /* the least of known[a] but for a itself */
    uint8_t *state;
    /* All (n). Warps are sets, one bit each; lines are those of the latest. */
    uint32_t *writers, *wrote_at, *write_line;
    uint32_t *readers, *read_at, *read_line;
    void *memory; /* of the arrays */
};

/* Who accesses, and what it has seen for sure. */
struct viewer {
    uint32_t bit, floor, now, line;
};

struct shared_state *shared_open(uint32_t bytes)
{
    return shared_open_coarse(bytes, 1);
}

struct shared_state *shared_open_coarse(uint32_t bytes, uint32_t granule)
{
    struct shared_state *s = calloc(1, sizeof *s);
    size_t n = bytes / granule + 1;
    if (!s)
        return NULL;
    s->memory = calloc(n, 6 * sizeof(uint32_t) + 1);
    if (!s->memory) {
        free(s);
        return NULL;
    }
    uint32_t *array = s->memory;
    s->writers = array;
    s->wrote_at = array + n;
    s->write_line = array + 2 * n;
    s->readers = array + 3 * n;
    s->read_at = array + 4 * n;
    s->read_line = array + 5 * n;
    s->state = (uint8_t *)(array + 6 * n);
    s->bytes = bytes;
    s->shift = (uint32_t)__builtin_ctz(granule);
    s->n = (uint32_t)n;
    s->now = 1;
    return s;
}

void shared_close(struct shared_state *s)
{
    if (!s)
        return;
    free(s->memory);
    free(s);
}

/* ---- Time */

static void pass_time(struct shared_state *s)
{
    if (++s->now)
        return;
    memset(s->wrote_at, 0, s->n * sizeof *s->wrote_at);
    memset(s->read_at, 0, s->n * sizeof *s->read_at);
    memset(s->known, 0, sizeof s->known);
    memset(s->floor, 0, sizeof s->floor);
    s->now = 1;
}

/* Everyone has seen everything. */
static void meet(struct shared_state *s)
{
    pass_time(s);
    for (int a = 0; a < WARPS_MOST; a++) {
        s->floor[a] = s->now - 1;
        for (int b = 0; b < WARPS_MOST; b++)
            s->known[a][b] = s->now - 1;
    }
}

void shared_clear(struct shared_state *s)
{
    memset(s->state, 0, s->n);
    meet(s);
}

void shared_barrier(struct cta *cta)
{
    meet(cta->state);
}

void shared_arrive(struct shared_state *s, uint32_t warp, uint32_t *seen)
{
    for (int b = 0; b < WARPS_MOST; b++)
        seen[b] = seen[b] > s->known[warp][b] ? seen[b] : s->known[warp][b];
    seen[warp] = s->now;
    pass_time(s);
}

void shared_depart(struct shared_state *s, uint32_t warp, const uint32_t *seen)
{
    uint32_t *known = s->known[warp], least = UINT32_MAX;
    for (uint32_t b = 0; b < WARPS_MOST; b++) {
        known[b] = seen[b] > known[b] ? seen[b] : known[b];
        least = b != warp && known[b] < least ? known[b] : least;
    }
    s->floor[warp] = least;
}

/* ---- Quick answers: true means there is nothing to object to */

INLINE bool in_view(uint32_t at, uint32_t warps, struct viewer v)
{
    return (at <= v.floor) | (warps == v.bit);
}

INLINE bool may_read(const struct shared_state *s, uint32_t at, uint32_t n, struct viewer v)
{
    const uint32_t *wrote_at = s->wrote_at + at, *writers = s->writers + at;
    const uint8_t *state = s->state + at;
    uint32_t good = 1;
    for (uint32_t i = 0; i < n; i++)
        good &= (uint32_t)((state[i] & (WRITTEN | IN_FLIGHT)) == WRITTEN) &
                (uint32_t)in_view(wrote_at[i], writers[i], v);
    return good;
}

INLINE bool may_write(const struct shared_state *s, uint32_t at, uint32_t n, struct viewer v)
{
    const uint32_t *wrote_at = s->wrote_at + at, *writers = s->writers + at;
    const uint32_t *read_at = s->read_at + at, *readers = s->readers + at;
    const uint8_t *state = s->state + at;
    uint32_t good = 1;
    for (uint32_t i = 0; i < n; i++)
        good &= (uint32_t) !(state[i] & IN_FLIGHT) & (uint32_t)in_view(wrote_at[i], writers[i], v) &
                (uint32_t)in_view(read_at[i], readers[i], v);
    return good;
}

INLINE void mark_read(struct shared_state *s, uint32_t at, uint32_t n, struct viewer v)
{
    uint32_t *restrict readers = s->readers + at, *restrict read_at = s->read_at + at,
                       *restrict line = s->read_line + at;
    for (uint32_t i = 0; i < n; i++) {
        readers[i] = read_at[i] > v.floor ? readers[i] | v.bit : v.bit;
        read_at[i] = v.now;
        line[i] = v.line;
    }
}

INLINE void mark_written(struct shared_state *s, uint32_t at, uint32_t n, uint8_t state,
                         struct viewer v)
{
    uint32_t *restrict writers = s->writers + at, *restrict wrote_at = s->wrote_at + at,
                       *restrict line = s->write_line + at;
    memset(s->state + at, state, n);
    for (uint32_t i = 0; i < n; i++) {
        writers[i] = v.bit;
        wrote_at[i] = v.now;
        line[i] = v.line;
    }
}

/* In pieces whose loops the compiler unrolls. What is marked before an objection does no harm:
 * the launch ends, or the record is marked again. */
INLINE bool read_range(struct shared_state *s, uint32_t at, uint32_t n, struct viewer v)
{
    for (; n >= 8; at += 8, n -= 8) {
        if (!may_read(s, at, 8, v))
            return false;
        mark_read(s, at, 8, v);
    }
    if (n & 4) {
        if (!may_read(s, at, 4, v))
            return false;
        mark_read(s, at, 4, v);
        at += 4;
    }
    if (n & 2) {
        if (!may_read(s, at, 2, v))
            return false;
        mark_read(s, at, 2, v);
        at += 2;
    }
    if (n & 1) {
        if (!may_read(s, at, 1, v))
            return false;
        mark_read(s, at, 1, v);
    }
    return true;
}

INLINE bool write_range(struct shared_state *s, uint32_t at, uint32_t n, struct viewer v)
{
    for (; n >= 8; at += 8, n -= 8) {
        if (!may_write(s, at, 8, v))
            return false;
        mark_written(s, at, 8, WRITTEN, v);
    }
    if (n & 4) {
        if (!may_write(s, at, 4, v))
            return false;
        mark_written(s, at, 4, WRITTEN, v);
        at += 4;
    }
    if (n & 2) {
        if (!may_write(s, at, 2, v))
            return false;
        mark_written(s, at, 2, WRITTEN, v);
        at += 2;
    }
    if (n & 1) {
        if (!may_write(s, at, 1, v))
            return false;
        mark_written(s, at, 1, WRITTEN, v);
    }
    return true;
}

/* ---- Thorough ones: objections by name */

static void check_place(struct warp *w, const struct ptx_instr *in, int lane, uint64_t offset,
                        uint32_t bytes, const char *what)
{
    const struct shared_state *s = w->cta->state;
    if (offset >= s->bytes || bytes > s->bytes - offset)
        fault_raise(w, in, lane, FAULT_OUT_OF_BOUNDS,
                    "%s of %u bytes at %llu of %u bytes of shared memory", what, bytes,
                    (unsigned long long)offset, s->bytes);
    if (offset & (bytes - 1))
        fault_raise(w, in, lane, FAULT_MISALIGNED, "%s of %u bytes at %llu of shared memory", what,
                    bytes, (unsigned long long)offset);
}

/* The warps of the set that did something at a time that w has not seen. */
static uint32_t unseen(const struct warp *w, uint32_t warps, uint32_t at)
{
    const uint32_t *known = w->cta->state->known[w->id];
    uint32_t out = 0;
    for (uint32_t left = warps & ~(1u << w->id); left; left &= left - 1) {
        uint32_t other = (uint32_t)__builtin_ctz(left);
        out |= (uint32_t)(at > known[other]) << other;
    }
    return out;
}

/* A record that the access may have raced at. reads, writes: what the access does itself. */
static void check_record(struct warp *w, const struct ptx_instr *in, int lane, uint32_t at,
                         bool reads, bool writes, const char *what)
{
    const struct shared_state *s = w->cta->state;
    unsigned byte = at << s->shift;
    if (s->state[at] & IN_FLIGHT)
        fault_raise(w, in, lane, FAULT_IN_FLIGHT,
                    "%s of byte %u of shared memory, a copy of line %u is on its way there", what,
                    byte, s->write_line[at]);
    if (reads && !(s->state[at] & WRITTEN))
        fault_raise(w, in, lane, FAULT_UNINITIALISED, "%s of byte %u of shared memory", what, byte);
    bool both_atomic = reads && writes && s->state[at] & ATOMIC;
    uint32_t others = both_atomic ? 0 : unseen(w, s->writers[at], s->wrote_at[at]);
    if (others)
        fault_raise(w, in, lane, FAULT_RACE,
                    "%s of byte %u of shared memory, written at line %u by warp %d and no barrier "
                    "since",
                    what, byte, s->write_line[at], __builtin_ctz(others));
    others = writes ? unseen(w, s->readers[at], s->read_at[at]) : 0;
    if (others)
        fault_raise(w, in, lane, FAULT_RACE,
                    "%s of byte %u of shared memory, read at line %u by warp %d and no barrier "
                    "since",
                    what, byte, s->read_line[at], __builtin_ctz(others));
}

static struct viewer viewer(const struct warp *w, const struct ptx_instr *in)
{
    const struct shared_state *s = w->cta->state;
    return (struct viewer){1u << w->id, s->floor[w->id], s->now, in ? in->line : 0};
}

static uint32_t records(const struct shared_state *s, uint32_t bytes)
{
    return bytes >> s->shift ? bytes >> s->shift : 1;
}

uint8_t *shared_read(struct warp *w, const struct ptx_instr *in, int lane, uint64_t offset,
                     uint32_t bytes)
{
    struct shared_state *s = w->cta->state;
    check_place(w, in, lane, offset, bytes, "read");
    uint32_t at = (uint32_t)offset >> s->shift, n = records(s, bytes);
    if (!read_range(s, at, n, viewer(w, in))) {
        for (uint32_t i = 0; i < n; i++)
            check_record(w, in, lane, at + i, true, false, "read");
        mark_read(s, at, n, viewer(w, in));
    }
    return w->cta->shared + offset;
}

uint8_t *shared_write(struct warp *w, const struct ptx_instr *in, int lane, uint64_t offset,
                      uint32_t bytes)
{
    struct shared_state *s = w->cta->state;
    check_place(w, in, lane, offset, bytes, "write");
    uint32_t at = (uint32_t)offset >> s->shift, n = records(s, bytes);
    if (!write_range(s, at, n, viewer(w, in))) {
        for (uint32_t i = 0; i < n; i++)
            check_record(w, in, lane, at + i, false, true, "write");
        mark_written(s, at, n, WRITTEN, viewer(w, in));
    }
    return w->cta->shared + offset;
}

uint8_t *shared_atomic(struct warp *w, const struct ptx_instr *in, int lane, uint64_t offset,
                       uint32_t bytes)
{
    struct shared_state *s = w->cta->state;
    struct viewer v = viewer(w, in);
    check_place(w, in, lane, offset, bytes, "atomic operation");
    uint32_t at = (uint32_t)offset >> s->shift, n = records(s, bytes);
    for (uint32_t i = 0; i < n; i++) {
        check_record(w, in, lane, at + i, true, true, "atomic operation");
        bool together = s->state[at + i] & ATOMIC && s->wrote_at[at + i] > v.floor;
        uint32_t writers = s->writers[at + i];
        mark_written(s, at + i, 1, WRITTEN | ATOMIC, v);
        s->writers[at + i] |= together ? writers : 0;
    }
    return w->cta->shared + offset;
}

/* ---- All lanes at once */

/* How the lanes' accesses lie: one behind the other they are one range, at one place one lane's.
 * inside: all in the memory and aligned. */
struct layout {
    bool inside, one;
    uint32_t at, n; /* records, of the first lane, of the whole if one */
};

static struct layout layout_of(const struct shared_state *s, uint32_t mask, const uint64_t *offset,
                               uint32_t bytes)
{
    uint64_t first = offset[__builtin_ctz(mask)], differs = 0, gaps = 0, bits = 0, high = first;
    for (uint64_t l = 0; l < WARP_LANES; l++) {
        uint64_t a = mask >> l & 1 ? offset[l] : first;
        high = a > high ? a : high;
        bits |= a;
        differs |= a ^ first;
        gaps |= offset[l] ^ (first + l * bytes);
    }
    struct layout out = {.inside =
                             !(bits & (bytes - 1)) && high < s->bytes && bytes <= s->bytes - high,
                         .one = !differs || (mask == UINT32_MAX && !gaps),
                         .at = (uint32_t)first >> s->shift};
    out.n = records(s, out.one && differs ? WARP_LANES * bytes : bytes);
    return out;
}

INLINE void read_each(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                      const uint64_t *offset, uint32_t bytes, uint32_t n)
{
    struct shared_state *s = w->cta->state;
    struct viewer v = viewer(w, in);
    for (uint32_t left = mask; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        if (!read_range(s, (uint32_t)offset[l] >> s->shift, n, v))
            (void)shared_read(w, in, l, offset[l], bytes);
    }
}

void shared_read_lanes(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                       const uint64_t *offset, uint32_t bytes)
{
    struct layout layout = layout_of(w->cta->state, mask, offset, bytes);
    if (layout.inside && layout.one &&
        read_range(w->cta->state, layout.at, layout.n, viewer(w, in)))
        return;
    switch (layout.inside ? records(w->cta->state, bytes) : 0) {
    case 1:
        read_each(w, in, mask, offset, bytes, 1);
        break;
    case 2:
        read_each(w, in, mask, offset, bytes, 2);
        break;
    case 4:
        read_each(w, in, mask, offset, bytes, 4);
        break;
    case 8:
        read_each(w, in, mask, offset, bytes, 8);
        break;
    default: /* bytes one by one, or one lane is to be named */
        for (uint32_t left = mask; left; left &= left - 1) {
            int l = __builtin_ctz(left);
            (void)shared_read(w, in, l, offset[l], bytes);
        }
    }
}

INLINE void write_each(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                       const uint64_t *offset, uint32_t bytes, uint32_t n)
{
    struct shared_state *s = w->cta->state;
    struct viewer v = viewer(w, in);
    for (uint32_t left = mask; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        if (!write_range(s, (uint32_t)offset[l] >> s->shift, n, v))
            (void)shared_write(w, in, l, offset[l], bytes);
    }
}

void shared_write_lanes(struct warp *w, const struct ptx_instr *in, uint32_t mask,
                        const uint64_t *offset, uint32_t bytes)
{
    struct layout layout = layout_of(w->cta->state, mask, offset, bytes);
    if (layout.inside && layout.one &&
        write_range(w->cta->state, layout.at, layout.n, viewer(w, in)))
        return;
    switch (layout.inside ? records(w->cta->state, bytes) : 0) {
    case 1:
        write_each(w, in, mask, offset, bytes, 1);
        break;
    case 2:
        write_each(w, in, mask, offset, bytes, 2);
        break;
    case 4:
        write_each(w, in, mask, offset, bytes, 4);
        break;
    case 8:
        write_each(w, in, mask, offset, bytes, 8);
        break;
    default: /* bytes one by one, or one lane is to be named */
        for (uint32_t left = mask; left; left &= left - 1) {
            int l = __builtin_ctz(left);
            (void)shared_write(w, in, l, offset[l], bytes);
        }
    }
}

/* ---- cp.async */

void shared_begin_async(struct warp *w, const struct ptx_instr *in, int lane, uint64_t offset,
                        uint32_t bytes)
{
    struct shared_state *s = w->cta->state;
    check_place(w, in, lane, offset, bytes, "cp.async");
    uint32_t at = (uint32_t)offset >> s->shift, n = records(s, bytes);
    if (!may_write(s, at, n, viewer(w, in)))
        for (uint32_t i = 0; i < n; i++)
            check_record(w, in, lane, at + i, false, true, "cp.async");
    mark_written(s, at, n, WRITTEN | IN_FLIGHT, viewer(w, in));
}

/* The bytes arrive now, at the line that asked for them. */
uint8_t *shared_end_async(struct warp *w, uint64_t offset, uint32_t bytes)
{
    struct shared_state *s = w->cta->state;
    uint32_t at = (uint32_t)offset >> s->shift, n = records(s, bytes);
    struct viewer v = viewer(w, NULL);
    v.line = s->write_line[at];
    mark_written(s, at, n, WRITTEN, v);
    return w->cta->shared + offset;
}
