#include "config_text.h"

/* Code points that YAML allows. */
static bool is_allowed(uint32_t c)
{
    return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c < 0x7f) || c == 0x85 ||
           (c >= 0xa0 && c != 0xfffe && c != 0xffff);
}

/* Length of the sequence at p with *c its code point, 0 if it is not well-formed. */
static size_t decode(const uint8_t *p, size_t left, uint32_t *c)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc0 ? 2 : 0;
    if (!n || n > left || p[0] > 0xf4)
        return 0;
    *c = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        *c = *c << 6 | (p[i] & 0x3fu);
    }
    return *c < least[n] || *c > 0x10ffff || (*c >= 0xd800 && *c < 0xe000) ? 0 : n;
}

int32_t config_text_check(struct str text, const char *name, struct err *err)
{
    size_t line = 1, column = 1;
    uint32_t c = 0;
    for (size_t i = 0, n; i < text.len; i += n) {
        n = decode((const uint8_t *)text.ptr + i, text.len - i, &c);
        if (!n)
            return err_set(err, INFLIGHT_E_CONFIG, "%s:%zu:%zu: byte 0x%02x is not UTF-8", name,
                           line, column, (uint8_t)text.ptr[i]);
        if (!is_allowed(c))
            return err_set(err, INFLIGHT_E_CONFIG, "%s:%zu:%zu: control character U+%04X", name,
                           line, column, c);
        column = c == '\n' ? 1 : column + 1;
        line += c == '\n';
    }
    return INFLIGHT_OK;
}
