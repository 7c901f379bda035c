#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void buf_init(struct buf *buf, const struct mem *mem)
{
    *buf = (struct buf){.mem = mem};
}

void buf_release(struct buf *buf)
{
    if (buf->mem)
        mem_give(buf->mem, buf->ptr, buf->cap);
    buf->ptr = NULL;
    buf->len = buf->cap = 0;
}

char *buf_room(struct buf *buf, size_t n)
{
    if (buf->failed)
        return NULL;
    if (n <= buf->cap - buf->len && (!buf->limit || buf->len + n <= buf->limit))
        return buf->ptr + buf->len;
    size_t need;
    if (__builtin_add_overflow(buf->len, n, &need) || (buf->limit && need > buf->limit)) {
        buf->failed = true;
        return NULL;
    }
    size_t cap = MAX(buf->cap * 2, MAX(need, (size_t)256));
    char *grown = mem_take(buf->mem, cap, 16);
    if (!grown) {
        buf->failed = true;
        return NULL;
    }
    if (buf->len)
        memcpy(grown, buf->ptr, buf->len);
    mem_give(buf->mem, buf->ptr, buf->cap);
    buf->ptr = grown;
    buf->cap = cap;
    return buf->ptr + buf->len;
}

void buf_put(struct buf *buf, const void *bytes, size_t n)
{
    char *room = n ? buf_room(buf, n) : NULL;
    if (room) {
        memcpy(room, bytes, n);
        buf->len += n;
    }
}

void buf_put_text(struct buf *buf, const char *text)
{
    buf_put(buf, text, strlen(text));
}

void buf_put_char(struct buf *buf, char c)
{
    buf_put(buf, &c, 1);
}

void buf_format(struct buf *buf, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0)
        buf_put(buf, text, MIN((size_t)n, sizeof text - 1));
}

/* Bytes of the well-formed UTF-8 sequence at p, 0 if it is not one. */
static size_t sequence_len(const uint8_t *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;
    if (!n || n > left || p[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool surrogate = p[0] == 0xed && p[1] > 0x9f;
    bool too_large = p[0] == 0xf4 && p[1] > 0x8f;
    return overlong || surrogate || too_large ? 0 : n;
}

void buf_put_json(struct buf *buf, const char *text, size_t len)
{
    buf_put_char(buf, '"');
    for (size_t i = 0; i < len;) {
        const uint8_t *p = (const uint8_t *)text + i;
        size_t n = sequence_len(p, len - i);
        if (n == 0) {
            buf_put_text(buf, "\xEF\xBF\xBD");
            n = 1;
        } else if (*p == '"' || *p == '\\') {
            buf_format(buf, "\\%c", *p);
        } else if (*p < 0x20 || *p == 0x7f) {
            buf_format(buf, "\\u%04x", *p);
        } else {
            buf_put(buf, p, n);
        }
        i += n;
    }
    buf_put_char(buf, '"');
}

void buf_put_number(struct buf *buf, double value)
{
    char text[40];
    int n = snprintf(text, sizeof text, "%.6g", value);
    for (int i = 0; i < n; i++) {
        char c = text[i];
        bool part = (c >= '0' && c <= '9') || c == '-' || c == '+' || c == 'e';
        bool letter = c >= 'a' && c <= 'z'; /* inf, nan */
        if (!part && !letter)
            c = '.'; /* the locale's decimal mark; one byte in every locale glibc ships */
        buf_put_char(buf, c);
    }
}
