/* See member.h. */
#include "member.h"

const json_t *member_find(const json_t *of, const char *key)
{
    const json_t *member = json_object_get(of, key);
    return json_is_null(member) ? NULL : member;
}

struct str member_str(const json_t *text)
{
    return json_is_string(text) ? (struct str){json_string_value(text), json_string_length(text)}
                                : (struct str){"", 0};
}

bool member_text(const json_t *of, const char *key, struct str *out)
{
    const json_t *member = member_find(of, key);
    if (!json_is_string(member))
        return false;
    *out = member_str(member);
    return true;
}

bool member_flag(const json_t *of, const char *key, bool *out)
{
    const json_t *member = member_find(of, key);
    if (!json_is_boolean(member))
        return false;
    *out = json_is_true(member);
    return true;
}

bool member_int(const json_t *of, const char *key, int64_t *out)
{
    const json_t *member = member_find(of, key);
    if (!json_is_integer(member))
        return false;
    *out = json_integer_value(member);
    return true;
}

struct str member_type(const json_t *of)
{
    struct str type = {"", 0};
    (void)member_text(of, "type", &type);
    return type;
}

int32_t member_refuse(const char *key, struct str type, struct err *err)
{
    char shown[SHOWN_TEXT];
    return err_set(err, INFLIGHT_E_MODEL, "%s: '%s' is not supported", key,
                   shown_text(type, shown));
}

bool member_added(const json_t *of, struct spec_added *added)
{
    if (json_is_string(of)) {
        added->text = member_str(of);
        return true;
    }
    (void)member_flag(of, "special", &added->control);
    (void)member_flag(of, "lstrip", &added->lstrip);
    (void)member_flag(of, "rstrip", &added->rstrip);
    (void)member_flag(of, "single_word", &added->single_word);
    (void)member_flag(of, "normalized", &added->normalized);
    /* One that untrusted text could forge in another form would be no control token. */
    if (added->control)
        added->normalized = false;
    return member_text(of, "content", &added->text);
}
