/* A growing run of bytes, for text that is put together piece by piece. The first
 * failed growth sticks: later puts do nothing, and the owner checks once. */
#pragma once

#include "mem.h"

struct buf {
    const struct mem *mem; /* borrowed */
    char *ptr;             /* owned, (cap); not NUL-terminated */
    size_t len, cap;
    bool failed;  /* out of memory, or over the limit */
    size_t limit; /* most bytes allowed, 0: none */
};

void buf_init(struct buf *buf, const struct mem *mem);
void buf_release(struct buf *buf);

/* Room for n more bytes at the end, not yet counted in len; NULL if failed. */
char *buf_room(struct buf *buf, size_t n);

void buf_put(struct buf *buf, const void *bytes, size_t n);
void buf_put_text(struct buf *buf, const char *text); /* NUL-terminated */
void buf_put_char(struct buf *buf, char c);
void buf_format(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);

/* A JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void buf_put_json(struct buf *buf, const char *text, size_t len);
