/* A model's files, opened: a GGUF file or a Hugging Face folder. What loading asks of them is the
 * same: numbers (hparams.h), tensors (weights.h), what a tokenizer and a chat template are made
 * of. */
#pragma once

#include "scheme.h"

#include "../file/gguf.h"

struct checkpoint {
    const char *path;       /* for messages: the end of a longer one */
    struct tensors tensors; /* of all files */
    int32_t n_files;        /* that they are in, also when those have been closed */
    struct gguf gguf;       /* of a GGUF file, its keys */
    struct folder folder;   /* of a Hugging Face folder; path NULL: it is a file */
    json_t *config;         /* its config.json, of a model that sees that of its text model, owned;
                               NULL: it is a file */
    json_t *whole;          /* the file itself where that is another, owned; or NULL */
    struct scheme scheme;   /* how its matrices are stored */
};

/* Headers alone are read, into the arena. path: a folder, which is what has a config.json, or a
 * file. What has been opened when it fails stays until checkpoint_close. */
int32_t checkpoint_open(struct checkpoint *c, const char *path, const inflight_io *io,
                        struct arena *arena, struct err *err);
void checkpoint_close(struct checkpoint *c); /* zeroed or closed is allowed */

/* The files of the tensors alone: what the headers said stays. */
void checkpoint_close_files(struct checkpoint *c);
