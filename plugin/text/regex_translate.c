/* Oniguruma (Ruby's syntax) -> PCRE2. The two agree on nearly all that tokenizers use; what is
 * spelled out here are the classes of which PCRE2 has an older or smaller idea. */
#include "regex.h"

#include <string.h>

struct translation {
    struct str in;
    size_t at;
    int in_class; /* brackets that are open */
    struct buf *out;
};

/* \s and the like; inside of brackets only those that are not negated are a list. */
static bool put_class(const struct translation *t, char letter)
{
    const char *list = letter == 's' || letter == 'S'   ? REGEX_WHITE
                       : letter == 'w' || letter == 'W' ? REGEX_WORD
                                                        : "\\p{Nd}";
    bool negated = letter < 'a';
    if (t->in_class && negated && letter != 'D')
        return false;
    if (t->in_class)
        buf_put_text(t->out, negated ? "\\P{Nd}" : list);
    else
        buf_format(t->out, "[%s%s]", negated ? "^" : "", list);
    return true;
}

/* At a backslash. */
static bool put_escape(struct translation *t)
{
    char letter = t->at + 1 < t->in.len ? t->in.ptr[t->at + 1] : 0;
    t->at += 2;
    if (letter && strchr("sSwWdD", letter))
        return put_class(t, letter);
    /* What the other does not know, or takes for something else; b in brackets is a backspace. */
    if (!letter || strchr("hHRXKGZkgCcMuNOyYoQE0", letter) || ((letter == 'b') && t->in_class))
        return false;
    buf_put_char(t->out, '\\');
    buf_put_char(t->out, letter);
    return true;
}

static bool is_next(const struct translation *t, const char *what)
{
    size_t n = strlen(what);
    return t->in.len - t->at >= n && memcmp(t->in.ptr + t->at, what, n) == 0;
}

/* A bracket of a class in a class, which adds what is in it: it is left out. Those that are negated
 * or named, or stand where a range may be meant, are not served. */
static bool put_inner(struct translation *t)
{
    const bool opens = t->in.ptr[t->at] == '[';
    const char before = t->in.ptr[t->at - 1],
               after = t->at + 1 < t->in.len ? t->in.ptr[t->at + 1] : 0;
    if (opens ? before == '-' || !after || strchr("^:]-", after) : after == '-' || before == '-')
        return false;
    t->in_class += opens ? 1 : -1;
    t->at++;
    return true;
}

static bool put_next(struct translation *t)
{
    char c = t->in.ptr[t->at];
    if (c == '\\')
        return put_escape(t);
    if (t->in_class) {
        /* Intersections of classes. */
        if (is_next(t, "&&"))
            return false;
        if (c == '[' || (c == ']' && t->in_class > 1))
            return put_inner(t);
        t->in_class -= c == ']';
    } else if (c == '[') {
        t->in_class = 1;
        buf_put_char(t->out, c);
        t->at++;
        if (is_next(t, "^")) {
            buf_put_char(t->out, '^');
            t->at++;
        }
        /* An empty class is an error there, and here one with a bracket. */
        return !is_next(t, "]");
    } else if (c == '(' && (is_next(t, "(?m") || is_next(t, "(?s") || is_next(t, "(?x") ||
                            is_next(t, "(?~") || is_next(t, "(*"))) {
        return false;
    }
    buf_put_char(t->out, c);
    t->at++;
    return true;
}

int32_t regex_translate(struct str expression, struct buf *out, struct err *err)
{
    char shown[SHOWN_TEXT];
    struct translation t = {.in = expression, .out = out};
    while (t.at < expression.len)
        if (!put_next(&t))
            return err_set(err, INFLIGHT_E_MODEL,
                           "expression '%s': what ends at byte %zu is not supported",
                           shown_text(expression, shown), MIN(t.at, expression.len));
    return out->failed ? err_set(err, INFLIGHT_E_NOMEM, "no memory for an expression")
                       : INFLIGHT_OK;
}
