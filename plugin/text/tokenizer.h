/* The model's tokenizer: byte-pair encoding of bytes (GPT-2, Llama 3, Qwen) or of characters
 * (Llama 2, Mistral, Gemma), or a unigram model, read from a GGUF file or from a Hugging Face
 * folder. Text is cut at added tokens, normalised and cut into words as the model's family does it,
 * and each word is encoded. Immutable after open; any thread may use it. */
#pragma once

#include "../file/folder.h"
#include "../file/gguf.h"

struct tokenizer;

/* Borrows g's strings. Memory from the arena, except compiled expressions (close). */
int32_t tokenizer_open(struct tokenizer **out, const struct gguf *g, struct arena *arena,
                       struct err *err);

/* From tokenizer.json, else tokenizer.model, else vocab.json and merges.txt; and what
 * tokenizer_config.json, generation_config.json and config.json say of special tokens. */
int32_t tokenizer_open_folder(struct tokenizer **out, const struct folder *folder,
                              struct arena *arena, struct err *err);
void tokenizer_close(struct tokenizer *t); /* NULL is allowed */

/* Text to ids. trusted: (len) bytes, nonzero where control tokens such as
 * <|im_start|> may be recognised, or NULL for nowhere: in untrusted bytes they are
 * ordinary characters, so user text cannot forge them. A control token is recognised
 * only if all its bytes are trusted. Bytes that are not UTF-8 are kept as bytes; a
 * byte the vocabulary has no token for is left out or becomes the unknown token, and text is
 * normalised as the family wants it, so there the pieces need not be the text byte by byte.
 * add_start: put the start token first if the model wants one, and whatever else it wants around
 * a text.
 * Appends int32_t ids to out. */
int32_t tokenizer_encode(const struct tokenizer *t, struct str text, const uint8_t *trusted,
                         bool add_start, struct buf *out, struct err *err);

int32_t tokenizer_n(const struct tokenizer *t); /* vocabulary size */

/* The raw bytes an id stands for; empty for control tokens and ids out of range. */
struct str tokenizer_piece(const struct tokenizer *t, int32_t id);

/* How many spaces the pieces of a whole text begin with that are not its own, since the tokenizer
 * puts them there. */
int32_t tokenizer_strip_start(const struct tokenizer *t);

/* A piece without such spaces; *left of them are left, as tokenizer_strip_start says at first. */
struct str tokenizer_strip(struct str piece, int32_t *left);

/* The written form, also of control tokens ("<|im_end|>"). */
struct str tokenizer_name(const struct tokenizer *t, int32_t id);

/* The id of a written form, or -1. */
int32_t tokenizer_find(const struct tokenizer *t, struct str name);

/* Ends generation: eos, eot, eom and what the file declares as such. */
bool tokenizer_is_end(const struct tokenizer *t, int32_t id);

/* Start and end token ids, or -1. */
int32_t tokenizer_bos(const struct tokenizer *t);
int32_t tokenizer_eos(const struct tokenizer *t);
