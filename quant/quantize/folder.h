/* The folder that a run writes: OUT.partial until all of it is there, then OUT.
 *
 * A file has its name once it is complete and on the disk, ".part" behind it before. So a run that
 * was stopped, however, goes on at the file that was under way. run.json says of which run the
 * files are; another one does not touch them. */
#pragma once

#include "plan.h"

#include <stdio.h>

struct out_folder {
    const char *path; /* OUT, borrowed */
    char partial[4096];
};

/* Makes OUT.partial, or finds that of the same run. run: what the run is, the caller's. OUT must
 * not be there. */
int32_t out_open(struct out_folder *out, const char *path, const json_t *run, bool restart,
                 struct err *err);

/* Bytes that the disk has free for us; UINT64_MAX: not known. */
uint64_t out_room(const struct out_folder *out);

bool out_has(const struct out_folder *out, const char *name);

/* A file under way. */
struct out_file {
    const struct out_folder *out;
    const char *name;
    uint64_t bytes; /* written */
    uint64_t begun; /* of these, on their way to the disk */
    FILE *stream;
};
int32_t out_begin(struct out_file *file, const struct out_folder *out, const char *name,
                  struct err *err);
int32_t out_put(struct out_file *file, const void *bytes, size_t n, struct err *err);
int32_t out_end(struct out_file *file, struct err *err); /* complete */
void out_drop(struct out_file *file);                    /* removes it; ended: nothing */

/* A whole file, unless it is there already. */
int32_t out_json(const struct out_folder *out, const char *name, const json_t *root,
                 struct err *err);
json_t *out_read_json(const struct out_folder *out, const char *name);

int32_t out_remove(const struct out_folder *out, const char *name, struct err *err);

/* A file of the model's folder, if it is there. */
int32_t out_copy(const struct out_folder *out, const struct folder *from, const char *name,
                 struct err *err);

/* OUT.partial becomes OUT. */
int32_t out_finish(const struct out_folder *out, struct err *err);
