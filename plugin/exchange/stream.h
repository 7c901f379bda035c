/* The records of one request on their way to the host: a bounded single-producer
 * single-consumer stream, wait-free on both sides, that can also overwrite its oldest
 * records while the consumer reads. See stream.c for how. */
#pragma once

#include "../base/base.h"

#include <stdatomic.h>

#define STREAM_RECORD  8192u /* most bytes of one record's data */
#define STREAM_CHOICES 128u  /* most choices of one request */

enum record_kind { RECORD_TEXT, RECORD_LOGPROBS, RECORD_LAST };

/* What stands before a record's data, which is padded to whole words. */
struct record {
    uint64_t time_ns;
    uint32_t text_before; /* bytes of text put before this record, modulo 2^32 */
    uint32_t n_tokens;
    uint32_t bytes; /* of data */
    uint8_t choice;
    uint8_t kind;   /* enum record_kind */
    uint8_t finish; /* LAST */
    uint8_t unused;
};

#define RECORD_WORDS (sizeof(struct record) / 8)

struct stream {
    _Atomic uint64_t *word; /* (cap) borrowed; atomic, because both sides may be at one */
    uint32_t cap;
    uint32_t limit; /* words that TEXT and LOGPROBS may fill; the rest is for LAST */
    uint32_t text;  /* bytes of text put so far, modulo 2^32: of the producer */
    /* Positions only grow; position p is word[p % cap]. */
    _Alignas(CACHE_LINE) _Atomic uint64_t head; /* end of the newest record: producer */
    _Atomic uint64_t first;                     /* nothing before it is intact any more: producer */
    _Alignas(CACHE_LINE) _Atomic uint64_t read; /* nothing before it is wanted: consumer */
};

/* Words for a stream that holds text_bytes, record headers included. */
uint32_t stream_words(uint32_t text_bytes);
void stream_init(struct stream *s, _Atomic uint64_t *word, uint32_t words);

/* record->bytes of data, at most STREAM_RECORD. False: no room; never with drop, which
 * gives up the oldest records instead, but never a LAST, nor for a LAST. text_before is
 * filled in. [producer] */
bool stream_put(struct stream *s, struct record *record, const char *data, bool drop);
bool stream_half_free(const struct stream *s); /* [producer] */

/* Something has been put and not taken. [both] */
bool stream_pending(const struct stream *s);

/* Copies everything there is, whole records, to out (cap words) and gives the room back.
 * *skip: words at the start of out that were overwritten meanwhile. Returns words copied,
 * skipped ones included; UINT32_MAX: overtaken again and again, try later. [consumer] */
uint32_t stream_take(struct stream *s, uint64_t *out, uint32_t *skip);
