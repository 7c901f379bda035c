/* What layers.c, layers_weights.c and layers_device.c share. */
#pragma once

#include "layers.h"

int32_t layers_no_memory(struct err *err, size_t bytes);

/* With what a card says of itself: if it is lost, that explains what it refused. */
int32_t layers_error(const struct layers *l, int32_t code, const char *what, struct err *err);

/* Opens it, with memory for the activations. */
int32_t layers_open_device(struct layers *l, const char *device, int32_t threads, struct err *err);

int32_t layers_write(const struct layers *l, void *to, const void *from, size_t bytes,
                     struct err *err);
/* From the activations, at `offset`. */
int32_t layers_read(const struct layers *l, void *host, uint64_t offset, size_t bytes,
                    struct err *err);

/* Memory of the device for `bytes`, that which is there if it is as large. */
int32_t layers_reserve(const struct layers *l, struct held *held, size_t bytes, struct err *err);
void layers_give(const struct layers *l, struct held *held);

/* A matrix of a layer or, as it is one for a sample, of embeddings. */
int32_t layers_pack(const struct layers *l, struct held *held, const struct weight_source *source,
                    struct weight *out, struct err *err);

/* Vectors that are of no layer. */
int32_t layers_load(struct layers *l, struct err *err);

/* Runs steps for a sample. */
int32_t layers_run_plan(struct layers *l, const struct plan *plan, struct err *err);
struct plan_source layers_source(const struct layers *l);
size_t layers_x_bytes(const struct layers *l); /* of the hidden state of a sample */
