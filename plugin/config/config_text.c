#include "config_text.h"

#include "../base/utf8.h"

/* Code points that YAML allows. */
static bool is_allowed(uint32_t c)
{
    return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c < 0x7f) || c == 0x85 ||
           (c >= 0xa0 && c != 0xfffe && c != 0xffff);
}

/* The code point of a whole sequence of n bytes. */
static uint32_t code_point(const char *p, size_t n)
{
    uint32_t c = (uint8_t)p[0] & (n == 1 ? 0x7fu : 0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        c = c << 6 | ((uint8_t)p[i] & 0x3fu);
    return c;
}

int32_t config_text_check(struct str text, const char *name, struct err *err)
{
    size_t line = 1, column = 1;
    for (size_t i = 0, n; i < text.len; i += n) {
        if (utf8_next(text.ptr + i, text.len - i, &n) != UTF8_WHOLE)
            return err_set(err, INFLIGHT_E_CONFIG, "%s:%zu:%zu: byte 0x%02x is not UTF-8", name,
                           line, column, (uint8_t)text.ptr[i]);
        uint32_t c = code_point(text.ptr + i, n);
        if (!is_allowed(c))
            return err_set(err, INFLIGHT_E_CONFIG, "%s:%zu:%zu: control character U+%04X", name,
                           line, column, c);
        column = c == '\n' ? 1 : column + 1;
        line += c == '\n';
    }
    return INFLIGHT_OK;
}
