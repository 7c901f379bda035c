/* A Hugging Face folder: JSON texts by their names, and whatever else is in it. */
#pragma once

#include "file.h"

#include "../base/arena.h"

#include <jansson.h>

/* Files of JSON are read whole; tokenizers of the largest vocabularies have 35 MB. */
#define FOLDER_JSON_MAX ((uint64_t)256 << 20)

struct folder {
    const char *path;      /* in the arena; NULL: there is none */
    const inflight_io *io; /* borrowed, or NULL */
    const struct mem *mem; /* borrowed */
};

/* The end of a long path, for messages. */
const char *folder_shown(const struct folder *f);

/* Opens a file of the folder. name: without "/"; what is none (also "..") is refused, for it comes
 * from other files. */
int32_t folder_file(const struct folder *f, const char *name, struct file *file, struct err *err);

/* Whether it is there and can be opened. */
bool folder_has(const struct folder *f, const char *name);

/* A JSON object, owned by the caller (json_decref). NULL: err says why, with line and column if
 * the text is broken; or, if it is missing and may be, no err. */
json_t *folder_json(const struct folder *f, const char *name, bool may_be_missing, struct err *err);

/* The object that the n bytes of text of a file are, owned by the caller; NULL: err says why. */
json_t *json_object_of(const struct file *file, const char *text, size_t n, struct err *err);
