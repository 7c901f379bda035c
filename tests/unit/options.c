/* A request's options: every key, every way to get one wrong. */
#include "t.h"

#include "plugin/config/options.h"

#include <math.h>

static struct arena arena;
static struct err err;

static int32_t parse(struct sampling *s, const char *json)
{
    arena_release(&arena);
    arena_init(&arena, &mem_system);
    err = (struct err){0};
    *s = sampling_default();
    return options_parse(s, (struct str){json, strlen(json)}, &arena, &err);
}

static void check_refused(const char *json, const char *text)
{
    struct sampling s, before = sampling_default();
    int32_t rc = parse(&s, json);
    if (rc != INFLIGHT_E_ARG || !strstr(err.text, text))
        t_fail(__FILE__, __LINE__, "%s: %d \"%s\", want \"%s\"", json, rc, err.text, text);
    CHECK(s.temperature == before.temperature && s.n == before.n && s.n_stop == 0 &&
          s.max_tokens == 0 && s.logprobs == -1 && !s.has_seed);
    arena_release(&arena);
}

TEST(options, defaults_are_those_of_openai)
{
    struct sampling s = sampling_default();
    CHECK(s.temperature == 1 && s.top_p == 1 && s.min_p == 0 && s.top_k == 0);
    CHECK(s.repetition_penalty == 1 && s.presence_penalty == 0 && s.frequency_penalty == 0);
    CHECK(s.n == 1 && s.logprobs == -1 && !s.has_seed && !s.ignore_eos && s.skip_special_tokens);
    CHECK(s.max_tokens == 0 && s.min_tokens == 0 && s.n_bias == 0 && s.n_stop == 0);
}

TEST(options, every_key_sets_its_field)
{
    struct sampling s;
    CHECK_EQ(parse(&s,
                   "{\"max_tokens\": 7, \"min_tokens\": 3, \"temperature\": 0.5, \"top_p\": 0.9,"
                   "\"top_k\": 40, \"min_p\": 0.05, \"repetition_penalty\": 1.1,"
                   "\"presence_penalty\": -2, \"frequency_penalty\": 2, \"seed\": -1,"
                   "\"logit_bias\": {\"5\": -100, \"0\": 1.5}, \"stop\": [\"a\", \"b\\u0000c\"],"
                   "\"stop_token_ids\": [2, 3], \"ignore_eos\": true, \"skip_special_tokens\": "
                   "false, \"n\": 16,"
                   "\"logprobs\": true, \"top_logprobs\": 20}"),
             INFLIGHT_OK);
    CHECK_EQ(s.max_tokens, 7);
    CHECK_EQ(s.min_tokens, 3);
    CHECK(s.temperature == 0.5f && s.top_p == 0.9f && s.min_p == 0.05f);
    CHECK_EQ(s.top_k, 40);
    CHECK(s.repetition_penalty == 1.1f && s.presence_penalty == -2 && s.frequency_penalty == 2);
    CHECK(s.has_seed && s.seed == UINT64_MAX);
    CHECK(s.n_bias == 2 && s.bias[0].token == 5 && s.bias[0].bias == -100);
    CHECK(s.bias[1].token == 0 && s.bias[1].bias == 1.5f);
    CHECK(s.n_stop == 2 && s.stop[0].len == 1 && s.stop[0].ptr[0] == 'a');
    CHECK(s.stop[1].len == 3 && memcmp(s.stop[1].ptr, "b\0c", 3) == 0);
    CHECK(s.n_stop_token == 2 && s.stop_token[1] == 3);
    CHECK(s.ignore_eos && !s.skip_special_tokens);
    CHECK_EQ(s.n, 16);
    CHECK_EQ(s.logprobs, 20);
    arena_release(&arena);
}

TEST(options, empty_text_an_empty_object_and_null_change_nothing)
{
    struct sampling s;
    CHECK_EQ(parse(&s, ""), INFLIGHT_OK);
    CHECK_EQ(parse(&s, "{}"), INFLIGHT_OK);
    CHECK_EQ(parse(&s,
                   "{\"temperature\": null, \"stop\": null, \"n\": null, \"top_logprobs\": null,"
                   "\"max_tokens\": null, \"max_completion_tokens\": 4}"),
             INFLIGHT_OK);
    CHECK(s.temperature == 1 && s.n == 1 && s.logprobs == -1 && s.max_tokens == 4);
    arena_release(&arena);
}

TEST(options, what_json_does_not_name_stays_as_it_was)
{
    struct sampling s = sampling_default();
    s.top_k = 9;
    s.temperature = 0.25f;
    CHECK_EQ(options_parse(&s, (struct str){"{\"top_k\": 3}", 12}, &arena, NULL), INFLIGHT_OK);
    CHECK(s.top_k == 3 && s.temperature == 0.25f);
    CHECK_EQ(options_parse(&s, (struct str){"{\"top_k\": -1}", 13}, &arena, NULL), INFLIGHT_E_ARG);
    CHECK_EQ(s.top_k, 3);
}

TEST(options, stop_may_be_one_string_and_logprobs_a_number)
{
    struct sampling s;
    char json[400] = "{\"stop\": \"";
    memset(json + strlen(json), 'x', 256);
    strcat(json, "\"}");
    CHECK_EQ(parse(&s, json), INFLIGHT_OK);
    CHECK(s.n_stop == 1 && s.stop[0].len == 256);
    CHECK_EQ(parse(&s, "{\"stop\": []}"), INFLIGHT_OK);
    CHECK_EQ(s.n_stop, 0);
    CHECK_EQ(parse(&s, "{\"logprobs\": 5}"), INFLIGHT_OK);
    CHECK_EQ(s.logprobs, 5);
    CHECK_EQ(parse(&s, "{\"logprobs\": true}"), INFLIGHT_OK);
    CHECK_EQ(s.logprobs, 0);
    CHECK_EQ(parse(&s, "{\"logprobs\": false}"), INFLIGHT_OK);
    CHECK_EQ(s.logprobs, -1);
    CHECK_EQ(parse(&s, "{\"top_logprobs\": 3, \"logprobs\": true}"), INFLIGHT_OK);
    CHECK_EQ(s.logprobs, 3);
    arena_release(&arena);
}

TEST(options, bounds_themselves_are_allowed)
{
    static const char *const json[] = {
        "{\"temperature\": 0}",
        "{\"temperature\": 100}",
        "{\"top_p\": 0}",
        "{\"top_p\": 1.0}",
        "{\"min_p\": 1}",
        "{\"top_k\": 0}",
        "{\"top_k\": 2147483647}",
        "{\"n\": 1}",
        "{\"max_tokens\": 0}",
        "{\"max_tokens\": 2147483647}",
        "{\"min_tokens\": 0}",
        "{\"stop_token_ids\": []}",
        "{\"repetition_penalty\": 100}",
        "{\"presence_penalty\": 2}",
        "{\"logit_bias\": {}}",
        "{\"frequency_penalty\": -2}",
        "{\"seed\": 9223372036854775807}",
        "{\"logit_bias\": {\"2147483647\": 100}}",
        "{\"repetition_penalty\": 0.001}",
    };
    struct sampling s;
    for (size_t i = 0; i < COUNT_OF(json); i++)
        if (parse(&s, json[i]) != INFLIGHT_OK)
            t_fail(__FILE__, __LINE__, "%s: %s", json[i], err.text);
    arena_release(&arena);
}

TEST(options, values_out_of_range_and_of_the_wrong_kind_are_refused_by_name)
{
    static const char *const row[][2] = {
        {"{\"max_tokens\": -1}", "max_tokens must be an integer, 0 to 2147483647"},
        {"{\"max_tokens\": 1.5}", "max_tokens must be an integer"},
        {"{\"max_tokens\": 2147483648}", "0 to 2147483647"},
        {"{\"max_completion_tokens\": \"5\"}", "max_completion_tokens must be an integer"},
        {"{\"max_tokens\": 5, \"max_completion_tokens\": 5}", "the same option"},
        {"{\"min_tokens\": -1}", "min_tokens must be an integer, 0 to"},
        {"{\"min_tokens\": 9, \"max_tokens\": 8}", "min_tokens is 9, above max_tokens 8"},
        {"{\"temperature\": -0.1}", "temperature must be a number, 0 to 100"},
        {"{\"temperature\": 100.5}", "temperature must be a number, 0 to 100"},
        {"{\"temperature\": \"1\"}", "temperature must be a number"},
        {"{\"temperature\": 1e999}", "options, line 1"},
        {"{\"top_p\": 1.01}", "top_p must be a number, 0 to 1"},
        {"{\"top_p\": true}", "top_p must be a number"},
        {"{\"top_k\": -1}", "top_k must be an integer, 0 to"},
        {"{\"min_p\": -1}", "min_p must be a number, 0 to 1"},
        {"{\"repetition_penalty\": 0}", "repetition_penalty must be a number, 0.001 to 100"},
        {"{\"repetition_penalty\": []}", "repetition_penalty must be a number"},
        {"{\"presence_penalty\": 2.1}", "presence_penalty must be a number, -2 to 2"},
        {"{\"frequency_penalty\": -3}", "frequency_penalty must be a number, -2 to 2"},
        {"{\"seed\": 1.5}", "seed must be an integer"},
        {"{\"seed\": \"x\"}", "seed must be an integer"},
        {"{\"ignore_eos\": 1}", "ignore_eos must be true or false"},
        {"{\"n\": 17}", "n must be an integer, 1 to 16"},
        {"{\"n\": 0}", "n must be an integer, 1 to 16"},
        {"{\"logprobs\": 21}", "logprobs must be an integer, 0 to 20"},
        {"{\"logprobs\": \"yes\"}", "logprobs must be true, false or an integer"},
        {"{\"logprobs\": true, \"top_logprobs\": 21}", "top_logprobs must be an integer, 0 to 20"},
        {"{\"top_logprobs\": 2}", "top_logprobs needs logprobs"},
        {"{\"stop\": 5}", "stop must be a string or a list"},
        {"{\"stop\": \"\"}", "stop: each must be a string of 1 to 256 bytes"},
        {"{\"stop\": [\"a\", 5]}", "stop: each must be a string"},
        {"{\"stop_token_ids\": 5}", "stop_token_ids must be a list of at most 64 integers"},
        {"{\"stop_token_ids\": [-1]}", "stop_token_ids must be integers, 0 to"},
        {"{\"stop_token_ids\": [\"a\"]}", "stop_token_ids must be integers"},
        {"{\"logit_bias\": []}", "logit_bias must be an object of at most 1024"},
        {"{\"logit_bias\": {\"5\": 101}}", "logit_bias must be numbers, -100 to 100"},
        {"{\"logit_bias\": {\"5\": \"1\"}}", "logit_bias must be numbers"},
        {"{\"logit_bias\": {\"x\": 1}}", "'x' is not a token id"},
        {"{\"logit_bias\": {\"-5\": 1}}", "'-5' is not a token id"},
        {"{\"logit_bias\": {\"05\": 1}}", "'05' is not a token id"},
        {"{\"logit_bias\": {\"\": 1}}", "'' is not a token id"},
        {"{\"logit_bias\": {\"2147483648\": 1}}", "is not a token id"},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++)
        check_refused(row[i][0], row[i][1]);
}

TEST(options, unknown_keys_get_a_suggestion)
{
    check_refused("{\"temprature\": 1}",
                  "unknown option 'temprature', did you mean 'temperature'?");
    check_refused("{\"max_new_tokens\": 1}", "did you mean 'max_tokens'?");
    check_refused("{\"topk\": 1}", "did you mean 'top_k'?");
    check_refused("{\"Seed\": 1}", "did you mean 'seed'?");
    check_refused("{\"zzzzzzzzzzzz\": 1}", "unknown option 'zzzzzzzzzzzz'");
}

TEST(options, text_that_is_no_object_is_refused_with_its_place)
{
    check_refused("[]", "must be a JSON object");
    check_refused("5", "line 1");
    check_refused("{\"n\": 1,\n \"n\": 2}", "line 2");
    check_refused("{\"n\": 1} x", "line 1");
    check_refused(" ", "line");
    check_refused("{\"n\"", "line 1, column");
    check_refused("\xff", "line");
}

TEST(options, long_lists_and_long_texts_are_refused)
{
    static char json[(1 << 20) + 16];
    strcpy(json, "{\"stop\": [\"a\"");
    for (int i = 0; i < 16; i++)
        strcat(json, ",\"a\"");
    strcat(json, "]}");
    check_refused(json, "stop has 17 strings, at most 16");
    strcpy(json, "{\"stop\": \"");
    memset(json + strlen(json), 'x', 257);
    strcpy(json + 10 + 257, "\"}");
    check_refused(json, "1 to 256 bytes");
    strcpy(json, "{\"stop_token_ids\": [1");
    for (int i = 0; i < 64; i++)
        strcat(json, ",1");
    strcat(json, "]}");
    check_refused(json, "at most 64");
    size_t at = (size_t)snprintf(json, sizeof json, "{\"logit_bias\": {\"0\": 1");
    for (int i = 1; i <= 1024; i++)
        at += (size_t)snprintf(json + at, sizeof json - at, ",\"%d\": 1", i);
    snprintf(json + at, sizeof json - at, "}}");
    check_refused(json, "at most 1024");
    memset(json, ' ', sizeof json - 1);
    check_refused(json, "options have 1048591 bytes, at most 1048576");
}

static void *no_alloc(void *user, uint64_t bytes, uint64_t align)
{
    (void)user;
    (void)bytes;
    (void)align;
    return NULL;
}

static void no_release(void *user, void *ptr, uint64_t bytes)
{
    (void)user;
    (void)ptr;
    (void)bytes;
}

TEST(options, no_memory_is_an_error)
{
    static const char *const json[] = {"{\"stop\": \"a\"}", "{\"stop_token_ids\": [1]}",
                                       "{\"logit_bias\": {\"1\": 1}}"};
    struct mem none = {NULL, NULL, no_alloc, no_release};
    for (size_t i = 0; i < COUNT_OF(json); i++) {
        struct arena empty;
        struct sampling s = sampling_default();
        arena_init(&empty, &none);
        CHECK_EQ(options_parse(&s, (struct str){json[i], strlen(json[i])}, &empty, &err),
                 INFLIGHT_E_NOMEM);
        arena_release(&empty);
    }
}
