#include "checkpoint.h"

#include "ahead_part.h"
#include "text_part.h"

#include "../file/safetensors.h"

#include <string.h>

static int32_t open_gguf(struct checkpoint *c, const char *path, const inflight_io *io,
                         struct arena *arena, struct err *err)
{
    struct file *file = arena_take(arena, sizeof *file);
    if (!file)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory to open a file");
    if (file_open(file, path, io, err))
        return err_prefix(err, "neither a folder with a config.json nor a file");
    c->path = file->path;
    c->tensors.file = file;
    c->tensors.n_files = 1;
    if (gguf_open(&c->gguf, file, arena, err))
        return err->code;
    c->gguf.tensors.file = file;
    c->gguf.tensors.n_files = 1;
    c->tensors = c->gguf.tensors;
    c->n_files = 1;
    ahead_part_find(c);
    return INFLIGHT_OK;
}

static int32_t open_folder(struct checkpoint *c, struct arena *arena, struct err *err)
{
    c->path = folder_shown(&c->folder);
    c->config = folder_json(&c->folder, "config.json", false, err);
    if (!c->config)
        return err->code;
    if (scheme_open(&c->scheme, c->config, &c->folder, arena, err) ||
        safetensors_open(&c->tensors, &c->folder, arena, err) || text_part_find(c, arena, err))
        return err->code;
    c->n_files = c->tensors.n_files;
    ahead_part_find(c);
    return INFLIGHT_OK;
}

int32_t checkpoint_open(struct checkpoint *c, const char *path, const inflight_io *io,
                        struct arena *arena, struct err *err)
{
    struct folder folder = {
        .path = arena_copy_text(arena, path, strlen(path)), .io = io, .mem = arena->mem};
    *c = (struct checkpoint){0};
    if (!folder.path)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a path");
    if (folder_has(&folder, "config.json")) {
        c->folder = folder;
        return open_folder(c, arena, err);
    }
    return open_gguf(c, path, io, arena, err);
}

void checkpoint_close_files(struct checkpoint *c)
{
    tensors_close(&c->tensors);
}

void checkpoint_close(struct checkpoint *c)
{
    checkpoint_close_files(c);
    scheme_close(&c->scheme);
    json_decref(c->config);
    json_decref(c->whole);
    c->config = c->whole = NULL;
}
