/* Tokens to text. Ids 0 .. 255 are bytes, so that a test chooses how text is cut. */
#include "plugin/detok.h"
#include "t.h"
#include "text_model.h"

static const struct text_token tokens[] = {
    {"<|im_end|>", 3},  {"hello", 1},
    {"\u0120world", 1}, {"\u00f0\u0141", 1}, /* bytes F0 9F: half an emoji */
    {"<stop>", 4},
};

enum {
    IM_END = 256,
    HELLO,
    WORLD,
    HALF,
    STOP_TOKEN,
};

static struct text_model model;

static bool open_model(void)
{
    int32_t code = text_model_open(&model, "gpt2", "gpt-2", tokens, COUNT_OF(tokens), NULL, 0, 256);
    if (code)
        t_fail(__FILE__, __LINE__, "%s", model.err.text);
    return code == 0;
}

/* A run of the detokenizer: what has come out so far, "|" after each push. */
struct run {
    struct detok detok;
    struct buf out;
    struct str stop[4];
    bool stopped;
};

static void run_begin(struct run *run, const char *const *stop, int32_t n_stop)
{
    for (int32_t i = 0; i < n_stop; i++)
        run->stop[i] = (struct str){stop[i], strlen(stop[i])};
    run->stopped = false;
    detok_init(&run->detok, model.tokenizer, run->stop, n_stop, &mem_system);
    buf_init(&run->out, &mem_system);
}

static void run_push(struct run *run, int32_t token)
{
    enum detok_result result = detok_push(&run->detok, token, &run->out);
    CHECK(result != DETOK_NOMEM);
    run->stopped = run->stopped || result == DETOK_STOP;
    buf_put_char(&run->out, '|');
}

static const char *run_end(struct run *run, bool flush)
{
    static char text[512];
    if (flush)
        CHECK_EQ(detok_flush(&run->detok, &run->out), DETOK_GO);
    snprintf(text, sizeof text, "%.*s", (int)run->out.len, run->out.ptr);
    buf_release(&run->out);
    detok_release(&run->detok);
    return text;
}

/* Each byte of text one token. */
static const char *bytes(const char *text, const char *const *stop, int32_t n_stop, bool flush)
{
    struct run run;
    run_begin(&run, stop, n_stop);
    for (size_t i = 0; text[i] && !run.stopped; i++)
        run_push(&run, (uint8_t)text[i]);
    return run_end(&run, flush);
}

TEST(detok, control_tokens_come_as_they_are_written_if_they_are_asked_for)
{
    static const char *const stop[] = {"d<|im"};
    if (open_model()) {
        struct run run;
        run_begin(&run, NULL, 0);
        run_push(&run, HELLO);
        run_push(&run, IM_END);
        run_push(&run, WORLD);
        CHECK_TEXT(run_end(&run, true), "hello|| world|");
        run_begin(&run, NULL, 0);
        run.detok.is_written = true;
        run_push(&run, HELLO);
        run_push(&run, IM_END);
        run_push(&run, WORLD);
        run_push(&run, STOP_TOKEN);
        run_push(&run, 100000);
        CHECK_TEXT(run_end(&run, true), "hello|<|im_end|>| world|<stop>||");
        run_begin(&run, stop, 1);
        run.detok.is_written = true;
        run_push(&run, WORLD);
        run_push(&run, IM_END);
        CHECK(run.stopped);
        CHECK_TEXT(run_end(&run, false), " worl||");
    }
    text_model_close(&model);
}

TEST(detok, ascii_comes_out_at_once)
{
    if (open_model()) {
        struct run run;
        run_begin(&run, NULL, 0);
        run_push(&run, HELLO);
        run_push(&run, WORLD);
        CHECK_TEXT(run_end(&run, false), "hello| world|");
    }
    text_model_close(&model);
}

TEST(detok, a_code_point_waits_until_it_is_complete)
{
    if (open_model()) {
        CHECK_TEXT(bytes("\u00e9x", NULL, 0, true), "|\u00e9|x|");
        CHECK_TEXT(bytes("\U0001f600", NULL, 0, true), "|||\U0001f600|");
        struct run run;
        run_begin(&run, NULL, 0);
        run_push(&run, HALF);
        run_push(&run, 0x98);
        run_push(&run, 0x80);
        CHECK_TEXT(run_end(&run, true), "||\U0001f600|");
    }
    text_model_close(&model);
}

TEST(detok, broken_bytes_become_one_replacement_per_maximal_subpart)
{
    if (open_model()) {
        CHECK_TEXT(bytes("\xff\xfe", NULL, 0, true), "\ufffd|\ufffd|");
        CHECK_TEXT(bytes("\xc3(", NULL, 0, true), "|\ufffd(|");
        CHECK_TEXT(bytes("\xf0\x90\x80"
                         "A",
                         NULL, 0, true),
                   "|||\ufffdA|");
        CHECK_TEXT(bytes("\xe0\x80", NULL, 0, true), "|\ufffd\ufffd|");
        CHECK_TEXT(bytes("\xe2\xe2\x82\xac", NULL, 0, true), "|\ufffd||\u20ac|");
    }
    text_model_close(&model);
}

TEST(detok, flush_replaces_what_stays_incomplete)
{
    if (open_model()) {
        CHECK_TEXT(bytes("a\xf0\x9f\x98", NULL, 0, true), "a||||\ufffd");
        CHECK_TEXT(bytes("a\xf0\x9f\x98", NULL, 0, false), "a||||");
    }
    text_model_close(&model);
}

TEST(detok, control_tokens_and_unknown_ids_give_no_text)
{
    if (open_model()) {
        struct run run;
        run_begin(&run, NULL, 0);
        run_push(&run, IM_END);
        run_push(&run, -1);
        run_push(&run, 100000);
        run_push(&run, STOP_TOKEN);
        CHECK_TEXT(run_end(&run, true), "|||<stop>|");
    }
    text_model_close(&model);
}

TEST(detok, text_that_may_become_a_stop_string_is_held)
{
    static const char *const stop[] = {"END", "NDX"};
    if (open_model()) {
        CHECK_TEXT(bytes("xEN.", stop, 2, true), "x|||EN.|");
        CHECK_TEXT(bytes("xEND.", stop, 2, true), "x||||");
        CHECK_TEXT(bytes("EEND", stop, 2, true), "|E|||");
        CHECK_TEXT(bytes("aEN", stop, 2, true), "a|||EN");
        CHECK_TEXT(bytes("aEN", stop, 2, false), "a|||");
    }
    text_model_close(&model);
}

TEST(detok, a_stop_string_inside_a_token_ends_the_text_before_it)
{
    static const char *const stop[] = {"lo w"};
    if (open_model()) {
        struct run run;
        run_begin(&run, stop, 1);
        run_push(&run, HELLO);
        CHECK(!run.stopped);
        run_push(&run, WORLD);
        CHECK(run.stopped);
        CHECK_TEXT(run_end(&run, true), "hel||");
    }
    text_model_close(&model);
}

TEST(detok, the_stop_string_complete_first_counts)
{
    static const char *const overlapping[] = {"abcd", "bc"}, *const nested[] = {"ello", "hello"};
    if (open_model()) {
        CHECK_TEXT(bytes("abcd", overlapping, 2, true), "||a|");
        struct run run;
        run_begin(&run, nested, 2);
        run_push(&run, HELLO);
        CHECK_TEXT(run_end(&run, true), "|");
    }
    text_model_close(&model);
}

TEST(detok, an_empty_stop_string_stops_nothing)
{
    static const char *const stop[] = {""};
    if (open_model())
        CHECK_TEXT(bytes("ab", stop, 1, true), "a|b|");
    text_model_close(&model);
}

/* The definition, slowly: the text up to the earliest end of a stop string. */
static size_t expected(const char *text, const char *const *stop, size_t n_stop, bool *met)
{
    for (size_t end = 1; end <= strlen(text); end++) {
        size_t longest = 0;
        for (size_t i = 0; i < n_stop; i++) {
            size_t n = strlen(stop[i]);
            if (n <= end && n > longest && memcmp(text + end - n, stop[i], n) == 0)
                longest = n;
        }
        if (longest) {
            *met = true;
            return end - longest;
        }
    }
    *met = false;
    return strlen(text);
}

TEST(detok, random_texts_stop_where_the_definition_says)
{
    static const char *const stop[] = {"aab", "abaab", "bb", "\u00e9a"};
    static const char *const unit[] = {"a", "a", "b", "\u00e9"};
    uint64_t state = 7;
    if (open_model()) {
        for (int round = 0; round < 2000; round++) {
            char text[64] = "";
            struct run run;
            bool met;
            for (int i = 0; i < 20; i++) {
                state = state * 6364136223846793005u + 1442695040888963407u;
                strcat(text, unit[state >> 62]);
            }
            size_t n_stop = 1 + (size_t)(state >> 40) % 4;
            size_t want = expected(text, stop, n_stop, &met);
            run_begin(&run, stop, (int32_t)n_stop);
            enum detok_result result = DETOK_GO;
            for (size_t i = 0; text[i] && result == DETOK_GO; i++)
                result = detok_push(&run.detok, (uint8_t)text[i], &run.out);
            if (result == DETOK_GO)
                result = detok_flush(&run.detok, &run.out);
            CHECK_EQ(result == DETOK_STOP, met);
            CHECK(run.out.len == want && (!want || memcmp(run.out.ptr, text, want) == 0));
            run_end(&run, false);
        }
    }
    text_model_close(&model);
}

static void *take_nothing(void *user, uint64_t size, uint64_t align)
{
    (void)user, (void)size, (void)align;
    return NULL;
}

static void give_nothing(void *user, void *ptr, uint64_t size)
{
    (void)user, (void)ptr, (void)size;
}

TEST(detok, no_memory_is_reported)
{
    static const struct mem none = {NULL, NULL, take_nothing, give_nothing};
    if (open_model()) {
        struct detok detok;
        struct buf out;
        detok_init(&detok, model.tokenizer, NULL, 0, &none);
        buf_init(&out, &mem_system);
        CHECK_EQ(detok_push(&detok, HELLO, &out), DETOK_NOMEM);
        detok_release(&detok);
        detok_init(&detok, model.tokenizer, NULL, 0, &mem_system);
        struct buf full;
        buf_init(&full, &none);
        CHECK_EQ(detok_push(&detok, HELLO, &full), DETOK_NOMEM);
        detok_release(&detok);
        buf_release(&out);
    }
    text_model_close(&model);
}
