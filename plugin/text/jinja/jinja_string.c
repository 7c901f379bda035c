/* What templates do with strings: parts of them share bytes and marks, the rest copies
 * both. Lengths and positions are in characters, as in Python. */
#define _GNU_SOURCE /* memmem, which is linear */
#include "jinja_string.h"

#include "jinja_run.h"

#include <string.h>

#include <utf8proc.h>

struct value string_part(const struct value *string, size_t from, size_t to)
{
    struct value part = *string;
    part.as.text += from;
    part.len = (uint32_t)(to - from);
    if (part.mark)
        part.mark += from;
    return part;
}

bool string_mark(const struct value *string, size_t at)
{
    return string->mark ? string->mark[at] : string->trusted;
}

bool string_is(const struct value *string, const char *text)
{
    return string->kind == VALUE_STRING && string->len == strlen(text) &&
           memcmp(string->as.text, text, string->len) == 0;
}

bool string_is_space(int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

int32_t string_decode(const char *p, const char *end, size_t *len)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)p, end - p, &c);
    *len = n > 0 ? (size_t)n : 1;
    return n > 0 ? c : 0xfffd;
}

static bool is_continuation(char c)
{
    return (c & 0xc0) == 0x80;
}

size_t string_count(const struct value *string)
{
    size_t n = 0;
    for (size_t i = 0; i < string->len; i++)
        n += !is_continuation(string->as.text[i]);
    return n;
}

size_t string_offset(const struct value *string, size_t character)
{
    size_t at = 0;
    for (; at < string->len; at++)
        if (!is_continuation(string->as.text[at]) && character-- == 0)
            break;
    return at;
}

static bool is_stripped(const struct value *string, size_t at, size_t len,
                        const struct value *chars)
{
    const char *p = string->as.text + at;
    if (chars)
        return memmem(chars->as.text, chars->len, p, len) != NULL;
    size_t unused;
    return string_is_space(string_decode(p, p + len, &unused));
}

struct value string_strip(const struct value *string, const struct value *chars, int sides)
{
    size_t from = 0, to = string->len;
    while (sides & STRIP_LEFT && from < to) {
        size_t len;
        string_decode(string->as.text + from, string->as.text + to, &len);
        if (!is_stripped(string, from, len, chars))
            break;
        from += len;
    }
    while (sides & STRIP_RIGHT && from < to) {
        size_t start = to - 1;
        while (start > from && is_continuation(string->as.text[start]))
            start--;
        if (!is_stripped(string, start, to - start, chars))
            break;
        to = start;
    }
    return string_part(string, from, to);
}

size_t string_find(const struct value *string, const struct value *part, size_t from)
{
    if (from > string->len)
        return SIZE_MAX;
    const char *found =
        memmem(string->as.text + from, string->len - from, part->as.text, part->len);
    return found ? (size_t)(found - string->as.text) : SIZE_MAX;
}

static bool is_cased(int32_t c)
{
    return utf8proc_toupper(c) != c || utf8proc_tolower(c) != c;
}

/* Whether a capital stands here: after the start, or after what separates words. */
static bool starts_word(enum string_case kind, int32_t before)
{
    if (before <= 0)
        return before < 0;
    if (kind == CASE_TITLE)
        return !is_cased(before);
    return kind == CASE_FILTER_TITLE &&
           (string_is_space(before) || strchr("-([{<", before < 128 ? before : 'x') != NULL);
}

bool string_case(struct run *run, const struct value *string, enum string_case kind,
                 struct value *out)
{
    struct text text;
    text_init(&text, run);
    int32_t before = -1;
    for (size_t at = 0, len; at < string->len; at += len) {
        int32_t c = string_decode(string->as.text + at, string->as.text + string->len, &len),
                changed;
        bool upper = kind == CASE_UPPER || (kind != CASE_LOWER && starts_word(kind, before));
        if (upper && c == 0xdf) /* sharp s, the one common letter with two capitals */
            text_put(&text, kind == CASE_UPPER ? "SS" : "Ss", 2, string_mark(string, at));
        else {
            changed = !upper               ? utf8proc_tolower(c)
                      : kind == CASE_UPPER ? utf8proc_toupper(c)
                                           : utf8proc_totitle(c);
            text_put_code_point(&text, changed, string_mark(string, at));
        }
        before = c;
    }
    return text_done(&text, out);
}

bool string_replace(struct run *run, const struct value *string, const struct value *parts,
                    int64_t most, struct value *out)
{
    const struct value *old = &parts[0], *with = &parts[1];
    struct text text;
    struct value part;
    size_t at = 0, found;
    text_init(&text, run);
    while (most != 0 && (found = string_find(string, old, at)) != SIZE_MAX && !text.failed) {
        part = string_part(string, at, found);
        text_put_string(&text, &part);
        text_put_string(&text, with);
        at = found + old->len;
        if (old->len == 0) { /* an empty one is met before every character and at the end */
            size_t len;
            if (at == string->len)
                break;
            string_decode(string->as.text + at, string->as.text + string->len, &len);
            part = string_part(string, at, at + len);
            text_put_string(&text, &part);
            at += len;
        }
        most -= most > 0;
    }
    part = string_part(string, at, string->len);
    text_put_string(&text, &part);
    return run_pay(run, string->len) && text_done(&text, out);
}

static bool split_space(struct run *run, const struct value *string, int64_t most,
                        struct value *out)
{
    struct value rest = string_strip(string, NULL, STRIP_LEFT);
    while (rest.len) {
        size_t end = rest.len, len;
        if (most != 0)
            for (end = 0; end < rest.len; end += len)
                if (string_is_space(
                        string_decode(rest.as.text + end, rest.as.text + rest.len, &len)))
                    break;
        struct value part = string_part(&rest, 0, end);
        if (most == 0)
            part = string_strip(&part, NULL, STRIP_RIGHT);
        if (!list_push(run, out, part))
            return false;
        rest = string_part(&rest, end, rest.len);
        rest = string_strip(&rest, NULL, STRIP_LEFT);
        most -= most > 0;
    }
    return true;
}

bool string_split(struct run *run, const struct value *string, const struct value *separator,
                  int64_t most, struct value *out)
{
    if (!run_pay(run, string->len) || !list_make(run, out, VALUE_LIST, 0))
        return false;
    if (!separator)
        return split_space(run, string, most, out);
    if (separator->len == 0)
        return run_fail(run, INFLIGHT_E_ARG, "an empty separator splits nothing");
    size_t at = 0, found;
    while (most != 0 && (found = string_find(string, separator, at)) != SIZE_MAX) {
        if (!list_push(run, out, string_part(string, at, found)))
            return false;
        at = found + separator->len;
        most -= most > 0;
    }
    return list_push(run, out, string_part(string, at, string->len));
}

bool string_lines(struct run *run, const struct value *string, struct value *out)
{
    if (!run_pay(run, string->len) || !list_make(run, out, VALUE_LIST, 0))
        return false;
    size_t start = 0;
    for (size_t at = 0, len; at < string->len; at += len) {
        int32_t c = string_decode(string->as.text + at, string->as.text + string->len, &len);
        bool ends =
            (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
        if (!ends)
            continue;
        if (!list_push(run, out, string_part(string, start, at)))
            return false;
        if (c == '\r' && at + 1 < string->len && string->as.text[at + 1] == '\n')
            len = 2;
        start = at + len;
    }
    return start == string->len || list_push(run, out, string_part(string, start, string->len));
}
