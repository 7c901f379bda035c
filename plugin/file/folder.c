#include "folder.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PATH_MOST  4096
#define SHOWN_MOST 200 /* characters of a path in a message */

const char *folder_shown(const struct folder *f)
{
    size_t len = strlen(f->path);
    return len > SHOWN_MOST ? f->path + (len - SHOWN_MOST) : f->path;
}

static bool is_plain_name(const char *name)
{
    return *name && !strchr(name, '/') && !strchr(name, '\\') && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

int32_t folder_file(const struct folder *f, const char *name, struct file *file, struct err *err)
{
    char path[PATH_MOST];
    *file = (struct file){0};
    if (!is_plain_name(name))
        return err_set(err, INFLIGHT_E_MODEL, "%s: \"%.80s\" is not the name of a file of it",
                       folder_shown(f), name);
    int n = snprintf(path, sizeof path, "%s/%s", f->path, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(err, INFLIGHT_E_IO, "a path of %d characters is too long", n);
    return file_open(file, path, f->io, err);
}

bool folder_has(const struct folder *f, const char *name)
{
    struct file file;
    if (folder_file(f, name, &file, NULL))
        return false;
    file_close(&file);
    return true;
}

json_t *json_object_of(const struct file *file, const char *text, size_t n, struct err *err)
{
    json_error_t at;
    char shown[SHOWN_TEXT];
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &at);
    if (json_is_object(root))
        return root;
    if (root)
        (void)err_set(err, INFLIGHT_E_MODEL, "%s: is not a JSON object", file->path);
    else
        (void)err_set(err, INFLIGHT_E_MODEL, "%s:%d:%d: %s", file->path, at.line, at.column,
                      shown_text((struct str){at.text, strlen(at.text)}, shown));
    json_decref(root);
    return NULL;
}

json_t *folder_json(const struct folder *f, const char *name, bool may_be_missing, struct err *err)
{
    struct file file;
    struct buf scratch;
    json_t *root = NULL;
    if (may_be_missing && !folder_has(f, name))
        return NULL;
    if (folder_file(f, name, &file, err))
        return NULL;
    buf_init(&scratch, f->mem);
    if (file.bytes > FOLDER_JSON_MAX) {
        (void)err_set(err, INFLIGHT_E_MODEL,
                      "%s: has %" PRIu64 " bytes, at most %" PRIu64 " are read", file.path,
                      file.bytes, FOLDER_JSON_MAX);
    } else {
        const char *text = file_view(&file, 0, (size_t)file.bytes, &scratch, err);
        if (text)
            root = json_object_of(&file, text, (size_t)file.bytes, err);
    }
    buf_release(&scratch);
    file_close(&file);
    return root;
}
