/* See merges.h. */
#include "merges.h"

#include <string.h>

/* The longest written form of a merged token. */
#define NAME_MAX_BYTES 4096

/* Splits "left right" at its space; the first character may itself be one. */
static bool split(struct str rule, struct str *left, struct str *right)
{
    const char *space = rule.len > 1 ? memchr(rule.ptr + 1, ' ', rule.len - 1) : NULL;
    if (!space)
        return false;
    *left = (struct str){rule.ptr, (size_t)(space - rule.ptr)};
    *right = (struct str){space + 1, rule.len - left->len - 1};
    return right->len > 0 && rule.len <= NAME_MAX_BYTES;
}

/* Is name the token's, and no other's? */
static bool is_name(const struct vocab *v, int32_t id, struct str name)
{
    struct str text = id < v->n && v->distinct ? vocab_name(v, id) : (struct str){"", 0};
    return text.len == name.len && memcmp(text.ptr, name.ptr, name.len) == 0;
}

/* Most files list tokens in the order of their rules: the one after the last rule's is
 * tried first, which spares most of the look-ups. */
static int32_t find_joined(const struct merges *m, const struct vocab *v, struct str name,
                           uint32_t rank)
{
    int32_t next = rank ? m->id[rank - 1] + 1 : 0;
    return is_name(v, next, name) ? next : vocab_find(v, name);
}

static int32_t add_rule(struct merges *m, const struct vocab *v, struct str rule, uint32_t rank,
                        struct err *err)
{
    char joined[NAME_MAX_BYTES];
    struct str left, right;
    if (!split(rule, &left, &right))
        return err_set(err, INFLIGHT_E_MODEL,
                       "tokenizer.ggml.merges: rule %u is not two tokens with a space between",
                       rank);
    memcpy(joined, left.ptr, left.len);
    memcpy(joined + left.len, right.ptr, right.len);
    int32_t l = vocab_find(v, left), r = vocab_find(v, right);
    int32_t id = find_joined(m, v, (struct str){joined, left.len + right.len}, rank);
    if (l < 0 || r < 0 || id < 0)
        return err_set(err, INFLIGHT_E_MODEL,
                       "tokenizer.ggml.merges: rule %u, '%.*s', names a token that is not in the "
                       "vocabulary",
                       rank, (int)MIN(rule.len, (size_t)64), rule.ptr);
    uint64_t key = merges_key(l, r);
    if (vocab_is_text(v, id))
        *merges_slot(m, key) = key << MERGE_RANK_BITS | rank;
    m->id[rank] = id;
    return INFLIGHT_OK;
}

int32_t merges_open(struct merges *m, const struct vocab *v, const struct gguf *g,
                    struct arena *arena, struct err *err)
{
    const struct gguf_value *rules = gguf_find(g, "tokenizer.ggml.merges");
    if (!rules || rules->type != GGUF_ARRAY || rules->element != GGUF_STRING)
        return err_set(err, INFLIGHT_E_MODEL,
                       "tokenizer.ggml.merges is missing or not a list of texts");
    if (rules->n >= MERGE_NONE || v->n >= 1 << MERGE_ID_BITS)
        return err_set(err, INFLIGHT_E_MODEL,
                       "%llu merge rules and %d tokens; fewer than %u and %d are supported",
                       (unsigned long long)rules->n, v->n, MERGE_NONE, 1 << MERGE_ID_BITS);
    m->bits = 4;
    while ((uint64_t)1 << m->bits < 2 * rules->n)
        m->bits++;
    m->slot = arena_take_array(arena, (size_t)1 << m->bits, sizeof *m->slot);
    m->id = arena_take_array(arena, (size_t)rules->n, sizeof *m->id);
    if (!m->slot || !m->id)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %llu merge rules",
                       (unsigned long long)rules->n);
    memset(m->slot, 0xff, ((size_t)1 << m->bits) * sizeof *m->slot);
    for (uint64_t i = 0; i < rules->n; i++) {
        int32_t code = add_rule(m, v, gguf_str_at(rules, i), (uint32_t)i, err);
        if (code)
            return code;
    }
    return INFLIGHT_OK;
}
