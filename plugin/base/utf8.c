/* See utf8.h. */
#include "utf8.h"

#include <string.h>

/* The bytes of a sequence, and the range of the second one; all later ones are 80..BF. */
struct lead {
    uint8_t n, low, high;
};

static struct lead lead_of(uint8_t byte)
{
    if (byte < 0x80)
        return (struct lead){1, 0, 0};
    if (byte < 0xc2 || byte > 0xf4)
        return (struct lead){0, 0, 0};
    if (byte < 0xe0)
        return (struct lead){2, 0x80, 0xbf};
    if (byte < 0xf0)
        return (struct lead){3, byte == 0xe0 ? 0xa0 : 0x80, byte == 0xed ? 0x9f : 0xbf};
    return (struct lead){4, byte == 0xf0 ? 0x90 : 0x80, byte == 0xf4 ? 0x8f : 0xbf};
}

enum utf8_kind utf8_next(const char *p, size_t left, size_t *n)
{
    struct lead lead = lead_of((uint8_t)p[0]);
    *n = 1;
    if (lead.n == 0)
        return UTF8_BROKEN;
    for (; *n < lead.n; ++*n) {
        if (*n == left)
            return UTF8_PARTIAL;
        uint8_t byte = (uint8_t)p[*n];
        if (byte < (*n == 1 ? lead.low : 0x80) || byte > (*n == 1 ? lead.high : 0xbf))
            return UTF8_BROKEN;
    }
    return UTF8_WHOLE;
}

size_t utf8_valid(const char *p, size_t len)
{
    size_t at = 0;
    while (at < len) {
        uint64_t word;
        if (len - at >= sizeof word) {
            memcpy(&word, p + at, sizeof word);
            if (!(word & 0x8080808080808080u)) {
                at += sizeof word;
                continue;
            }
        }
        size_t n;
        if (utf8_next(p + at, len - at, &n) != UTF8_WHOLE)
            break;
        at += n;
    }
    return at;
}

size_t utf8_invalid(const char *p, size_t len)
{
    size_t at = 0, n;
    while (at < len && utf8_next(p + at, len - at, &n) != UTF8_WHOLE)
        at += n;
    return at;
}
