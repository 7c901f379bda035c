/* Tokens and log probabilities that the device chooses, step ahead of step, against those that the
 * host chooses from the same logits with the same generator. Many requests at once. */
#include "device.h"
#include "session.h"
#include "t.h"

#include <math.h>
#include <stdlib.h>

static const char *const options[] = {
    "\"temperature\":0",
    "\"temperature\":0.9,\"seed\":1",
    "\"temperature\":1.2,\"seed\":2,\"top_k\":20",
    "\"temperature\":1.1,\"seed\":3,\"top_p\":0.8",
    "\"temperature\":1.0,\"seed\":4,\"min_p\":0.05",
    "\"temperature\":1.3,\"seed\":5,\"top_k\":50,\"top_p\":0.9,\"min_p\":0.01",
    "\"temperature\":0,\"repetition_penalty\":1.3",
    "\"temperature\":0.8,\"seed\":6,\"presence_penalty\":0.6,\"frequency_penalty\":0.4",
    "\"temperature\":0,\"min_tokens\":8,\"logit_bias\":{\"40\":2.5,\"41\":-100}",
    "\"temperature\":1.0,\"seed\":7,\"n\":3",
};
static const char *const prompts[] = {"The sea is", "Once upon a time there was a small",
                                      "import os\n\ndef main():\n", "Q: What is gravity?\nA:"};

enum { N = COUNT_OF(options) * COUNT_OF(prompts), TOKENS = 10 };

static struct answer at_once[N], ahead[N], plain[N];

static bool ask_all(struct session *s, struct answer *answers, const char *more)
{
    static char text[N][256];
    struct ask asks[N];
    for (int32_t i = 0; i < N; i++) {
        snprintf(text[i], sizeof text[i], "{\"max_tokens\":%d,%s%s}", TOKENS,
                 options[(size_t)i % COUNT_OF(options)], more);
        asks[i] = (struct ask){.kind = INFLIGHT_PROMPT,
                               .input = prompts[(size_t)i / COUNT_OF(options)],
                               .options = text[i]};
    }
    return session_run(s, asks, answers, N);
}

static bool run(bool is_untapped)
{
    static const char more[] = ",\"logprobs\":true,\"top_logprobs\":5";
    struct session s;
    if (!session_prepare(&s))
        return false;
    s.is_untapped = is_untapped;
    bool ok = session_open(&s) && ask_all(&s, is_untapped ? ahead : at_once, more) &&
              (!is_untapped || ask_all(&s, plain, ""));
    session_close(&s);
    return ok;
}

/* Whether both say the same but for how log probabilities are rounded. n_number: of those. */
static bool is_alike(const char *a, const char *b, int *n_number)
{
    static const char key[] = "\"logprob\":";
    const size_t len = sizeof key - 1;
    while (*a && *a == *b) {
        if (strncmp(a, key, len) || strncmp(b, key, len)) {
            a++, b++;
            continue;
        }
        char *end_a, *end_b;
        double x = strtod(a + len, &end_a), y = strtod(b + len, &end_b);
        if (!(fabs(x - y) <= 8e-6 + fabs(y) * 0x1p-22))
            return false;
        a = end_a, b = end_b;
        ++*n_number;
    }
    return *a == *b;
}

TEST(cuda_ahead, tokens_and_log_probabilities_are_those_of_the_host)
{
    int n_number = 0;
    if (strcmp(test_device(), "cuda") != 0) {
        t_skip("the models run on the CPU, whose tokens the host chooses");
        return;
    }
    if (!run(false) || !run(true))
        return;
    for (size_t i = 0; i < N; i++) {
        CHECK_EQ(ahead[i].status, 0);
        CHECK_EQ(ahead[i].n_hash, 0);
        CHECK_TEXT(ahead[i].text, at_once[i].text);
        CHECK_TEXT(plain[i].text, at_once[i].text);
        CHECK_EQ(ahead[i].n_tokens, at_once[i].n_tokens);
        if (!is_alike(ahead[i].logprobs, at_once[i].logprobs, &n_number))
            t_fail(__FILE__, __LINE__, "%s:\n%s\nhost:\n%s", options[i % COUNT_OF(options)],
                   ahead[i].logprobs, at_once[i].logprobs);
    }
    CHECK(n_number > N * TOKENS * 5);
    printf("  %d log probabilities of %d requests\n", n_number, N);
}
