/* See normal.h. */
#include "normal.h"

#include "nfc.h"
#include "../base/utf8.h"

#include <string.h>
#include <utf8proc.h>

static int32_t open_step(struct normal *normal, const struct spec *spec, int i, struct err *err)
{
    struct normal_step *step = &normal->step[i];
    *step = spec->normal[i];
    if (step->kind == NORMAL_CHARSMAP)
        return charsmap_open(&normal->charsmap, step->content, spec->arena, err);
    if (!spec_keep(spec, step->pattern, &step->pattern) ||
        !spec_keep(spec, step->content, &step->content))
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %d steps of normalisation",
                       spec->n_normal);
    if (step->kind == NORMAL_REPLACE && !step->is_literal)
        return regex_open(&normal->regex[i], step->pattern, false, err);
    return INFLIGHT_OK;
}

int32_t normal_open(struct normal *normal, const struct spec *spec, struct err *err)
{
    *normal = (struct normal){0};
    for (int i = 0; i < spec->n_normal; i++) {
        int32_t code = open_step(normal, spec, i, err);
        if (code) {
            normal_close(normal);
            return code;
        }
        normal->n++;
    }
    return INFLIGHT_OK;
}

void normal_close(struct normal *normal)
{
    for (int i = 0; i < normal->n; i++)
        regex_close(&normal->regex[i]);
    normal->n = 0;
}

bool normal_work_init(struct normal_work *work, const struct mem *mem)
{
    *work = (struct normal_work){0};
    buf_init(&work->text[0], mem);
    buf_init(&work->text[1], mem);
    buf_init(&work->scratch, mem);
    return regex_search_init(&work->search);
}

void normal_work_release(struct normal_work *work)
{
    buf_release(&work->text[0]);
    buf_release(&work->text[1]);
    buf_release(&work->scratch);
    regex_search_release(&work->search);
}

bool is_white_space(int32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= 9 && c <= 13);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Where pattern begins in the n bytes at text, or NULL. */
static const char *find_text(const char *text, size_t n, struct str pattern)
{
    while (n >= pattern.len) {
        const char *at = memchr(text, pattern.ptr[0], n - pattern.len + 1);
        if (!at || memcmp(at, pattern.ptr, pattern.len) == 0)
            return at;
        n -= (size_t)(at + 1 - text);
        text = at + 1;
    }
    return NULL;
}

/* The usual step, without expressions. */
static void replace_text(const struct normal_step *step, struct str text, struct buf *out)
{
    struct str pattern = step->pattern;
    const char *at = text.ptr, *end = text.ptr + text.len;
    while (at < end) {
        const char *match = find_text(at, (size_t)(end - at), pattern);
        buf_put(out, at, (size_t)((match ? match : end) - at));
        if (match)
            buf_put(out, step->content.ptr, step->content.len);
        at = match ? match + pattern.len : end;
    }
}

static size_t next_character(struct str text, size_t at)
{
    size_t n = 1;
    if (at < text.len)
        (void)utf8_next(text.ptr + at, text.len - at, &n);
    return at + n;
}

static int32_t replace_matches(const struct normal_step *step, const struct regex *regex,
                               struct regex_search *search, struct str text, struct buf *out)
{
    size_t given = 0; /* bytes of text that are out */
    regex_search_begin(search, text.len);
    for (size_t at = 0, from, to; at<text.len; at = to> from ? to : next_character(text, to)) {
        int32_t code = regex_find(regex, search, text, at, &from, &to);
        if (code)
            return code;
        if (from == text.len)
            break;
        /* Nothing, right behind the last match, is no further one. */
        if (from == to && from == given && given)
            continue;
        buf_put(out, text.ptr + given, from - given);
        buf_put(out, step->content.ptr, step->content.len);
        given = to;
    }
    buf_put(out, text.ptr + given, text.len - given);
    return INFLIGHT_OK;
}

static struct str strip(const struct normal_step *step, struct str text)
{
    int32_t c;
    while (step->left && text.len) {
        utf8proc_ssize_t n =
            utf8proc_iterate((const uint8_t *)text.ptr, (utf8proc_ssize_t)text.len, &c);
        if (n < 0 || !is_white_space(c))
            break;
        text = (struct str){text.ptr + n, text.len - (size_t)n};
    }
    while (step->right && text.len) {
        size_t begin = text.len - 1;
        while (begin > 0 && ((uint8_t)text.ptr[begin] & 0xc0) == 0x80)
            begin--;
        utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)text.ptr + begin,
                                              (utf8proc_ssize_t)(text.len - begin), &c);
        if (n < 0 || !is_white_space(c))
            break;
        text.len = begin;
    }
    return text;
}

static void squeeze(struct str text, struct buf *out)
{
    size_t begin = out->len;
    bool was_space = true;
    for (size_t i = 0; i < text.len; i++) {
        bool space = text.ptr[i] == ' ';
        if (!space || !was_space)
            buf_put_char(out, text.ptr[i]);
        was_space = space;
    }
    if (out->len > begin && out->ptr[out->len - 1] == ' ')
        out->len--;
}

/* As SentencePiece does it: the longest beginning that is in the table, else one character. */
static void map_longest(const struct charsmap *map, struct str text, struct buf *out)
{
    for (size_t at = 0; at < text.len;) {
        struct str rest = {text.ptr + at, text.len - at}, content;
        size_t n = charsmap_find(map, rest, false, &content);
        if (n) {
            buf_put(out, content.ptr, content.len);
            at += n;
            continue;
        }
        n = next_character(text, at) - at;
        buf_put(out, rest.ptr, n);
        at += n;
    }
}

/* As tokenizers does it: what users see as one character, if it is short, is looked up whole, then
 * its code points; the shortest beginning found stands for all of it. */
static void map_character(const struct charsmap *map, struct str cluster, struct buf *out)
{
    struct str content;
    if (cluster.len < 6 && charsmap_find(map, cluster, true, &content)) {
        buf_put(out, content.ptr, content.len);
        return;
    }
    for (size_t at = 0, end; at < cluster.len; at = end) {
        end = next_character(cluster, at);
        struct str character = {cluster.ptr + at, end - at};
        if (!charsmap_find(map, character, true, &content))
            content = character;
        buf_put(out, content.ptr, content.len);
    }
}

static void map_clusters(const struct charsmap *map, struct str text, struct buf *out)
{
    size_t begin = 0;
    int32_t last = -1, c = 0, state = 0;
    for (size_t at = 0; at < text.len;) {
        utf8proc_ssize_t n =
            utf8proc_iterate((const uint8_t *)text.ptr + at, (utf8proc_ssize_t)(text.len - at), &c);
        if (last >= 0 && utf8proc_grapheme_break_stateful(last, c, &state)) {
            map_character(map, (struct str){text.ptr + begin, at - begin}, out);
            begin = at;
        }
        last = c;
        at += n > 0 ? (size_t)n : 1;
    }
    map_character(map, (struct str){text.ptr + begin, text.len - begin}, out);
}

static int32_t run_step(const struct normal *normal, int i, struct str *text,
                        struct normal_work *work)
{
    const struct normal_step *step = &normal->step[i];
    struct buf *out = &work->text[work->next];
    bool compatible = step->kind == NORMAL_NFKC;
    int32_t code = INFLIGHT_OK;
    out->len = 0;
    switch (step->kind) {
    case NORMAL_NFC:
    case NORMAL_NFKC:
        if (!nfc_needed(*text, compatible))
            return INFLIGHT_OK;
        nfc_put(*text, compatible, &work->scratch, out);
        break;
    case NORMAL_PREPEND:
        buf_put(out, step->content.ptr, step->content.len);
        buf_put(out, text->ptr, text->len);
        break;
    case NORMAL_REPLACE:
        if (step->is_literal)
            replace_text(step, *text, out);
        else
            code = replace_matches(step, &normal->regex[i], &work->search, *text, out);
        break;
    case NORMAL_STRIP:
        *text = strip(step, *text);
        return INFLIGHT_OK;
    case NORMAL_SQUEEZE:
        squeeze(*text, out);
        break;
    case NORMAL_CHARSMAP:
        if (step->is_literal)
            map_longest(&normal->charsmap, *text, out);
        else
            map_clusters(&normal->charsmap, *text, out);
        break;
    }
    *text = (struct str){out->ptr, out->len};
    work->next = !work->next;
    return out->failed || work->scratch.failed ? INFLIGHT_E_NOMEM : code;
}

int32_t normal_run(const struct normal *normal, struct str text, bool begins,
                   struct normal_work *work, struct str *out)
{
    int32_t code = INFLIGHT_OK;
    for (int i = 0; i < normal->n && text.len && !code; i++)
        if (begins || normal->step[i].kind != NORMAL_PREPEND)
            code = run_step(normal, i, &text, work);
    *out = text;
    return code;
}
