/* See chat_source.h. */
#include "chat_source.h"

#include "member.h"

#define TEMPLATE_MOST ((uint64_t)16 << 20) /* bytes */

static int32_t put(struct str text, struct buf *out, bool *found, struct err *err)
{
    *found = true;
    buf_put(out, text.ptr, text.len);
    return out->failed ? err_set(err, INFLIGHT_E_NOMEM,
                                 "no memory for a chat template of %zu bytes", text.len)
                       : INFLIGHT_OK;
}

static int32_t put_file(const struct folder *folder, const char *name, struct buf *out, bool *found,
                        struct err *err)
{
    struct file file;
    struct buf scratch;
    if (folder_file(folder, name, &file, err))
        return err->code;
    if (file.bytes > TEMPLATE_MOST) {
        (void)err_set(err, INFLIGHT_E_MODEL, "%s: has %llu bytes", name,
                      (unsigned long long)file.bytes);
        file_close(&file);
        return err->code;
    }
    buf_init(&scratch, folder->mem);
    const char *text = file.bytes ? file_view(&file, 0, (size_t)file.bytes, &scratch, err) : "";
    int32_t code = text ? put((struct str){text, (size_t)file.bytes}, out, found, err) : err->code;
    buf_release(&scratch);
    file_close(&file);
    return code;
}

/* "..." or [{"name": "default", "template": "..."}, ...] */
static int32_t put_member(const json_t *template, struct buf *out, bool *found, struct err *err)
{
    struct str name, text = {"", 0};
    if (!template)
        return INFLIGHT_OK;
    if (json_is_string(template))
        return put(member_str(template), out, found, err);
    for (size_t i = 0; i < json_array_size(template); i++) {
        const json_t *entry = json_array_get(template, i);
        if (member_text(entry, "name", &name) && str_is(name, "default") &&
            member_text(entry, "template", &text))
            return put(text, out, found, err);
    }
    return err_set(err, INFLIGHT_E_MODEL,
                   "tokenizer_config.json: chat_template is neither a text nor a list with one "
                   "named \"default\"");
}

int32_t chat_source_folder(const struct folder *folder, struct buf *out, bool *found,
                           struct err *err)
{
    *found = false;
    *err = (struct err){0};
    if (folder_has(folder, "chat_template.jinja"))
        return put_file(folder, "chat_template.jinja", out, found, err);
    json_t *config = folder_json(folder, "tokenizer_config.json", true, err);
    if (!config)
        return err->code;
    int32_t code = put_member(member_find(config, "chat_template"), out, found, err);
    json_decref(config);
    return code;
}

int32_t chat_source_gguf(const struct gguf *g, struct buf *out, bool *found, struct err *err)
{
    struct str text;
    *found = false;
    return gguf_str(g, "tokenizer.chat_template", &text) ? put(text, out, found, err) : INFLIGHT_OK;
}
