/* A config.json as text, and what hparams_read makes of it. */
#pragma once

#include "t.h"

#include "kernels/ops.h"
#include "plugin/model/arch.h"
#include "plugin/model/hparams.h"

static struct err err;
static struct hparams h;

/* What is the same in all of them; the model, and what a test adds or replaces, come after. */
#define COMMON                                                                             \
    "\"hidden_size\": 64, \"intermediate_size\": 128, \"num_hidden_layers\": 5, "          \
    "\"num_attention_heads\": 4, \"vocab_size\": 100, \"max_position_embeddings\": 2048, " \
    "\"rms_norm_eps\": 1e-5"
#define LLAMA   "\"model_type\": \"llama\", " COMMON
#define SMOLLM3 "\"model_type\": \"smollm3\", " COMMON
#define GPT2                                                                    \
    "\"model_type\": \"gpt2\", \"n_embd\": 64, \"n_layer\": 5, \"n_head\": 4, " \
    "\"n_positions\": 1024, \"vocab_size\": 100, \"layer_norm_epsilon\": 1e-5"

/* base and then more, whose keys count instead of those of base. */
static inline int32_t read_config(const char *base, const char *more)
{
    char text[2][2048];
    json_error_t at;
    snprintf(text[0], sizeof text[0], "{%s}", base);
    snprintf(text[1], sizeof text[1], "{%s}", more);
    json_t *config = json_loads(text[0], 0, &at), *other = json_loads(text[1], 0, &at);
    struct checkpoint c = {.folder = {.path = "models/small"}, .config = config};
    CHECK(config && other && json_object_update(config, other) == 0);
    err = (struct err){0};
    int32_t rc = hparams_read(&h, &c, &err);
    CHECK_EQ(err.code, rc);
    json_decref(config);
    json_decref(other);
    return rc;
}

static inline void accept(const char *base, const char *more)
{
    if (read_config(base, more))
        t_fail(__FILE__, __LINE__, "%s, %s: %s", base, more, err.text);
}

static inline void refuse(const char *base, const char *more, int32_t code, const char *text)
{
    CHECK_EQ(read_config(base, more), code);
    CHECK_TEXT(err.text, text);
}
