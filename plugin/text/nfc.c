/* See nfc.h. utf8proc decomposes and composes; the order of combining marks between
 * the two steps is ours, because utf8proc's takes quadratic time on long runs. */
#include "nfc.h"

#include <string.h>
#include <utf8proc.h>

#define OPTIONS (UTF8PROC_STABLE | UTF8PROC_COMPOSE)

/* No code point of n bytes decomposes into more than 4 n (C) or 6 n (KC). */
#define MOST_PARTS            4
#define MOST_PARTS_COMPATIBLE 6
#define MOST_OF_ONE           18

bool nfc_needed(struct str text, bool compatible)
{
    /* Below U+0300 everything is its own normal form C, below U+00A0 also KC. */
    uint8_t first = compatible ? 0xc2 : 0xcc;
    for (size_t i = 0; i < text.len; i++)
        if ((uint8_t)text.ptr[i] >= first)
            return true;
    return false;
}

static uint8_t class_of(int32_t character)
{
    return (uint8_t)utf8proc_get_property(character)->combining_class;
}

/* A run of n marks in the order of their classes; those of one class stay as they are. */
static void order_run(int32_t *mark, size_t n, int32_t *spare)
{
    size_t begin[257] = {0};
    bool in_order = true;
    for (size_t i = 1; i < n; i++)
        in_order = in_order && class_of(mark[i - 1]) <= class_of(mark[i]);
    if (in_order)
        return;
    for (size_t i = 0; i < n; i++)
        begin[class_of(mark[i]) + 1]++;
    for (int i = 0; i < 256; i++)
        begin[i + 1] += begin[i];
    for (size_t i = 0; i < n; i++)
        spare[begin[class_of(mark[i])]++] = mark[i];
    memcpy(mark, spare, n * sizeof *mark);
}

static void order_marks(int32_t *character, size_t n, int32_t *spare)
{
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && class_of(character[end]) != 0)
            end++;
        if (end - i > 1)
            order_run(character + i, end - i, spare);
        i = end + 1;
    }
}

/* A stretch that begins at a character nothing before combines with. */
static void put_stretch(struct str text, bool compatible, struct buf *scratch, struct buf *out)
{
    size_t most = (compatible ? MOST_PARTS_COMPATIBLE : MOST_PARTS) * text.len + MOST_OF_ONE;
    utf8proc_option_t options = compatible ? OPTIONS | UTF8PROC_COMPAT : OPTIONS;
    scratch->len = 0;
    int32_t *part = (int32_t *)(void *)buf_room(scratch, 2 * most * sizeof *part);
    if (!part)
        return;
    size_t n = 0;
    for (size_t at = 0; at < text.len;) {
        int32_t character = 0;
        int boundary = 0;
        at += (size_t)utf8proc_iterate((const uint8_t *)text.ptr + at,
                                       (utf8proc_ssize_t)(text.len - at), &character);
        n += (size_t)utf8proc_decompose_char(character, part + n, MOST_OF_ONE, options, &boundary);
    }
    order_marks(part, n, part + most);
    n = (size_t)utf8proc_normalize_utf32(part, (utf8proc_ssize_t)n, OPTIONS);
    char *room = buf_room(out, n * 4);
    for (size_t i = 0; room && i < n; i++) {
        size_t bytes = (size_t)utf8proc_encode_char(part[i], (uint8_t *)room);
        room += bytes;
        out->len += bytes;
    }
}

/* The end of the run of bytes from at on that are all ASCII, or all not. */
static size_t run_end(struct str text, size_t at, bool ascii)
{
    while (at < text.len && ((uint8_t)text.ptr[at] < 0x80) == ascii)
        at++;
    return at;
}

void nfc_put(struct str text, bool compatible, struct buf *scratch, struct buf *out)
{
    /* ASCII combines only with marks that follow: a stretch is the last ASCII
     * character before a run of others, and that run. */
    for (size_t at = 0; at < text.len;) {
        size_t plain = run_end(text, at, true);
        size_t begin = plain > at && plain < text.len ? plain - 1 : plain;
        size_t end = run_end(text, plain, false);
        buf_put(out, text.ptr + at, begin - at);
        if (begin < end)
            put_stretch((struct str){text.ptr + begin, end - begin}, compatible, scratch, out);
        at = end;
    }
}
