/* Strings that are put together, piece by piece, with the origin of every byte. Marks
 * are kept only from the first byte of another origin on. */
#include "jinja_run.h"
#include "jinja_string.h"

#include <string.h>

#include <utf8proc.h>

void text_init(struct text *text, struct run *run)
{
    *text = (struct text){.run = run, .trusted = true};
}

static bool grow(struct text *text, size_t n)
{
    size_t cap = MAX(text->cap * 2, MAX(text->len + n, (size_t)32));
    char *ptr = run_take(text->run, cap, 1);
    uint8_t *mark = ptr && text->mark ? run_take(text->run, cap, 1) : NULL;
    if (!ptr || (text->mark && !mark)) {
        text->failed = true;
        return false;
    }
    if (text->len)
        memcpy(ptr, text->ptr, text->len);
    if (mark)
        memcpy(mark, text->mark, text->len);
    text->ptr = ptr;
    text->mark = mark;
    text->cap = cap;
    return true;
}

/* From here on every byte has its own mark. */
static bool split_marks(struct text *text)
{
    text->mark = run_take(text->run, text->cap, 1);
    if (!text->mark) {
        text->failed = true;
        return false;
    }
    memset(text->mark, text->trusted, text->len);
    return true;
}

void text_put(struct text *text, const char *ptr, size_t len, bool trusted)
{
    if (text->failed || len == 0)
        return;
    if (text->cap - text->len < len && !grow(text, len))
        return;
    if (text->len == 0)
        text->trusted = trusted;
    if (!text->mark && text->trusted != trusted && !split_marks(text))
        return;
    memcpy(text->ptr + text->len, ptr, len);
    if (text->mark)
        memset(text->mark + text->len, trusted, len);
    text->len += len;
}

void text_put_string(struct text *text, const struct value *string)
{
    for (size_t at = 0, end; at < string->len; at = end) {
        bool trusted = string_mark(string, at);
        end = string->len;
        if (string->mark) {
            const uint8_t *change = memchr(string->mark + at, trusted ? 0 : 1, string->len - at);
            end = change ? (size_t)(change - string->mark) : end;
        }
        text_put(text, string->as.text + at, end - at, trusted);
    }
}

void text_put_code_point(struct text *text, int32_t code_point, bool trusted)
{
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t n = utf8proc_encode_char(code_point, bytes);
    text_put(text, (const char *)bytes, (size_t)MAX(n, 0), trusted);
}

bool text_done(struct text *text, struct value *string)
{
    if (text->failed)
        return false;
    *string = value_text(text->ptr ? text->ptr : "", text->len, text->trusted);
    string->mark = text->mark;
    return run_pay(text->run, text->len);
}
