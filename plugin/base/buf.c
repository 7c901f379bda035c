#include "buf.h"
#include "utf8.h"

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

void buf_put_json(struct buf *buf, const char *text, size_t len)
{
    buf_put_char(buf, '"');
    for (size_t i = 0, n; i < len; i += n) {
        char c = text[i];
        if (utf8_next(text + i, len - i, &n) != UTF8_WHOLE)
            buf_put_text(buf, UTF8_REPLACEMENT);
        else if (c == '"' || c == '\\')
            buf_format(buf, "\\%c", c);
        else if ((uint8_t)c < 0x20 || c == 0x7f)
            buf_format(buf, "\\u%04x", c);
        else
            buf_put(buf, text + i, n);
    }
    buf_put_char(buf, '"');
}
