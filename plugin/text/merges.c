/* See merges.h. */
#include "merges.h"

#include "../base/utf8.h"

#include <stdlib.h>
#include <string.h>

/* The longest written form of a merged token. */
#define NAME_MAX_BYTES 4096

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

static int32_t add_rule(struct merges *m, const struct vocab *v, const struct spec_rule *rule,
                        uint32_t rank, struct err *err)
{
    char joined[NAME_MAX_BYTES], shown[2][SHOWN_TEXT];
    struct str left = rule->left, right = rule->right;
    int32_t l = vocab_find(v, left), r = vocab_find(v, right), id = -1;
    if (l >= 0 && r >= 0 && left.len + right.len <= sizeof joined) {
        memcpy(joined, left.ptr, left.len);
        memcpy(joined + left.len, right.ptr, right.len);
        id = find_joined(m, v, (struct str){joined, left.len + right.len}, rank);
    }
    if (id < 0)
        return err_set(err, INFLIGHT_E_MODEL,
                       "merges: rule %u, '%s %s', names a token that is not in the vocabulary",
                       rank, shown_text(left, shown[0]), shown_text(right, shown[1]));
    uint64_t key = merges_key(l, r);
    if (vocab_is_text(v, id))
        *merges_slot(m, key) = key << MERGE_RULE_BITS | rank;
    m->id[rank] = id;
    return INFLIGHT_OK;
}

static int32_t take(struct merges *m, size_t n, struct arena *arena, struct err *err)
{
    if (n >= MERGE_NONE)
        return err_set(err, INFLIGHT_E_MODEL, "%zu merge rules; fewer than %u are supported", n,
                       MERGE_NONE);
    m->bits = 4;
    while ((size_t)1 << m->bits < 2 * n)
        m->bits++;
    m->slot = arena_take_array(arena, (size_t)1 << m->bits, sizeof *m->slot);
    m->id = arena_take_array(arena, n, sizeof *m->id);
    if (!m->slot || !m->id)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %zu merge rules", n);
    memset(m->slot, 0xff, ((size_t)1 << m->bits) * sizeof *m->slot);
    return INFLIGHT_OK;
}

static int32_t open_rules(struct merges *m, const struct vocab *v, const struct spec *spec,
                          struct err *err)
{
    int32_t code = take(m, spec->n_rules, spec->arena, err);
    for (size_t i = 0; i < spec->n_rules && !code; i++)
        code = add_rule(m, v, &spec->rule[i], (uint32_t)i, err);
    return code;
}

/* ---- From scores: each way to put a token together of two others is a rule. */

/* A token's place in the order of scores. */
struct scored {
    double score;
    int32_t id;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* Text that merges go through: neither bytes nor control tokens. */
static bool is_piece(const struct vocab *v, int32_t id)
{
    return id >= 0 && (v->type[id] == TOKEN_NORMAL || v->type[id] == TOKEN_USER_DEFINED) &&
           vocab_name(v, id).len;
}

/* The next cut of name after at between two characters; its end: none. */
static size_t next_cut(struct str name, size_t at)
{
    size_t n = 1;
    (void)utf8_next(name.ptr + at, name.len - at, &n);
    return at + n;
}

/* Calls for every rule that makes id; returns how many. m NULL: counts. */
static size_t add_splits(struct merges *m, const struct vocab *v, int32_t id, size_t n_rules,
                         uint32_t rank)
{
    struct str name = vocab_name(v, id);
    size_t n = 0;
    for (size_t at = next_cut(name, 0); at < name.len; at = next_cut(name, at)) {
        int32_t l = vocab_find(v, (struct str){name.ptr, at});
        if (!is_piece(v, l))
            continue;
        int32_t r = vocab_find(v, (struct str){name.ptr + at, name.len - at});
        if (!is_piece(v, r))
            continue;
        if (m) {
            uint64_t key = merges_key(l, r), *slot = merges_slot(m, key);
            m->id[n_rules + n] = id;
            m->rank[n_rules + n] = rank;
            /* Of two tokens with one name the first is meant. */
            if (*slot == UINT64_MAX)
                *slot = key << MERGE_RULE_BITS | (n_rules + n);
        }
        n++;
    }
    return n;
}

static int32_t open_scores(struct merges *m, const struct vocab *v, const struct spec *spec,
                           struct err *err)
{
    struct arena scratch;
    size_t n = 0, n_rules = 0;
    arena_init(&scratch, spec->arena->mem);
    struct scored *order = arena_take_array(&scratch, (size_t)v->n, sizeof *order);
    for (int32_t id = 0; order && id < v->n; id++)
        if (is_piece(v, id) && vocab_name(v, id).len <= NAME_MAX_BYTES &&
            vocab_find(v, vocab_name(v, id)) == id) {
            order[n++] = (struct scored){spec->score[id], id};
            n_rules += add_splits(NULL, v, id, 0, 0);
        }
    int32_t code = order ? take(m, n_rules, spec->arena, err) : INFLIGHT_E_NOMEM;
    if (!code) {
        m->rank = arena_take_array(spec->arena, n_rules, sizeof *m->rank);
        code = m->rank ? INFLIGHT_OK : INFLIGHT_E_NOMEM;
    }
    if (code == INFLIGHT_E_NOMEM)
        (void)err_set(err, code, "no memory for the merges of %d tokens", v->n);
    if (!code && n)
        qsort(order, n, sizeof *order, by_score);
    n_rules = 0;
    for (uint32_t i = 0, rank = 0; i < n && !code; i++) {
        if (i && order[i].score != order[i - 1].score)
            rank = i;
        n_rules += add_splits(m, v, order[i].id, n_rules, rank);
    }
    arena_release(&scratch);
    return code;
}

int32_t merges_open(struct merges *m, const struct vocab *v, const struct spec *spec,
                    struct err *err)
{
    *m = (struct merges){0};
    return spec->model == SPEC_BPE_SCORES ? open_scores(m, v, spec, err)
                                          : open_rules(m, v, spec, err);
}
