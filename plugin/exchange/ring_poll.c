/* The host's side of the ring. A poll goes round the sources that have their bit set,
 * beginning where the last one stopped, at most once each:
 *
 *   LOAD, READY ; then, round: notes | slot: stream -> stage -> TEXT, LOGPROBS ... -> DONE
 *
 * The stage is a private copy of all a slot has to say. In it the records of each choice
 * are chained into one event; what does not fit the host's array waits there for the next
 * poll, which begins with it. Nothing is allocated and nothing waits for the engine. */
#include "ring_state.h"

#include "../base/thread.h"

#include <string.h>

/* A round that finds nothing is rare (a drop_oldest producer overtook the copy), a second
 * one in a row rarer; the limit makes poll bounded. */
#define ROUNDS 4

/* The host's array. */
struct out {
    char *at;
    uint32_t stride;
    uint32_t n, cap;
};

static void emit(struct out *out, const inflight_event *event)
{
    char *to = out->at + (size_t)out->n * out->stride;
    size_t known = MIN(out->stride, sizeof *event);
    memcpy(to, event, known);
    memset(to + known, 0, out->stride - known);
    memcpy(to, &out->stride, sizeof out->stride); /* struct_size */
    out->n++;
}

/* A copy that lives until the next poll, or NULL if the arena is used up. */
static char *keep(struct ring *r, const void *bytes, uint32_t n)
{
    if (n > r->arena_bytes - r->arena_used)
        return NULL;
    char *to = r->arena + r->arena_used;
    if (n)
        memcpy(to, bytes, n);
    r->arena_used += n;
    return to;
}

/* ---- Engine events. Each returns false if it did not fit. */

static bool take_note(struct ring *r, struct out *out, const struct note *note)
{
    if (out->n == out->cap)
        return false;
    const char *data = keep(r, note->text, note->bytes);
    if (!data)
        return false;
    inflight_event event = {.type = note->type,
                            .seq = r->engine.seq++,
                            .time_ns = note->time_ns,
                            .data = data,
                            .data_len = note->bytes,
                            .status = note->status,
                            .done = note->done,
                            .total = note->total};
    emit(out, &event);
    return true;
}

static bool take_load(struct ring *r, struct out *out)
{
    struct engine_out *e = &r->engine;
    if (!load_pending(e))
        return true;
    if (out->n == out->cap || r->arena_bytes - r->arena_used < LOAD_BYTES)
        return false;
    e->load_front = atomic_exchange(&e->load_middle, e->load_front) & ~LOAD_NEW;
    return take_note(r, out, &e->load[e->load_front]);
}

static bool take_once(struct ring *r, struct out *out, uint16_t type, struct once *once)
{
    if (atomic_load(&once->state) != ONCE_THERE)
        return true;
    const char *data = out->n == out->cap ? NULL : keep(r, once->text, once->bytes);
    if (!data)
        return false;
    inflight_event event = {.type = type,
                            .seq = r->engine.seq++,
                            .time_ns = once->time_ns,
                            .data = data,
                            .data_len = once->bytes,
                            .status = once->status};
    emit(out, &event);
    atomic_store(&once->state, ONCE_TAKEN);
    return true;
}

static bool take_notes(struct ring *r, struct out *out)
{
    struct engine_out *e = &r->engine;
    uint32_t tail = atomic_load_explicit(&e->note_tail, memory_order_relaxed);
    uint32_t head = atomic_load(&e->note_head);
    for (; tail != head; tail++, atomic_store(&e->note_tail, tail))
        if (!take_note(r, out, &e->note[tail % NOTES]))
            return false;
    return true;
}

/* ---- The stage */

/* Notices that text is missing before this record. */
static void account(struct lane_out *lane, const struct record *record)
{
    if (record->kind != RECORD_TEXT)
        return;
    uint32_t missing = record->text_before - lane->text_read;
    if (missing) {
        lane->lost += missing;
        lane->gap = true;
    }
    lane->text_read = record->text_before + record->bytes;
}

/* Whether this LAST is the first of its choice. */
static bool first_last(struct lane_out *lane, const struct record *record)
{
    uint64_t bit = 1ull << record->choice % 64, *word = &lane->last_seen[record->choice / 64];
    bool first = !(*word & bit);
    *word |= bit;
    return first;
}

/* How far the chaining of a stage has come. */
struct chain {
    uint32_t n, last;              /* pieces, the last output */
    uint32_t join[STREAM_CHOICES]; /* the TEXT that more text of this choice joins */
    bool closed[STREAM_CHOICES];   /* a LOGPROBS came after it: a LAST must not go before */
};

static bool joins(const struct chain *ch, const struct record *record, bool coalesce)
{
    uint32_t c = record->choice;
    if (ch->join[c] == NO_PIECE)
        return false;
    return record->kind == RECORD_LAST ? !ch->closed[c] : record->kind == RECORD_TEXT && coalesce;
}

static void add_piece(struct stage *st, struct chain *ch, const struct record *record,
                      bool coalesce)
{
    uint32_t n = ch->n++, c = record->choice;
    st->piece[n] = (struct piece){record, NO_PIECE, NO_PIECE, n};
    if (joins(ch, record, coalesce)) {
        struct piece *text = &st->piece[ch->join[c]];
        st->piece[text->last_part].next_part = n;
        text->last_part = n;
        return;
    }
    if (ch->last == NO_PIECE)
        st->output = n;
    else
        st->piece[ch->last].next_output = n;
    ch->last = n;
    ch->closed[c] = record->kind != RECORD_TEXT;
    if (record->kind == RECORD_TEXT)
        ch->join[c] = n;
}

/* Makes outputs of the words at .. words - 1 of the stage. */
static void chain_stage(struct ring *r, struct lane_out *lane, uint32_t at, uint32_t words)
{
    struct stage *st = &r->stage;
    struct chain ch = {.n = 0, .last = NO_PIECE};
    memset(ch.join, 0xff, sizeof ch.join);
    while (at < words) {
        const struct record *record = (const struct record *)&st->word[at];
        at += (uint32_t)RECORD_WORDS + (record->bytes + 7) / 8;
        account(lane, record);
        if (record->kind != RECORD_LAST || first_last(lane, record))
            add_piece(st, &ch, record, !(lane->flags & INFLIGHT_REQ_NO_COALESCE));
    }
}

/* False: the engine was quicker than the copy, again and again; later. */
static bool fill_stage(struct ring *r, uint32_t slot)
{
    struct lane_out *lane = &r->lane[slot];
    struct stage *st = &r->stage;
    bool ended =
        atomic_load(&lane->ended) == ENDED_THERE; /* before the stream: then the stream is whole */
    uint32_t skip, n = stream_take(&lane->stream, st->word, &skip);
    if (n == UINT32_MAX)
        return false;
    if (atomic_exchange(&lane->starved, 0))
        queue_wake(r->queue);
    st->slot = slot;
    st->ended = ended;
    chain_stage(r, lane, skip, n);
    return true;
}

/* The parts of one TEXT that fit the arena. Returns the first that does not, or NO_PIECE. */
static uint32_t join_text(struct ring *r, uint32_t part, inflight_event *event)
{
    const struct stage *st = &r->stage;
    event->data = r->arena + r->arena_used;
    while (part != NO_PIECE) {
        const struct record *record = st->piece[part].record;
        if (!keep(r, record + 1, record->bytes))
            break;
        event->data_len += record->bytes;
        event->n_tokens += record->n_tokens;
        event->time_ns = record->time_ns;
        if (record->kind == RECORD_LAST) {
            event->flags |= INFLIGHT_EVF_LAST;
            event->finish = record->finish;
        }
        part = st->piece[part].next_part;
    }
    return part;
}

/* One event from the stage. False: no room. */
static bool take_output(struct ring *r, struct lane_out *lane, struct out *out)
{
    struct stage *st = &r->stage;
    struct piece *piece = &st->piece[st->output];
    const struct record *record = piece->record;
    if (out->n == out->cap || record->bytes > r->arena_bytes - r->arena_used)
        return false;
    inflight_event event = {.req = lane->id, .user = lane->user, .choice = record->choice};
    event.type = record->kind == RECORD_LOGPROBS ? INFLIGHT_EV_LOGPROBS : INFLIGHT_EV_TEXT;
    uint32_t rest = join_text(r, st->output, &event);
    if (event.type == INFLIGHT_EV_TEXT && lane->gap) {
        event.flags |= INFLIGHT_EVF_GAP;
        event.done = lane->lost;
        lane->gap = false;
    }
    event.seq = lane->seq++;
    emit(out, &event);
    if (rest == NO_PIECE) {
        st->output = piece->next_output;
    } else {
        st->piece[rest].next_output = piece->next_output;
        st->output = rest;
    }
    return true;
}

static bool take_done(struct ring *r, uint32_t slot, struct out *out)
{
    struct lane_out *lane = &r->lane[slot];
    const struct ring_done *done = &lane->done;
    uint32_t bytes = (uint32_t)done->text.len;
    const char *data = out->n == out->cap ? NULL : keep(r, done->text.ptr, bytes);
    if (!data)
        return false;
    inflight_event event = {.type = INFLIGHT_EV_DONE,
                            .req = lane->id,
                            .user = lane->user,
                            .seq = lane->seq,
                            .time_ns = lane->done_ns,
                            .data = data,
                            .data_len = bytes,
                            .status = done->status,
                            .n_tokens = done->n_tokens,
                            .finish = done->finish,
                            .n_prompt = done->n_prompt,
                            .n_cached = done->n_cached,
                            .ttft_ns = done->ttft_ns,
                            .total_ns = done->total_ns};
    emit(out, &event);
    lane->seq = lane->lost = 0;
    lane->gap = false;
    lane->text_read = lane->stream.text; /* the engine has written its last, see ended */
    memset(lane->last_seen, 0, sizeof lane->last_seen);
    atomic_store(&lane->ended, ENDED_TAKEN);
    return true;
}

/* False: the array or the arena is full, the next poll goes on here. */
static bool visit_slot(struct ring *r, uint32_t slot, struct out *out)
{
    struct stage *st = &r->stage;
    struct lane_out *lane = &r->lane[slot];
    if (st->slot != slot) {
        atomic_fetch_and(&r->active[slot / 64], ~(1ull << slot % 64));
        if (!fill_stage(r, slot)) {
            atomic_fetch_or(&r->active[slot / 64], 1ull << slot % 64);
            return true;
        }
    }
    while (st->output != NO_PIECE)
        if (!take_output(r, lane, out))
            return false;
    if (st->ended && !take_done(r, slot, out))
        return false;
    st->slot = NO_SLOT;
    if (st->ended)
        queue_retire(r->queue, slot);
    return true;
}

static bool visit(struct ring *r, uint32_t source, struct out *out)
{
    if (source < r->config.slots)
        return visit_slot(r, source, out);
    atomic_fetch_and(&r->active[source / 64], ~(1ull << source % 64));
    if (take_notes(r, out))
        return true;
    atomic_fetch_or(&r->active[source / 64], 1ull << source % 64);
    return false;
}

/* The first active source in from .. to - 1, or to. */
static uint32_t find_active(const struct ring *r, uint32_t from, uint32_t to)
{
    while (from < to) {
        uint64_t word = atomic_load(&r->active[from / 64]) >> from % 64;
        if (word)
            return MIN(to, from + (uint32_t)__builtin_ctzll(word));
        from = (from / 64 + 1) * 64;
    }
    return to;
}

/* False: stopped, r->next is where to go on. */
static bool visit_range(struct ring *r, uint32_t from, uint32_t to, struct out *out)
{
    for (uint32_t i = find_active(r, from, to); i < to; i = find_active(r, i + 1, to))
        if (!visit(r, i, out)) {
            r->next = i;
            return false;
        }
    return true;
}

static void take_all(struct ring *r, struct out *out)
{
    uint32_t first = 0, end = r->config.slots + 1;
    struct engine_out *e = &r->engine;
    if (!take_load(r, out) || !take_once(r, out, INFLIGHT_EV_READY, &e->ready) ||
        !take_once(r, out, INFLIGHT_EV_DEVICE, &e->device))
        return;
    if (r->stage.slot != NO_SLOT) {
        if (!visit_slot(r, r->stage.slot, out))
            return;
        first = 1; /* at most once each: what came later waits for the next poll */
    }
    if (visit_range(r, r->next + first, end, out))
        (void)visit_range(r, 0, MIN(r->next, end), out);
}

/* Whether a set bit still stands for something; a bit that does not is cleared. */
static bool source_pending(struct ring *r, uint32_t source)
{
    atomic_fetch_and(&r->active[source / 64], ~(1ull << source % 64));
    bool pending =
        source < r->config.slots ? lane_pending(&r->lane[source]) : notes_pending(&r->engine);
    if (pending)
        atomic_fetch_or(&r->active[source / 64], 1ull << source % 64);
    return pending;
}

static bool anything(struct ring *r)
{
    uint32_t end = r->config.slots + 1;
    if (r->stage.slot != NO_SLOT || load_pending(&r->engine) || once_pending(&r->engine))
        return true;
    for (uint32_t i = find_active(r, 0, end); i < end; i = find_active(r, i + 1, end))
        if (source_pending(r, i))
            return true;
    return false;
}

/* Takes what there is and lowers the bell if that was all. */
static void take(struct ring *r, struct out *out)
{
    r->arena_used = 0;
    for (int round = 0; round < ROUNDS && !out->n && doorbell_rung(&r->bell); round++) {
        take_all(r, out);
        if (anything(r))
            continue;
        doorbell_lower(&r->bell);
        if (anything(r))
            doorbell_keep(&r->bell);
        else
            doorbell_drain(&r->bell);
    }
}

int32_t ring_poll(struct ring *r, inflight_event *events, uint32_t stride, uint32_t cap,
                  uint64_t timeout_ns)
{
    struct out out = {(char *)events, stride, 0, MIN(cap, (uint32_t)INT32_MAX)};
    if (!cap)
        return 0;
    if (atomic_exchange(&r->polling, 1))
        return INFLIGHT_E_BUSY;
    uint64_t deadline = 0;
    for (;;) {
        if (atomic_load(&r->shut))
            break;
        take(r, &out);
        if (out.n || !timeout_ns)
            break;
        uint64_t now = clock_ns();
        if (!deadline)
            deadline = timeout_ns < UINT64_MAX - now ? now + timeout_ns : UINT64_MAX;
        if (now >= deadline)
            break;
        doorbell_wait(&r->bell, deadline);
    }
    bool shut = atomic_load(&r->shut);
    atomic_store(&r->polling, 0);
    return shut && !out.n ? INFLIGHT_E_SHUTDOWN : (int32_t)out.n;
}
