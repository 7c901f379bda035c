/* Well-formed UTF-8 after table 3-7 of the Unicode standard: no overlong forms, no
 * surrogates, nothing above U+10FFFF. What is not well-formed is cut into maximal
 * subparts, one U+FFFD each, as the standard recommends and the WHATWG requires. */
#pragma once

#include "base.h"

enum utf8_kind {
    UTF8_WHOLE,   /* a code point */
    UTF8_PARTIAL, /* all bytes that are left: the beginning of a code point, 1 to 3 bytes */
    UTF8_BROKEN,  /* a maximal subpart that can never become a code point, 1 to 3 bytes */
};

/* U+FFFD as it is written in text. */
#define UTF8_REPLACEMENT "\xEF\xBF\xBD"

/* What begins at p, of left > 0 bytes, and how many bytes it takes. */
enum utf8_kind utf8_next(const char *p, size_t left, size_t *n);

/* How many of the leading bytes are whole code points. */
size_t utf8_valid(const char *p, size_t len);

/* How many of the leading bytes belong to no whole code point. */
size_t utf8_invalid(const char *p, size_t len);
