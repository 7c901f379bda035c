/* See unigram.h. */
#include "unigram.h"

#include "../base/utf8.h"

#include <string.h>

#define NOWHERE UINT32_MAX

/* What a character that is no token costs beyond the least likely one: SentencePiece's. */
#define UNKNOWN_PENALTY 10.0

/* The best way to the end of a byte of the word. */
struct way {
    double score;
    uint32_t start; /* where its last token begins; NOWHERE: there is no way yet */
    int32_t id;     /* of that token; -1: unknown */
    uint32_t end;   /* where the token that begins here ends, on the best way to the word's end */
};

static bool is_wanted(const struct vocab *v, int32_t id)
{
    return v->type[id] == TOKEN_NORMAL || v->type[id] == TOKEN_USER_DEFINED;
}

int32_t unigram_open(struct unigram *u, const struct vocab *v, const struct spec *spec,
                     struct err *err)
{
    *u = (struct unigram){.vocab = v,
                          .unknown = spec->unknown,
                          .byte_fallback = spec->byte_fallback,
                          .fuse_unknown = spec->fuse_unknown,
                          .single = spec->single};
    double least = 0;
    u->score = arena_take_array(spec->arena, (size_t)v->n, sizeof *u->score);
    if (!u->score)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the scores of %d tokens", v->n);
    for (int32_t id = 0; id < v->n; id++) {
        u->score[id] = spec->score[id];
        if (v->type[id] == TOKEN_NORMAL)
            least = MIN(least, spec->score[id]);
    }
    u->unknown_score = least - UNKNOWN_PENALTY;
    if (u->single)
        u->unknown_score = (double)(float)u->unknown_score;
    return trie_open(&u->trie, v, is_wanted, spec->arena, err);
}

static void offer(const struct unigram *u, struct way *way, uint32_t start, size_t end,
                  double score, int32_t id)
{
    if (u->single)
        score = (double)(float)score;
    if (way[end].start == NOWHERE || score > way[end].score)
        way[end] = (struct way){score, start, id, 0};
}

/* Offers all tokens that begin at at, whose first character has n bytes. */
static void go_on(const struct unigram *u, struct str word, struct way *way, uint32_t at, size_t n)
{
    double score = at ? way[at].score : 0;
    bool has_one = false;
    uint32_t place = 0;
    for (size_t i = at; i < word.len; i++) {
        place = trie_next(&u->trie, place, (uint8_t)word.ptr[i]);
        if (place == 0)
            break;
        int32_t id = u->trie.id[place];
        if (id < 0)
            continue;
        offer(u, way, at, i + 1, u->score[id] + score, id);
        has_one = has_one || i + 1 == at + n;
    }
    if (!has_one)
        offer(u, way, at, at + n, u->unknown_score + score, -1);
}

static void put_unknown(const struct unigram *u, struct str text, bool was_unknown, struct buf *out)
{
    bool bytes = u->byte_fallback;
    for (size_t i = 0; i < text.len && bytes; i++)
        bytes = u->vocab->byte_id[(uint8_t)text.ptr[i]] >= 0;
    for (size_t i = 0; i < text.len && bytes; i++)
        buf_put(out, &u->vocab->byte_id[(uint8_t)text.ptr[i]], sizeof(int32_t));
    if (!bytes && u->unknown >= 0 && !(was_unknown && u->fuse_unknown))
        buf_put(out, &u->unknown, sizeof u->unknown);
}

bool unigram_encode(const struct unigram *u, struct str word, struct buf *scratch, struct buf *out)
{
    scratch->len = 0;
    struct way *way = (struct way *)(void *)buf_room(scratch, (word.len + 1) * sizeof *way);
    if (!way)
        return false;
    for (size_t i = 0; i <= word.len; i++)
        way[i].start = NOWHERE;
    for (size_t at = 0, n; at < word.len; at += n) {
        (void)utf8_next(word.ptr + at, word.len - at, &n);
        go_on(u, word, way, (uint32_t)at, n);
    }
    for (uint32_t at = (uint32_t)word.len; at > 0; at = way[at].start)
        way[way[at].start].end = at;
    bool was_unknown = false;
    for (uint32_t at = 0, end; at < word.len; at = end) {
        end = way[at].end;
        int32_t id = way[end].id;
        if (id >= 0)
            buf_put(out, &id, sizeof id);
        else
            put_unknown(u, (struct str){word.ptr + at, end - at}, was_unknown, out);
        was_unknown = id < 0;
    }
    return !out->failed;
}
