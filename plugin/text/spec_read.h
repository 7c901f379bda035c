/* The readers of what tokenizers are made of: one for each kind of file. */
#pragma once

#include "spec.h"

#include "../file/folder.h"
#include "../file/gguf.h"

/* The keys tokenizer.ggml.* of a GGUF file, whose strings stay borrowed. */
int32_t spec_read_gguf(struct spec *s, const struct gguf *g, struct err *err);

/* A Hugging Face folder; *name becomes the file that the vocabulary is from. */
int32_t spec_read_folder(struct spec *s, const struct folder *folder, const char **name,
                         struct err *err);

/* tokenizer.json of the tokenizers library, parsed; texts are borrowed from root. */
int32_t spec_read_json(struct spec *s, const json_t *root, struct err *err);

/* Its normalizer, pre_tokenizer and decoder; part of spec_read_json. */
int32_t spec_read_json_steps(struct spec *s, const json_t *root, struct err *err);

/* tokenizer.model of SentencePiece. bytes stay borrowed until spec_release. first_prefix_only: the
 * mark that it puts before a text stands before the first section alone. */
int32_t spec_read_sentencepiece(struct spec *s, struct str bytes, bool first_prefix_only,
                                struct err *err);

/* vocab.json, parsed, and the bytes of merges.txt, as GPT-2 has them; both stay borrowed. config:
 * tokenizer_config.json, or NULL. */
int32_t spec_read_gpt2(struct spec *s, const json_t *vocab, struct str merges, const json_t *config,
                       struct err *err);

/* The vocabulary {"name": id, ...}, as tokenizer.json has it too. */
int32_t spec_read_vocab(struct spec *s, const json_t *vocab, struct err *err);

/* How SentencePiece's kind treats spaces, of either file format. */
struct spec_spaces {
    struct str charsmap;    /* empty: none */
    bool add_prefix;        /* a mark before the text */
    bool first_prefix_only; /* not behind every added token */
    bool squeeze;           /* several spaces are one, and none at the ends */
};

int32_t spec_set_spaces(struct spec *s, const struct spec_spaces *spaces, struct err *err);

/* Tokens of the user in its unigram models have scores better than those of any other way to put
 * their texts together, whatever the file says. */
void spec_score_users(struct spec *s);
