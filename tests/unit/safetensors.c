/* Folders of safetensors files, right and wrong: what is wrong is refused with a sentence that
 * names the file and the tensor, and nothing stays open or taken. */
#include "t.h"

#include "folder_image.h"
#include "plugin/file/safetensors.h"

#define INDEX "m/model.safetensors.index.json"

static struct err err;
static struct folder_image image;
static uint8_t bytes[3][4096];

/* Memory that counts, and refuses from the fail_at-th time on (0: never). */
static struct {
    uint64_t live;
    int takes, fail_at;
} ledger;

static void *counted_alloc(void *user, uint64_t n, uint64_t align)
{
    (void)user;
    if (++ledger.takes == ledger.fail_at)
        return NULL;
    ledger.live += n;
    return mem_take(&mem_system, n, align);
}

static void counted_release(void *user, void *ptr, uint64_t n)
{
    (void)user;
    ledger.live -= n;
    mem_give(&mem_system, ptr, n);
}

static const struct mem counted = {NULL, NULL, counted_alloc, counted_release};

/* Opens the image and leaves the tensors to look at, if t is given. */
static int32_t open_image(struct tensors *t, struct arena *arena)
{
    static inflight_io io;
    io = image_io(&image);
    const struct folder folder = {.path = "m", .io = &io, .mem = &counted};
    struct tensors own;
    struct arena own_arena;
    err = (struct err){0};
    if (!t)
        arena_init(&own_arena, &counted);
    int32_t rc = safetensors_open(t ? t : &own, &folder, t ? arena : &own_arena, &err);
    CHECK_EQ(err.code, rc);
    CHECK(!rc || err.text[0]);
    if (!t) {
        tensors_close(&own);
        arena_release(&own_arena);
        CHECK_EQ(image.open, 0);
        CHECK_EQ(ledger.live, 0);
    }
    return rc;
}

/* The one file of this header and n bytes of data. */
static int32_t open_header(const char *header, size_t n)
{
    image = (struct folder_image){0};
    image_put(&image, "m/model.safetensors", bytes[0],
              image_safetensors(bytes[0], sizeof bytes[0], header, n));
    return open_image(NULL, NULL);
}

static void refuse_header(const char *header, size_t n, const char *text)
{
    CHECK_EQ(open_header(header, n), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, text);
}

static void put_shard(int i, const char *path, const char *header, size_t n)
{
    image_put(&image, path, bytes[i], image_safetensors(bytes[i], sizeof bytes[i], header, n));
}

static const char good_index[] = "{\"metadata\": {\"total_size\": 12}, \"weight_map\": "
                                 "{\"a\": \"one\", \"c\": \"two\", \"b\": \"one\"}}";

/* Two shards: a and b in one, c in two. */
static void make_shards(const char *index)
{
    image = (struct folder_image){0};
    put_shard(0, "m/one",
              "{\"b\": {\"dtype\": \"F16\", \"shape\": [2], \"data_offsets\": [4, 8]}, "
              "\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}",
              8);
    put_shard(1, "m/two",
              "{\"c\": {\"dtype\": \"BF16\", \"shape\": [2], \"data_offsets\": [0, 4]}}", 4);
    image_put(&image, INDEX, index, strlen(index));
}

static void refuse_shards(const char *index, const char *text)
{
    make_shards(index);
    CHECK_EQ(open_image(NULL, NULL), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, text);
}

TEST(safetensors, a_file_becomes_a_directory)
{
    static const char header[] =
        "{\"__metadata__\": {\"format\": \"pt\", \"x\": {\"y\": 1}}, "
        "\"w\": {\"dtype\": \"BF16\", \"shape\": [3, 2], \"data_offsets\": [5, 17], \"more\": 0}, "
        "\"s\": {\"dtype\": \"F8_E4M3\", \"shape\": [], \"data_offsets\": [0, 1]}, "
        "\"none\": {\"dtype\": \"I64\", \"shape\": [0, 7], \"data_offsets\": [5, 5]}, "
        "\"v\": {\"dtype\": \"I32\", \"shape\": [1], \"data_offsets\": [1, 5]}}  ";
    struct arena arena;
    struct tensors t;
    struct buf scratch;
    image = (struct folder_image){0};
    size_t n = image_safetensors(bytes[0], sizeof bytes[0], header, 17);
    image_put(&image, "m/model.safetensors", bytes[0], n);
    arena_init(&arena, &counted);
    buf_init(&scratch, &counted);
    CHECK_EQ(open_image(&t, &arena), 0);
    CHECK_EQ(t.n, 4);
    CHECK_EQ(t.n_files, 1);
    CHECK_EQ(t.naming, NAMING_HUGGING_FACE);
    CHECK_EQ(image.bytes_read, 8 + strlen(header)); /* no tensor has been read */
    const struct tensor *w = tensors_find(&t, "w");
    CHECK(w && w->n_dims == 2 && w->dim[0] == 2 && w->dim[1] == 3 && w->dim[2] == 1);
    CHECK(w->dtype == DTYPE_BF16 && w->fmt == FMT_bf16 && w->bytes == 12);
    CHECK_EQ(w->offset, n - 12);
    const uint8_t *view = tensors_view(&t, w, &scratch, &err);
    CHECK(view && memcmp(view, bytes[0] + n - 12, 12) == 0);
    const struct tensor *s = tensors_find(&t, "s");
    CHECK(s && s->n_dims == 0 && s->dim[0] == 1 && s->bytes == 1 && s->fmt == FMT_COUNT);
    const struct tensor *none = tensors_find(&t, "none");
    CHECK(none && none->bytes == 0 && none->dim[0] == 7 && none->dim[1] == 0);
    CHECK(!tensors_find(&t, "__metadata__"));
    tensors_close(&t);
    buf_release(&scratch);
    arena_release(&arena);
    CHECK_EQ(image.open, 0);
    CHECK_EQ(ledger.live, 0);
}

TEST(safetensors, shards_become_one_directory)
{
    struct arena arena;
    struct tensors t;
    make_shards(good_index);
    arena_init(&arena, &counted);
    CHECK_EQ(open_image(&t, &arena), 0);
    CHECK_EQ(t.n, 3);
    CHECK_EQ(t.n_files, 2);
    CHECK_EQ(tensors_find(&t, "a")->file, tensors_find(&t, "b")->file);
    CHECK_EQ(tensors_find(&t, "c")->file, 1);
    CHECK_EQ(tensors_find(&t, "a")->fmt, FMT_f32);
    tensors_close(&t);
    arena_release(&arena);
    CHECK_EQ(image.open, 0);
}

TEST(safetensors, one_file_comes_before_an_index)
{
    make_shards("no index");
    put_shard(2, "m/model.safetensors", "{}", 0);
    CHECK_EQ(open_image(NULL, NULL), 0);
}

TEST(safetensors, a_mapped_tensor_that_is_not_aligned_is_copied)
{
    struct file file = {.bytes = 64, .map = bytes[0]};
    struct tensors t = {.file = &file};
    struct tensor odd = {.dtype = DTYPE_BF16, .offset = 3, .bytes = 8};
    struct tensor even = {.dtype = DTYPE_BF16, .offset = 6, .bytes = 8};
    struct tensor small = {.dtype = DTYPE_I8, .offset = 3, .bytes = 8};
    struct tensor beyond = {.dtype = DTYPE_F32, .offset = 61, .bytes = 4};
    struct buf scratch;
    buf_init(&scratch, &counted);
    memset(bytes[0], 0, sizeof bytes[0]);
    for (uint8_t i = 0; i < 64; i++)
        bytes[0][i] = i;
    CHECK(tensors_view(&t, &even, &scratch, &err) == bytes[0] + 6);
    CHECK(tensors_view(&t, &small, &scratch, &err) == bytes[0] + 3);
    const void *copy = tensors_view(&t, &odd, &scratch, &err);
    CHECK(copy && (uintptr_t)copy % CACHE_LINE == 0 && memcmp(copy, bytes[0] + 3, 8) == 0);
    CHECK(!tensors_view(&t, &beyond, &scratch, &err));
    buf_release(&scratch);
}

TEST(safetensors, a_folder_without_weights_says_what_it_lacks)
{
    image = (struct folder_image){0};
    CHECK_EQ(open_image(NULL, NULL), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text,
               "m: has neither model.safetensors nor model.safetensors.index.json: weights "
               "in other files are not served");
}

TEST(safetensors, a_header_that_is_cut_or_lies_about_its_length_is_refused)
{
    image = (struct folder_image){0};
    image_put(&image, "m/model.safetensors", "1234567", 7);
    CHECK_EQ(open_image(NULL, NULL), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "m/model.safetensors: has 7 bytes, a header takes more");
    size_t n = image_safetensors(bytes[0], sizeof bytes[0], "{}", 0);
    image_put(&image, "m/model.safetensors", bytes[0], n);
    bytes[0][0] = 3;
    CHECK_EQ(open_image(NULL, NULL), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text,
               "m/model.safetensors: says that its header has 3 bytes, but the file has 10 "
               "and at most 100000000 are read");
    bytes[0][7] = 0xff;
    CHECK_EQ(open_image(NULL, NULL), INFLIGHT_E_MODEL);
    CHECK_EQ(image.bytes_read, 16);
    refuse_header("", 0, "m/model.safetensors:1:0: '[' or '{' expected near end of file");
    refuse_header("[]", 0, "m/model.safetensors: is not a JSON object");
    refuse_header("{\"a\": {}} x", 0, "m/model.safetensors:1:11: end of file expected near 'x'");
}

TEST(safetensors, json_that_repeats_a_name_is_too_deep_or_too_large_is_refused)
{
    static char deep[4000];
    memset(deep, '[', sizeof deep - 1);
    memcpy(deep, "{\"a\":", 5);
    CHECK_EQ(open_header(deep, 0), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "m/model.safetensors:1:2053: maximum parsing depth reached near '['");
    refuse_header("{\"a\": 1, \"a\": 1}", 0,
                  "m/model.safetensors:1:12: duplicate object key near '\"a\"'");
    refuse_header("{\"a\": {\"dtype\": \"I8\", \"shape\": [99999999999999999999]}}", 0,
                  "m/model.safetensors:1:52: too big integer near '99999999999999999999'");
}

TEST(safetensors, entries_that_are_no_tensors_are_refused)
{
#define TENSOR_A "m/model.safetensors: tensor a: "
    refuse_header("{\"a\": 1}", 0, TENSOR_A "its dtype is not known");
    refuse_header("{\"a\": {\"dtype\": \"F33\"}}", 0, TENSOR_A "its dtype is not known");
    refuse_header("{\"a\": {\"dtype\": \"F32\"}}", 0, TENSOR_A "shape is no list of 0 to 5 sizes");
    refuse_header("{\"a\": {\"dtype\": \"I8\", \"shape\": [1,1,1,1,1,1], \"data_offsets\": [0,1]}}",
                  1, TENSOR_A "shape is no list of 0 to 5 sizes");
    refuse_header("{\"a\": {\"dtype\": \"I8\", \"shape\": [-1], \"data_offsets\": [0,1]}}", 1,
                  TENSOR_A "its shape is impossible");
    refuse_header("{\"a\": {\"dtype\": \"I8\", \"shape\": [1.0], \"data_offsets\": [0,1]}}", 1,
                  TENSOR_A "its shape is impossible");
    refuse_header("{\"a\": {\"dtype\": \"I8\", \"shape\": [9223372036854775807, 2]}}", 1,
                  TENSOR_A "its shape is impossible");
    refuse_header("{\"a\": {\"dtype\": \"I8\", \"shape\": [4294967296, 4294967296, 4294967296]}}",
                  1, TENSOR_A "its shape is impossible");
}

TEST(safetensors, places_outside_of_the_data_are_refused)
{
    static const char *const offsets[] = {"[0]",      "[0, 1, 2]", "[-1, 0]", "[1, 0]",   "[0, 2]",
                                          "[0.0, 1]", "{}",        "null",    "[1, \"\"]"};
    for (size_t i = 0; i < COUNT_OF(offsets); i++) {
        char header[128];
        snprintf(header, sizeof header,
                 "{\"a\": {\"dtype\": \"I8\", \"shape\": [1], \"data_offsets\": %s}}", offsets[i]);
        refuse_header(header, 1,
                      TENSOR_A "data_offsets are not two places in the file's 1 bytes of data");
    }
    refuse_header("{\"a\": {\"dtype\": \"F32\", \"shape\": [2, 3], \"data_offsets\": [0, 12]}}", 12,
                  TENSOR_A "6 numbers of 32 bits do not take its 12 bytes");
    refuse_header("{\"a\": {\"dtype\": \"F4\", \"shape\": [3], \"data_offsets\": [0, 1]}}", 1,
                  TENSOR_A "3 numbers of 4 bits do not take its 1 bytes");
    CHECK_EQ(
        open_header("{\"a\": {\"dtype\": \"F4\", \"shape\": [4], \"data_offsets\": [0, 2]}}", 2),
        0);
}

/* Tensor a of n bytes at from, tensor b of one byte at 4, in 5 bytes of data. */
static int32_t open_pair(int from, int n, size_t data)
{
    char header[256];
    snprintf(header, sizeof header,
             "{\"a\": {\"dtype\": \"I8\", \"shape\": [%d], \"data_offsets\": [%d, %d]}, "
             "\"b\": {\"dtype\": \"I8\", \"shape\": [1], \"data_offsets\": [4, 5]}}",
             n, from, from + n);
    return open_header(header, data);
}

TEST(safetensors, tensors_stand_one_behind_the_other)
{
#define TENSOR_B "m/model.safetensors: tensor b begins at 4 of the data, the one before it ends at "
    CHECK_EQ(open_pair(0, 4, 5), 0);
    CHECK_EQ(open_pair(0, 3, 5), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, TENSOR_B "3");
    CHECK_EQ(open_pair(0, 5, 5), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, TENSOR_B "5");
    CHECK_EQ(open_pair(1, 3, 5), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "m/model.safetensors: tensor a begins at 1 of the data, the one before it "
                         "ends at 0");
    CHECK_EQ(open_pair(0, 4, 7), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "m/model.safetensors: its last 2 bytes are of no tensor");
    CHECK_EQ(open_pair(4, 0, 5), INFLIGHT_E_MODEL);
    refuse_header("{}", 1, "m/model.safetensors: its last 1 bytes are of no tensor");
}

TEST(safetensors, index_and_headers_agree)
{
    refuse_shards("{\"weight_map\": {\"a\": \"one\", \"c\": \"two\"}}",
                  "tensor b of one is not in model.safetensors.index.json");
    refuse_shards("{\"weight_map\": {\"a\": \"one\", \"c\": \"two\", \"b\": \"two\"}}",
                  "tensor b is in one, but in two according to model.safetensors.index.json");
    refuse_shards(
        "{\"weight_map\": {\"a\": \"one\", \"c\": \"two\", \"b\": \"one\", \"d\": \"two\"}}",
        "tensor d is not in two, where model.safetensors.index.json has it");
}

TEST(safetensors, a_tensor_in_two_shards_names_both)
{
    make_shards(good_index);
    put_shard(1, "m/two",
              "{\"a\": {\"dtype\": \"BF16\", \"shape\": [2], \"data_offsets\": [0, 4]}}", 4);
    CHECK_EQ(open_image(NULL, NULL), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text,
               "tensor a is in two, but in one according to model.safetensors.index.json");
}

TEST(safetensors, shards_that_are_not_there_or_elsewhere_are_refused)
{
    refuse_shards("{\"weight_map\": {\"a\": \"one\", \"c\": \"../two\", \"b\": \"one\"}}",
                  "model.safetensors.index.json: m: \"../two\" is not the name of a file of it");
    refuse_shards("{\"weight_map\": {\"a\": \"..\"}}",
                  "model.safetensors.index.json: m: \"..\" is not the name of a file of it");
    refuse_shards("{\"weight_map\": {\"a\": \"\"}}",
                  "model.safetensors.index.json: m: \"\" is not the name of a file of it");
    make_shards("{\"weight_map\": {\"a\": \"one\", \"c\": \"three\", \"b\": \"one\"}}");
    CHECK_EQ(open_image(NULL, NULL), INFLIGHT_E_IO);
    CHECK_TEXT(err.text, "model.safetensors.index.json: m/three: the open hook did not find it");
}

TEST(safetensors, an_index_that_is_none_is_refused)
{
#define INDEX_SAYS "model.safetensors.index.json: "
    refuse_shards("{}", INDEX_SAYS "weight_map is missing");
    refuse_shards("{\"weight_map\": []}", INDEX_SAYS "weight_map is missing");
    refuse_shards("{\"weight_map\": {}}", INDEX_SAYS "weight_map names no tensor");
    refuse_shards("{\"weight_map\": {\"a\": 1}}", INDEX_SAYS "tensor a: is not given a file");
    refuse_shards("{\"weight_map\": {\"a\": \"one\\u0000\"}}",
                  INDEX_SAYS "tensor a: is not given a file");
    refuse_shards("[", INDEX ":1:1: ']' expected near end of file");
    refuse_shards("1", INDEX ":1:1: '[' or '{' expected near '1'");
}

TEST(safetensors, an_index_of_too_many_files_is_refused)
{
    static char text[1 << 18];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"weight_map\": {\"t\": \"f\"");
    for (int i = 0; i < 4096; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, ", \"t%d\": \"f%d\"", i, i);
    (void)snprintf(text + n, sizeof text - n, "}}");
    refuse_shards(text, INDEX_SAYS "names more than 4096 files");
}

TEST(safetensors, a_shard_that_cannot_be_read_is_named)
{
    make_shards(good_index);
    image.unreadable = "m/two";
    CHECK_EQ(open_image(NULL, NULL), INFLIGHT_E_IO);
    CHECK_TEXT(err.text, "m/two: the read hook gave -5, asked for 8 bytes at 0");
}

TEST(safetensors, no_memory_at_any_point_is_an_error_without_a_leak)
{
    int refused = 0;
    for (ledger.fail_at = 1; ledger.fail_at < 1000; ledger.fail_at++) {
        ledger.takes = 0;
        make_shards(good_index);
        if (!open_image(NULL, NULL))
            break;
        CHECK_EQ(err.code, INFLIGHT_E_NOMEM);
        refused++;
    }
    CHECK(refused >= 4 && ledger.fail_at < 1000);
    ledger.fail_at = 0;
}
