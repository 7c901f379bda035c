/* One stream of records: room, wrapping, and a producer that overwrites what is being
 * copied. */
#define _GNU_SOURCE
#include "t.h"

#include "plugin/base/thread.h"
#include "plugin/exchange/stream.h"

#include <stdlib.h>
#include <time.h>

static struct stream stream;
static uint64_t *copy;

static void open_stream(uint32_t bytes)
{
    uint32_t words = stream_words(bytes);
    _Atomic uint64_t *word = malloc(words * sizeof *word);
    copy = malloc(words * sizeof *copy);
    stream_init(&stream, word, words);
}

static void close_stream(void)
{
    free((void *)stream.word);
    free(copy);
}

static bool put(const char *data, uint32_t bytes, bool drop)
{
    struct record record = {.bytes = bytes, .kind = RECORD_TEXT};
    return stream_put(&stream, &record, data, drop);
}

TEST(stream, wraps_records_of_every_length)
{
    open_stream(0);
    char data[64];
    memset(data, 'x', sizeof data);
    uint32_t skip, expected = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t bytes = i % sizeof data;
        data[0] = (char)i;
        CHECK(put(data, bytes, false));
        CHECK(stream_pending(&stream));
        CHECK_EQ(stream_take(&stream, copy, &skip), RECORD_WORDS + (bytes + 7) / 8);
        const struct record *record = (const struct record *)copy;
        CHECK_EQ(skip, 0);
        CHECK_EQ(record->bytes, bytes);
        CHECK_EQ(record->text_before, expected);
        CHECK(!bytes || *(const char *)(record + 1) == (char)i);
        expected += bytes;
        CHECK(!stream_pending(&stream));
    }
    close_stream();
}

TEST(stream, takes_the_longest_record_and_gives_its_room_back)
{
    open_stream(0);
    static char data[STREAM_RECORD];
    uint32_t skip;
    for (int i = 0; i < 100; i++) {
        CHECK(put(data, sizeof data, false));
        CHECK(!put(data, sizeof data, false));
        CHECK(!stream_half_free(&stream));
        CHECK_EQ(stream_take(&stream, copy, &skip), RECORD_WORDS + sizeof data / 8);
        CHECK(stream_half_free(&stream));
    }
    close_stream();
}

/* ---- Overwriting while the other side copies */

static _Atomic bool stop;

static char letter(uint32_t at)
{
    return (char)('a' + (at * 7 + at / 26) % 26);
}

static void *producer(void *arg)
{
    (void)arg;
    char data[512];
    uint32_t at = 0;
    for (uint32_t i = 0; !atomic_load(&stop); i++) {
        uint32_t bytes = 1 + i * 2654435761u % (i % 64 ? 24u : (uint32_t)sizeof data);
        for (uint32_t k = 0; k < bytes; k++)
            data[k] = letter(at + k);
        if (!put(data, bytes, true))
            break;
        at += bytes;
    }
    return NULL;
}

/* Bytes that were found right, or 0 after a torn record. */
static uint64_t check_copy(uint32_t skip, uint32_t words, uint32_t *next)
{
    uint64_t right = 0;
    while (skip < words) {
        const struct record *record = (const struct record *)&copy[skip];
        const char *data = (const char *)(record + 1);
        if (record->kind != RECORD_TEXT || record->bytes > 512 || record->text_before < *next)
            return 0;
        for (uint32_t k = 0; k < record->bytes; k++)
            if (data[k] != letter(record->text_before + k))
                return 0;
        *next = record->text_before + record->bytes;
        right += record->bytes;
        skip += (uint32_t)RECORD_WORDS + (record->bytes + 7) / 8;
    }
    return skip == words ? right : 0;
}

/* Until the stream is full again, however slow the producer is. Without a sleep, which
 * would have both threads take turns on one core where the machine is busy. */
static void wait_overwriting(uint64_t give_up)
{
    while (atomic_load(&stream.first) <= atomic_load(&stream.read) && clock_ns() < give_up)
        continue;
}

TEST(stream, never_shows_a_torn_record_while_it_overwrites)
{
    open_stream(0);
    atomic_store(&stop, false);
    struct thread thread = {0};
    CHECK_EQ(thread_start(&thread, "t-producer", producer, NULL, NULL), 0);
    uint32_t next = 0, cut = 0, overtaken = 0, takes = 0;
    uint64_t give_up = clock_ns() + 20000000000u;
    while (cut < 200 && clock_ns() < give_up) {
        uint32_t skip, n = stream_take(&stream, copy, &skip);
        overtaken += n == UINT32_MAX;
        if (n != UINT32_MAX && skip < n && !check_copy(skip, n, &next)) {
            t_fail(__FILE__, __LINE__, "a torn record before byte %u", next);
            break;
        }
        cut += n != UINT32_MAX && skip > 0;
        takes++;
        wait_overwriting(give_up);
    }
    atomic_store(&stop, true);
    thread_join(&thread);
    printf("  %u copies, %u cut, %u given up\n", takes, cut, overtaken);
    if (cut == 0)
        t_skip("the two threads never ran at the same time");
    close_stream();
}
