/* See detok.h. held is text that may begin a stop string, all whole code points,
 * followed by at most 3 bytes of a code point that is not complete. */
#include "detok.h"

#include "base/utf8.h"

#include <string.h>

void detok_init(struct detok *d, const struct tokenizer *tokenizer, const struct str *stop,
                int32_t n_stop, const struct mem *mem)
{
    *d = (struct detok){.tokenizer = tokenizer, .stop = stop, .n_stop = n_stop};
    buf_init(&d->held, mem);
}

void detok_release(struct detok *d)
{
    buf_release(&d->held);
    *d = (struct detok){0};
}

void detok_stand_alone(struct detok *d)
{
    d->strip = tokenizer_strip_start(d->tokenizer);
}

/* What becomes of the held text: give bytes go out, then met stop strings end it. */
struct verdict {
    size_t give;
    bool met;
};

/* As if the text came byte by byte: of several stop strings the one that is complete
 * first counts, and of those the longest. So the result does not depend on tokens. */
static struct verdict judge(const struct detok *d, struct str text)
{
    struct verdict v = {text.len, false};
    size_t first_end = SIZE_MAX;
    for (size_t at = 0; at < text.len && at < first_end; at++) {
        size_t left = text.len - at;
        for (int32_t i = 0; i < d->n_stop; i++) {
            struct str stop = d->stop[i];
            if (stop.len == 0 || stop.ptr[0] != text.ptr[at] ||
                memcmp(stop.ptr, text.ptr + at, MIN(left, stop.len)) != 0)
                continue;
            if (stop.len <= left && at + stop.len < first_end) {
                first_end = at + stop.len;
                v = (struct verdict){at, true};
            } else if (stop.len > left && !v.met) {
                v.give = MIN(v.give, at);
            }
        }
    }
    return v;
}

/* Bytes at the end of held that are an incomplete code point. */
static size_t incomplete(const struct buf *held)
{
    for (size_t n, back = 1; back <= 3 && back <= held->len; back++)
        if (utf8_next(held->ptr + held->len - back, back, &n) == UTF8_PARTIAL)
            return back;
    return 0;
}

/* Replaces the last n bytes, which will never be a code point. */
static void replace_tail(struct buf *held, size_t n)
{
    held->len -= n;
    buf_put_text(held, UTF8_REPLACEMENT);
}

/* Gives an incomplete code point at the end of held the bytes of piece that continue
 * it; returns the rest of piece. */
static struct str complete(struct buf *held, struct str piece)
{
    size_t tail = incomplete(held), n;
    while (tail && piece.len) {
        buf_put_char(held, piece.ptr[0]);
        if (held->failed)
            break;
        enum utf8_kind kind = utf8_next(held->ptr + held->len - tail - 1, tail + 1, &n);
        if (kind == UTF8_BROKEN) {
            held->len--;
            replace_tail(held, tail);
            break;
        }
        piece = (struct str){piece.ptr + 1, piece.len - 1};
        tail = kind == UTF8_PARTIAL ? tail + 1 : 0;
    }
    return piece;
}

/* Appends piece to held, with U+FFFD for what is broken. */
static void append(struct buf *held, struct str piece)
{
    piece = complete(held, piece);
    for (size_t at = 0, n; at < piece.len; at += n) {
        n = utf8_valid(piece.ptr + at, piece.len - at);
        if (n)
            buf_put(held, piece.ptr + at, n);
        else if (utf8_next(piece.ptr + at, piece.len - at, &n) == UTF8_PARTIAL)
            buf_put(held, piece.ptr + at, n);
        else
            buf_put_text(held, UTF8_REPLACEMENT);
    }
}

/* What a token is written as, if it is one that is no text. */
static struct str written(const struct detok *d, int32_t token)
{
    const bool is_text = tokenizer_piece(d->tokenizer, token).len > 0;
    return is_text ? (struct str){"", 0} : tokenizer_name(d->tokenizer, token);
}

enum detok_result detok_push(struct detok *d, int32_t token, struct buf *out)
{
    struct str piece = tokenizer_strip(tokenizer_piece(d->tokenizer, token), &d->strip);
    if (piece.len == 0 && d->is_written)
        piece = written(d, token);
    if (piece.len == 0)
        return DETOK_GO;
    append(&d->held, piece);
    if (d->held.failed)
        return DETOK_NOMEM;
    struct verdict v = judge(d, (struct str){d->held.ptr, d->held.len - incomplete(&d->held)});
    buf_put(out, d->held.ptr, v.give);
    if (out->failed)
        return DETOK_NOMEM;
    d->held.len = v.met ? 0 : d->held.len - v.give;
    memmove(d->held.ptr, d->held.ptr + v.give, d->held.len);
    return v.met ? DETOK_STOP : DETOK_GO;
}

enum detok_result detok_flush(struct detok *d, struct buf *out)
{
    size_t tail = incomplete(&d->held);
    if (tail)
        replace_tail(&d->held, tail);
    buf_put(out, d->held.ptr, d->held.len);
    d->held.len = 0;
    return d->held.failed || out->failed ? DETOK_NOMEM : DETOK_GO;
}
