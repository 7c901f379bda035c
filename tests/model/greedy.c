/* Greedy text against llama.cpp's (greedy.json, made by greedy_llamacpp.py with float
 * activations). With float activations our tokens and texts are the same. With int8
 * activations, fed with llama.cpp's tokens, our best token is llama.cpp's or both stand
 * close: rounding inputs to 8 bits moves the logits of this model by a few tenths. */
#include "direct.h"
#include "session.h"
#include "t.h"

#include <jansson.h>

#define TIE_INT8  0.6
#define TIE_FLOAT 0.02 /* llama.cpp's cache is half precision */

static json_t *open_rows(json_t **root)
{
    json_error_t error;
    *root = json_load_file("tests/model/greedy.json", 0, &error);
    return json_object_get(*root, "rows");
}

static int32_t read_ids(const json_t *row, const char *key, int32_t *out)
{
    const json_t *ids = json_object_get(row, key);
    int32_t n = (int32_t)json_array_size(ids);
    for (int32_t i = 0; i < n; i++)
        out[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    return n;
}

static int32_t argmax(const float *logits, int32_t V)
{
    int32_t best = 0;
    for (int32_t i = 1; i < V; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* Returns how many positions agree. */
static int compare_row(struct model *m, const json_t *row, double tie)
{
    static int32_t token[DIRECT_MAX];
    int32_t n_prompt = read_ids(row, "prompt_ids", token);
    int32_t n = read_ids(row, "ids", token + n_prompt);
    int32_t V = model_hparams(m)->V;
    int agree = 0;
    CHECK(direct_forward(m, token, n_prompt + n - 1));
    for (int32_t i = 0; i < n; i++) {
        const float *logits = model_logits(m, n_prompt + i - 1);
        int32_t want = token[n_prompt + i], got = argmax(logits, V);
        double theirs = json_number_value(json_array_get(json_object_get(row, "gap"), (size_t)i));
        double ours = (double)(logits[got] - logits[want]);
        agree += got == want;
        if (got != want && (theirs > tie || ours > tie))
            t_fail(__FILE__, __LINE__, "token %d: %d, want %d; gap here %.3f, there %.3f", i, got,
                   want, ours, theirs);
    }
    return agree;
}

/* At least this share of the tokens agrees, and the rest are ties. */
static void compare_all(int32_t activations, int32_t kv_type, double tie, int least_percent)
{
    json_t *root, *rows = open_rows(&root);
    struct model *m = direct_open(activations, kv_type, 2);
    int agree = 0, n = 0;
    if (m) {
        CHECK_EQ(json_array_size(rows), 10);
        for (size_t i = 0; i < json_array_size(rows); i++) {
            agree += compare_row(m, json_array_get(rows, i), tie);
            n += (int)json_array_size(json_object_get(json_array_get(rows, i), "ids"));
        }
        printf("  %d of %d tokens agree\n", agree, n);
        CHECK(agree * 100 >= n * least_percent);
        model_close(m);
    }
    json_decref(root);
}

TEST(greedy, with_float_activations_each_token_is_llama_cpps)
{
    compare_all(ACT_FLOAT, KV_F32, TIE_FLOAT, 99);
}

TEST(greedy, with_int8_activations_each_token_is_llama_cpps_or_a_tie)
{
    compare_all(ACT_INT8, KV_BF16, TIE_INT8, 95);
}

TEST(greedy, text_through_the_engine_equals_llama_cpps)
{
    struct session s;
    static struct answer answer;
    json_t *root, *rows = open_rows(&root);
    int equal = 0;
    if (session_prepare(&s)) {
        s.config.activations = ACT_FLOAT;
        s.config.kv_type = KV_F32;
        bool open = session_open(&s);
        for (size_t i = 0; open && i < json_array_size(rows); i++) {
            const json_t *row = json_array_get(rows, i);
            const char *input = json_string_value(json_object_get(row, "input"));
            const char *text = json_string_value(json_object_get(row, "text"));
            bool chat = strcmp(json_string_value(json_object_get(row, "kind")), "chat") == 0;
            struct ask ask = {chat ? INFLIGHT_CHAT : INFLIGHT_PROMPT, input,
                              "{\"temperature\": 0, \"max_tokens\": 64}", 0};
            if (!session_run(&s, &ask, &answer, 1))
                break;
            CHECK_EQ(answer.status, 0);
            CHECK_EQ(answer.n_prompt, json_array_size(json_object_get(row, "prompt_ids")));
            equal += strcmp(answer.text, text) == 0;
        }
        printf("  %d of 10 texts equal\n", equal);
        CHECK(equal >= 9);
        session_close(&s);
    }
    json_decref(root);
}

/* A token that is forced to come, of <|im_start|>: 1. */
TEST(greedy, control_tokens_are_in_the_text_if_they_are_asked_for)
{
    static struct session s;
    static struct answer answer[2];
    static const struct ask ask[2] = {
        {INFLIGHT_PROMPT, "Hi", "{\"max_tokens\": 2, \"logit_bias\": {\"1\": 100}}", 0},
        {INFLIGHT_PROMPT, "Hi",
         "{\"max_tokens\": 2, \"logit_bias\": {\"1\": 100}, \"skip_special_tokens\": false}", 0}};
    if (!session_prepare(&s) || !session_open(&s))
        return;
    CHECK(session_run(&s, ask, answer, 2));
    CHECK_EQ(answer[0].n_tokens, 2);
    CHECK_TEXT(answer[0].text, "");
    CHECK_TEXT(answer[1].text, "<|im_start|><|im_start|>");
    session_close(&s);
}
