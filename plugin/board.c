/* Everything here is small and copied whole under the lock, so that no reader sees half
 * of a change and no thread waits for more than a copy. */
#include "board.h"

#include "base/mem.h"

#include <pthread.h>
#include <string.h>

struct board {
    const struct mem *mem; /* borrowed */
    pthread_mutex_t lock;
    struct buf text[BOARD_TEXTS];
    inflight_stats stats;
    struct board_control control[BOARD_CONTROLS];
    int32_t n_control;
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
    pthread_mutex_lock(&b->lock);
    b->stats = *stats;
    pthread_mutex_unlock(&b->lock);
}

void board_stats(struct board *b, inflight_stats *out)
{
    inflight_hdr h = out->h;
    pthread_mutex_lock(&b->lock);
    *out = b->stats;
    pthread_mutex_unlock(&b->lock);
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
    pthread_mutex_lock(&b->lock);
    int32_t n = b->n_control;
    memcpy(out, b->control, (size_t)n * sizeof *out);
    b->n_control = 0;
    pthread_mutex_unlock(&b->lock);
    return n;
}
