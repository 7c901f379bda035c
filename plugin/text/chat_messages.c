/* The host's input -> variables of the template: OpenAI's messages as JSON, with their
 * order of keys, or plain text as one message of the user. Everything is untrusted,
 * except role names that are common words: templates build control tokens of them. */
#include "chat_messages.h"

#include "../base/utf8.h"
#include "jinja/jinja_string.h"

#include <string.h>

#include <jansson.h>

#define INPUT_BYTES ((size_t)16 << 20) /* most; the output has a limit of its own */

static bool convert(struct run *run, json_t *json, struct value *out);

static bool convert_text(struct run *run, const char *text, size_t len, struct value *out)
{
    char *copy = run_take(run, len, 1);
    if (!copy)
        return false;
    if (len)
        memcpy(copy, text, len);
    *out = value_text(copy, len, false);
    return true;
}

static bool convert_array(struct run *run, json_t *json, struct value *out)
{
    size_t n = json_array_size(json);
    struct value item;
    if (!list_make(run, out, VALUE_LIST, n))
        return false;
    out->trusted = false;
    for (size_t i = 0; i < n; i++)
        if (!convert(run, json_array_get(json, i), &item) || !list_push(run, out, item))
            return false;
    return true;
}

/* Keys differ already, so they are appended without a search. */
static bool convert_object(struct run *run, json_t *json, struct value *out)
{
    const char *key;
    json_t *member;
    if (!dict_make(run, out, json_object_size(json)))
        return false;
    out->trusted = false;
    struct dict *dict = out->as.dict;
    json_object_foreach(json, key, member)
    {
        if (!convert_text(run, key, strlen(key), &dict->key[dict->n]) ||
            !convert(run, member, &dict->value[dict->n]) || !run_pay(run, 0))
            return false;
        dict->n++;
    }
    return true;
}

static bool convert(struct run *run, json_t *json, struct value *out)
{
    bool ok = true;
    switch (json_typeof(json)) {
    case JSON_STRING:
        return convert_text(run, json_string_value(json), json_string_length(json), out);
    case JSON_INTEGER:
        *out = value_int(json_integer_value(json), false);
        return true;
    case JSON_REAL:
        *out = value_real(json_real_value(json), false);
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = value_bool(json_is_true(json), false);
        return true;
    case JSON_NULL:
        *out = (struct value){.kind = VALUE_NONE};
        return true;
    case JSON_ARRAY:
    case JSON_OBJECT:
        if (!run_enter(run))
            return false;
        ok = json_is_array(json) ? convert_array(run, json, out) : convert_object(run, json, out);
        run_leave(run);
    }
    return ok;
}

/* ---- What messages must look like ------------------------------------------------- */

/* What a template would put a token for that stands for nothing. */
static bool is_no_text(const char *type)
{
    static const char *const kinds[] = {"image",       "image_url", "input_image", "audio",
                                        "audio_url",   "video",     "video_url",   "file",
                                        "input_audio", "input_file"};
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(type, kinds[i]) == 0)
            return true;
    return false;
}

static int32_t check_part(json_t *part, size_t i, size_t j, struct err *err)
{
    json_t *type = json_object_get(part, "type");
    if (json_is_string(part))
        return INFLIGHT_OK;
    if (!json_is_string(type))
        return err_set(err, INFLIGHT_E_ARG,
                       "messages[%zu].content[%zu] needs a \"type\", as {\"type\": \"text\", "
                       "\"text\": ...}",
                       i, j);
    if (is_no_text(json_string_value(type)))
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "messages[%zu].content[%zu] is of type %s: only text is served", i, j,
                       json_string_value(type));
    if (strcmp(json_string_value(type), "text") == 0 &&
        !json_is_string(json_object_get(part, "text")))
        return err_set(err, INFLIGHT_E_ARG, "messages[%zu].content[%zu].text must be a string", i,
                       j);
    return INFLIGHT_OK;
}

static int32_t check_message(json_t *message, size_t i, struct err *err)
{
    json_t *role = json_object_get(message, "role"), *content = json_object_get(message, "content");
    if (!json_is_object(message))
        return err_set(err, INFLIGHT_E_ARG, "messages[%zu] must be an object", i);
    if (!json_is_string(role) || json_string_length(role) == 0)
        return err_set(err, INFLIGHT_E_ARG, "messages[%zu].role must be a string", i);
    if (content && !json_is_null(content) && !json_is_string(content) && !json_is_array(content))
        return err_set(err, INFLIGHT_E_ARG,
                       "messages[%zu].content must be a string, a list of parts or null", i);
    int32_t rc = INFLIGHT_OK;
    for (size_t j = 0; !rc && j < json_array_size(content); j++)
        rc = check_part(json_array_get(content, j), i, j, err);
    return rc;
}

static int32_t check_messages(json_t *messages, struct err *err)
{
    if (!json_is_array(messages))
        return err_set(err, INFLIGHT_E_ARG, "messages must be a list");
    int32_t rc = INFLIGHT_OK;
    for (size_t i = 0; !rc && i < json_array_size(messages); i++)
        rc = check_message(json_array_get(messages, i), i, err);
    return rc;
}

/* Templates may write '<|' + role + '|>'. These words name no token that ends or
 * begins anything but a message, so their bytes count as the template's. */
static void trust_role(struct value *role)
{
    static const char *const known[] = {"system", "developer", "user",  "assistant",
                                        "tool",   "function",  "model", "ipython"};
    for (size_t i = 0; role->kind == VALUE_STRING && i < COUNT_OF(known); i++)
        if (string_is(role, known[i]))
            *role = value_literal(known[i]);
}

static bool set_messages(struct run *run, json_t *messages)
{
    struct value list, name = value_literal("role");
    if (!convert(run, messages, &list))
        return false;
    for (size_t i = 0; i < list.as.list->n; i++) {
        struct dict *dict = list.as.list->item[i].as.dict;
        for (size_t j = 0; j < dict->n; j++)
            if (string_is(&dict->key[j], name.as.text))
                trust_role(&dict->value[j]);
    }
    jinja_set(run, (struct str){"messages", 8}, list);
    return true;
}

/* ---- The kinds of input ----------------------------------------------------------- */

static bool set_plain(struct run *run, struct str text)
{
    struct value list, message, content;
    if (!convert_text(run, text.ptr, text.len, &content) || !dict_make(run, &message, 2) ||
        !dict_put(run, &message, value_literal("role"), value_literal("user")) ||
        !dict_put(run, &message, value_literal("content"), content) ||
        !list_make(run, &list, VALUE_LIST, 1) || !list_push(run, &list, message))
        return false;
    jinja_set(run, (struct str){"messages", 8}, list);
    return true;
}

static int32_t set_json(struct run *run, json_t *root, struct err *err)
{
    json_t *messages = json_is_array(root) ? root : json_object_get(root, "messages");
    int32_t rc = check_messages(messages, err);
    const char *key;
    json_t *member;
    if (rc != INFLIGHT_OK)
        return rc;
    if (!set_messages(run, messages))
        return run->code;
    if (json_is_array(root))
        return INFLIGHT_OK;
    json_object_foreach(root, key, member)
    {
        struct value value;
        if (strcmp(key, "bos_token") == 0 || strcmp(key, "eos_token") == 0)
            return err_set(err, INFLIGHT_E_ARG, "%s belongs to the model, not to the messages",
                           key);
        if (member == messages)
            continue;
        if (!convert(run, member, &value))
            return run->code;
        jinja_set(run, (struct str){key, strlen(key)}, value);
    }
    return INFLIGHT_OK;
}

/* Whether text that is not JSON was meant to be: plain text may begin with a bracket,
 * but hardly has a role in it. */
static bool meant_as_json(struct str text)
{
    static const char role[] = "\"role\"";
    for (size_t i = 0; text.len - i >= sizeof role - 1; i++)
        if (memcmp(text.ptr + i, role, sizeof role - 1) == 0)
            return true;
    return false;
}

static bool begins_as_json(struct str text)
{
    size_t i = 0;
    while (i < text.len && (text.ptr[i] == ' ' || (text.ptr[i] >= 9 && text.ptr[i] <= 13)))
        i++;
    return i < text.len && (text.ptr[i] == '[' || text.ptr[i] == '{');
}

/* An array of objects (or an empty one), or an object with messages. */
static bool has_shape(json_t *root)
{
    return json_object_get(root, "messages") ||
           (json_is_array(root) &&
            (json_array_size(root) == 0 || json_is_object(json_array_get(root, 0))));
}

static int32_t set_input(struct run *run, struct str text, struct err *err)
{
    json_error_t at;
    json_t *root = NULL;
    int32_t rc;
    if (begins_as_json(text)) {
        root = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &at);
        if (!root && meant_as_json(text))
            return err_set(err, INFLIGHT_E_ARG, "messages, line %d, column %d: %s", at.line,
                           at.column, at.text);
    }
    if (root && has_shape(root))
        rc = set_json(run, root, err);
    else
        rc = set_plain(run, text) ? INFLIGHT_OK : run->code;
    json_decref(root);
    return rc;
}

int32_t chat_set_variables(struct run *run, const struct chat_input *input, struct err *err)
{
    struct str text = input->messages;
    if (text.len > INPUT_BYTES)
        return err_set(err, INFLIGHT_E_TOO_LONG, "messages have %zu bytes, at most %zu", text.len,
                       INPUT_BYTES);
    size_t valid = utf8_valid(text.ptr, text.len);
    if (valid < text.len)
        return err_set(err, INFLIGHT_E_ARG, "messages are not UTF-8 at byte %zu", valid);
    struct value none = {.kind = VALUE_NONE, .trusted = true};
    jinja_set(run, (struct str){"tools", 5}, none);
    jinja_set(run, (struct str){"documents", 9}, none);
    jinja_set(run, (struct str){"add_generation_prompt", 21},
              value_bool(input->add_generation_prompt, true));
    int32_t rc = set_input(run, text, err);
    jinja_set(run, (struct str){"bos_token", 9}, value_text(input->bos.ptr, input->bos.len, true));
    jinja_set(run, (struct str){"eos_token", 9}, value_text(input->eos.ptr, input->eos.len, true));
    return rc;
}
