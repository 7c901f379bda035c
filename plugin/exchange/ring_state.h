/* What ring.c (the engine's side) and ring_poll.c (the host's side) share. */
#pragma once

#include "doorbell.h"
#include "ring.h"
#include "stream.h"

#define NO_SLOT  UINT32_MAX
#define NO_PIECE UINT32_MAX

#define LOAD_BYTES  256u
#define READY_BYTES 4096u
#define NOTES       64u

enum ended { ENDED_NOT_YET, ENDED_THERE, ENDED_TAKEN };
/* Of an event that comes once. */
enum once_state { ONCE_NOT_YET, ONCE_THERE, ONCE_TAKEN };

struct once {
    _Atomic uint32_t state; /* enum once_state */
    int32_t status;
    uint64_t time_ns;
    uint32_t bytes;
    char text[READY_BYTES];
};

#define LOAD_NEW 4u

/* One request on its way out. Written by the engine before it publishes through the
 * stream or `ended`, read by the poll that finds it there. */
struct lane_out {
    struct stream stream;
    inflight_req id;
    uint64_t user;
    uint32_t overflow, flags;
    struct ring_done done;
    char done_text[256];
    uint64_t done_ns;
    _Atomic uint32_t ended;   /* enum ended: THERE: done may be read */
    _Atomic uint32_t starved; /* a put found no room: the poll that makes some wakes the engine */

    /* Of the poll thread; put back to zero with the DONE. */
    _Alignas(CACHE_LINE) uint64_t seq;
    uint64_t lost;      /* bytes of text that were dropped, so far */
    uint32_t text_read; /* bytes of text taken or lost so far, modulo 2^32; never put back */
    bool gap;           /* something was lost since the last TEXT event */
    uint64_t last_seen[STREAM_CHOICES / 64]; /* choices whose LAST was handed out */
};

/* One engine event that waits: LOG, BUDGET, LOAD. */
struct note {
    uint16_t type;
    int32_t status;
    uint64_t time_ns, done, total;
    uint32_t bytes;
    char text[LOAD_BYTES];
};

/* Engine events. */
struct engine_out {
    /* LOAD: three notes; the engine writes one, the poll reads one, and each swaps its
     * own for the one in the middle. */
    struct note load[3];
    uint32_t load_back, load_front;
    _Atomic uint32_t load_middle; /* index, LOAD_NEW if nobody has read it */
    struct once ready, device;
    /* LOG and BUDGET: a ring of notes. */
    struct note note[NOTES];
    _Alignas(CACHE_LINE) _Atomic uint32_t note_head; /* engine */
    _Alignas(CACHE_LINE) _Atomic uint32_t note_tail; /* poll */
    uint64_t seq;                                    /* of engine events: poll */
};

/* A record in the stage: outputs are events to be, parts are what one TEXT joins. */
struct piece {
    const struct record *record; /* data follows it */
    uint32_t next_output, next_part, last_part;
};

/* Everything one slot had to say when it was last looked at. Emptied before the next
 * slot is, over several polls if the host's array is small. */
struct stage {
    uint32_t slot; /* or NO_SLOT */
    bool ended;    /* DONE follows */
    uint64_t *word;
    struct piece *piece;
    uint32_t output; /* next to be handed out, NO_PIECE: none */
};

struct ring {
    struct mem mem;
    struct ring_config config;
    struct queue *queue;
    struct doorbell bell;
    uint32_t words; /* of one stream */
    _Atomic uint64_t *word;
    struct lane_out *lane;    /* (slots) */
    _Atomic uint64_t *active; /* (n_active) a bit per slot, and one for the notes */
    uint32_t n_active;
    struct engine_out engine;
    _Atomic uint32_t polling;
    _Atomic uint32_t shut;
    /* Of the poll thread. */
    struct stage stage;
    uint32_t next; /* source to look at first */
    char *arena;   /* (arena_bytes) what the events of the last poll point to */
    uint32_t arena_bytes, arena_used;
};

/* What both sides ask before the bell is raised or lowered: is there something that no
 * poll has taken? */
static inline bool lane_pending(const struct lane_out *lane)
{
    return stream_pending(&lane->stream) || atomic_load(&lane->ended) == ENDED_THERE;
}

static inline bool load_pending(const struct engine_out *e)
{
    return atomic_load(&e->load_middle) & LOAD_NEW;
}

static inline bool once_pending(const struct engine_out *e)
{
    return atomic_load(&e->ready.state) == ONCE_THERE ||
           atomic_load(&e->device.state) == ONCE_THERE;
}

static inline bool notes_pending(const struct engine_out *e)
{
    return atomic_load(&e->note_head) != atomic_load(&e->note_tail);
}
