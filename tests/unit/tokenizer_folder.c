/* Tokenizers of Hugging Face folders: what the files say beside the vocabulary, and every way in
 * which one is refused. The comparison with the reference is tests/model/tokenizer_folders.c. */
#include "plugin/detok.h"
#include "plugin/text/spec.h"
#include "t.h"
#include "memory_folder.h"

#include <stdlib.h>

#define BYTE_LEVEL                                                           \
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}," \
    "\"decoder\":{\"type\":\"ByteLevel\"}"
#define VOCAB "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"<s>\":3,\"</s>\":4,\"\u0120\":5,\"x\":6}"
#define MODEL "\"model\":{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"a b\"]}"
#define ADDED                                                            \
    "\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true}," \
    "{\"id\":4,\"content\":\"</s>\",\"special\":true}]"
#define WHOLE "{" MODEL "," ADDED "," BYTE_LEVEL "}"

static struct memory_folder folder;
static struct arena arena;
static struct tokenizer *tokenizer;
static struct err err;

static void begin(void)
{
    memory_folder_init(&folder, &mem_system);
    arena_init(&arena, &mem_system);
    tokenizer = NULL;
}

static void add(const char *name, const char *text)
{
    memory_folder_add(&folder, name, text, strlen(text));
}

static int32_t open_folder(void)
{
    return tokenizer_open_folder(&tokenizer, &folder.folder, &arena, &err);
}

static void end(void)
{
    tokenizer_close(tokenizer);
    arena_release(&arena);
}

/* The ids of a text, trusted or not, as text; with what stands around a text if add_start. */
static const char *encode(const char *text, bool trusted, bool add_start)
{
    static char out[512];
    uint8_t all[256];
    struct buf ids;
    size_t n = 0;
    memset(all, 1, sizeof all);
    buf_init(&ids, &mem_system);
    CHECK_EQ(tokenizer_encode(tokenizer, (struct str){text, strlen(text)}, trusted ? all : NULL,
                              add_start, &ids, &err),
             0);
    out[0] = 0;
    for (size_t i = 0; i < ids.len && n + 12 < sizeof out; i += sizeof(int32_t)) {
        int32_t id;
        memcpy(&id, ids.ptr + i, sizeof id);
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%d", n ? " " : "", id);
    }
    buf_release(&ids);
    return out;
}

/* Of tokenizer.json and tokenizer_config.json, either of which may be NULL. */
static bool open_json(const char *json, const char *config)
{
    begin();
    if (json)
        add("tokenizer.json", json);
    if (config)
        add("tokenizer_config.json", config);
    int32_t code = open_folder();
    if (code)
        t_fail(__FILE__, __LINE__, "%s", err.text);
    return code == 0;
}

TEST(tokenizer_folder, control_tokens_need_trust)
{
    if (open_json(WHOLE, NULL)) {
        CHECK_TEXT(encode("ab<s>b", true, false), "2 3 1");
        CHECK_TEXT(encode("a<s>", false, false), "0");
        CHECK_EQ(tokenizer_n(tokenizer), 7);
        CHECK_EQ(tokenizer_bos(tokenizer), -1);
        CHECK(tokenizer_is_end(tokenizer, 4) && !tokenizer_is_end(tokenizer, 3));
        CHECK_EQ(tokenizer_piece(tokenizer, 3).len, 0);
        CHECK_EQ(tokenizer_name(tokenizer, 3).len, 3);
    }
    end();
}

TEST(tokenizer_folder, the_config_says_which_tokens_begin_and_end)
{
    if (open_json(WHOLE, "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"},"
                         "\"add_bos_token\":true,\"add_eos_token\":false}")) {
        CHECK_EQ(tokenizer_bos(tokenizer), 3);
        CHECK_EQ(tokenizer_eos(tokenizer), 4);
        CHECK_TEXT(encode("ab", false, true), "3 2");
    }
    end();
    if (open_json(WHOLE, "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"add_eos_token\":true}"))
        CHECK_TEXT(encode("ab", false, true), "2 4");
    end();
}

#define TEMPLATE                                                                          \
    ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":" \
    "{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[3]}}}"

TEST(tokenizer_folder, the_config_has_the_last_word_on_start_tokens)
{
    static const char json[] = "{" MODEL "," ADDED "," BYTE_LEVEL TEMPLATE "}";
    static const char *const config[] = {NULL, "{\"bos_token\":\"<s>\",\"add_bos_token\":true}",
                                         "{\"bos_token\":\"<s>\",\"add_bos_token\":false}"};
    static const char *const expected[] = {"3 2", "3 2", "2"};
    for (size_t i = 0; i < COUNT_OF(config); i++) {
        if (open_json(json, config[i]))
            CHECK_TEXT(encode("ab", false, true), expected[i]);
        end();
    }
}

TEST(tokenizer_folder, tokens_of_the_config_are_added)
{
    if (open_json(WHOLE, "{\"added_tokens_decoder\":{\"9\":{\"content\":\"<|im_end|>\",\"special\":"
                         "true},\"8\":{\"content\":\"xx\"}},\"additional_special_tokens\":"
                         "[\"x\",\"no such\"]}")) {
        CHECK_EQ(tokenizer_n(tokenizer), 10);
        CHECK_TEXT(encode("xxax<|im_end|>", true, false), "8 0 6 9");
        CHECK(tokenizer_is_end(tokenizer, 9));
        CHECK_EQ(tokenizer_piece(tokenizer, 6).len, 0);
        CHECK_EQ(tokenizer_name(tokenizer, 7).len, 0);
    }
    end();
}

TEST(tokenizer_folder, ends_of_generation_are_a_number_or_a_list)
{
    begin();
    add("tokenizer.json", WHOLE);
    add("generation_config.json", "{\"eos_token_id\":[1,2,-1,99999999999]}");
    add("config.json", "{\"eos_token_id\":6,\"bos_token_id\":3}");
    CHECK_EQ(open_folder(), 0);
    for (int32_t id = 0; tokenizer && id < 7; id++)
        CHECK_EQ(tokenizer_is_end(tokenizer, id), id == 1 || id == 2 || id == 4 || id == 6);
    CHECK_EQ(tokenizer_bos(tokenizer), 3);
    CHECK_EQ(tokenizer_eos(tokenizer), 1);
    end();
}

TEST(tokenizer_folder, the_map_of_special_tokens_counts_without_a_config)
{
    begin();
    add("vocab.json", "{\"a\":0,\"b\":1,\"ab\":2,\"<s>\":3}");
    add("merges.txt", "#version: 0.2\na b\r\n\n");
    add("special_tokens_map.json", "{\"bos_token\":\"<s>\",\"eos_token\":\"<s>\"}");
    CHECK_EQ(open_folder(), 0);
    if (tokenizer) {
        CHECK_EQ(tokenizer_bos(tokenizer), 3);
        CHECK(tokenizer_is_end(tokenizer, 3));
        CHECK_TEXT(encode("ab<s>", true, true), "2 3");
    }
    end();
}

TEST(tokenizer_folder, tokens_beside_spaces_and_words)
{
    static const char json[] = "{" MODEL "," BYTE_LEVEL ",\"added_tokens\":["
                               "{\"id\":3,\"content\":\"<s>\",\"lstrip\":true,\"rstrip\":true},"
                               "{\"id\":6,\"content\":\"x\",\"single_word\":true}]}";
    if (open_json(json, NULL)) {
        CHECK_TEXT(encode("a \u3000<s>\n b", false, false), "0 3 1");
        CHECK_TEXT(encode("x", false, false), "6");
        CHECK_TEXT(encode("a x b", false, false), "0 5 6 5 1");
        /* In a word it is an ordinary character, which here is that token too. */
        CHECK_TEXT(encode("ax", false, false), "0 6");
    }
    end();
}

/* ---- Refusals */

/* What is wrong is named; nothing is lost. */
static void refused(const char *name, const char *text, const char *reason)
{
    begin();
    add(name, text);
    if (strcmp(name, "tokenizer.json") != 0 && strcmp(name, "vocab.json") != 0)
        add("tokenizer.json", WHOLE);
    CHECK_EQ(open_folder(), INFLIGHT_E_MODEL);
    CHECK(tokenizer == NULL);
    if (!strstr(err.text, reason) || !strstr(err.text, name))
        t_fail(__FILE__, __LINE__, "'%s' says neither '%s' nor '%s'", err.text, name, reason);
    end();
}

TEST(tokenizer_folder, a_folder_without_a_tokenizer)
{
    begin();
    CHECK_EQ(open_folder(), INFLIGHT_E_MODEL);
    CHECK(strstr(err.text, "the folder has no tokenizer"));
    end();
    begin();
    add("vocab.json", "{\"a\":0}");
    CHECK(open_folder() != 0);
    CHECK(strstr(err.text, "merges.txt"));
    end();
}

#define REFUSED(json, reason) refused("tokenizer.json", json, reason)
#define WITH(part)            "{" MODEL "," part "," BYTE_LEVEL "}"
#define BPE(part)             "{\"model\":{\"type\":\"BPE\"," part "}," BYTE_LEVEL "}"

TEST(tokenizer_folder, a_broken_vocabulary)
{
    REFUSED("{", "tokenizer.json:1:");
    REFUSED("[]", "not a JSON object");
    REFUSED("{}", "model is missing");
    REFUSED("{\"model\":{\"type\":\"WordPiece\"}}", "'WordPiece' is not supported");
    REFUSED("{\"model\":{\"type\":\"BPE\",\"merges\":[]}}", "model.vocab");
    REFUSED("{\"model\":{\"type\":\"Unigram\",\"vocab\":{}}}", "model.vocab");
    REFUSED("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", "entry 0");
    REFUSED("{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "vocabulary of 0 tokens");
    REFUSED(BPE("\"vocab\":{\"a\":-1},\"merges\":[]"), "token 'a'");
    REFUSED(BPE("\"vocab\":{\"a\":1e3},\"merges\":[]"), "token 'a'");
    REFUSED(BPE("\"vocab\":{\"a\":2097152},\"merges\":[]"), "below 2097152");
    REFUSED(BPE("\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]"), "two tokens have id 0");
    REFUSED(BPE("\"vocab\":{\"\\u4e00\":0},\"merges\":[]"), "no token for any single byte");
    REFUSED(BPE(VOCAB), "model.merges");
    REFUSED(BPE(VOCAB ",\"merges\":[\"ab\"]"), "rule 0 is not two tokens");
    REFUSED(BPE(VOCAB ",\"merges\":[[\"a\"]]"), "rule 0 is not two tokens");
    REFUSED(BPE(VOCAB ",\"merges\":[[\"a\",\"b\",\"x\"]]"), "rule 0 is not two tokens");
    REFUSED(BPE(VOCAB ",\"merges\":[\"a b\",\"b a\"]"), "rule 1, 'b a'");
    REFUSED(BPE(VOCAB ",\"merges\":[],\"end_of_word_suffix\":\"</w>\""), "end_of_word_suffix");
    REFUSED(BPE(VOCAB ",\"merges\":[],\"continuing_subword_prefix\":\"##\""), "'##'");
    REFUSED(BPE(VOCAB ",\"merges\":[],\"dropout\":0.1"), "dropout");
}

TEST(tokenizer_folder, broken_added_tokens)
{
    REFUSED(WITH("\"added_tokens\":[{\"id\":3}]"), "entry 0");
    REFUSED(WITH("\"added_tokens\":[{\"id\":-3,\"content\":\"<s>\"}]"), "entry 0");
    REFUSED(WITH("\"added_tokens\":[{\"id\":9999999,\"content\":\"<s>\"}]"), "entry 0");
    REFUSED(WITH("\"added_tokens\":[{\"id\":2,\"content\":\"<s>\"}]"), "'<s>' has id 2");
    refused("tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"y\"}}}",
            "'x'");
    refused("tokenizer_config.json", "{\"added_tokens_decoder\":{\"9999999\":{}}}", "'9999999'");
    refused("tokenizer_config.json", "{\"added_tokens_decoder\":{\"1\":{}}}", "no content");
    refused("tokenizer_config.json", "{\"added_tokens_decoder\":{\"1\":{\"content\":\"y\"}}}",
            "has id 1");
    refused("tokenizer_config.json", "[1]", "not a JSON object");
    refused("generation_config.json", "{\"a\":1,\"a\":2}", "duplicate");
    refused("config.json", "{", "config.json:1:");
}

TEST(tokenizer_folder, steps_that_are_not_served)
{
#define STEP(what, step) "{" MODEL ",\"" what "\":" step ",\"decoder\":{\"type\":\"ByteLevel\"}}"
    REFUSED(STEP("normalizer", "{\"type\":\"Lowercase\"}"), "normalizer: 'Lowercase'");
    REFUSED(STEP("normalizer", "{\"type\":\"Sequence\"}"), "normalizers");
    REFUSED(STEP("normalizer", "{\"type\":\"Prepend\"}"), "Prepend");
    REFUSED(STEP("normalizer", "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}"), "content");
    REFUSED(STEP("normalizer", "{\"type\":\"Replace\",\"pattern\":{},\"content\":\"\"}"),
            "neither a String nor a Regex");
    REFUSED(STEP("normalizer", "{\"type\":\"Replace\",\"pattern\":\"\",\"content\":\"\"}"),
            "the pattern is empty");
    REFUSED(STEP("normalizer", "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"?\"}"),
            "base64");
    REFUSED(WITH("\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}"),
            "replacements");
    REFUSED(STEP("pre_tokenizer", "{\"type\":\"UnicodeScripts\"}"), "'UnicodeScripts'");
    REFUSED(STEP("pre_tokenizer", "{\"type\":\"Split\",\"behavior\":\"Any\"}"), "'Any'");
    REFUSED(STEP("pre_tokenizer", "{\"type\":\"Split\",\"behavior\":\"Isolated\"}"), "pattern");
    REFUSED(STEP("pre_tokenizer", "{\"type\":\"CharDelimiterSplit\"}"), "delimiter");
    REFUSED(STEP("pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"_\"}"), "'_'");
    REFUSED(STEP("pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"\u2581\","
                                  "\"prepend_scheme\":\"last\"}"),
            "'last'");
    REFUSED(STEP("pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
                                  "\"ByteLevel\"},{\"type\":\"Punctuation\"}]}"),
            "after ByteLevel");
    REFUSED(STEP("pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
                                  "\"ByteLevel\"},{\"type\":\"Split\",\"pattern\":{\"Regex\":"
                                  "\"[0-9]\"},\"behavior\":\"Isolated\"}]}"),
            "after ByteLevel");
    REFUSED(STEP("pre_tokenizer", "{\"type\":\"Digits\"}"), "decoder: ByteLevel");
    REFUSED("{" MODEL "}", "decoder is missing");
    REFUSED("{" MODEL ",\"decoder\":{\"type\":\"WordPiece\"}}", "decoder: 'WordPiece'");
    REFUSED("{" MODEL ",\"decoder\":{\"type\":\"Strip\",\"content\":\"_\"}}", "decoder: 'Strip'");
    REFUSED(WITH("\"post_processor\":{\"type\":\"Other\"}"), "post_processor: 'Other'");
    REFUSED(WITH("\"post_processor\":{\"type\":\"TemplateProcessing\"}"), "single");
    REFUSED(WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{"
                 "\"SpecialToken\":{\"id\":\"<s>\"}}]}"),
            "part 0 has no ids");
    REFUSED(WITH("\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",99]}"), "id 99");
#undef STEP
}

/* Sequences in sequences, more deeply than any file has them, and longer. */
TEST(tokenizer_folder, endless_sequences)
{
    static char text[1 << 16];
    size_t n = (size_t)snprintf(text, sizeof text, "{" MODEL ",\"normalizer\":");
    for (int i = 0; i < 400; i++)
        n +=
            (size_t)snprintf(text + n, sizeof text - n, "{\"type\":\"Sequence\",\"normalizers\":[");
    n += (size_t)snprintf(text + n, sizeof text - n, "{\"type\":\"NFC\"}");
    for (int i = 0; i < 400; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "]}");
    snprintf(text + n, sizeof text - n, "," BYTE_LEVEL "}");
    REFUSED(text, "deep");
    n = (size_t)snprintf(text, sizeof text,
                         "{" MODEL ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[");
    for (int i = 0; i < 9; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s{\"type\":\"NFC\"}", i ? "," : "");
    snprintf(text + n, sizeof text - n, "]}," BYTE_LEVEL "}");
    REFUSED(text, "more than 8 steps");
    memset(text, '[', sizeof text - 1);
    REFUSED(text, "depth");
}

#define SPLIT(regex)                                                                            \
    "{" MODEL ",\"decoder\":{\"type\":\"ByteLevel\"},\"pre_tokenizer\":{\"type\":\"Sequence\"," \
    "\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":"  \
    "\"" regex "\"}},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}}"

TEST(tokenizer_folder, expressions_that_mean_something_else_here)
{
    REFUSED(SPLIT("[a&&b]"), "not supported");
    REFUSED(SPLIT("[a[^bc]]"), "not supported");
    REFUSED(SPLIT("[a-[bc]]"), "not supported");
    REFUSED(SPLIT("[a[bc]-e]"), "not supported");
    REFUSED(SPLIT("[[:alpha:]]"), "not supported");
    REFUSED(SPLIT("[^\\\\S]"), "not supported");
    REFUSED(SPLIT("(?m:a)"), "not supported");
    REFUSED(SPLIT("\\\\h"), "not supported");
    REFUSED(SPLIT("a\\\\"), "not supported");
    REFUSED(SPLIT("[]a]"), "not supported");
    REFUSED(SPLIT("(a"), "missing closing parenthesis");
    REFUSED(SPLIT("\\\\p{Nonsense}"), "unknown property");
    REFUSED(SPLIT(""), "0 bytes");
}

/* An expression that tries every way to cut a run of letters ends with an error, soon. */
TEST(tokenizer_folder, an_expression_without_an_end)
{
    static char text[4096];
    struct buf ids;
    if (open_json(SPLIT("(a+)+$|(a|a)*x"), NULL)) {
        memset(text, 'a', sizeof text);
        text[sizeof text - 1] = 'b';
        buf_init(&ids, &mem_system);
        CHECK_EQ(
            tokenizer_encode(tokenizer, (struct str){text, sizeof text}, NULL, false, &ids, &err),
            INFLIGHT_E_INTERNAL);
        CHECK(strstr(err.text, "takes too long"));
        buf_release(&ids);
    }
    end();
}

/* ---- tokenizer.model */

static char proto[4096];
static size_t n_proto;

static void put(const void *bytes, size_t n)
{
    memcpy(proto + n_proto, bytes, n);
    n_proto += n;
}

static void piece(const char *text, float score, char type)
{
    char head[] = {0x0a, (char)(strlen(text) + 9), 0x0a, (char)strlen(text)}, tail[] = {0x18, type};
    put(head, sizeof head);
    put(text, strlen(text));
    put("\x15", 1);
    put(&score, sizeof score);
    put(tail, sizeof tail);
}

/* Of model type 1 (unigram) or 2 (BPE), and what else is put behind the pieces. */
static void small_model(char type, const char *more, size_t n)
{
    char trainer[] = {0x12, 2, 0x18, type};
    begin();
    n_proto = 0;
    piece("<unk>", 0, 2);
    piece("<s>", 0, 3);
    piece("</s>", 0, 3);
    piece("\u2581", -1, 1);
    piece("a", -2, 1);
    piece("aa", -3, 1);
    piece("\u2581aa", -4, 1);
    put(trainer, sizeof trainer);
    put(more, n);
    memory_folder_add(&folder, "tokenizer.model", proto, n_proto);
}

TEST(tokenizer_folder, small_models_of_sentencepiece)
{
    small_model(2, "", 0);
    CHECK_EQ(open_folder(), 0);
    if (tokenizer) {
        CHECK_TEXT(encode("aa  aaa b", false, true), "1 6 6 4 3 0");
        CHECK_TEXT(encode("a<s>", true, false), "3 4 1");
        CHECK_EQ(tokenizer_strip_start(tokenizer), 1);
        CHECK_EQ(tokenizer_bos(tokenizer), 1);
        CHECK(tokenizer_is_end(tokenizer, 2));
    }
    end();
    small_model(1, "\x1a\x02\x18\x00", 4);
    CHECK_EQ(open_folder(), 0);
    if (tokenizer) {
        CHECK_TEXT(encode("aa aa", false, true), "5 6 2");
        CHECK_EQ(tokenizer_strip_start(tokenizer), 0);
    }
    end();
}

TEST(tokenizer_folder, the_config_names_the_tokens_around_a_text_of_sentencepiece)
{
    small_model(2, "", 0);
    add("tokenizer_config.json", "{\"bos_token\":\"</s>\",\"eos_token\":\"<s>\"}");
    CHECK_EQ(open_folder(), 0);
    if (tokenizer)
        CHECK_TEXT(encode("a", false, true), "2 3 4");
    end();
    small_model(2, "", 0);
    add("tokenizer_config.json", "{\"bos_token\":\"</s>\",\"add_bos_token\":true}");
    CHECK_EQ(open_folder(), 0);
    if (tokenizer)
        CHECK_TEXT(encode("a", false, true), "2 3 4");
    end();
}

TEST(tokenizer_folder, the_mark_before_a_text_is_not_put_behind_tokens_unless_it_is_legacy)
{
    static const char *const config[] = {"{\"legacy\":false}", "{\"legacy\":true}"};
    static const char *const expected[] = {"3 4 1 4", "3 4 1 3 4"};
    for (size_t i = 0; i < COUNT_OF(config); i++) {
        small_model(2, "", 0);
        add("tokenizer_config.json", config[i]);
        CHECK_EQ(open_folder(), 0);
        if (tokenizer)
            CHECK_TEXT(encode("a<s>a", true, false), expected[i]);
        end();
    }
}

/* Each step of normalisation, or none, may leave the text where the one before has put it. */
TEST(tokenizer_folder, steps_of_which_one_does_nothing)
{
    static const char *const text[] = {"  aa\xff aa  aa ", " aa\xff  "};
    static const char *const expected[] = {"6 0 5 6", "6 0"};
    for (size_t i = 0; i < COUNT_OF(text); i++) {
        small_model(2, "\x1a\x02\x20\x01", 4);
        CHECK_EQ(open_folder(), 0);
        if (tokenizer)
            CHECK_TEXT(encode(text[i], false, false), expected[i]);
        end();
    }
}

/* An answer does not begin with the space that stands before every text; a continuation does. Bytes
 * of a character come out together. */
TEST(tokenizer_folder, pieces_of_sentencepiece_become_text)
{
    static const int32_t ids[] = {1, 6, 3, 4, 7, 8, 7, 3};
    static const char *const expected[] = {" aa a\u00e9\uFFFD ", "aa a\u00e9\uFFFD "};
    small_model(2, "", 0);
    piece("<0xC3>", 0, 6);
    piece("<0xA9>", 0, 6);
    folder.file[0].bytes.len = n_proto;
    CHECK_EQ(open_folder(), 0);
    for (int alone = 0; tokenizer && alone < 2; alone++) {
        struct detok detok;
        struct buf out;
        buf_init(&out, &mem_system);
        detok_init(&detok, tokenizer, NULL, 0, &mem_system);
        if (alone)
            detok_stand_alone(&detok);
        for (size_t i = 0; i < COUNT_OF(ids); i++)
            CHECK_EQ(detok_push(&detok, ids[i], &out), DETOK_GO);
        CHECK_EQ(detok_flush(&detok, &out), DETOK_GO);
        buf_put_char(&out, 0);
        CHECK_TEXT(out.ptr, expected[alone]);
        buf_release(&out);
        detok_release(&detok);
    }
    end();
}

static void refused_model(char type, const char *more, size_t n, const char *reason)
{
    small_model(type, more, n);
    CHECK_EQ(open_folder(), INFLIGHT_E_MODEL);
    if (!strstr(err.text, reason) || !strstr(err.text, "tokenizer.model"))
        t_fail(__FILE__, __LINE__, "'%s' does not say '%s'", err.text, reason);
    end();
}

TEST(tokenizer_folder, broken_models_of_sentencepiece)
{
    refused_model(3, "", 0, "model type 3");
    refused_model(2, "\x0a", 1, "no whole model");
    refused_model(2, "\x0a\x7f", 2, "no whole model");
    refused_model(2, "\x0b", 1, "no whole model");
    refused_model(2, "\x12\x01\x18", 3, "no whole model");
    refused_model(2, "\x12\x03\xc0\x01\x01", 5, "spaces behind words");
    refused_model(2, "\x1a\x02\x28\x00", 4, "spaces behind words");
    refused_model(2, "\x2a\x03\x12\x01x", 5, "changed again after decoding");
    refused_model(1, "\x1a\x03\x12\x01x", 5, "replacements");
    refused_model(2, "\x0a\x02\x18\x01", 4, "piece 7");
    refused_model(2, "\x0a\x05\x0a\x01x\x18\x09", 7, "type of 9");
    refused_model(2, "\x0a\x08\x0a\x01x\x15\x00\x00\xc0\x7f", 10, "piece 7");
    begin();
    add("tokenizer.model", "");
    CHECK_EQ(open_folder(), INFLIGHT_E_MODEL);
    end();
}

/* ---- Memory */

static int n_left, n_taken;

static void *take_counted(void *user, uint64_t bytes, uint64_t align)
{
    (void)user, (void)align;
    if (n_left == 0)
        return NULL;
    n_left--;
    n_taken++;
    return malloc(bytes);
}

static void give_counted(void *user, void *ptr, uint64_t bytes)
{
    (void)user, (void)bytes;
    n_taken -= ptr != NULL;
    free(ptr);
}

static const char unigram_json[] =
    "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"a\",-1],[\"\u2581\","
    "-2]]},"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":"
    "\"Replace\","
    "\"pattern\":{\"Regex\":\" +\"},\"content\":\" "
    "\"}]},\"added_tokens\":[{\"id\":3,\"content\":\"b c\","
    "\"normalized\":true}],\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\u2581\"},"
    "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\u2581\"}}";

/* With every number of allocations, up to that which is enough. */
static void open_with_little(const char *name, const struct str bytes)
{
    static const struct mem mem = {NULL, NULL, take_counted, give_counted};
    int32_t code = INFLIGHT_E_NOMEM;
    for (int most = 0; code && most < 200; most++) {
        n_left = most;
        n_taken = 0;
        memory_folder_init(&folder, &mem);
        arena_init(&arena, &mem);
        tokenizer = NULL;
        memory_folder_add(&folder, name, bytes.ptr, bytes.len);
        add("merges.txt", "a b");
        code = open_folder();
        CHECK(code == 0 || code == INFLIGHT_E_NOMEM);
        CHECK((tokenizer != NULL) == (code == 0));
        for (int room = 0; !code && room < 30; room++) {
            struct buf ids;
            n_left = room;
            buf_init(&ids, &mem);
            int32_t rc =
                tokenizer_encode(tokenizer, str_of("a  \uff41 b c\u00e9"), NULL, false, &ids, &err);
            CHECK(rc == 0 || rc == INFLIGHT_E_NOMEM);
            buf_release(&ids);
        }
        end();
        CHECK_EQ(n_taken, 0);
    }
    CHECK_EQ(code, 0);
}

TEST(tokenizer_folder, running_out_of_memory_is_an_error)
{
    open_with_little("tokenizer.json", str_of(WHOLE));
    open_with_little("tokenizer.json", str_of(unigram_json));
    open_with_little("vocab.json", str_of("{\"a\":0,\"b\":1,\"ab\":2}"));
    small_model(2, "", 0);
    end();
    open_with_little("tokenizer.model", (struct str){proto, n_proto});
}
