/* The model's tokenizer: byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM2) read from a
 * GGUF file. Text is cut into words by the family's regular expression, each word's
 * bytes are merged by rank. Immutable after open; any thread may use it. */
#pragma once

#include "../file/gguf.h"

struct tokenizer;

/* Borrows g's strings. Memory from the arena, except compiled expressions (close). */
int32_t tokenizer_open(struct tokenizer **out, const struct gguf *g, struct arena *arena,
                       struct err *err);
void tokenizer_close(struct tokenizer *t);

/* Text to ids. trusted: (len) bytes, nonzero where control tokens such as
 * <|im_start|> may be recognised, or NULL for nowhere: in untrusted bytes they are
 * ordinary characters, so user text cannot forge them. A control token is recognised
 * only if all its bytes are trusted. Bytes that are not UTF-8 are kept as bytes; a
 * byte the vocabulary has no token for is left out, and families that want Unicode's
 * normal form C get it, so there the pieces need not be the text byte by byte.
 * add_start: put the start token first if the model wants one.
 * Appends int32_t ids to out. */
int32_t tokenizer_encode(const struct tokenizer *t, struct str text, const uint8_t *trusted,
                         bool add_start, struct buf *out, struct err *err);

int32_t tokenizer_n(const struct tokenizer *t); /* vocabulary size */

/* The raw bytes an id stands for; empty for control tokens and ids out of range. */
struct str tokenizer_piece(const struct tokenizer *t, int32_t id);

/* The written form, also of control tokens ("<|im_end|>"). */
struct str tokenizer_name(const struct tokenizer *t, int32_t id);

/* The id of a written form, or -1. */
int32_t tokenizer_find(const struct tokenizer *t, struct str name);

/* Ends generation: eos, eot, eom and what the file declares as such. */
bool tokenizer_is_end(const struct tokenizer *t, int32_t id);

/* Start and end token ids, or -1. */
int32_t tokenizer_bos(const struct tokenizer *t);
int32_t tokenizer_eos(const struct tokenizer *t);
