/* Texts and controls are rare, small and copied whole under a lock that is only ever held
 * for a copy.
 *
 * Counters are read once a frame by hosts that show them, and the engine thread may be put
 * aside by the system at any moment: nobody must wait for it then. So there are two
 * copies; the version, which counts the snapshots, says which of them is valid. The engine
 * writes the other one, then the next version. A reader whose copy was overtaken meanwhile
 * reads again, and that takes the engine two whole steps. */
#include "board.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define STATS_WORDS (sizeof(inflight_stats) / sizeof(uint64_t))
_Static_assert(sizeof(inflight_stats) % sizeof(uint64_t) == 0, "copied by words");

struct board {
    const struct mem *mem; /* borrowed */
    pthread_mutex_t lock;
    struct buf text[BOARD_TEXTS];
    _Atomic uint64_t stats[2][STATS_WORDS];
    _Atomic uint32_t version; /* of stats; its last bit is the index */
    struct board_control control[BOARD_CONTROLS];
    _Atomic int32_t n_control; /* changed under the lock */
};

int32_t board_open(struct board **out, const struct mem *mem, struct err *err)
{
    struct board *b = mem_take_zeroed(mem, sizeof *b, CACHE_LINE);
    if (!b || pthread_mutex_init(&b->lock, NULL)) {
        mem_give(mem, b, sizeof *b);
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the engine's board");
    }
    b->mem = mem;
    for (int i = 0; i < BOARD_TEXTS; i++)
        buf_init(&b->text[i], mem);
    *out = b;
    return INFLIGHT_OK;
}

void board_close(struct board *b)
{
    if (!b)
        return;
    for (int i = 0; i < BOARD_TEXTS; i++)
        buf_release(&b->text[i]);
    pthread_mutex_destroy(&b->lock);
    mem_give(b->mem, b, sizeof *b);
}

void board_set_text(struct board *b, enum board_text which, struct buf *text)
{
    pthread_mutex_lock(&b->lock);
    struct buf old = b->text[which];
    b->text[which] = *text;
    pthread_mutex_unlock(&b->lock);
    *text = old;
    buf_release(text);
}

int32_t board_text(struct board *b, enum board_text which, struct buf *out)
{
    pthread_mutex_lock(&b->lock);
    const struct buf *text = &b->text[which];
    int32_t rc = text->failed ? INFLIGHT_E_NOMEM : text->len ? INFLIGHT_OK : INFLIGHT_E_STATE;
    if (rc == INFLIGHT_OK)
        buf_put(out, text->ptr, text->len);
    pthread_mutex_unlock(&b->lock);
    return rc == INFLIGHT_OK && out->failed ? INFLIGHT_E_NOMEM : rc;
}

void board_set_stats(struct board *b, const inflight_stats *stats)
{
    uint64_t word[STATS_WORDS];
    memcpy(word, stats, sizeof word);
    uint32_t next = atomic_load_explicit(&b->version, memory_order_relaxed) + 1;
    /* Released one by one: a reader that sees one of the new words before their version
     * also sees that its own version, two ago, is over. */
    for (size_t i = 0; i < STATS_WORDS; i++)
        atomic_store_explicit(&b->stats[next & 1][i], word[i], memory_order_release);
    atomic_store_explicit(&b->version, next, memory_order_release);
}

void board_stats(struct board *b, inflight_stats *out)
{
    inflight_hdr h = out->h;
    uint64_t word[STATS_WORDS];
    uint32_t version = atomic_load_explicit(&b->version, memory_order_acquire), before;
    do {
        before = version;
        for (size_t i = 0; i < STATS_WORDS; i++)
            word[i] = atomic_load_explicit(&b->stats[before & 1][i], memory_order_acquire);
        version = atomic_load_explicit(&b->version, memory_order_relaxed);
    } while (version != before);
    memcpy(out, word, sizeof word);
    out->h = h;
}

bool board_put_control(struct board *b, struct board_control control)
{
    pthread_mutex_lock(&b->lock);
    bool room = b->n_control < BOARD_CONTROLS;
    if (room)
        b->control[b->n_control++] = control;
    pthread_mutex_unlock(&b->lock);
    return room;
}

int32_t board_take_controls(struct board *b, struct board_control *out)
{
    if (atomic_load(&b->n_control) == 0)
        return 0;
    pthread_mutex_lock(&b->lock);
    int32_t n = b->n_control;
    memcpy(out, b->control, (size_t)n * sizeof *out);
    b->n_control = 0;
    pthread_mutex_unlock(&b->lock);
    return n;
}
