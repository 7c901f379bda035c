/* See added.h. */
#include "added.h"

#include "normal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* A bound on the work per byte of text: each may begin a match of this length. */
#define LONGEST 512

static int by_bytes(const void *a, const void *b)
{
    const struct spec_added *x = a, *y = b;
    int order = memcmp(x->text.ptr, y->text.ptr, MIN(x->text.len, y->text.len));
    if (order == 0 && x->text.len != y->text.len)
        order = x->text.len < y->text.len ? -1 : 1;
    if (order == 0)
        order = x->id < y->id ? -1 : 1;
    return order;
}

/* Sorts them, of several with one text keeps that with the lowest id, and fills first. */
static void put_in_order(struct added *added)
{
    size_t n = 0;
    if (added->n)
        qsort(added->token, added->n, sizeof *added->token, by_bytes);
    for (size_t i = 0; i < added->n; i++) {
        struct str text = added->token[i].text;
        if (n && text.len == added->token[n - 1].text.len &&
            memcmp(text.ptr, added->token[n - 1].text.ptr, text.len) == 0)
            continue;
        added->token[n++] = added->token[i];
    }
    added->n = n;
    for (size_t i = 0; i < n; i++)
        added->first[(uint8_t)added->token[i].text.ptr[0] + 1]++;
    for (int byte = 0; byte < 256; byte++)
        added->first[byte + 1] += added->first[byte];
}

int32_t added_open(struct added *added, const struct spec *spec, bool normalized, struct err *err)
{
    *added = (struct added){0};
    size_t n = 0;
    for (size_t i = 0; i < spec->n_added; i++)
        n += spec->added[i].normalized == normalized;
    added->token = arena_take_array(spec->arena, n, sizeof *added->token);
    if (!added->token)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %zu added tokens", n);
    for (size_t i = 0; i < spec->n_added; i++) {
        const struct spec_added *token = &spec->added[i];
        if (token->normalized != normalized || token->text.len == 0)
            continue;
        if (token->text.len > LONGEST)
            return err_set(err, INFLIGHT_E_MODEL,
                           "added token %d has a name of %zu bytes; at most %d are supported",
                           token->id, token->text.len, LONGEST);
        added->token[added->n] = *token;
        if (!spec_keep(spec, token->text, &added->token[added->n++].text))
            return err_set(err, INFLIGHT_E_NOMEM, "no memory for %zu added tokens", n);
    }
    put_in_order(added);
    return INFLIGHT_OK;
}

/* The first token of [low, high) whose byte at depth is at least byte. All are longer
 * than depth and equal before it. */
static int32_t lower_bound(const struct added *added, int32_t low, int32_t high, size_t depth,
                           int byte)
{
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if ((uint8_t)added->token[middle].text.ptr[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that matches at the beginning of text, or NULL. */
static const struct spec_added *match(const struct added *added, struct str text,
                                      const uint8_t *trusted)
{
    const struct spec_added *best = NULL;
    bool all_trusted = trusted && trusted[0];
    uint8_t byte = (uint8_t)text.ptr[0];
    int32_t low = added->first[byte], high = added->first[byte + 1];
    for (size_t depth = 1; low < high; depth++) {
        for (; low < high && added->token[low].text.len == depth; low++)
            if (all_trusted || !added->token[low].control)
                best = best && best->text.len == depth ? best : &added->token[low];
        if (depth == text.len)
            break;
        byte = (uint8_t)text.ptr[depth];
        low = lower_bound(added, low, high, depth, byte);
        high = lower_bound(added, low, high, depth, byte + 1);
        all_trusted = all_trusted && trusted[depth];
    }
    return best;
}

/* ---- What is beside a match */

/* The code point that begins at p, or that ends before it. */
static int32_t code_point_at(struct str text, size_t at)
{
    int32_t c = -1;
    if (utf8proc_iterate((const uint8_t *)text.ptr + at, (utf8proc_ssize_t)(text.len - at), &c) < 0)
        return -1;
    return c;
}

static size_t character_before(struct str text, size_t at)
{
    size_t begin = at - 1;
    while (begin > 0 && at - begin < 4 && ((uint8_t)text.ptr[begin] & 0xc0) == 0x80)
        begin--;
    return begin;
}

static bool is_word(int32_t c)
{
    if (c < 0)
        return false;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return c == 0x200c || c == 0x200d; /* joiners */
    }
}

static bool stands_alone(struct str text, size_t at, size_t end)
{
    struct str before = {text.ptr, at};
    return (at == 0 || !is_word(code_point_at(before, character_before(text, at)))) &&
           (end == text.len || !is_word(code_point_at(text, end)));
}

static size_t skip_spaces_back(struct str text, size_t at, size_t from)
{
    while (at > from) {
        size_t begin = character_before(text, at);
        if (begin < from || !is_white_space(code_point_at((struct str){text.ptr, at}, begin)))
            break;
        at = begin;
    }
    return at;
}

static size_t skip_spaces(struct str text, size_t at)
{
    while (at < text.len) {
        int32_t c = code_point_at(text, at);
        if (!is_white_space(c))
            break;
        at += (size_t)(c < 0x80 ? 1 : c < 0x800 ? 2 : 3);
    }
    return at;
}

struct added_match added_find(const struct added *added, struct str text, const uint8_t *trusted,
                              size_t from)
{
    for (size_t at = from; at < text.len; at++) {
        uint8_t byte = (uint8_t)text.ptr[at];
        if (added->first[byte] == added->first[byte + 1])
            continue;
        const struct spec_added *token =
            match(added, (struct str){text.ptr + at, text.len - at}, trusted ? trusted + at : NULL);
        if (!token)
            continue;
        struct added_match m = {token, at, at + token->text.len};
        if (token->single_word && !stands_alone(text, at, m.end)) {
            at = m.end - 1;
            continue;
        }
        if (token->lstrip)
            m.at = skip_spaces_back(text, at, from);
        if (token->rstrip)
            m.end = skip_spaces(text, m.end);
        return m;
    }
    return (struct added_match){NULL, text.len, text.len};
}
