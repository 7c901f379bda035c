/* Extension "inflight.text/1": tokenizer and chat template of the loaded model. Both are
 * immutable once the engine is READY, so any thread uses them without asking the engine's. */
#include "abi_text.h"

#include "abi_struct.h"
#include "instance.h"
#include "../model/model.h"

#include <string.h>

#define TEXT_MOST (16u << 20) /* bytes of a text, ids of a list */

/* Begins a call that needs the model. */
static int64_t begin(const inflight_engine *engine, struct instance **i, const struct model **model)
{
    int32_t rc = instance_enter(engine, i);
    if (rc)
        return rc;
    *model = engine_model((*i)->engine);
    if (*model)
        return INFLIGHT_OK;
    struct err err;
    rc = err_set(&err, INFLIGHT_E_STATE, "no model is loaded: wait for READY with status 0");
    (void)instance_fail(*i, &err);
    instance_leave(engine);
    return rc;
}

/* Ends it: the answer is `n` units of `unit` bytes, of which the host gets up to cap. */
static int64_t end(const inflight_engine *engine, struct instance *i, int32_t rc, struct err *err,
                   struct buf *answer, size_t unit, void *out, uint64_t cap)
{
    if (!rc && answer->failed)
        rc = err_set(err, INFLIGHT_E_NOMEM, "no memory for the answer");
    if (!rc && cap && !out)
        rc = err_set(err, INFLIGHT_E_ARG, "room for %llu, but nowhere to write",
                     (unsigned long long)cap);
    int64_t n = rc;
    if (rc) {
        (void)instance_fail(i, err);
    } else {
        size_t all = answer->len / unit, some = (size_t)MIN((uint64_t)all, cap);
        if (some)
            memcpy(out, answer->ptr, some * unit);
        n = (int64_t)all;
    }
    buf_release(answer);
    instance_leave(engine);
    return n;
}

static int64_t encode(inflight_engine *engine, inflight_str text, int32_t *ids, uint64_t cap)
{
    struct instance *i;
    const struct model *model;
    int64_t begun = begin(engine, &i, &model);
    if (begun)
        return begun;
    struct err err = {0};
    struct buf answer;
    struct str in;
    buf_init(&answer, &i->mem);
    int32_t rc = str_in(&in, text, TEXT_MOST, "text", &err);
    if (!rc)
        rc = tokenizer_encode(model_tokenizer(model), in, NULL, false, &answer, &err);
    return end(engine, i, rc, &err, &answer, sizeof *ids, ids, cap);
}

static int64_t decode(inflight_engine *engine, const int32_t *ids, uint64_t n, char *out,
                      uint64_t cap)
{
    struct instance *i;
    const struct model *model;
    int64_t begun = begin(engine, &i, &model);
    if (begun)
        return begun;
    struct err err = {0};
    struct buf answer;
    buf_init(&answer, &i->mem);
    int32_t rc = INFLIGHT_OK;
    if ((n && !ids) || n > TEXT_MOST)
        rc = err_set(&err, INFLIGHT_E_ARG, "ids: %llu of them, at most %u and not NULL",
                     (unsigned long long)n, TEXT_MOST);
    const struct tokenizer *t = model_tokenizer(model);
    int32_t strip = tokenizer_strip_start(t);
    for (uint64_t k = 0; !rc && k < n; k++) {
        struct str piece = tokenizer_strip(tokenizer_piece(t, ids[k]), &strip);
        buf_put(&answer, piece.ptr, piece.len);
    }
    return end(engine, i, rc, &err, &answer, 1, out, cap);
}

static int32_t render_prompt(const struct model *model, struct str messages, struct buf *answer,
                             struct err *err)
{
    const struct chat *chat = model_chat(model);
    if (!chat)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "the model has no chat template");
    const struct tokenizer *t = model_tokenizer(model);
    struct chat_input input = {
        .messages = messages,
        .bos = tokenizer_name(t, tokenizer_bos(t)),
        .eos = tokenizer_name(t, tokenizer_eos(t)),
        .add_generation_prompt = true,
    };
    struct buf trusted;
    buf_init(&trusted, answer->mem);
    int32_t rc = chat_render(chat, &input, answer, &trusted, err);
    buf_release(&trusted);
    return rc;
}

static int64_t render(inflight_engine *engine, inflight_str messages, char *out, uint64_t cap)
{
    struct instance *i;
    const struct model *model;
    int64_t begun = begin(engine, &i, &model);
    if (begun)
        return begun;
    struct err err = {0};
    struct buf answer;
    struct str in;
    buf_init(&answer, &i->mem);
    int32_t rc = str_in(&in, messages, TEXT_MOST, "messages", &err);
    if (!rc)
        rc = render_prompt(model, in, &answer, &err);
    return end(engine, i, rc, &err, &answer, 1, out, cap);
}

const inflight_text_api abi_text_table = {
    {sizeof(inflight_text_api), INFLIGHT_ABI}, encode, decode, render};
