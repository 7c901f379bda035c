/* Private to the GGUF reader: a cursor over the header bytes. Each walk_ function reads
 * one entry and checks all that can be said of it alone; on failure err has the sentence
 * and the cursor stays where the missing or wrong part is. */
#pragma once

#include "gguf.h"

/* The header is read and kept whole; vocabularies of 256 Ki tokens take about 10 MiB. */
#define GGUF_HEADER_MAX ((uint64_t)256 << 20)

/* Most keys, and most tensors. The largest published models have some 50,000. */
#define GGUF_ENTRIES_MAX 65536

struct walk {
    const uint8_t *bytes; /* (n) borrowed: the beginning of the file */
    size_t n;
    uint64_t file_bytes; /* of the whole file, >= n */
    size_t at;           /* next byte to read, <= n */
    size_t need;         /* after INFLIGHT_E_IO: the bytes without which it cannot go on */
    struct err *err;
};

/* Magic, version and the two counts. */
int32_t walk_prologue(struct walk *w, struct gguf *g);

/* One key with its value. Offsets of an array's strings go to the arena; with arena NULL
 * they are checked and not kept. */
int32_t walk_value(struct walk *w, struct gguf_value *value, struct arena *arena);

/* One entry of the tensor directory; its offset still counts from the tensor data. */
int32_t walk_tensor(struct walk *w, struct tensor *tensor);

/* Bytes of a scalar of this type; 0 for strings and arrays. */
size_t gguf_scalar_bytes(enum gguf_type type);
