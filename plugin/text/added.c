/* See added.h. */
#include "added.h"

#include <stdlib.h>
#include <string.h>

/* A bound on the work per byte of text: each may begin a match of this length. */
#define LONGEST 512

static int by_bytes(const void *a, const void *b)
{
    const struct added_token *x = a, *y = b;
    int order = memcmp(x->text.ptr, y->text.ptr, MIN(x->text.len, y->text.len));
    if (order == 0 && x->text.len != y->text.len)
        order = x->text.len < y->text.len ? -1 : 1;
    if (order == 0)
        order = x->id < y->id ? -1 : 1;
    return order;
}

static bool is_control(const struct vocab *v, int32_t id)
{
    return v->type[id] == TOKEN_CONTROL || v->type[id] == TOKEN_UNKNOWN;
}

int32_t added_open(struct added *added, const struct vocab *v, struct arena *arena, struct err *err)
{
    *added = (struct added){0};
    size_t n = 0;
    for (int32_t id = 0; id < v->n; id++)
        n += is_control(v, id) || v->type[id] == TOKEN_USER_DEFINED;
    added->token = arena_take_array(arena, n, sizeof *added->token);
    if (!added->token)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %zu added tokens", n);
    n = 0;
    for (int32_t id = 0; id < v->n; id++) {
        struct str name = vocab_name(v, id);
        bool control = is_control(v, id);
        if (name.len == 0 || !(control || v->type[id] == TOKEN_USER_DEFINED))
            continue;
        if (name.len > LONGEST)
            return err_set(err, INFLIGHT_E_MODEL,
                           "added token %d has a name of %zu bytes; at most %d are supported", id,
                           name.len, LONGEST);
        added->token[n++] = (struct added_token){name, id, control};
        added->first[(uint8_t)name.ptr[0] + 1]++;
    }
    if (n)
        qsort(added->token, n, sizeof *added->token, by_bytes);
    for (int byte = 0; byte < 256; byte++)
        added->first[byte + 1] += added->first[byte];
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
static const struct added_token *match(const struct added *added, struct str text,
                                       const uint8_t *trusted)
{
    const struct added_token *best = NULL;
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

const struct added_token *added_find(const struct added *added, struct str text,
                                     const uint8_t *trusted, size_t from, size_t *at)
{
    for (*at = from; *at < text.len; ++*at) {
        uint8_t byte = (uint8_t)text.ptr[*at];
        if (added->first[byte] == added->first[byte + 1])
            continue;
        const struct added_token *token = match(added, (struct str){text.ptr + *at, text.len - *at},
                                                trusted ? trusted + *at : NULL);
        if (token)
            return token;
    }
    return NULL;
}
