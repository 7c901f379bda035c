/* Three positions, each with a single writer, move only to the right:
 *
 *      overwritten     |   pending records                      |   free
 *   -------------------+----------------------------------------+-----------
 *                    first (producer)                         head (producer)
 *                              read (consumer)
 *
 * Without overwriting, first stays behind read and this is the usual ring. To drop the
 * oldest, the producer first moves `first` past them and then writes over them; it never
 * touches `read`. The consumer copies [max(read, first), head) and afterwards looks at
 * `first` again: what it has passed meanwhile may be torn and is cut off the copy; what is
 * after it is whole, because records begin where `first` stops. Words are stored with
 * release and loaded with acquire, so a consumer that sees a new word also sees the
 * `first` that went before it. Nobody waits, and no index has two writers.
 *
 * How much was lost needs no shared counter either: each record says how many bytes of
 * text were put before it, and the consumer knows how many it has got. */
#include "stream.h"

#include <string.h>

#define LEAST_WORDS ((16u << 10) / 8)                           /* one record and all LASTs fit */
#define LAST_WORDS  ((uint32_t)(STREAM_CHOICES * RECORD_WORDS)) /* kept free for them */
#define ATTEMPTS    4

static uint32_t words_of(uint32_t bytes)
{
    return (uint32_t)RECORD_WORDS + (bytes + 7) / 8;
}

uint32_t stream_words(uint32_t text_bytes)
{
    uint32_t words = text_bytes / 8;
    return MAX(words, LEAST_WORDS) + LAST_WORDS;
}

void stream_init(struct stream *s, _Atomic uint64_t *word, uint32_t words)
{
    s->word = word;
    s->cap = words;
    s->limit = words - LAST_WORDS;
    s->text = 0;
    atomic_init(&s->head, 0);
    atomic_init(&s->first, 0);
    atomic_init(&s->read, 0);
}

/* bytes of from at position at; the last word is padded with zeros. */
static void put_words(struct stream *s, uint64_t at, const void *from, uint32_t bytes)
{
    const char *p = from;
    uint32_t i = (uint32_t)(at % s->cap);
    while (bytes) {
        uint64_t w = 0;
        uint32_t n = MIN(bytes, 8u);
        memcpy(&w, p, n);
        atomic_store_explicit(&s->word[i], w, memory_order_release);
        i = i + 1 == s->cap ? 0 : i + 1;
        p += n;
        bytes -= n;
    }
}

static void append(struct stream *s, uint64_t head, const struct record *record, const char *data)
{
    put_words(s, head, record, sizeof *record);
    put_words(s, head + RECORD_WORDS, data, record->bytes);
    atomic_store(&s->head, head + words_of(record->bytes));
}

/* The header at a position, read back by the producer that wrote it. */
static struct record header_at(const struct stream *s, uint64_t at)
{
    uint64_t w[RECORD_WORDS];
    for (uint32_t i = 0; i < RECORD_WORDS; i++)
        w[i] = atomic_load_explicit(&s->word[(at + i) % s->cap], memory_order_relaxed);
    struct record record;
    memcpy(&record, w, sizeof record);
    return record;
}

static uint64_t oldest(const struct stream *s)
{
    uint64_t read = atomic_load(&s->read);
    uint64_t first = atomic_load_explicit(&s->first, memory_order_relaxed);
    return MAX(read, first);
}

/* Gives up the oldest records until need words are free. A LAST among them moves to the
 * end: the text it follows is older still, so the order holds, and a consumer that has
 * it already ignores the second one. All LASTs and one record are less than limit, so
 * this ends before it meets one that it moved. */
static void drop_oldest(struct stream *s, uint32_t need)
{
    uint64_t start = oldest(s);
    uint64_t head = atomic_load_explicit(&s->head, memory_order_relaxed);
    while (head - start + need > s->limit) {
        struct record old = header_at(s, start);
        start += words_of(old.bytes);
        atomic_store(&s->first, start);
        if (old.kind == RECORD_LAST) {
            append(s, head, &old, "");
            head += RECORD_WORDS;
        }
    }
}

bool stream_put(struct stream *s, struct record *record, const char *data, bool drop)
{
    uint32_t need = words_of(record->bytes);
    uint64_t head = atomic_load_explicit(&s->head, memory_order_relaxed);
    uint32_t limit = record->kind == RECORD_LAST ? s->cap : s->limit;
    if (head - oldest(s) + need > limit) {
        if (!drop)
            return false;
        drop_oldest(s, need);
        head = atomic_load_explicit(&s->head, memory_order_relaxed);
    }
    record->text_before = s->text;
    if (record->kind == RECORD_TEXT)
        s->text += record->bytes;
    append(s, head, record, data);
    return true;
}

bool stream_half_free(const struct stream *s)
{
    uint64_t head = atomic_load_explicit(&s->head, memory_order_relaxed);
    return head - oldest(s) <= s->limit / 2;
}

bool stream_pending(const struct stream *s)
{
    return atomic_load(&s->read) != atomic_load(&s->head);
}

uint32_t stream_take(struct stream *s, uint64_t *out, uint32_t *skip)
{
    uint64_t read = atomic_load_explicit(&s->read, memory_order_relaxed);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        uint64_t first = atomic_load(&s->first);
        uint64_t head = atomic_load(&s->head);
        uint64_t start = MAX(read, first);
        if (head - start > s->cap)
            continue; /* first has moved on between the two loads */
        uint32_t n = (uint32_t)(head - start);
        uint32_t at = (uint32_t)(start % s->cap);
        for (uint32_t i = 0; i < n; i++) {
            out[i] = atomic_load_explicit(&s->word[at], memory_order_acquire);
            at = at + 1 == s->cap ? 0 : at + 1;
        }
        first = atomic_load(&s->first);
        if (first > head)
            continue; /* everything copied was overwritten */
        *skip = first > start ? (uint32_t)(first - start) : 0;
        atomic_store(&s->read, head);
        return n;
    }
    *skip = 0;
    return UINT32_MAX;
}
