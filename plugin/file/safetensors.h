/* The weights of a Hugging Face folder: model.safetensors, or else the shards that
 * model.safetensors.index.json assigns tensors to. Format: huggingface/safetensors. A file is the
 * length of its header (8 bytes, little-endian), the header, a JSON object, and the data, in which
 * the tensors stand one behind the other without gaps.
 *
 * Everything is checked here once: that index and headers agree about every tensor, and of each
 * that its place, type and shape do. */
#pragma once

#include "folder.h"
#include "tensors.h"

/* Reads the headers alone, into the arena; folder is borrowed no longer than that. Files that are
 * open when it fails stay so until tensors_close. */
int32_t safetensors_open(struct tensors *t, const struct folder *folder, struct arena *arena,
                         struct err *err);
