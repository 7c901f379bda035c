/* Who comes before whom: clocks of blocks, what atomics hand on, records of device memory. */
#include "races.h"

#include "exec.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CLOCK_MOST   ((UINT64_C(1) << 15) - 1)
#define ATOMIC       (UINT64_C(1) << 15)
#define BLOCK_SHIFT  16
#define BLOCK_BITS   ((UINT64_C(1) << 24) - 1)
#define SEVERAL      (BLOCK_BITS - 1) /* in the place of a number, and behind all */
#define LAUNCH_SHIFT 40

struct race_word {
    uint64_t address; /* 0: free */
    struct race_known known;
};

static uint32_t block_of(uint64_t record)
{
    return (uint32_t)((record >> BLOCK_SHIFT & BLOCK_BITS) - 1);
}

static uint64_t record_of(const struct race_block *b)
{
    return b->races->launch << LAUNCH_SHIFT | (b->number + UINT64_C(1)) << BLOCK_SHIFT | b->clock;
}

/* ---- Who is known to come before */

static bool learn(struct race_known *known, uint32_t block, uint32_t clock)
{
    for (uint32_t i = 0; i < known->n; i++)
        if (known->before[i].block == block) {
            if (known->before[i].clock < clock)
                known->before[i].clock = clock;
            return true;
        }
    if (known->n == known->room) {
        uint32_t room = 2 * known->room + 8;
        struct race_before *grown = realloc(known->before, room * sizeof *grown);
        if (!grown)
            return false;
        known->before = grown;
        known->room = room;
    }
    known->before[known->n++] = (struct race_before){block, clock};
    return true;
}

static bool learn_all(struct race_known *known, const struct race_known *from)
{
    for (uint32_t i = 0; i < from->n; i++)
        if (!learn(known, from->before[i].block, from->before[i].clock))
            return false;
    return true;
}

static bool is_known(const struct race_known *known, uint64_t record)
{
    for (uint32_t i = 0; i < known->n; i++)
        if (known->before[i].block == block_of(record))
            return known->before[i].clock >= (record & CLOCK_MOST);
    return false;
}

/* Whether what the record says was by another block of this launch that does not come before. */
static bool is_beside(const struct race_block *b, uint64_t record)
{
    return record >> LAUNCH_SHIFT == b->races->launch && block_of(record) != b->number &&
           !is_known(&b->known, record);
}

static uint64_t several(const struct race_block *b)
{
    return b->races->launch << LAUNCH_SHIFT | (SEVERAL + 1) << BLOCK_SHIFT | CLOCK_MOST;
}

void races_open(struct races *races)
{
    static _Atomic uint64_t launches;
    uint64_t number = atomic_fetch_add(&launches, 1);
    *races = (struct races){.launch = number % ((UINT64_C(1) << 24) - 1) + 1};
}

void races_close(struct races *races)
{
    for (size_t i = 0; i < races->room; i++)
        free(races->word[i].known.before);
    free(races->word);
    *races = (struct races){0};
}

void race_block_start(struct race_block *block, struct races *races, uint64_t number)
{
    bool has_number = number < SEVERAL;
    block->races = has_number ? races : NULL;
    block->number = (uint32_t)number;
    block->clock = 1;
    block->released = 0;
    block->known.n = block->with_next.n = 0;
}

void race_block_close(struct race_block *block)
{
    free(block->known.before);
    free(block->with_next.before);
}

/* ---- Accesses */

static size_t records_of(uint32_t bytes)
{
    return (bytes + RACE_BYTES - 1) / RACE_BYTES;
}

static _Noreturn void raise(struct warp *w, const struct ptx_instr *in, int lane, const char *what,
                            uint32_t bytes, const char *did, uint64_t by)
{
    if (block_of(by) == SEVERAL)
        fault_raise(w, in, lane, FAULT_RACE, "%s of %u bytes of global memory that other blocks %s",
                    what, bytes, did);
    fault_raise(w, in, lane, FAULT_RACE, "%s of %u bytes of global memory that block number %u %s",
                what, bytes, block_of(by), did);
}

void race_read(struct warp *w, const struct ptx_instr *in, int lane, struct race_record *record,
               uint32_t bytes)
{
    const struct race_block *b = &w->cta->race;
    if (!b->races)
        return;
    uint64_t own = record_of(b);
    for (size_t i = 0; i < records_of(bytes); i++) {
        struct race_record *r = &record[i];
        if (r->written && is_beside(b, r->written))
            raise(w, in, lane, "read", bytes, "writes", r->written);
        if (r->read && r->read != own && is_beside(b, r->read))
            r->read = several(b);
        else
            r->read = own;
    }
}

void race_write(struct warp *w, const struct ptx_instr *in, int lane, struct race_record *record,
                uint32_t bytes)
{
    const struct race_block *b = &w->cta->race;
    if (!b->races)
        return;
    for (size_t i = 0; i < records_of(bytes); i++) {
        struct race_record *r = &record[i];
        if (r->written && is_beside(b, r->written))
            raise(w, in, lane, "write", bytes, "writes", r->written);
        if (r->read && is_beside(b, r->read))
            raise(w, in, lane, "write", bytes, "reads", r->read);
        *r = (struct race_record){record_of(b), 0};
    }
}

/* ---- Order */

static struct race_word *slot_for(struct race_word *word, size_t room, uint64_t address)
{
    size_t i = (size_t)(address / 4 * UINT64_C(0x9e3779b97f4a7c15) >> 20) % room;
    while (word[i].address && word[i].address != address)
        i = (i + 1) % room;
    return &word[i];
}

static bool grow(struct races *races)
{
    size_t room = 2 * races->room + 64;
    struct race_word *word = calloc(room, sizeof *word);
    if (!word)
        return false;
    for (size_t i = 0; i < races->room; i++)
        if (races->word[i].address)
            *slot_for(word, room, races->word[i].address) = races->word[i];
    free(races->word);
    races->word = word;
    races->room = room;
    return true;
}

static struct race_word *word_at(struct races *races, uint64_t address)
{
    if (2 * races->n >= races->room && !grow(races))
        return NULL;
    struct race_word *word = slot_for(races->word, races->room, address);
    races->n += !word->address;
    word->address = address;
    return word;
}

static bool acquire(struct race_block *b)
{
    bool done = learn_all(&b->known, &b->with_next);
    b->with_next.n = 0;
    return done;
}

static void release(struct race_block *b)
{
    b->released = b->clock;
    b->clock += b->clock < CLOCK_MOST;
}

void race_fence(struct warp *w)
{
    struct race_block *b = &w->cta->race;
    if (!b->races)
        return;
    release(b);
    if (!acquire(b))
        fault_raise(w, NULL, 0, FAULT_TRAP, "no memory to know blocks apart");
}

void race_atomic(struct warp *w, const struct ptx_instr *in, int lane, struct race_record *record,
                 uint64_t address, uint32_t bytes, uint32_t fences)
{
    struct race_block *b = &w->cta->race;
    if (!b->races)
        return;
    struct race_word *word = word_at(b->races, address);
    bool done = word;
    if (fences & RACE_RELEASES)
        release(b);
    done = done && learn_all(&b->with_next, &word->known);
    if (fences & RACE_ACQUIRES)
        done = done && acquire(b);
    if (b->released)
        done = done && learn_all(&word->known, &b->known) &&
               learn(&word->known, b->number, b->released);
    if (!done)
        fault_raise(w, in, lane, FAULT_TRAP, "no memory to know blocks apart");
    uint64_t own = (record_of(b) & ~CLOCK_MOST) | b->released;
    for (size_t i = 0; i < records_of(bytes); i++) {
        struct race_record *r = &record[i];
        if (!(r->written & ATOMIC) && is_beside(b, r->written))
            raise(w, in, lane, "atomic access", bytes, "writes", r->written);
        if (r->read && is_beside(b, r->read))
            raise(w, in, lane, "atomic access", bytes, "reads", r->read);
        bool apart = is_beside(b, r->written) && !is_known(&b->with_next, r->written);
        *r = (struct race_record){(apart ? several(b) : own) | ATOMIC, 0};
    }
}
