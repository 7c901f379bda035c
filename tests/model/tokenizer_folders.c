/* Tokenizers of Hugging Face folders against the reference implementations, on the lines of
 * golden/tokenizer.bin: folders/ has a small one of each kind and golden/tokenizer_folders.bin the
 * hashes of what is expected; tokenizer_folders.py made and describes both. */
#include "plugin/base/thread.h"
#include "plugin/text/tokenizer.h"
#include "plugin/text/spec_read.h"
#include "t.h"
#include "tokenizer_golden.h"
#include "unit/gguf_image.h"

#define FOLDERS_PATH "tests/model/golden/tokenizer_folders.bin"
#define PER_HASH     16

static uint8_t trusted[1 << 16];

struct opened {
    char path[128];
    struct folder folder;
    struct arena arena;
    struct tokenizer *tokenizer;
    struct err err;
};

static bool opened_open(struct opened *o, struct str name)
{
    snprintf(o->path, sizeof o->path, "tests/model/folders/%.*s", (int)name.len, name.ptr);
    o->folder = (struct folder){.path = o->path, .mem = &mem_system};
    o->tokenizer = NULL;
    arena_init(&o->arena, &mem_system);
    if (tokenizer_open_folder(&o->tokenizer, &o->folder, &o->arena, &o->err))
        t_fail(__FILE__, __LINE__, "%s: %s", o->path, o->err.text);
    return o->tokenizer != NULL;
}

static void opened_close(struct opened *o)
{
    tokenizer_close(o->tokenizer);
    arena_release(&o->arena);
}

/* What the ids stand for, as a text by itself. */
static void put_text(const struct tokenizer *t, const struct buf *ids, struct buf *text)
{
    int32_t strip = tokenizer_strip_start(t);
    for (size_t i = 0; i < ids->len; i += sizeof(int32_t)) {
        int32_t id;
        memcpy(&id, ids->ptr + i, sizeof id);
        struct str piece = tokenizer_strip(tokenizer_piece(t, id), &strip);
        buf_put(text, piece.ptr, piece.len);
    }
    buf_put_char(text, '\xff');
}

/* One list of hashes; returns where the next begins. */
static const char *check_list(const struct golden *golden, const struct opened *o, const char *p)
{
    struct str name = {p + 1, (uint8_t)*p};
    bool all = memcmp(name.ptr, "trusted", MIN(name.len, (size_t)7)) == 0;
    bool as_text = memcmp(name.ptr, "text", MIN(name.len, (size_t)4)) == 0;
    uint32_t n = u32_at(p + 1 + name.len), h = FNV_START, n_wrong = 0;
    const char *hash = p + 5 + name.len;
    struct buf ids, text;
    struct err err;
    buf_init(&ids, &mem_system);
    buf_init(&text, &mem_system);
    CHECK_EQ(n * PER_HASH, golden->n_lines);
    for (uint32_t i = 0; i < n * PER_HASH; i++) {
        ids.len = text.len = 0;
        CHECK_EQ(
            tokenizer_encode(o->tokenizer, golden->line[i], all ? trusted : NULL, all, &ids, &err),
            0);
        if (as_text)
            put_text(o->tokenizer, &ids, &text);
        const struct buf *result = as_text ? &text : &ids;
        h = fnv(result->ptr, result->len, i % PER_HASH ? h : FNV_START);
        if (i % PER_HASH == PER_HASH - 1 && h != u32_at(hash + 4 * (size_t)(i / PER_HASH)) &&
            n_wrong++ < 3)
            t_fail(__FILE__, __LINE__, "%s, %.*s: a line of %u to %u differs", o->path,
                   (int)name.len, name.ptr, i + 1 - PER_HASH, i);
    }
    CHECK_EQ(n_wrong, 0);
    buf_release(&ids);
    buf_release(&text);
    return hash + 4 * (size_t)n;
}

TEST(tokenizer_folders, every_kind_gives_the_ids_and_texts_of_the_reference)
{
    static char bytes[1 << 20];
    struct golden golden;
    FILE *f = fopen(FOLDERS_PATH, "rb");
    size_t n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (f)
        fclose(f);
    memset(trusted, 1, sizeof trusted);
    CHECK(golden_open(&golden));
    CHECK(n > 12 && n < sizeof bytes && memcmp(bytes, "TOKFLDS1", 8) == 0);
    const char *p = bytes + 12;
    uint32_t n_folders = 0;
    for (; n > 12 && n_folders < u32_at(bytes + 8); n_folders++) {
        struct opened o;
        bool ok = opened_open(&o, (struct str){p + 1, (uint8_t)*p});
        p += 1 + (uint8_t)*p;
        uint32_t n_lists = u32_at(p);
        p += 4;
        for (uint32_t i = 0; i < n_lists; i++)
            p = ok ? check_list(&golden, &o, p)
                   : p + 5 + (uint8_t)*p + 4 * (size_t)u32_at(p + 1 + (uint8_t)*p);
        opened_close(&o);
    }
    CHECK(p == bytes + n);
    CHECK_EQ(n_folders, 22);
    golden_close(&golden);
}

/* A GGUF image of what a tokenizer.model says, as converters write it. */
static void put_gguf(struct image *im, const struct spec *s, const char *kind)
{
    bool unigram = s->model == SPEC_UNIGRAM;
    bool has_map = s->normal[0].kind == NORMAL_CHARSMAP;
    struct str map = has_map ? s->normal[0].content : (struct str){"", 0};
    begin(im, 3, 0, 8);
    put_key(im, "tokenizer.ggml.model", GGUF_STRING);
    put_string(im, kind);
    put_key_array(im, "tokenizer.ggml.tokens", GGUF_STRING, (uint64_t)s->n);
    for (int32_t id = 0; id < s->n; id++) {
        put_u64(im, s->name[id].len);
        put(im, s->name[id].ptr, s->name[id].len);
    }
    put_key_array(im, "tokenizer.ggml.token_type", GGUF_I32, (uint64_t)s->n);
    for (int32_t id = 0; id < s->n; id++)
        put_u32(im, s->type[id]);
    put_key_array(im, "tokenizer.ggml.scores", GGUF_F32, (uint64_t)s->n);
    for (int32_t id = 0; id < s->n; id++)
        put(im, &(float){(float)s->score[id]}, sizeof(float));
    put_key_u32(im, "tokenizer.ggml.unknown_token_id", (uint32_t)s->unknown);
    put_key_array(im, "tokenizer.ggml.precompiled_charsmap", GGUF_U8, map.len);
    put(im, map.ptr, map.len);
    put_key(im, "tokenizer.ggml.remove_extra_whitespaces", GGUF_BOOL);
    put_u8(im, unigram);
    put_key_u32(im, "tokenizer.ggml.bos_token_id", (uint32_t)s->bos);
    put_data(im, 32, 0);
}

static void check_same(const struct golden *golden, const struct tokenizer *a,
                       const struct tokenizer *b)
{
    struct buf ids[2];
    struct err err;
    uint32_t n_wrong = 0;
    buf_init(&ids[0], &mem_system);
    buf_init(&ids[1], &mem_system);
    for (uint32_t i = 0; i < golden->n_lines; i++) {
        ids[0].len = ids[1].len = 0;
        CHECK_EQ(tokenizer_encode(a, golden->line[i], NULL, false, &ids[0], &err), 0);
        CHECK_EQ(tokenizer_encode(b, golden->line[i], NULL, false, &ids[1], &err), 0);
        n_wrong += ids[0].len != ids[1].len || memcmp(ids[0].ptr, ids[1].ptr, ids[0].len) != 0;
    }
    CHECK_EQ(n_wrong, 0);
    buf_release(&ids[0]);
    buf_release(&ids[1]);
}

TEST(tokenizer_folders, a_gguf_file_of_the_same_model_gives_the_same_ids)
{
    static const char *const names[] = {"spm-bpe", "spm-unigram", "spm-unigram-unknown"};
    static struct image image;
    struct golden golden;
    CHECK(golden_open(&golden));
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct opened o;
        struct spec spec;
        struct gguf g;
        struct tokenizer *t = NULL;
        const char *name;
        size_t need;
        if (!opened_open(&o, str_of(names[i])))
            continue;
        spec_init(&spec, &o.arena);
        CHECK_EQ(spec_read_folder(&spec, &o.folder, &name, &o.err), 0);
        put_gguf(&image, &spec, spec.model == SPEC_UNIGRAM ? "t5" : "llama");
        CHECK_EQ(gguf_parse(&g, image.bytes, image.n, image.n, &o.arena, &need, &o.err), 0);
        if (tokenizer_open(&t, &g, &o.arena, &o.err))
            t_fail(__FILE__, __LINE__, "%s: %s", names[i], o.err.text);
        else
            check_same(&golden, o.tokenizer, t);
        tokenizer_close(t);
        spec_release(&spec);
        opened_close(&o);
    }
    golden_close(&golden);
}

/* The worst texts known for each kind: at 128 KiB, quadratic ones take a minute. */
TEST(tokenizer_folders, no_kind_takes_more_than_linear_time)
{
    static const char *const names[] = {"llama3", "steps",   "llama2",      "mistral",
                                        "gemma",  "t5",      "xlmr",        "spm-bpe-user",
                                        "smollm", "unknown", "spm-unigram", "olmo"};
    static const char *const units[] = {
        "a",    " ",    "A",     "\n ", "1",  ".",      "\u0301", "\u4e2d", "a\u0323\u0301",
        "\x01", "\xff", "\xffz", "fox", "fo", "\u2581", " jumps", "|",      "\u3000",
        "<tool"};
    static char text[1 << 17];
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct opened o;
        for (size_t k = 0;
             opened_open(&o, (struct str){names[i], strlen(names[i])}) && k < COUNT_OF(units);
             k++) {
            struct buf ids;
            size_t len = 0, n = strlen(units[k]);
            for (; len + n < sizeof text; len += n)
                memcpy(text + len, units[k], n);
            buf_init(&ids, &mem_system);
            uint64_t start = clock_ns();
            CHECK_EQ(
                tokenizer_encode(o.tokenizer, (struct str){text, len}, NULL, false, &ids, &o.err),
                0);
            double seconds = (double)(clock_ns() - start) / 1e9;
            if (seconds > 4)
                t_fail(__FILE__, __LINE__, "%s: '%s' takes %.1f s", o.path, units[k], seconds);
            buf_release(&ids);
            opened_close(&o);
        }
        opened_close(&o);
    }
}
