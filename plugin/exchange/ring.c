/* The engine's side of the ring: put a record where its poll will find it, set the bit
 * that says so, ring the bell. ring_poll.c is the other side.
 *
 *   lane[slot].stream  --+                        +--> doorbell: the descriptor
 *   lane[slot].done    --+--> active, one bit per --+
 *   engine.load/ready/note    slot and one for the notes
 *
 * The order on this side is always record, bit, bell; the poll goes the other way: bell,
 * bit (cleared first), record. So a record put during a poll is either seen by it or
 * leaves its bit set. LOAD and READY have no bit: the poll looks at them always. */
#include "ring_state.h"

#include "../base/thread.h"

#include <string.h>

#define ARENA_LEAST (256u << 10)

/* Rings for something that is published and, in `wanted`, perhaps already taken. */
static void ring_bell(struct ring *r, bool (*wanted)(const void *), const void *what)
{
    if (doorbell_ring(&r->bell, wanted, what) && r->config.wakeup)
        r->config.wakeup(r->config.user);
}

static bool lane_wanted(const void *lane)
{
    return lane_pending(lane);
}

static bool load_wanted(const void *engine)
{
    return load_pending(engine);
}

static bool once_wanted(const void *engine)
{
    return once_pending(engine);
}

static bool notes_wanted(const void *engine)
{
    return notes_pending(engine);
}

static void mark(struct ring *r, uint32_t source)
{
    atomic_fetch_or(&r->active[source / 64], 1ull << source % 64);
}

static void publish(struct ring *r, uint32_t slot)
{
    mark(r, slot);
    ring_bell(r, lane_wanted, &r->lane[slot]);
}

static size_t pieces_of(const struct ring *r)
{
    return r->words / RECORD_WORDS;
}

static int32_t take_memory(struct ring *r, struct err *err)
{
    const struct mem *mem = &r->mem;
    uint32_t slots = r->config.slots;
    r->lane = mem_take_zeroed(mem, slots * sizeof *r->lane, CACHE_LINE);
    r->active = mem_take_zeroed(mem, r->n_active * sizeof *r->active, CACHE_LINE);
    r->word = mem_take(mem, (size_t)slots * r->words * 8, CACHE_LINE);
    r->stage.word = mem_take(mem, (size_t)r->words * 8, CACHE_LINE);
    r->stage.piece = mem_take(mem, pieces_of(r) * sizeof *r->stage.piece, CACHE_LINE);
    r->arena = mem_take(mem, r->arena_bytes, CACHE_LINE);
    if (r->lane && r->active && r->word && r->stage.word && r->stage.piece && r->arena)
        return INFLIGHT_OK;
    return err_set(err, INFLIGHT_E_NOMEM, "no memory for the events of %u requests of %u bytes",
                   slots, r->words * 8);
}

int32_t ring_open(struct ring **out, const struct mem *mem, const struct ring_config *config,
                  struct queue *queue, struct err *err)
{
    *out = NULL;
    struct ring *r = mem_take_zeroed(mem, sizeof *r, CACHE_LINE);
    if (!r)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the ring of events");
    r->mem = *mem;
    r->config = *config;
    r->queue = queue;
    r->bell.fd = -1;
    r->words = stream_words(config->stream_bytes);
    r->n_active = (config->slots + 64) / 64;
    r->arena_bytes = MAX(r->words * 8, ARENA_LEAST);
    r->stage.slot = NO_SLOT;
    r->stage.output = NO_PIECE;
    r->engine.load_back = 0;
    r->engine.load_front = 1;
    atomic_init(&r->engine.load_middle, 2);
    if (take_memory(r, err) || doorbell_open(&r->bell, err))
        goto fail;
    for (uint32_t i = 0; i < config->slots; i++)
        stream_init(&r->lane[i].stream, r->word + (size_t)i * r->words, r->words);
    *out = r;
    return INFLIGHT_OK;
fail:
    ring_close(r);
    return err ? err->code : INFLIGHT_E_NOMEM;
}

void ring_close(struct ring *r)
{
    if (!r)
        return;
    doorbell_close(&r->bell);
    struct mem mem = r->mem;
    uint32_t slots = r->config.slots;
    mem_give(&mem, r->lane, slots * sizeof *r->lane);
    mem_give(&mem, r->active, r->n_active * sizeof *r->active);
    mem_give(&mem, r->word, (size_t)slots * r->words * 8);
    mem_give(&mem, r->stage.word, (size_t)r->words * 8);
    mem_give(&mem, r->stage.piece, pieces_of(r) * sizeof *r->stage.piece);
    mem_give(&mem, r->arena, r->arena_bytes);
    mem_give(&mem, r, sizeof *r);
}

void ring_shut(struct ring *r)
{
    atomic_store(&r->shut, 1);
    doorbell_break(&r->bell);
}

int ring_fd(const struct ring *r)
{
    return r->bell.fd;
}

void ring_begin(struct ring *r, uint32_t slot, const struct request *request)
{
    struct lane_out *lane = &r->lane[slot];
    lane->id = request->id;
    lane->user = request->user;
    lane->overflow = request->overflow;
    lane->flags = request->flags;
    atomic_store(&lane->ended, ENDED_NOT_YET);
    atomic_store(&lane->starved, 0);
}

/* A failed put is tried once more after `starved` is set: a poll that made room before it
 * saw the flag does not wake the engine. */
static bool put(struct lane_out *lane, struct record *record, const char *data)
{
    bool drop = lane->overflow == INFLIGHT_OVERFLOW_DROP_OLDEST;
    if (stream_put(&lane->stream, record, data, drop))
        return true;
    atomic_store(&lane->starved, 1);
    if (!stream_put(&lane->stream, record, data, drop))
        return false;
    atomic_store(&lane->starved, 0);
    return true;
}

/* Not inside a code point. */
static uint32_t cut_at(const char *text, size_t len, uint32_t most)
{
    if (len <= most)
        return (uint32_t)len;
    uint32_t n = most;
    while (n > most - 4 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

enum ring_result ring_text(struct ring *r, uint32_t slot, uint32_t choice, struct str text,
                           uint32_t n_tokens)
{
    struct lane_out *lane = &r->lane[slot];
    if (!text.len && !n_tokens)
        return RING_OK;
    struct record record = {.time_ns = clock_ns(),
                            .n_tokens = n_tokens,
                            .bytes = cut_at(text.ptr, text.len, STREAM_RECORD),
                            .choice = (uint8_t)choice,
                            .kind = RECORD_TEXT};
    if (!put(lane, &record, text.ptr))
        return RING_FULL;
    lane->stream.text += (uint32_t)(text.len - record.bytes);
    publish(r, slot);
    return RING_OK;
}

enum ring_result ring_logprobs(struct ring *r, uint32_t slot, uint32_t choice, struct str json)
{
    if (json.len > STREAM_RECORD)
        return RING_OK;
    struct record record = {.time_ns = clock_ns(),
                            .n_tokens = 1,
                            .bytes = (uint32_t)json.len,
                            .choice = (uint8_t)choice,
                            .kind = RECORD_LOGPROBS};
    if (!put(&r->lane[slot], &record, json.ptr))
        return RING_FULL;
    publish(r, slot);
    return RING_OK;
}

void ring_last(struct ring *r, uint32_t slot, uint32_t choice, uint32_t finish)
{
    struct record record = {.time_ns = clock_ns(),
                            .choice = (uint8_t)choice,
                            .kind = RECORD_LAST,
                            .finish = (uint8_t)finish};
    /* One per choice, and there is room kept for as many. */
    (void)stream_put(&r->lane[slot].stream, &record, NULL, false);
    publish(r, slot);
}

bool ring_half_free(const struct ring *r, uint32_t slot)
{
    return stream_half_free(&r->lane[slot].stream);
}

void ring_done(struct ring *r, uint32_t slot, const struct ring_done *done)
{
    struct lane_out *lane = &r->lane[slot];
    lane->done = *done;
    lane->done.text.len = cut_at(done->text.ptr, done->text.len, sizeof lane->done_text);
    lane->done.text.ptr = lane->done_text;
    if (lane->done.text.len)
        memcpy(lane->done_text, done->text.ptr, lane->done.text.len);
    lane->done_ns = clock_ns();
    atomic_store(&lane->ended, ENDED_THERE);
    publish(r, slot);
}

/* ---- Engine events */

static void fill_note(struct note *note, uint16_t type, struct str text)
{
    note->type = type;
    note->time_ns = clock_ns();
    note->bytes = cut_at(text.ptr, text.len, sizeof note->text);
    if (note->bytes)
        memcpy(note->text, text.ptr, note->bytes);
}

void ring_load(struct ring *r, const char *stage, uint64_t done, uint64_t total)
{
    struct engine_out *e = &r->engine;
    struct note *note = &e->load[e->load_back];
    fill_note(note, INFLIGHT_EV_LOAD, (struct str){stage, strlen(stage)});
    note->status = INFLIGHT_OK;
    note->done = done;
    note->total = total;
    e->load_back = atomic_exchange(&e->load_middle, e->load_back | LOAD_NEW) & ~LOAD_NEW;
    ring_bell(r, load_wanted, e);
}

static void fill_once(struct ring *r, struct once *once, int32_t status, struct str json)
{
    if (atomic_load(&once->state) != ONCE_NOT_YET)
        return;
    once->status = status;
    once->time_ns = clock_ns();
    once->bytes = cut_at(json.ptr, json.len, READY_BYTES);
    if (once->bytes)
        memcpy(once->text, json.ptr, once->bytes);
    atomic_store(&once->state, ONCE_THERE);
    ring_bell(r, once_wanted, &r->engine);
}

void ring_ready(struct ring *r, int32_t status, struct str json)
{
    fill_once(r, &r->engine.ready, status, json);
}

void ring_device(struct ring *r, int32_t status, struct str json)
{
    fill_once(r, &r->engine.device, status, json);
}

/* Dropped when all places are taken. */
static struct note *next_note(struct engine_out *e)
{
    uint32_t head = atomic_load_explicit(&e->note_head, memory_order_relaxed);
    return head - atomic_load(&e->note_tail) < NOTES ? &e->note[head % NOTES] : NULL;
}

static void publish_note(struct ring *r)
{
    atomic_fetch_add(&r->engine.note_head, 1);
    mark(r, r->config.slots);
    ring_bell(r, notes_wanted, &r->engine);
}

void ring_budget(struct ring *r, int32_t status, uint64_t value)
{
    struct note *note = next_note(&r->engine);
    if (!note)
        return;
    fill_note(note, INFLIGHT_EV_BUDGET, (struct str){"", 0});
    note->status = status;
    note->done = value;
    note->total = 0;
    publish_note(r);
}

void ring_log(struct ring *r, int32_t level, struct str line)
{
    struct note *note = next_note(&r->engine);
    if (!note)
        return;
    fill_note(note, INFLIGHT_EV_LOG, line);
    note->status = level;
    note->done = note->total = 0;
    publish_note(r);
}
