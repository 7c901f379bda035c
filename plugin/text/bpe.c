/* See bpe.h. Symbols form a linked list over an array; each knows the rule for itself
 * and its right neighbour. Short words look through the list for the lowest rank,
 * long ones keep (rank, position) in a heap, where entries that no longer agree with
 * the symbol are stale and skipped. */
#include "bpe.h"

#include "../base/utf8.h"

#include <string.h>

#define NOWHERE UINT32_MAX

/* Up to here the search through the list is the faster one. */
#define SHORT_WORD 48

struct symbol {
    int32_t id;
    uint32_t previous, next; /* NOWHERE at the ends */
    uint32_t rule;           /* for (this, next); MERGE_NONE: none, or merged away */
    uint32_t rank;           /* of the rule */
};

static void look_up(const struct bpe *bpe, struct symbol *symbol, uint32_t i)
{
    uint32_t next = symbol[i].next;
    symbol[i].rule = MERGE_NONE;
    if (next != NOWHERE)
        symbol[i].rule = merges_find(&bpe->merges, symbol[i].id, symbol[next].id);
    symbol[i].rank = merges_rank(&bpe->merges, symbol[i].rule);
}

/* Symbols that are being listed. */
struct listing {
    struct symbol *symbol;
    uint32_t n;
};

static void list(struct listing *l, int32_t id)
{
    if (id < 0)
        return;
    l->symbol[l->n] = (struct symbol){.id = id, .previous = l->n - 1, .next = l->n + 1};
    l->n++;
}

static void list_bytes(const struct bpe *bpe, struct str bytes, struct listing *l)
{
    for (size_t i = 0; i < bytes.len; i++)
        list(l, bpe->vocab->byte_id[(uint8_t)bytes.ptr[i]]);
}

static bool has_bytes(const struct vocab *v, struct str bytes)
{
    bool all = true;
    for (size_t i = 0; i < bytes.len; i++)
        all = all && v->byte_id[(uint8_t)bytes.ptr[i]] >= 0;
    return all;
}

static void list_characters(const struct bpe *bpe, struct str word, struct listing *l)
{
    bool was_unknown = false;
    for (size_t at = 0, n; at < word.len; at += n) {
        (void)utf8_next(word.ptr + at, word.len - at, &n);
        struct str character = {word.ptr + at, n};
        int32_t id = vocab_char(bpe->vocab, character);
        bool is_unknown = false;
        if (id >= 0) {
            list(l, id);
        } else if (bpe->byte_fallback && has_bytes(bpe->vocab, character)) {
            list_bytes(bpe, character, l);
        } else {
            is_unknown = true;
            if (!was_unknown || !bpe->fuse_unknown)
                list(l, bpe->unknown);
        }
        was_unknown = is_unknown;
    }
}

/* The word's symbols, as many as it has bytes at most; returns how many. */
static uint32_t begin(const struct bpe *bpe, struct str word, struct symbol *symbol)
{
    struct listing l = {symbol, 0};
    if (bpe->byte_level)
        list_bytes(bpe, word, &l);
    else
        list_characters(bpe, word, &l);
    if (l.n) {
        symbol[0].previous = NOWHERE;
        symbol[l.n - 1].next = NOWHERE;
    }
    for (uint32_t i = 0; i < l.n; i++)
        look_up(bpe, symbol, i);
    return l.n;
}

/* Applies the rule of symbol i, which then stands for both. */
static void merge(const struct bpe *bpe, struct symbol *symbol, uint32_t i)
{
    uint32_t gone = symbol[i].next, previous = symbol[i].previous;
    symbol[i].id = bpe->merges.id[symbol[i].rule];
    symbol[i].next = symbol[gone].next;
    if (symbol[i].next != NOWHERE)
        symbol[symbol[i].next].previous = i;
    symbol[gone].rule = symbol[gone].rank = MERGE_NONE;
    look_up(bpe, symbol, i);
    if (previous != NOWHERE)
        look_up(bpe, symbol, previous);
}

static void merge_short(const struct bpe *bpe, struct symbol *symbol)
{
    for (;;) {
        uint32_t best = 0;
        for (uint32_t i = symbol[0].next; i != NOWHERE; i = symbol[i].next)
            if (symbol[i].rank < symbol[best].rank)
                best = i;
        if (symbol[best].rank == MERGE_NONE)
            return;
        merge(bpe, symbol, best);
    }
}

/* A binary heap of rank << 32 | position, the smallest on top. */
struct heap {
    uint64_t *entry;
    size_t n;
};

static void heap_push(struct heap *heap, const struct symbol *symbol, uint32_t i)
{
    if (symbol[i].rank == MERGE_NONE)
        return;
    uint64_t entry = (uint64_t)symbol[i].rank << 32 | i;
    size_t at = heap->n++;
    for (; at > 0 && heap->entry[(at - 1) / 2] > entry; at = (at - 1) / 2)
        heap->entry[at] = heap->entry[(at - 1) / 2];
    heap->entry[at] = entry;
}

static uint64_t heap_pop(struct heap *heap)
{
    uint64_t top = heap->entry[0], last = heap->entry[--heap->n];
    size_t at = 0;
    for (size_t child = 1; child < heap->n; child = 2 * at + 1) {
        if (child + 1 < heap->n && heap->entry[child + 1] < heap->entry[child])
            child++;
        if (heap->entry[child] >= last)
            break;
        heap->entry[at] = heap->entry[child];
        at = child;
    }
    heap->entry[at] = last;
    return top;
}

static void merge_long(const struct bpe *bpe, struct symbol *symbol, uint32_t n, struct heap *heap)
{
    for (uint32_t i = 0; i < n; i++)
        heap_push(heap, symbol, i);
    while (heap->n) {
        uint64_t top = heap_pop(heap);
        uint32_t i = (uint32_t)top;
        if (symbol[i].rank != top >> 32)
            continue;
        merge(bpe, symbol, i);
        heap_push(heap, symbol, i);
        if (symbol[i].previous != NOWHERE)
            heap_push(heap, symbol, symbol[i].previous);
    }
}

/* Appends the ids of the list, of n bytes at most. */
static bool put_ids(const struct symbol *symbol, size_t n, struct buf *out)
{
    char *room = buf_room(out, n * sizeof(int32_t));
    if (!room)
        return false;
    size_t k = 0;
    for (uint32_t i = 0; i != NOWHERE; i = symbol[i].next, k++)
        memcpy(room + k * sizeof(int32_t), &symbol[i].id, sizeof(int32_t));
    out->len += k * sizeof(int32_t);
    return true;
}

/* One entry per symbol at the start, and at most two more per merge. */
static bool encode_long(const struct bpe *bpe, struct str word, struct buf *scratch,
                        struct buf *out)
{
    size_t symbol_bytes = ROUND_UP(word.len * sizeof(struct symbol), sizeof(uint64_t));
    scratch->len = 0;
    char *room = buf_room(scratch, symbol_bytes + 3 * word.len * sizeof(uint64_t));
    if (!room)
        return false;
    struct symbol *symbol = (struct symbol *)(void *)room;
    struct heap heap = {(uint64_t *)(void *)(room + symbol_bytes), 0};
    uint32_t n = begin(bpe, word, symbol);
    merge_long(bpe, symbol, n, &heap);
    return n == 0 || put_ids(symbol, n, out);
}

static bool encode_short(const struct bpe *bpe, struct str word, struct buf *out)
{
    struct symbol symbol[SHORT_WORD];
    uint32_t n = begin(bpe, word, symbol);
    if (n == 0)
        return true;
    merge_short(bpe, symbol);
    return put_ids(symbol, n, out);
}

static bool is_mark(struct str text, size_t at)
{
    return text.len - at >= 3 && memcmp(text.ptr + at, SPACE_MARK, 3) == 0;
}

/* The end of the part that begins at from and that no token reaches beyond. */
static size_t part_end(const struct bpe *bpe, struct str word, size_t from)
{
    for (size_t at = from + 1; at < word.len; at++) {
        const char *mark = memchr(word.ptr + at, (uint8_t)SPACE_MARK[0], word.len - at);
        if (!mark)
            break;
        at = (size_t)(mark - word.ptr);
        if (is_mark(word, at) && !bpe->joins_mark[(uint8_t)word.ptr[at - 1]])
            return at;
    }
    return word.len;
}

static bool encode_part(const struct bpe *bpe, struct str word, struct buf *scratch,
                        struct buf *out)
{
    return word.len <= SHORT_WORD ? encode_short(bpe, word, out)
                                  : encode_long(bpe, word, scratch, out);
}

bool bpe_encode(const struct bpe *bpe, struct str word, struct buf *scratch, struct buf *out)
{
    bool ok = true;
    if (word.len <= bpe->longest) {
        int32_t id = hash_find(&bpe->whole, word.ptr, word.len, -1);
        if (id >= 0) {
            buf_put(out, &id, sizeof id);
            return !out->failed;
        }
    }
    if (bpe->byte_level)
        return encode_part(bpe, word, scratch, out);
    for (size_t at = 0, end; at < word.len && ok; at = end) {
        end = part_end(bpe, word, at);
        ok = encode_part(bpe, (struct str){word.ptr + at, end - at}, scratch, out);
    }
    return ok;
}

/* Backwards, so that the first of two equal tokens is the one found. Words are bytes, or texts
 * with marks, as names are. */
static bool find_whole(struct bpe *bpe, const struct vocab *v, struct arena *arena)
{
    if (!hash_init(&bpe->whole, arena, (size_t)v->n))
        return false;
    for (int32_t id = v->n - 1; id >= 0; id--) {
        struct str word = bpe->byte_level ? vocab_piece(v, id) : vocab_name(v, id);
        if (v->type[id] == TOKEN_NORMAL && word.len) {
            hash_put(&bpe->whole, word.ptr, word.len, id);
            bpe->longest = MAX(bpe->longest, word.len);
        }
    }
    return true;
}

static void find_joined_marks(struct bpe *bpe, const struct vocab *v)
{
    /* Unknown ones would be fused with what is beside them. */
    bool unknown = v->char_id[0x2581] < 0;
    memset(bpe->joins_mark, unknown, sizeof bpe->joins_mark);
    for (int32_t id = 0; id < v->n; id++) {
        struct str name = vocab_name(v, id);
        for (size_t at = 1; vocab_is_text(v, id) && at < name.len; at++)
            if (is_mark(name, at))
                bpe->joins_mark[(uint8_t)name.ptr[at - 1]] = true;
    }
}

int32_t bpe_open(struct bpe *bpe, const struct vocab *v, const struct spec *spec, struct err *err)
{
    *bpe = (struct bpe){.vocab = v,
                        .byte_level = spec->byte_level,
                        .byte_fallback = spec->byte_fallback,
                        .fuse_unknown = spec->fuse_unknown,
                        .unknown = spec->unknown};
    int n_missing = 0;
    for (int byte = 0; byte < 256; byte++)
        n_missing += v->byte_id[byte] < 0;
    if (n_missing == 256 && spec->byte_level)
        return err_set(err, INFLIGHT_E_MODEL, "the vocabulary has no token for any single byte");
    int32_t code = merges_open(&bpe->merges, v, spec, err);
    if (code)
        return code;
    if (!spec->byte_level)
        find_joined_marks(bpe, v);
    if (spec->whole_words && !find_whole(bpe, v, spec->arena))
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %d words", v->n);
    return INFLIGHT_OK;
}
