/* See pretok.h. Every step cuts the pieces of the one before, one piece at a time, so that a text
 * goes through all of them without lists. */
#include "pretok.h"

#include "../base/utf8.h"

#include <string.h>

int32_t pretok_open(struct pretok *p, const struct spec *spec, struct err *err)
{
    *p = (struct pretok){0};
    for (int i = 0; i < spec->n_pretok; i++) {
        struct pretok_step *step = &p->step[i];
        *step = spec->pretok[i];
        if (step->kind == PRETOK_SPLIT && !step->digits) {
            int32_t code = regex_open(&p->regex[i], step->pattern, step->is_literal, err);
            if (code) {
                pretok_close(p);
                return code;
            }
        }
        step->pattern = (struct str){"", 0};
        p->n++;
    }
    return INFLIGHT_OK;
}

void pretok_close(struct pretok *p)
{
    for (int i = 0; i < p->n; i++)
        regex_close(&p->regex[i]);
    *p = (struct pretok){0};
}

bool pretok_cut_init(struct pretok_cut *cut, const struct pretok *p, const struct mem *mem)
{
    *cut = (struct pretok_cut){.pretok = p};
    for (int i = 0; i < p->n; i++)
        buf_init(&cut->stage[i].text, mem);
    return regex_search_init(&cut->search);
}

void pretok_cut_release(struct pretok_cut *cut)
{
    for (int i = 0; cut->pretok && i < cut->pretok->n; i++)
        buf_release(&cut->stage[i].text);
    regex_search_release(&cut->search);
    *cut = (struct pretok_cut){0};
}

static bool has_prefix(struct str text, const char *prefix)
{
    size_t n = strlen(prefix);
    return text.len >= n && memcmp(text.ptr, prefix, n) == 0;
}

static void put_marked(const struct pretok_step *step, struct str piece, bool begins,
                       struct buf *out)
{
    bool wanted = step->prepend == PREPEND_ALWAYS || (step->prepend == PREPEND_FIRST && begins);
    if (wanted && piece.ptr[0] != ' ' && !has_prefix(piece, SPACE_MARK))
        buf_put_text(out, SPACE_MARK);
    for (size_t at = 0; at < piece.len;) {
        const char *space = memchr(piece.ptr + at, ' ', piece.len - at);
        size_t end = space ? (size_t)(space - piece.ptr) : piece.len;
        buf_put(out, piece.ptr + at, end - at);
        if (space)
            buf_put_text(out, SPACE_MARK);
        at = end + (space != NULL);
    }
}

/* Gives stage i a piece to cut. */
static int32_t enter(struct pretok_cut *cut, int i, struct str piece)
{
    struct pretok_stage *stage = &cut->stage[i];
    const struct pretok_step *step = &cut->pretok->step[i];
    /* A step that adds to the beginning looks at the first piece alone. */
    bool begins = cut->begins;
    stage->at = stage->from = stage->to = 0;
    stage->text.len = 0;
    if (step->kind == PRETOK_MARK_SPACES) {
        put_marked(step, piece, begins, &stage->text);
        cut->begins = false;
    } else if (step->kind == PRETOK_PREFIX_SPACE && piece.ptr[0] != ' ') {
        buf_put_char(&stage->text, ' ');
        buf_put(&stage->text, piece.ptr, piece.len);
    }
    if (stage->text.failed)
        return INFLIGHT_E_NOMEM;
    stage->piece = stage->text.len ? (struct str){stage->text.ptr, stage->text.len} : piece;
    cut->depth = i + 1;
    return INFLIGHT_OK;
}

int32_t pretok_begin(struct pretok_cut *cut, struct str text, bool begins)
{
    cut->depth = 0;
    cut->begins = begins;
    cut->whole = (struct str){"", 0};
    regex_search_begin(&cut->search, text.len);
    if (text.len == 0)
        return INFLIGHT_OK;
    if (cut->pretok->n)
        return enter(cut, 0, text);
    cut->whole = text;
    return INFLIGHT_OK;
}

/* Whether what GPT-2's alphabet has for a byte counts as numeric: it shows those from 0xae on as
 * the characters of Latin-1 with that number, among them superscripts and fractions. */
static bool is_digit(uint8_t byte, bool is_ascii)
{
    static const char others[] = "\xb2\xb3\xb9\xbc\xbd\xbe";
    return (byte >= '0' && byte <= '9') || (!is_ascii && byte && strchr(others, byte));
}

/* A piece may end in the middle of a character here. */
static void find_digits(int digits, struct pretok_stage *stage)
{
    const size_t n = (size_t)digits;
    size_t run = 0, at = stage->to;
    for (; run < n && at < stage->piece.len; at++)
        run = is_digit((uint8_t)stage->piece.ptr[at], n > 1) ? run + 1 : 0;
    stage->from = run == n ? at - n : stage->piece.len;
    stage->to = at;
}

/* Finds the match after the last one; nothing, right behind it, is none. */
static int32_t find_match(struct pretok_cut *cut, int i)
{
    struct pretok_stage *stage = &cut->stage[i];
    if (cut->pretok->step[i].digits) {
        find_digits(cut->pretok->step[i].digits, stage);
        return INFLIGHT_OK;
    }
    const struct regex *regex = &cut->pretok->regex[i];
    size_t last = stage->to, at = last;
    int32_t code = regex_find(regex, &cut->search, stage->piece, at, &stage->from, &stage->to);
    while (!code && stage->from == stage->to && stage->to == last && at < stage->piece.len) {
        size_t n = 1;
        (void)utf8_next(stage->piece.ptr + at, stage->piece.len - at, &n);
        at += n;
        code = regex_find(regex, &cut->search, stage->piece, at, &stage->from, &stage->to);
    }
    return code;
}

/* What comes next at stage i: a match, or the text before one. Not at the end. */
struct part {
    size_t end;
    bool is_match;
};

static int32_t look(struct pretok_cut *cut, int i, struct part *part)
{
    struct pretok_stage *stage = &cut->stage[i];
    if (cut->pretok->step[i].kind != PRETOK_SPLIT) {
        *part = (struct part){stage->piece.len, false};
        return INFLIGHT_OK;
    }
    int32_t code = stage->at == stage->to ? find_match(cut, i) : INFLIGHT_OK;
    bool is_match = stage->at >= stage->from;
    *part =
        (struct part){is_match ? stage->to : stage->from, is_match != cut->pretok->step[i].invert};
    return code;
}

/* Does the part after this one belong to the same piece? */
static bool joins(enum pretok_behavior behavior, bool is_match, bool next_is_match)
{
    switch (behavior) {
    case PRETOK_MERGED_WITH_PREVIOUS:
        return !is_match && next_is_match;
    case PRETOK_MERGED_WITH_NEXT:
        return is_match && !next_is_match;
    case PRETOK_CONTIGUOUS:
        return is_match == next_is_match;
    default:
        return false;
    }
}

/* The next piece of stage i; empty: it is not wanted. */
static int32_t next_piece(struct pretok_cut *cut, int i, struct str *piece)
{
    struct pretok_stage *stage = &cut->stage[i];
    enum pretok_behavior behavior = cut->pretok->step[i].behavior;
    struct part part, next;
    size_t begin = stage->at;
    int32_t code = look(cut, i, &part);
    if (code)
        return code;
    stage->at = part.end;
    *piece = (struct str){stage->piece.ptr + begin, part.end - begin};
    if (behavior == PRETOK_REMOVED && part.is_match)
        piece->len = 0;
    if (behavior == PRETOK_ISOLATED || behavior == PRETOK_REMOVED)
        return INFLIGHT_OK;
    while (stage->at < stage->piece.len) {
        code = look(cut, i, &next);
        if (code || !joins(behavior, part.is_match, next.is_match))
            break;
        stage->at = next.end;
        piece->len = next.end - begin;
        if (behavior != PRETOK_CONTIGUOUS)
            break;
    }
    return code;
}

int32_t pretok_next(struct pretok_cut *cut, struct str *word)
{
    if (cut->whole.len) {
        *word = cut->whole;
        cut->whole.len = 0;
        return 1;
    }
    while (cut->depth > 0) {
        int i = cut->depth - 1;
        if (cut->stage[i].at == cut->stage[i].piece.len) {
            cut->depth--;
            continue;
        }
        int32_t code = next_piece(cut, i, word);
        if (code)
            return code;
        if (word->len == 0)
            continue;
        if (cut->depth == cut->pretok->n)
            return 1;
        code = enter(cut, cut->depth, *word);
        if (code)
            return code;
    }
    return 0;
}
