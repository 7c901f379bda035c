/* Files of safetensors, one after another, and the index over them. Format:
 * huggingface/safetensors. */
#pragma once

#include "calibrate.h"
#include "encode.h"
#include "folder.h"
#include "../tools/progress.h"

struct shard_writer {
    const struct quantize_plan *plan;
    const struct tensors *tensors;
    const struct out_folder *out;
    struct encoder *encoder;
    struct progress *progress;       /* in bytes of the model */
    struct calibration *calibration; /* makes what belongs to layers; or NULL */
};

/* Writes the files that are not there yet, each with the errors of its matrices beside it. */
int32_t shards_write(const struct shard_writer *w, struct err *err);

/* Bytes of the model that files which are there already were made of. */
uint64_t shards_done(const struct quantize_plan *plan, const struct out_folder *out);

/* Removes the errors beside the files, once there is a report. */
int32_t shards_forget_errors(const struct shard_writer *w, struct err *err);

/* The index, if there is more than one; INFLIGHT_OK. */
int32_t shards_index(const struct shard_writer *w, struct err *err);
