/* The tokenizer against golden/tokenizer.bin, which tokenizer_hf.py makes from the
 * reference implementation and describes. The words of every family need no model;
 * the ids need SmolLM2's. INFLIGHT_TOKENIZER_GOLDEN names another file. */
#include "plugin/base/thread.h"
#include "plugin/text/families.h"
#include "plugin/text/normal.h"
#include "plugin/text/pretok.h"
#include "plugin/text/tokenizer.h"
#include "t.h"
#include "tokenizer_golden.h"

#define MODEL_PATH "build/models/SmolLM2-135M-Instruct.Q4_1.gguf"

/* One list: its name, and hashes of per_hash lines each. */
struct list {
    struct str name;
    uint32_t per_hash, n;
    const char *hash;
};

static struct list list_at(const char **p)
{
    struct list list = {.name = {*p + 1, (uint8_t) * *p}};
    *p += 1 + list.name.len;
    list.per_hash = u32_at(*p);
    list.n = u32_at(*p + 4);
    list.hash = *p + 8;
    *p += 8 + 4 * (size_t)list.n;
    return list;
}

static bool begins(struct str s, const char *with)
{
    return s.len >= strlen(with) && memcmp(s.ptr, with, strlen(with)) == 0;
}

/* The hash of the words of one line, run on from h. */
static uint32_t hash_words(struct pretok_cut *cut, struct str text, uint32_t h)
{
    struct str word;
    int32_t code;
    CHECK_EQ(pretok_begin(cut, text, true), 0);
    while ((code = pretok_next(cut, &word)) > 0) {
        h = fnv(word.ptr, word.len, h);
        h = fnv("\xff", 1, h);
    }
    CHECK_EQ(code, 0);
    return h;
}

/* The steps of a family, without a vocabulary. */
struct steps {
    struct arena arena;
    struct spec spec;
    struct normal normal;
    struct normal_work work;
    struct pretok pretok;
    struct pretok_cut cut;
};

static void steps_open(struct steps *s, struct str pre)
{
    struct err err = {0};
    const struct family *family = family_find(pre);
    CHECK(family != NULL);
    arena_init(&s->arena, &mem_system);
    spec_init(&s->spec, &s->arena);
    CHECK_EQ(family_set(family, &s->spec, &err), 0);
    CHECK_EQ(normal_open(&s->normal, &s->spec, &err), 0);
    CHECK_EQ(pretok_open(&s->pretok, &s->spec, &err), 0);
    CHECK(normal_work_init(&s->work, &mem_system));
    CHECK(pretok_cut_init(&s->cut, &s->pretok, &mem_system));
}

static void steps_close(struct steps *s)
{
    pretok_cut_release(&s->cut);
    normal_work_release(&s->work);
    pretok_close(&s->pretok);
    normal_close(&s->normal);
    spec_release(&s->spec);
    arena_release(&s->arena);
}

static void check_words(const struct golden *golden, struct list list)
{
    struct steps s;
    steps_open(&s, (struct str){list.name.ptr + 4, list.name.len - 4});
    uint32_t h = FNV_START, n_wrong = 0;
    for (uint32_t i = 0; i < golden->n_lines; i++) {
        struct str text = golden->line[i];
        CHECK_EQ(normal_run(&s.normal, text, true, &s.work, &text), 0);
        h = hash_words(&s.cut, text, i % list.per_hash ? h : FNV_START);
        if (i % list.per_hash != list.per_hash - 1)
            continue;
        if (h != u32_at(list.hash + 4 * (size_t)(i / list.per_hash)) && n_wrong++ < 3)
            t_fail(__FILE__, __LINE__, "%.*s: a line of %u to %u is cut differently",
                   (int)list.name.len, list.name.ptr, i + 1 - list.per_hash, i);
    }
    CHECK_EQ(n_wrong, 0);
    steps_close(&s);
}

TEST(tokenizer_golden, every_family_cuts_words_like_the_reference)
{
    struct golden golden;
    uint32_t n_families = 0;
    CHECK(golden_open(&golden));
    const char *p = golden.lists;
    for (uint32_t i = 0; golden.lists && i < golden.n_lists; i++) {
        struct list list = list_at(&p);
        if (begins(list.name, "cut ")) {
            check_words(&golden, list);
            n_families++;
        }
    }
    CHECK_EQ(n_families, 13);
    golden_close(&golden);
}

/* An open model. */
struct fixture {
    struct file file;
    struct gguf gguf;
    struct arena arena;
    struct tokenizer *tokenizer;
    struct err err;
};

static bool fixture_open(struct fixture *f)
{
    *f = (struct fixture){0};
    arena_init(&f->arena, &mem_system);
    if (file_open(&f->file, MODEL_PATH, NULL, &f->err)) {
        t_skip("no " MODEL_PATH);
        return false;
    }
    if (gguf_open(&f->gguf, &f->file, &f->arena, &f->err) ||
        tokenizer_open(&f->tokenizer, &f->gguf, &f->arena, &f->err)) {
        t_fail(__FILE__, __LINE__, "%s", f->err.text);
        return false;
    }
    return true;
}

static void fixture_close(struct fixture *f)
{
    tokenizer_close(f->tokenizer);
    arena_release(&f->arena);
    file_close(&f->file);
}

static void check_ids(const struct golden *golden, struct list list, const struct tokenizer *t)
{
    static uint8_t trusted[1 << 16];
    bool all = begins(list.name, "ids trusted");
    struct buf ids;
    struct err err;
    uint32_t n_wrong = 0;
    memset(trusted, 1, sizeof trusted);
    buf_init(&ids, &mem_system);
    CHECK_EQ(list.n, golden->n_lines);
    for (uint32_t i = 0; i < golden->n_lines; i++) {
        ids.len = 0;
        CHECK_EQ(tokenizer_encode(t, golden->line[i], all ? trusted : NULL, false, &ids, &err), 0);
        if (fnv(ids.ptr, ids.len, FNV_START) != u32_at(list.hash + 4 * (size_t)i) && n_wrong++ < 3)
            t_fail(__FILE__, __LINE__, "%.*s: line %u differs: '%.*s'", (int)list.name.len,
                   list.name.ptr, i, (int)golden->line[i].len, golden->line[i].ptr);
    }
    CHECK_EQ(n_wrong, 0);
    buf_release(&ids);
}

TEST(tokenizer_golden, every_line_gives_the_ids_of_the_reference)
{
    struct golden golden;
    struct fixture f;
    CHECK(golden_open(&golden));
    CHECK(golden.n_lines >= 10000);
    if (fixture_open(&f)) {
        const char *p = golden.lists;
        for (uint32_t i = 0; golden.lists && i < golden.n_lists; i++) {
            struct list list = list_at(&p);
            if (begins(list.name, "ids "))
                check_ids(&golden, list, f.tokenizer);
        }
    }
    fixture_close(&f);
    golden_close(&golden);
}

TEST(tokenizer_model, pieces_of_random_bytes_put_together_are_the_bytes)
{
    struct fixture f;
    if (!fixture_open(&f)) {
        fixture_close(&f);
        return;
    }
    struct buf ids;
    uint64_t state = 1;
    buf_init(&ids, &mem_system);
    for (int round = 0; round < 2000; round++) {
        char text[300], back[300];
        size_t len = 0, n = 0;
        while (len < (size_t)round % 300) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            char c = (char)(state >> 56);
            /* Bytes this vocabulary has no token for: C0, C1, F1 and up, six controls. */
            if (!memchr("\x04\x06\x13\x14\x16\x1d\xc0\xc1\xf1\xf2", c, 10) && (uint8_t)c < 0xf5)
                text[len++] = c;
        }
        ids.len = 0;
        CHECK_EQ(tokenizer_encode(f.tokenizer, (struct str){text, len}, NULL, false, &ids, &f.err),
                 0);
        for (size_t i = 0; i < ids.len; i += sizeof(int32_t)) {
            int32_t id;
            memcpy(&id, ids.ptr + i, sizeof id);
            struct str piece = tokenizer_piece(f.tokenizer, id);
            if (piece.len <= sizeof back - n)
                memcpy(back + n, piece.ptr, piece.len);
            n += piece.len;
        }
        CHECK(n == len && memcmp(text, back, len) == 0);
    }
    buf_release(&ids);
    fixture_close(&f);
}

TEST(tokenizer_model, a_megabyte_of_one_word_takes_bounded_time)
{
    static char text[1 << 20];
    static const char bytes[] = {'a', ' ', '\n', '\xff', '\x01', '.', '<'};
    struct fixture f;
    if (!fixture_open(&f)) {
        fixture_close(&f);
        return;
    }
    struct buf ids;
    buf_init(&ids, &mem_system);
    for (size_t i = 0; i < COUNT_OF(bytes); i++) {
        memset(text, bytes[i], sizeof text);
        ids.len = 0;
        uint64_t start = clock_ns();
        CHECK_EQ(tokenizer_encode(f.tokenizer, (struct str){text, sizeof text}, NULL, false, &ids,
                                  &f.err),
                 0);
        double seconds = (double)(clock_ns() - start) / 1e9;
        if (seconds > 10)
            t_fail(__FILE__, __LINE__, "1 MiB of 0x%02x: %.1f s", (uint8_t)bytes[i], seconds);
    }
    buf_release(&ids);
    fixture_close(&f);
}

TEST(tokenizer_model, end_tokens_and_names_are_those_of_the_file)
{
    struct fixture f;
    if (fixture_open(&f)) {
        const struct tokenizer *t = f.tokenizer;
        CHECK_EQ(tokenizer_n(t), 49152);
        CHECK_EQ(tokenizer_find(t, (struct str){"<|im_end|>", 10}), 2);
        CHECK_EQ(tokenizer_bos(t), 1);
        CHECK_EQ(tokenizer_eos(t), 2);
        CHECK(tokenizer_is_end(t, 2) && tokenizer_is_end(t, 0) && !tokenizer_is_end(t, 1));
        CHECK_EQ(tokenizer_piece(t, 2).len, 0);
        CHECK_EQ(tokenizer_name(t, 2).len, 10);
    }
    fixture_close(&f);
}
