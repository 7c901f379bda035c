/* GGUF files that are wrong, one way each: every one is refused with a sentence that
 * names the place, and without taking memory for what the file only claims. */
#include "t.h"

#include "gguf_image.h"

static struct image im;
static struct err err;

/* Memory that counts, and refuses from the fail_at-th time on (0: never). */
static struct {
    uint64_t live, most;
    int takes, fail_at;
} ledger;

static void *counted_alloc(void *user, uint64_t bytes, uint64_t align)
{
    (void)user;
    if (++ledger.takes == ledger.fail_at)
        return NULL;
    ledger.live += bytes;
    ledger.most = ledger.live > ledger.most ? ledger.live : ledger.most;
    return mem_take(&mem_system, bytes, align);
}

static void counted_release(void *user, void *ptr, uint64_t bytes)
{
    (void)user;
    ledger.live -= bytes;
    mem_give(&mem_system, ptr, bytes);
}

static const struct mem counted = {NULL, NULL, counted_alloc, counted_release};

/* Parses the first n bytes of im as a file of file_bytes. */
static int32_t parse_part(size_t n, uint64_t file_bytes, size_t *need)
{
    struct arena arena;
    struct gguf g;
    /* An exact copy, so that a sanitizer sees a read past the end. */
    uint8_t *bytes = malloc(n ? n : 1);
    memcpy(bytes, im.bytes, n);
    memset(&err, 0, sizeof err);
    arena_init(&arena, &counted);
    int32_t rc = gguf_parse(&g, bytes, n, file_bytes, &arena, need, &err);
    CHECK_EQ(err.code, rc);
    if (rc != INFLIGHT_OK) {
        CHECK(g.n_values == 0 && g.value == NULL && g.tensors.tensor == NULL);
        CHECK(err.text[0] != '\0');
    }
    arena_release(&arena);
    CHECK_EQ(ledger.live, 0);
    free(bytes);
    return rc;
}

static int32_t parse(void)
{
    size_t need = 1;
    int32_t rc = parse_part(im.n, im.n, &need);
    CHECK_EQ(need, 0);
    return rc;
}

#define CHECK_REFUSED(want_code, want_text)                                                \
    do {                                                                                   \
        CHECK_EQ(parse(), want_code);                                                      \
        if (!strstr(err.text, want_text))                                                  \
            t_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", err.text, want_text); \
    } while (0)

static void begin_value(const char *key, uint32_t type)
{
    begin(&im, 3, 0, 1);
    put_key(&im, key, type);
}

static void begin_tensor(const char *name, uint32_t n_dims)
{
    begin(&im, 3, 1, 0);
    put_string(&im, name);
    put_u32(&im, n_dims);
}

/* ---- The beginning. */

TEST(gguf, other_files_are_refused_by_their_first_bytes)
{
    begin(&im, 3, 0, 0);
    memcpy(im.bytes, "PK\3\4", 4);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "is not a GGUF file: it begins with 50 4b 03 04");
}

TEST(gguf, other_versions_are_refused_by_number)
{
    begin(&im, 1, 0, 0);
    CHECK_REFUSED(INFLIGHT_E_UNSUPPORTED, "version 1;");
    begin(&im, 0, 0, 0);
    CHECK_REFUSED(INFLIGHT_E_UNSUPPORTED, "version 0;");
    begin(&im, 4, 0, 0);
    CHECK_REFUSED(INFLIGHT_E_UNSUPPORTED, "version 4;");
    begin(&im, 0x03000000, 0, 0);
    CHECK_REFUSED(INFLIGHT_E_UNSUPPORTED, "big-endian");
}

TEST(gguf, a_file_cut_anywhere_is_refused)
{
    static struct image whole;
    put_small_model(&whole);
    im = whole;
    for (size_t n = 0; n < whole.n; n++) {
        size_t need = 1;
        if (parse_part(n, n, &need) != INFLIGHT_E_MODEL || need != 0)
            t_fail(__FILE__, __LINE__, "cut at %zu of %zu: %s", n, whole.n, err.text);
    }
}

TEST(gguf, a_part_of_a_longer_file_asks_for_more_at_every_length)
{
    static struct image whole;
    put_small_model(&whole);
    size_t header = whole.n - 80 - 15; /* at least: data and padding */
    im = whole;
    for (size_t n = 0; n < header; n++) {
        size_t need = 0;
        if (parse_part(n, whole.n, &need) != INFLIGHT_E_IO || need <= n || need > whole.n)
            t_fail(__FILE__, __LINE__, "%zu of %zu: need %zu: %s", n, whole.n, need, err.text);
    }
}

/* ---- Counts and lengths that lie. */

TEST(gguf, lying_counts_take_no_memory)
{
    memset(&ledger, 0, sizeof ledger);
    begin(&im, 3, 0, UINT64_MAX);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "declares 18446744073709551615 keys, at most 65536");
    begin(&im, 3, 65537, 0);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "declares 65537 tensors, at most 65536");
    begin(&im, 3, 0, 65536);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "65536 keys cannot be in the 0 bytes that follow");
    begin(&im, 3, 3, 0);
    put_data(&im, 1, 98);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "3 tensors cannot be in the 98 bytes that follow");
    begin_value("a", GGUF_ARRAY);
    put_u32(&im, GGUF_U32);
    put_u64(&im, UINT64_MAX / 4 + 2); /* times 4 it is 4 again */
    put_u32(&im, 0);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "a: 4611686018427387905 elements cannot be in the 4 bytes");
    begin_value("a", GGUF_ARRAY);
    put_u32(&im, GGUF_STRING);
    put_u64(&im, UINT64_C(1) << 40);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "1099511627776 elements cannot be in");
    begin(&im, 3, 0, 2); /* true for the size, but the second is not there */
    put_key_u32(&im, "general.some_long_name", 1);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "key 2 of 2: 8 bytes are expected at 62, but the file ends");
    CHECK_EQ(ledger.most, 0);
}

TEST(gguf, lying_lengths_are_refused_at_their_place)
{
    begin_value("a", GGUF_STRING);
    put_u64(&im, UINT64_MAX);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "key 1 of 1: a: 18446744073709551615 bytes are expected at 45");
    begin_value("a", GGUF_ARRAY);
    put_u32(&im, GGUF_STRING);
    put_u64(&im, 2);
    put_string(&im, "x");
    put_u64(&im, 1);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "a: string 2 of 2: 1 bytes are expected");
}

TEST(gguf, a_header_beyond_the_limit_is_refused_before_it_is_fetched)
{
    size_t need = 1;
    begin_value("blob", GGUF_ARRAY);
    put_u32(&im, GGUF_U8);
    put_u64(&im, UINT64_C(300) << 20);
    CHECK_EQ(parse_part(im.n, UINT64_C(1) << 40, &need), INFLIGHT_E_MODEL);
    CHECK_EQ(need, 0);
    CHECK(strstr(err.text, "blob: 314572800 bytes at 52 are past 268435456"));
}

TEST(gguf, what_is_asked_for_never_exceeds_the_limit)
{
    size_t need = 0;
    begin_value("blob", GGUF_ARRAY);
    put_u32(&im, GGUF_U8);
    put_u64(&im, UINT64_C(200) << 20);
    CHECK_EQ(parse_part(im.n, UINT64_C(1) << 40, &need), INFLIGHT_E_IO);
    CHECK_EQ(need, 52 + (200 << 20));
}

/* ---- Keys and values. */

TEST(gguf, keys_of_impossible_length_are_refused)
{
    begin_value("", GGUF_U8);
    put_u64(&im, 0);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "key 1 of 1: its name has 0 bytes, 1 to 65535 are allowed");
    begin(&im, 3, 0, 1);
    put_u64(&im, 65536);
    put_data(&im, 1, 70000);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "its name has 65536 bytes");
    begin(&im, 3, 0, 1);
    put_u64(&im, UINT64_C(1) << 63);
    put_data(&im, 1, 16);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "its name has 9223372036854775808 bytes");
}

TEST(gguf, unknown_kinds_of_value_are_refused)
{
    begin_value("general.x", GGUF_TYPE_COUNT);
    put_u64(&im, 0);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "general.x: value type 13 is unknown");
    begin_value("general.x", UINT32_MAX);
    put_u64(&im, 0);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "value type 4294967295 is unknown");
    begin_value("general.x", GGUF_ARRAY);
    put_u32(&im, 77);
    put_u64(&im, 0);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "general.x: element type 77 is unknown");
}

TEST(gguf, arrays_of_arrays_are_refused)
{
    begin_value("nest", GGUF_ARRAY);
    put_u32(&im, GGUF_ARRAY);
    put_u64(&im, 0);
    CHECK_REFUSED(INFLIGHT_E_UNSUPPORTED, "nest: is an array of arrays");
}

TEST(gguf, truth_values_other_than_0_and_1_are_refused)
{
    begin_value("flag", GGUF_BOOL);
    put_u8(&im, 2);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "flag: has a truth value of 2, not 0 or 1");
    begin_value("flags", GGUF_ARRAY);
    put_u32(&im, GGUF_BOOL);
    put_u64(&im, 3);
    put_u8(&im, 1);
    put_u8(&im, 0);
    put_u8(&im, 255);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "flags: has a truth value of 255");
}

TEST(gguf, a_key_twice_is_refused)
{
    begin(&im, 3, 0, 3);
    put_key_u32(&im, "same", 1);
    put_key_u32(&im, "other", 1);
    put_key_u32(&im, "same", 1);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "keys 1 and 3 are both named same");
}

TEST(gguf, alignment_is_a_power_of_two_up_to_1_MiB)
{
    static const uint32_t wrong[] = {0, 3, 48, 2 << 20, 0x80000000, UINT32_MAX};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        begin(&im, 3, 0, 1);
        put_key_u32(&im, "general.alignment", wrong[i]);
        CHECK_REFUSED(INFLIGHT_E_MODEL, "general.alignment: is ");
    }
    begin_value("general.alignment", GGUF_I32);
    put_u32(&im, (uint32_t)-32);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "general.alignment: is -32, not a power of two");
    begin_value("general.alignment", GGUF_STRING);
    put_string(&im, "32");
    CHECK_REFUSED(INFLIGHT_E_MODEL, "general.alignment: is not an integer");
}

TEST(gguf, hostile_names_reach_messages_as_plain_text)
{
    begin_value("\x1b[2J\n\xff", 99);
    put_u64(&im, 0);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "key 1 of 1: ?[2J??: value type 99");
    static char key[300];
    memset(key, 'k', 299);
    begin_value(key, 99);
    put_u64(&im, 0);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "kkk...: value type 99");
}

/* ---- Tensors. */

TEST(gguf, names_of_impossible_length_are_refused)
{
    static char name[66];
    memset(name, 'n', 65);
    begin(&im, 3, 1, 0);
    put_tensor(&im, name, 1, 0, 0, 0);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "tensor 1 of 1: its name has 65 bytes, 1 to 64 are allowed");
    begin(&im, 3, 1, 0);
    put_tensor(&im, "", 1, 1, 0, 0);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "its name has 0 bytes");
}

TEST(gguf, tensors_have_one_to_four_dimensions)
{
    static const uint32_t wrong[] = {0, 5, UINT32_MAX};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        begin_tensor("w", wrong[i]);
        put_data(&im, 1, 80);
        CHECK_REFUSED(INFLIGHT_E_MODEL, "tensor 1 of 1: w: has ");
    }
}

TEST(gguf, dimensions_are_positive_and_their_product_is_countable)
{
    begin_tensor("w", 2);
    put_u64(&im, 4);
    put_u64(&im, 0);
    put_data(&im, 1, 12);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "w: dimension 1 is 0");
    begin(&im, 3, 1, 0);
    put_tensor(&im, "w", UINT64_C(1) << 63, 0, 0, 0);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "w: dimension 0 is 9223372036854775808");
    begin(&im, 3, 1, 0);
    put_tensor(&im, "w", UINT64_C(1) << 32, UINT64_C(1) << 32, 0, 0);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "w: has more values than 64 bits can count");
    begin(&im, 3, 1, 0);
    put_tensor(&im, "w", UINT64_C(1) << 31, UINT64_C(1) << 31, 0, 0); /* times 4 it is 0 */
    CHECK_REFUSED(INFLIGHT_E_MODEL, "w: has 4611686018427387904 values of f32, more bytes");
}

TEST(gguf, unknown_tensor_types_are_refused_with_name_and_number)
{
    begin(&im, 3, 1, 0);
    put_tensor(&im, "blk.0.attn_q.weight", 256, 1, 16, 0);
    CHECK_REFUSED(INFLIGHT_E_UNSUPPORTED,
                  "tensor 1 of 1: blk.0.attn_q.weight: is of GGUF tensor type 16,");
}

TEST(gguf, rows_are_whole_blocks)
{
    begin(&im, 3, 1, 0);
    put_tensor(&im, "w", 48, 2, 2, 0); /* 96 values, three blocks, but not per row */
    CHECK_REFUSED(INFLIGHT_E_MODEL, "w: has rows of 48 values, not a multiple of the 32");
    begin(&im, 3, 1, 0);
    put_tensor(&im, "w", 128, 2, 12, 0);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "of the 256 in a block of q4_k");
}

TEST(gguf, a_tensor_name_twice_is_refused)
{
    begin(&im, 3, 2, 0);
    put_tensor(&im, "w", 8, 0, 0, 0);
    put_tensor(&im, "w", 8, 0, 0, 32);
    put_data(&im, 32, 64);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "tensors 1 and 2 are both named w");
}

TEST(gguf, offsets_are_aligned_and_inside_the_file)
{
    begin(&im, 3, 1, 0);
    put_tensor(&im, "w", 8, 0, 0, 16);
    put_data(&im, 32, 64);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "w: its offset 16 is not a multiple of the alignment 32");
    begin(&im, 3, 1, 0);
    put_tensor(&im, "w", 8, 0, 0, 96);
    put_data(&im, 32, 64);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "w: its 32 bytes at 96 of the tensor data do not lie in");
    begin(&im, 3, 1, 0);
    put_tensor(&im, "w", 9, 0, 0, 32);
    put_data(&im, 32, 64);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "w: its 36 bytes at 32 of the tensor data do not lie in");
    begin(&im, 3, 1, 0);
    put_tensor(&im, "w", 8, 0, 0, UINT64_MAX - 31); /* with the data's place it wraps */
    put_data(&im, 32, 64);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "w: its 32 bytes at 18446744073709551584");
}

TEST(gguf, tensors_may_touch_but_not_overlap)
{
    begin(&im, 3, 3, 0);
    put_tensor(&im, "late", 8, 0, 0, 64);
    put_tensor(&im, "early", 8, 0, 0, 0);
    put_tensor(&im, "middle", 8, 0, 0, 32);
    put_data(&im, 32, 96);
    CHECK_EQ(parse(), INFLIGHT_OK);
    begin(&im, 3, 3, 0);
    put_tensor(&im, "late", 8, 0, 0, 64);
    put_tensor(&im, "early", 9, 0, 0, 0);
    put_tensor(&im, "middle", 8, 0, 0, 32);
    put_data(&im, 32, 96);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "tensors early (36 bytes at ");
    CHECK(strstr(err.text, " and middle (at "));
    begin(&im, 3, 2, 0);
    put_tensor(&im, "a", 8, 0, 0, 32);
    put_tensor(&im, "b", 8, 0, 0, 32);
    put_data(&im, 32, 64);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "overlap");
}

TEST(gguf, a_tensor_inside_another_is_refused)
{
    begin(&im, 3, 2, 0);
    put_tensor(&im, "outer", 64, 0, 0, 0);
    put_tensor(&im, "inner", 1, 0, 0, 64);
    put_data(&im, 32, 256);
    CHECK_REFUSED(INFLIGHT_E_MODEL, "tensors outer (256 bytes at ");
}

/* ---- Memory. */

TEST(gguf, no_memory_at_any_point_is_an_error_without_a_leak)
{
    int fail_at = 0;
    int32_t rc = INFLIGHT_E_NOMEM;
    begin(&im, 3, 0, 900); /* enough that the arena needs several chunks */
    for (int i = 0; i < 900; i++) {
        char key[16];
        snprintf(key, sizeof key, "key.%d", i);
        put_key_array(&im, key, GGUF_STRING, 12);
        for (int k = 0; k < 12; k++)
            put_string(&im, "x");
    }
    while (rc == INFLIGHT_E_NOMEM && fail_at < 50) {
        memset(&ledger, 0, sizeof ledger);
        ledger.fail_at = ++fail_at;
        rc = parse();
    }
    CHECK_EQ(rc, INFLIGHT_OK);
    CHECK(fail_at > 3);
    memset(&ledger, 0, sizeof ledger);
}
