#include "direct.h"

#include "t.h"

struct model *direct_open(int32_t activations, int32_t kv_type, int32_t threads)
{
    struct err err = {0};
    struct model *m;
    struct model_params params = {
        .path = TEST_MODEL,
        .device = "auto",
        .mem = &mem_system,
        .context = 512,
        .threads = threads,
        .activations = activations,
        .kv_type = kv_type,
        .kv_tokens = 512,
        .max_tokens = DIRECT_MAX,
        .max_rows = DIRECT_MAX,
    };
    FILE *f = fopen(TEST_MODEL, "rb");
    if (!f) {
        t_skip("no " TEST_MODEL ": make model");
        return NULL;
    }
    fclose(f);
    if (model_open(&m, &params, &err) || model_load(m, NULL, NULL, &err)) {
        t_fail(__FILE__, __LINE__, "%s", err.text);
        return NULL;
    }
    return m;
}

bool direct_forward(struct model *m, const int32_t *token, int32_t n)
{
    static int32_t count[DIRECT_MAX];
    if (n < 1 || n > DIRECT_MAX)
        return false;
    for (int32_t i = 0; i < n; i++)
        count[i] = i;
    struct batch_seq seq = {.first = 0, .n = n, .position = 0, .page = count};
    struct batch batch = {
        .T = n, .S = 1, .R = n, .token = token, .position = count, .seq = &seq, .row = count};
    return model_forward(m, &batch) == 0;
}
