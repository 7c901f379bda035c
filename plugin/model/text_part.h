/* Models that also see: the text model in them. Its numbers are an object in their config.json, or
 * stand among theirs; its tensors are told from those of other parts by their names. Pictures are
 * not served. */
#pragma once

#include <stdint.h>

struct checkpoint;
struct arena;
struct err;

/* Of a folder that has been opened: if it is such a model, c->config becomes the text model's, and
 * its tensors are found by the names that they have in a text model; those of other parts are
 * apart. Names in messages, and for c->scheme, stay those of the files. */
int32_t text_part_find(struct checkpoint *c, struct arena *arena, struct err *err);
