/* Where a model's chat template is. */
#pragma once

#include "../file/folder.h"
#include "../file/gguf.h"

/* Appends the template of a Hugging Face folder to out: that of chat_template.jinja, else that of
 * tokenizer_config.json, of several the one named "default". *found: whether there is one. */
int32_t chat_source_folder(const struct folder *folder, struct buf *out, bool *found,
                           struct err *err);

/* The same of a GGUF file. */
int32_t chat_source_gguf(const struct gguf *g, struct buf *out, bool *found, struct err *err);
