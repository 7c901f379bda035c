/* GGUF files that are right: every kind of value, layout, reading in pieces and through
 * hooks, and a real model. What is wrong with others is in gguf_bad.c. */
#include "t.h"

#include "gguf_image.h"

#define MODEL "build/models/SmolLM2-135M-Instruct.Q4_1.gguf"

static struct image im;
static struct arena arena;
static struct gguf g;
static struct err err;

/* Parses im as a whole file into g; the arena is released by finish. */
static int32_t parse(void)
{
    size_t need = 1;
    arena_init(&arena, &mem_system);
    int32_t rc = gguf_parse(&g, im.bytes, im.n, im.n, &arena, &need, &err);
    if (rc != INFLIGHT_OK)
        t_fail(__FILE__, __LINE__, "%s", err.text);
    CHECK_EQ(need, 0);
    return rc;
}

static void finish(void)
{
    arena_release(&arena);
}

static bool same(struct str got, const char *want)
{
    return got.len == strlen(want) && memcmp(got.ptr, want, got.len) == 0;
}

static void check_small_model(const struct gguf *m)
{
    struct str text;
    int64_t number = 0;
    bool truth = false;

    CHECK_EQ(m->version, 3);
    CHECK_EQ(m->n_values, 6);
    CHECK_EQ(m->tensors.n, 3);
    CHECK_EQ(m->alignment, 16);
    CHECK(gguf_str(m, "general.architecture", &text) && same(text, "llama"));
    CHECK(gguf_int(m, "llama.block_count", &number) && number == 30);
    CHECK(gguf_bool(m, "tokenizer.ggml.add_bos_token", &truth) && truth);
    const struct gguf_value *tokens = gguf_find(m, "tokenizer.ggml.tokens");
    CHECK(tokens && tokens->n == 3 && tokens->element == GGUF_STRING);
    CHECK(same(gguf_str_at(tokens, 0), "a"));
    CHECK(same(gguf_str_at(tokens, 1), ""));
    CHECK(same(gguf_str_at(tokens, 2), "bcd"));
    const struct gguf_value *kinds = gguf_find(m, "tokenizer.ggml.token_type");
    CHECK_EQ(gguf_int_at(kinds, 0), 3);
    CHECK_EQ(gguf_int_at(kinds, 1), -1);
    CHECK_EQ(m->data_offset % 16, 0);
    const struct tensor *embd = tensors_find(&m->tensors, "token_embd.weight");
    CHECK(embd && embd->fmt == FMT_q4_0 && embd->n_dims == 2);
    CHECK_EQ(embd->dim[0], 32);
    CHECK_EQ(embd->dim[1], 2);
    CHECK_EQ(embd->dim[2], 1);
    CHECK_EQ(embd->dim[3], 1);
    CHECK_EQ(embd->bytes, 36);
    CHECK_EQ(embd->offset, m->data_offset);
    CHECK_EQ(tensors_find(&m->tensors, "rope")->offset, m->data_offset + 64);
    CHECK_EQ(tensors_find(&m->tensors, "output_norm.weight")->bytes, 16);
    CHECK(same(m->tensors.tensor[0].name, "output_norm.weight")); /* in file order */
}

TEST(gguf, a_small_model_is_read_whole)
{
    put_small_model(&im);
    if (parse() == INFLIGHT_OK)
        check_small_model(&g);
    finish();
}

TEST(gguf, version_2_reads_alike)
{
    begin(&im, 2, 0, 1);
    put_key_u32(&im, "a", 7);
    int64_t number = 0;
    if (parse() == INFLIGHT_OK) {
        CHECK_EQ(g.version, 2);
        CHECK(gguf_int(&g, "a", &number) && number == 7);
    }
    finish();
}

TEST(gguf, a_file_without_keys_and_tensors_is_one)
{
    begin(&im, 3, 0, 0);
    if (parse() == INFLIGHT_OK) {
        CHECK_EQ(g.alignment, 32);
        CHECK_EQ(g.data_offset, im.n); /* not past the end, though 24 is not aligned */
        CHECK(!gguf_find(&g, "general.architecture"));
        CHECK(!tensors_find(&g.tensors, "token_embd.weight"));
    }
    finish();
}

TEST(gguf, missing_keys_and_other_kinds_are_told_apart_from_values)
{
    int64_t number = 5;
    double real = 5;
    bool truth = true;
    struct str text = {"x", 1};
    put_small_model(&im);
    if (parse() == INFLIGHT_OK) {
        CHECK(!gguf_int(&g, "llama.blocks", &number));
        CHECK(!gguf_int(&g, "general.architecture", &number));
        CHECK(!gguf_int(&g, "tokenizer.ggml.add_bos_token", &number));
        CHECK(!gguf_int(&g, "tokenizer.ggml.token_type", &number));
        CHECK(!gguf_float(&g, "tokenizer.ggml.add_bos_token", &real));
        CHECK(!gguf_bool(&g, "llama.block_count", &truth));
        CHECK(!gguf_str(&g, "tokenizer.ggml.tokens", &text));
        CHECK(!gguf_find(&g, "llama.block_coun"));
        CHECK(number == 5 && truth && text.len == 1); /* left as they were */
    }
    finish();
}

/* Every integer type at both ends of its range. */
static const struct {
    const char *key;
    uint32_t type;
    uint64_t bits;
    size_t bytes;
    int64_t want;
} integers[] = {
    {"u8", GGUF_U8, 255, 1, 255},
    {"i8", GGUF_I8, 0x80, 1, -128},
    {"i8+", GGUF_I8, 0x7f, 1, 127},
    {"u16", GGUF_U16, 65535, 2, 65535},
    {"i16", GGUF_I16, 0x8000, 2, -32768},
    {"u32", GGUF_U32, 0xffffffff, 4, 4294967295},
    {"i32", GGUF_I32, 0x80000000, 4, -2147483648LL},
    {"u64", GGUF_U64, INT64_MAX, 8, INT64_MAX},
    {"i64", GGUF_I64, UINT64_C(1) << 63, 8, INT64_MIN},
};

TEST(gguf, integers_of_every_width_and_sign_convert)
{
    begin(&im, 3, 0, COUNT_OF(integers));
    for (size_t i = 0; i < COUNT_OF(integers); i++) {
        put_key(&im, integers[i].key, integers[i].type);
        put(&im, &integers[i].bits, integers[i].bytes);
    }
    if (parse() == INFLIGHT_OK) {
        for (size_t i = 0; i < COUNT_OF(integers); i++) {
            int64_t number = 0;
            double real = 0;
            CHECK(gguf_int(&g, integers[i].key, &number));
            CHECK_EQ(number, integers[i].want);
            CHECK(gguf_float(&g, integers[i].key, &real));
            CHECK(real == (double)integers[i].want);
        }
    }
    finish();
}

TEST(gguf, an_integer_that_does_not_fit_is_not_one)
{
    int64_t number = 0;
    double real = 0;
    begin(&im, 3, 0, 2);
    put_key(&im, "large", GGUF_U64);
    put_u64(&im, UINT64_MAX);
    put_key_array(&im, "array", GGUF_U64, 2);
    put_u64(&im, UINT64_C(1) << 63);
    put_u64(&im, 9);
    if (parse() == INFLIGHT_OK) {
        CHECK(!gguf_int(&g, "large", &number));
        CHECK(gguf_float(&g, "large", &real) && real == 0x1p64);
        CHECK_EQ(gguf_int_at(gguf_find(&g, "array"), 0), 0);
        CHECK_EQ(gguf_int_at(gguf_find(&g, "array"), 1), 9);
    }
    finish();
}

TEST(gguf, floats_of_both_widths_convert_and_are_no_integers)
{
    float single = 1e-5f, pair[2] = {0.5f, -2.0f};
    double wide = 0.1, real = 0;
    int64_t number;
    begin(&im, 3, 0, 3);
    put_key(&im, "f32", GGUF_F32);
    put(&im, &single, sizeof single);
    put_key(&im, "f64", GGUF_F64);
    put(&im, &wide, sizeof wide);
    put_key_array(&im, "pair", GGUF_F32, 2);
    put(&im, pair, sizeof pair);
    if (parse() == INFLIGHT_OK) {
        CHECK(gguf_float(&g, "f32", &real) && real == (double)1e-5f);
        CHECK(gguf_float(&g, "f64", &real) && real == 0.1);
        CHECK(!gguf_int(&g, "f32", &number));
        CHECK(gguf_float_at(gguf_find(&g, "pair"), 1) == -2.0);
        CHECK_EQ(gguf_int_at(gguf_find(&g, "pair"), 1), 0);
    }
    finish();
}

TEST(gguf, elements_past_the_end_and_of_other_kinds_read_as_nothing)
{
    put_small_model(&im);
    if (parse() == INFLIGHT_OK) {
        const struct gguf_value *tokens = gguf_find(&g, "tokenizer.ggml.tokens");
        const struct gguf_value *kinds = gguf_find(&g, "tokenizer.ggml.token_type");
        CHECK_EQ(gguf_str_at(tokens, 3).len, 0);
        CHECK_EQ(gguf_str_at(kinds, 0).len, 0);
        CHECK_EQ(gguf_str_at(gguf_find(&g, "general.architecture"), 0).len, 0);
        CHECK_EQ(gguf_int_at(kinds, 2), 0);
        CHECK_EQ(gguf_int_at(tokens, 0), 0);
        CHECK(gguf_float_at(kinds, 0) == 3.0 && gguf_float_at(kinds, 2) == 0.0);
        CHECK_EQ(gguf_int_at(gguf_find(&g, "llama.block_count"), 0), 0);
    }
    finish();
}

TEST(gguf, an_empty_array_is_a_value)
{
    begin(&im, 3, 0, 2);
    put_key_array(&im, "none", GGUF_STRING, 0);
    put_key_array(&im, "zero", GGUF_F64, 0);
    if (parse() == INFLIGHT_OK) {
        CHECK_EQ(gguf_find(&g, "none")->n, 0);
        CHECK_EQ(gguf_str_at(gguf_find(&g, "none"), 0).len, 0);
        CHECK(gguf_float_at(gguf_find(&g, "zero"), 0) == 0.0);
    }
    finish();
}

TEST(gguf, alignment_1_packs_tensors_without_gaps)
{
    begin(&im, 3, 2, 1);
    put_key(&im, "general.alignment", GGUF_U8);
    put_u8(&im, 1);
    put_tensor(&im, "a", 1, 0, 1, 0);
    put_tensor(&im, "b", 3, 0, 0, 2);
    size_t header = im.n;
    put_data(&im, 1, 14);
    if (parse() == INFLIGHT_OK) {
        CHECK_EQ(g.data_offset, header);
        CHECK_EQ(g.tensors.tensor[1].offset, header + 2);
        CHECK_EQ(g.tensors.tensor[1].offset + g.tensors.tensor[1].bytes, im.n);
    }
    finish();
}

TEST(gguf, names_and_keys_may_be_as_long_as_the_format_allows)
{
    static char key[65536], name[65];
    memset(key, 'k', 65535);
    memset(name, 'n', 64);
    begin(&im, 3, 1, 1);
    put_key_u32(&im, key, 1);
    put_tensor(&im, name, 1, 0, 0, 0);
    put_data(&im, 32, 4);
    if (parse() == INFLIGHT_OK)
        CHECK(gguf_find(&g, key) && tensors_find(&g.tensors, name));
    finish();
}

/* However little is there, the parser says how much more it wants, and taking it at
 * its word ends after a few steps. */
TEST(gguf, a_part_of_the_header_asks_for_more)
{
    put_small_model(&im);
    int steps = 0;
    size_t n = 0, need = 1;
    for (; need > 0 && steps < 100; steps++) {
        arena_init(&arena, &mem_system);
        int32_t rc = gguf_parse(&g, im.bytes, n, im.n, &arena, &need, &err);
        CHECK_EQ(rc, need ? INFLIGHT_E_IO : INFLIGHT_OK);
        CHECK(need == 0 || (need > n && need <= im.n));
        if (rc == INFLIGHT_OK)
            check_small_model(&g);
        arena_release(&arena);
        n = need;
    }
    CHECK(steps > 2 && steps < 12);
}

/* ---- A file behind hooks, held in memory. */

static struct {
    const uint8_t *bytes;
    uint64_t n;
    int reads;
    int fail_at; /* this read fails, 0: none */
    int64_t answer;
} host;

static void *host_open(void *user, const char *path, uint64_t *size)
{
    (void)path;
    *size = host.n;
    return user;
}

static int64_t host_pread(void *user, void *file, void *dst, uint64_t n, uint64_t offset)
{
    (void)user;
    (void)file;
    if (++host.reads == host.fail_at)
        return host.answer;
    memcpy(dst, host.bytes + offset, n);
    return (int64_t)n;
}

static const inflight_io host_io = {.user = &host, .open = host_open, .pread = host_pread};

static int32_t open_hooked(const void *bytes, size_t n, int fail_at, int64_t answer)
{
    struct file file;
    host.bytes = bytes;
    host.n = n;
    host.reads = 0;
    host.fail_at = fail_at;
    host.answer = answer;
    arena_init(&arena, &mem_system);
    CHECK_EQ(file_open(&file, "archive/model.gguf", &host_io, &err), INFLIGHT_OK);
    int32_t rc = gguf_open(&g, &file, &arena, &err);
    file_close(&file); /* in hook mode the header has been copied */
    return rc;
}

TEST(gguf, a_file_behind_hooks_reads_alike)
{
    put_small_model(&im);
    CHECK_EQ(open_hooked(im.bytes, im.n, 0, 0), INFLIGHT_OK);
    memset(im.bytes, 0xee, sizeof im.bytes);
    check_small_model(&g);
    CHECK_EQ(host.reads, 1);
    finish();
}

/* A header of 3 MiB: one array of bytes, then a key. */
static uint8_t *long_header(size_t *n)
{
    size_t blob = (size_t)3 << 20;
    begin(&im, 3, 0, 2);
    put_key_array(&im, "blob", GGUF_U8, blob);
    uint8_t *bytes = calloc(1, im.n + blob + 64);
    memcpy(bytes, im.bytes, im.n);
    *n = im.n + blob;
    im.n = 0;
    put_key_u32(&im, "after", 77);
    memcpy(bytes + *n, im.bytes, im.n);
    *n += im.n;
    return bytes;
}

TEST(gguf, a_long_header_is_fetched_in_a_few_reads)
{
    size_t n;
    int64_t number = 0;
    uint8_t *bytes = long_header(&n);
    err.code = INFLIGHT_OK;
    CHECK_EQ(open_hooked(bytes, n, 0, 0), INFLIGHT_OK);
    CHECK(gguf_int(&g, "after", &number) && number == 77);
    CHECK(host.reads > 1 && host.reads < 5);
    CHECK_EQ(err.code, INFLIGHT_OK); /* a first part that was too short is no error */
    finish();
    free(bytes);
}

TEST(gguf, a_failing_hook_is_reported_once_with_the_file)
{
    size_t n;
    uint8_t *bytes = long_header(&n);
    CHECK_EQ(open_hooked(bytes, n, 2, -5), INFLIGHT_E_IO);
    CHECK(strncmp(err.text, "archive/model.gguf: the read hook gave -5", 41) == 0);
    finish();
    CHECK_EQ(open_hooked(bytes, n, 1, 0), INFLIGHT_E_IO);
    CHECK(strstr(err.text, "gave 0, asked for 1048576 bytes at 0"));
    finish();
    bytes[0] = 'X';
    CHECK_EQ(open_hooked(bytes, n, 0, 0), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "archive/model.gguf: is not a GGUF file: it begins with 58 47 55 46");
    finish();
    free(bytes);
}

TEST(gguf, a_real_model_has_the_tensors_and_keys_it_is_known_for)
{
    struct file file;
    struct str text;
    int64_t number = 0;
    double real = 0;
    if (file_open(&file, MODEL, NULL, &err) != INFLIGHT_OK) {
        t_skip("no " MODEL);
        return;
    }
    arena_init(&arena, &mem_system);
    CHECK_EQ(gguf_open(&g, &file, &arena, &err), INFLIGHT_OK);
    CHECK_EQ(g.tensors.n, 272);
    CHECK_EQ(g.n_values, 33);
    CHECK_EQ(g.data_offset, 1785664);
    CHECK(gguf_str(&g, "general.architecture", &text) && same(text, "llama"));
    CHECK(gguf_int(&g, "llama.block_count", &number) && number == 30);
    CHECK(gguf_float(&g, "llama.rope.freq_base", &real) && real == 100000.0);
    CHECK_EQ(gguf_find(&g, "tokenizer.ggml.tokens")->n, 49152);
    CHECK(same(gguf_str_at(gguf_find(&g, "tokenizer.ggml.tokens"), 1), "<|im_start|>"));
    int count[FMT_COUNT] = {0};
    for (uint64_t i = 0; i < g.tensors.n; i++)
        count[g.tensors.tensor[i].fmt]++;
    CHECK_EQ(count[FMT_q4_1], 210);
    CHECK_EQ(count[FMT_f32], 61);
    CHECK_EQ(count[FMT_q8_0], 1);
    const struct tensor *gate = tensors_find(&g.tensors, "blk.0.ffn_gate.weight");
    CHECK(gate && gate->dim[0] == 576 && gate->dim[1] == 1536 && gate->offset == 32421952);
    finish();
    file_close(&file);
}
