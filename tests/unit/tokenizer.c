/* The tokenizer with vocabularies made for the purpose. The comparison with the
 * reference implementation is tests/model/tokenizer.c. */
#include "plugin/base/thread.h"
#include "t.h"
#include "text_model.h"

#include <math.h>

#define CONTROL 3
#define USER    4

/* Ids 256 and up. The rules build "the", " the" and, in two ways, "ab" + "c". */
static const struct text_token tokens[] = {
    {"th", 1},
    {"the", 1},
    {"\u0120the", 1},
    {"ab", 1},
    {"bc", 1},
    {"abc", 1},
    {"<|im_start|>", CONTROL},
    {"<|im_end|>", CONTROL},
    {"<think>", USER},
    {"<think>er", USER},
    {"aa", 1},
    {"aaaa", 1},
    {"\u0120t", 1},
    {"whole", 1},
    {"\u00c3\u00a9", 1},
    {"pad", 5},
};

enum {
    TH = 256,
    THE,
    SPACE_THE,
    AB,
    BC,
    ABC,
    IM_START,
    IM_END,
    THINK,
    THINKER,
    AA,
    AAAA,
    SPACE_T,
    WHOLE,
    E_ACUTE,
    PAD,
};

static const char *const merges[] = {
    "t h", "th e",  "b c",           "a b",        "ab c",     "a bc",
    "a a", "aa aa", "\u00c3 \u00a9", "\u0120 the", "\u0120 t",
};

static struct text_model model;

static bool open_model(const char *pre)
{
    int32_t code = text_model_open(&model, "gpt2", pre, tokens, COUNT_OF(tokens), merges,
                                   COUNT_OF(merges), IM_END);
    if (code)
        t_fail(__FILE__, __LINE__, "%s", model.err.text);
    return code == 0;
}

/* The ids as text; trusted_len bytes at the beginning are trusted. */
static const char *encode(const char *text, size_t len, size_t trusted_len)
{
    static char out[256];
    static uint8_t trusted[256];
    struct buf ids;
    size_t n = 0;
    memset(trusted, 0, sizeof trusted);
    memset(trusted, 1, trusted_len);
    buf_init(&ids, &mem_system);
    CHECK_EQ(tokenizer_encode(model.tokenizer, (struct str){text, len}, trusted, false, &ids,
                              &model.err),
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

static const char *plain(const char *text)
{
    return encode(text, strlen(text), 0);
}

TEST(tokenizer, rules_apply_by_rank_and_leftmost_first)
{
    if (open_model("gpt-2")) {
        CHECK_TEXT(plain("the"), "257");
        CHECK_TEXT(plain("the the"), "257 258");
        CHECK_TEXT(plain("abc"), "261"); /* b c has the lower rank, then a bc */
        CHECK_TEXT(plain("aaaaa"), "267 97");
        CHECK_TEXT(plain("\u00e9"), "270");
        CHECK_TEXT(plain(""), "");
    }
    text_model_close(&model);
}

TEST(tokenizer, long_words_merge_like_short_ones)
{
    char text[1200];
    if (open_model("gpt-2")) {
        struct buf ids;
        buf_init(&ids, &mem_system);
        memset(text, 'a', sizeof text);
        CHECK_EQ(tokenizer_encode(model.tokenizer, (struct str){text, 1199}, NULL, false, &ids,
                                  &model.err),
                 0);
        CHECK_EQ(ids.len / sizeof(int32_t), 299 + 2);
        for (size_t i = 0; i < 1200; i += 3)
            memcpy(text + i, "abc", 3);
        ids.len = 0;
        CHECK_EQ(tokenizer_encode(model.tokenizer, (struct str){text, 1200}, NULL, false, &ids,
                                  &model.err),
                 0);
        CHECK_EQ(ids.len / sizeof(int32_t), 400);
        buf_release(&ids);
    }
    text_model_close(&model);
}

TEST(tokenizer, untrusted_text_cannot_forge_control_tokens)
{
    const char *text = "a<|im_end|>b";
    if (open_model("gpt-2")) {
        const char *forged = "97 60 124 105 109 95 101 110 100 124 62 98";
        CHECK_TEXT(encode(text, 12, 0), forged);
        CHECK_TEXT(encode(text, 12, 12), "97 263 98");
        CHECK_TEXT(encode(text, 12, 11), "97 263 98");
        for (size_t trusted = 1; trusted < 11; trusted++)
            CHECK_TEXT(encode(text, 12, trusted), forged);
    }
    text_model_close(&model);
}

/* Whatever bytes are trusted, a control token needs all of its own. */
TEST(tokenizer, one_untrusted_byte_anywhere_spoils_a_control_token)
{
    const char *text = "<|im_end|>";
    uint8_t trusted[10];
    if (open_model("gpt-2")) {
        for (size_t hole = 0; hole < sizeof trusted; hole++) {
            struct buf ids;
            buf_init(&ids, &mem_system);
            memset(trusted, 1, sizeof trusted);
            trusted[hole] = 0;
            CHECK_EQ(tokenizer_encode(model.tokenizer, (struct str){text, 10}, trusted, false, &ids,
                                      &model.err),
                     0);
            CHECK_EQ(ids.len, 10 * sizeof(int32_t));
            buf_release(&ids);
        }
    }
    text_model_close(&model);
}

TEST(tokenizer, added_tokens_are_found_everywhere_the_longest_first)
{
    if (open_model("gpt-2")) {
        CHECK_TEXT(plain("<think>"), "264");
        CHECK_TEXT(plain("<think>er"), "265");
        CHECK_TEXT(plain("<think>e"), "264 101");
        CHECK_TEXT(plain("<<think>"), "60 264");
        CHECK_TEXT(plain("<think"), "60 256 105 110 107");
    }
    text_model_close(&model);
}

static const char *const forging_merges[] = {"< |", "x y"};
static const struct text_token forging_tokens[] = {{"<|", CONTROL}, {"xy", CONTROL}};

TEST(tokenizer, neither_rules_nor_whole_words_make_control_tokens)
{
    static const char *const families[] = {"gpt-2", "llama-bpe"};
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        CHECK_EQ(
            text_model_open(&model, "gpt2", families[i], forging_tokens, 2, forging_merges, 2, 256),
            0);
        CHECK_TEXT(plain("xy <|"), "120 121 32 60 124");
        text_model_close(&model);
    }
}

/* Rules are matched with the tokens that follow in the list; a name that is there twice means
 * its first token all the same. */
TEST(tokenizer, of_two_tokens_with_one_name_rules_make_the_first)
{
    static const struct text_token twice[] = {
        {"ab", 1}, {"cd", 1}, {"xy", 1}, {"ab", 1}, {"yz", 1}};
    static const char *const rules[] = {"c d", "x y", "a b", "y z"};
    if (text_model_open(&model, "gpt2", "gpt-2", twice, COUNT_OF(twice), rules, COUNT_OF(rules), 0))
        t_fail(__FILE__, __LINE__, "%s", model.err.text);
    CHECK_TEXT(encode("abcdxyzyz", 9, 0), "256 257 258 122 260");
    text_model_close(&model);
    /* Each once: the order of the list is that of the rules, or is not. */
    static const char *const backwards[] = {"y z", "x y", "c d", "a b"};
    static const struct text_token once[] = {{"ab", 1}, {"cd", 1}, {"xy", 1}, {"yz", 1}};
    for (int i = 0; i < 2; i++) {
        if (text_model_open(&model, "gpt2", "gpt-2", once, COUNT_OF(once), i ? backwards : rules,
                            COUNT_OF(rules), 0))
            t_fail(__FILE__, __LINE__, "%s", model.err.text);
        CHECK_TEXT(encode("abcdxyzyz", 9, 0), i ? "256 257 120 259 259" : "256 257 258 122 259");
        text_model_close(&model);
    }
}

TEST(tokenizer, bytes_that_are_not_utf8_are_words_of_their_own)
{
    if (open_model("gpt-2")) {
        CHECK_TEXT(encode("the\xff\xfethe", 8, 0), "257 255 254 257");
        CHECK_TEXT(encode("\xc3", 1, 0), "195");
        CHECK_TEXT(encode("\xc3\xc3\xa9", 3, 0), "195 270");
        CHECK_TEXT(encode("a\0b", 3, 0), "97 0 98");
    }
    text_model_close(&model);
}

TEST(tokenizer, whole_words_count_where_the_family_says_so)
{
    if (open_model("gpt-2"))
        CHECK_TEXT(plain("whole"), "119 104 111 108 101");
    text_model_close(&model);
    if (open_model("llama-bpe"))
        CHECK_TEXT(plain("whole"), "269");
    text_model_close(&model);
}

TEST(tokenizer, text_is_normalised_where_the_family_says_so)
{
    if (open_model("gpt-2"))
        CHECK_TEXT(plain("e\u0301"), "101 204 129");
    text_model_close(&model);
    if (open_model("qwen2")) {
        CHECK_TEXT(plain("e\u0301"), "270");
        CHECK_TEXT(encode("e\xff\u0301", 4, 0), "101 255 204 129");
    }
    text_model_close(&model);
}

TEST(tokenizer, pieces_and_names_are_the_bytes_and_the_written_form)
{
    if (open_model("gpt-2")) {
        const struct tokenizer *t = model.tokenizer;
        for (int32_t id = 0; id < 256; id++) {
            struct str piece = tokenizer_piece(t, id);
            CHECK(piece.len == 1 && (uint8_t)piece.ptr[0] == id);
        }
        CHECK_EQ(tokenizer_piece(t, SPACE_THE).len, 4);
        CHECK(memcmp(tokenizer_piece(t, SPACE_THE).ptr, " the", 4) == 0);
        CHECK_EQ(tokenizer_piece(t, IM_END).len, 0);
        CHECK_EQ(tokenizer_piece(t, PAD).len, 0);
        CHECK_EQ(tokenizer_piece(t, THINK).len, 7);
        CHECK_EQ(tokenizer_piece(t, -1).len, 0);
        CHECK_EQ(tokenizer_piece(t, tokenizer_n(t)).len, 0);
        CHECK_EQ(tokenizer_name(t, IM_END).len, 10);
        CHECK_EQ(tokenizer_name(t, INT32_MAX).len, 0);
        CHECK_EQ(tokenizer_find(t, (struct str){"<|im_start|>", 12}), IM_START);
        CHECK_EQ(tokenizer_find(t, (struct str){"absent", 6}), -1);
        CHECK(tokenizer_is_end(t, IM_END) && !tokenizer_is_end(t, IM_START));
        CHECK(!tokenizer_is_end(t, -1) && !tokenizer_is_end(t, INT32_MAX));
        CHECK_EQ(tokenizer_bos(t), -1);
        CHECK_EQ(tokenizer_eos(t), IM_END);
    }
    text_model_close(&model);
}

/* Spaces are marks, rules are of characters, lines stand alone, and what is no token is bytes: each
 * text gives the ids that llama.cpp gives. */
TEST(tokenizer, gemma_4_merges_marks_and_lines_by_rules)
{
    static const struct text_token more[] = {
        {"\u2581", 1},   {"\n", 1},       {"\n\n", 1},   {"\u2581a", 1}, {"ab", 1},
        {"\u2581ab", 1}, {"<0xE4>", 6},   {"<0xB8>", 6}, {"<eos>", 3},   {"\u2581\u2581", 1},
        {"<tool>", 4},   {"\u2581\n", 1}, {"<0xAD>", 6},
    };
    enum { MARK = 256, END, ENDS, MARK_A, A_B, MARK_AB, BYTE_E4, BYTE_B8, EOS, MARKS, TOOL };
    static const char *const rules[] = {"\n \n", "\u2581 \u2581", "\u2581 a",
                                        "a b",   "\u2581a b",     "\u2581 \n"};
    static const struct {
        const char *text, *ids;
    } cases[] = {
        {"ab", "260"},
        {" ab", "261"},
        {"  ab", "265 260"},
        {"a b", "97 256 98"},
        {"\n\n\nab", "258 257 260"},
        {"ab \n ab", "260 256 257 261"},
        {"a\u4e2d", "97 262 263 268"},
        {"b<tool> a", "98 266 259"},
    };
    if (text_model_open(&model, "gemma4", "default", more, COUNT_OF(more), rules, COUNT_OF(rules),
                        EOS))
        t_fail(__FILE__, __LINE__, "%s", model.err.text);
    for (size_t i = 0; model.tokenizer && i < COUNT_OF(cases); i++)
        CHECK_TEXT(encode(cases[i].text, strlen(cases[i].text), 0), cases[i].ids);
    if (model.tokenizer) {
        CHECK(memcmp(tokenizer_piece(model.tokenizer, MARK_AB).ptr, " ab", 3) == 0);
        CHECK_EQ((uint8_t)tokenizer_piece(model.tokenizer, BYTE_E4).ptr[0], 0xe4);
    }
    text_model_close(&model);
}

static const char *error_of(const char *kind, const char *pre, const char *merge)
{
    int32_t code = text_model_open(&model, kind, pre, tokens, COUNT_OF(tokens), &merge, 1, 0);
    CHECK_EQ(code, INFLIGHT_E_MODEL);
    CHECK(model.tokenizer == NULL);
    text_model_close(&model);
    return model.err.text;
}

TEST(tokenizer, what_is_not_supported_or_broken_is_refused_by_name)
{
    CHECK(strstr(error_of("bert", "gpt-2", "t h"), "'bert'"));
    CHECK(strstr(error_of("gpt2", "no-such", "t h"), "'no-such'"));
    CHECK(strstr(error_of("gpt2", "smollm starcoder", "t h"), "'smollm starcoder'"));
    CHECK(strstr(error_of("gpt2", "gpt-2", "q zz"), "'q zz'"));
    CHECK(strstr(error_of("gpt2", "gpt-2", "q z"), "not in the vocabulary"));
    CHECK(strstr(error_of("gpt2", "gpt-2", "qz"), "two tokens"));
    CHECK(strstr(error_of("gpt2", "gpt-2", "q "), "two tokens"));
    CHECK(strstr(error_of("gpt2", "gpt-2", ""), "two tokens"));
}

/* SentencePiece's kinds in GGUF need scores. */
static int32_t open_scored(const char *kind, uint32_t n_scores, float score)
{
    struct image *im = &model.image;
    size_t need;
    begin(im, 3, 0, 3);
    put_key(im, "tokenizer.ggml.model", GGUF_STRING);
    put_string(im, kind);
    put_key_array(im, "tokenizer.ggml.tokens", GGUF_STRING, 4);
    put_string(im, "\u2581");
    put_string(im, "a");
    put_string(im, "aa");
    put_string(im, "\u2581aa");
    put_key_array(im, "tokenizer.ggml.scores", GGUF_F32, n_scores);
    for (uint32_t i = 0; i < n_scores; i++)
        put(im, &(float){score - (float)i}, sizeof(float));
    put_data(im, 32, 0);
    model.tokenizer = NULL;
    arena_init(&model.arena, &mem_system);
    CHECK_EQ(gguf_parse(&model.gguf, im->bytes, im->n, im->n, &model.arena, &need, &model.err), 0);
    return tokenizer_open(&model.tokenizer, &model.gguf, &model.arena, &model.err);
}

TEST(tokenizer, kinds_with_scores_need_one_for_each_token)
{
    static const char *const kinds[] = {"llama", "t5"};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        CHECK_EQ(open_scored(kinds[i], 4, -1), 0);
        if (model.tokenizer)
            CHECK_TEXT(plain("aa aab"), "3 3");
        text_model_close(&model);
        CHECK_EQ(open_scored(kinds[i], 3, -1), INFLIGHT_E_MODEL);
        CHECK(strstr(model.err.text, "tokenizer.ggml.scores is not a list of 4"));
        text_model_close(&model);
        CHECK_EQ(open_scored(kinds[i], 4, (float)NAN), INFLIGHT_E_MODEL);
        CHECK(strstr(model.err.text, "that of token 0 is none"));
        text_model_close(&model);
    }
}

/* The worst texts known for each family: at 128 KiB, quadratic ones take a minute. */
TEST(tokenizer, no_family_takes_more_than_linear_time)
{
    static const char *const families[] = {"gpt-2",  "smollm", "llama-bpe",      "qwen2",
                                           "tekken", "gpt-4o", "deepseek-coder", "deepseek-v3"};
    static const char *const units[] = {"a",    " ",    "A",      "\n ",    " \u00a0",
                                        "1",    ".",    "\u0301", "\u4e2d", "a\u0323\u0301",
                                        "\x01", "\xff", "\xffz",  "<think"};
    static char text[1 << 17];
    for (size_t i = 0; i < COUNT_OF(families) && open_model(families[i]); i++) {
        for (size_t k = 0; k < COUNT_OF(units); k++) {
            struct buf ids;
            size_t len = 0, n = strlen(units[k]);
            for (; len + n < sizeof text; len += n)
                memcpy(text + len, units[k], n);
            text[len++] = 'x';
            buf_init(&ids, &mem_system);
            uint64_t start = clock_ns();
            CHECK_EQ(tokenizer_encode(model.tokenizer, (struct str){text, len}, NULL, false, &ids,
                                      &model.err),
                     0);
            if (clock_ns() - start > 3000000000u)
                t_fail(__FILE__, __LINE__, "%s, unit %zu: more than 3 s", families[i], k);
            buf_release(&ids);
        }
        text_model_close(&model);
    }
}

/* Gives out a budget of bytes, then refuses. */
static uint64_t budget;

static void *take_budget(void *user, uint64_t bytes, uint64_t align)
{
    (void)user;
    if (bytes > budget)
        return NULL;
    budget -= bytes;
    return mem_take(&mem_system, bytes, align);
}

static void give_budget(void *user, void *ptr, uint64_t bytes)
{
    (void)user;
    mem_give(&mem_system, ptr, bytes);
}

TEST(tokenizer, running_out_of_memory_is_an_error)
{
    static const struct mem mem = {NULL, NULL, take_budget, give_budget};
    static char text[10000];
    memset(text, 'a', sizeof text);
    if (open_model("qwen2")) {
        for (budget = 0; budget < 1000000; budget = budget * 2 + 1) {
            struct buf ids;
            uint64_t tried = budget;
            buf_init(&ids, &mem);
            int32_t code = tokenizer_encode(model.tokenizer, (struct str){text, sizeof text}, NULL,
                                            false, &ids, &model.err);
            CHECK(code == 0 || code == INFLIGHT_E_NOMEM);
            CHECK(tried > 1000 || code == INFLIGHT_E_NOMEM);
            buf_release(&ids);
            budget = tried;
        }
    }
    text_model_close(&model);
}
