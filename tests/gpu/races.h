/* Races between blocks in global memory (PTX ISA 9.0, 8: memory consistency model), with
 * GPU_RACES=1: two blocks of one launch at one byte, one of which writes, and nothing that orders
 * them. Blocks run one after the other then, in any order; that they did orders nothing.
 *
 * What does: atomics at one word. A block that writes, executes a fence and then an atomic there
 * comes before one that executes an atomic there later, then a fence, and reads. An atomic with
 * .acq_rel, .release or .acquire brings its fence along. Each block has a clock that its fences
 * move on, and knows how far it comes behind which other (as FastTrack does of threads: Flanagan
 * and Freund, PLDI 2009). Of each pair of bytes the last write is kept, and the last read or that
 * several blocks read it.
 *
 * Whole blocks are looked at: a fence holds for all of the block's warps, a barrier that is missing
 * before it shows only in an order of warps in which they write behind it. Loads and stores order
 * nothing, also those with .acquire and .release. */
#pragma once

#include "ptx.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct warp;

/* Of RACE_BYTES of device memory. What neither has: 0. */
#define RACE_BYTES 2
struct race_record {
    uint64_t written, read; /* launch (24 bits), block + 1 (24), atomic (1), clock (15) */
};

/* Blocks that come before, up to and with a clock of each. */
struct race_known {
    struct race_before {
        uint32_t block, clock;
    } * before; /* (n of room), owned */
    uint32_t n, room;
};

struct race_word;

/* Of a launch. */
struct races {
    uint64_t launch;
    struct race_word *word; /* (room), those that atomics were at, hashed by address */
    size_t n, room;
};

/* Of a block. */
struct race_block {
    struct races *races; /* NULL: nobody looks */
    uint32_t number;
    uint32_t clock;              /* from 1 on */
    uint32_t released;           /* of the last fence; 0: none */
    struct race_known known;     /* comes before this block */
    struct race_known with_next; /* what atomics read: known from the next fence on */
};

void races_open(struct races *races);
void races_close(struct races *races);
void race_block_start(struct race_block *block, struct races *races, uint64_t number);
void race_block_close(struct race_block *block);

/* An access of one lane to `bytes` at the record's, checked and kept; raises the fault. */
void race_read(struct warp *w, const struct ptx_instr *in, int lane, struct race_record *record,
               uint32_t bytes);
void race_write(struct warp *w, const struct ptx_instr *in, int lane, struct race_record *record,
                uint32_t bytes);

/* fences: bit 0, before it; bit 1, behind it. */
#define RACE_RELEASES 1u
#define RACE_ACQUIRES 2u
void race_atomic(struct warp *w, const struct ptx_instr *in, int lane, struct race_record *record,
                 uint64_t address, uint32_t bytes, uint32_t fences);
void race_fence(struct warp *w); /* of the whole device */
