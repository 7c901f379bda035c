/* What a tokenizer is made of, whatever it was read from. The readers (spec_gguf.c, spec_json.c,
 * spec_sentencepiece.c, spec_gpt2.c) fill one in; the parts of a tokenizer (vocab, merges, bpe,
 * unigram, added, normal, pretok) are opened with it and know no file. The model is that of
 * Hugging Face's tokenizers: text is cut at added tokens, normalised, cut into words, and each
 * word is encoded. */
#pragma once

#include "../base/arena.h"
#include "../base/buf.h"
#include "../base/err.h"

#include <jansson.h>

#define SPEC_STEPS      8
#define SPEC_AFFIXES    4
#define SPEC_ENDS       32
#define SPEC_TOKENS_MAX (1 << 21) /* ids are below; more than any vocabulary in use */

/* The character that stands for a space in the names of SentencePiece's kind, U+2581. */
#define SPACE_MARK "\xe2\x96\x81"

/* The numbers of tokenizer.ggml.token_type and of SentencePiece. */
enum token_type {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER_DEFINED = 4,
    TOKEN_UNUSED = 5,
    TOKEN_BYTE = 6, /* "<0x0A>" */
};

enum spec_model {
    SPEC_BPE_RULES,  /* pairs are merged in the order of a list */
    SPEC_BPE_SCORES, /* pairs that make a token are merged, that with the highest score first */
    SPEC_UNIGRAM,    /* the tokens with the highest sum of scores */
};

struct spec_rule {
    struct str left, right; /* names */
};

/* A token that stands for its text wherever it occurs. */
struct spec_added {
    struct str text;
    int32_t id;
    bool control;
    bool normalized;     /* found in text that has been normalised, as all words are */
    bool lstrip, rstrip; /* takes the spaces beside it */
    bool single_word;    /* not beside a letter or digit */
};

enum normal_kind {
    NORMAL_NFC,
    NORMAL_NFKC,
    NORMAL_PREPEND, /* content before a text that is not empty */
    NORMAL_REPLACE, /* pattern by content */
    NORMAL_STRIP,   /* white space at the ends */
    NORMAL_SQUEEZE, /* no spaces at the ends, and one where there were several */
    NORMAL_CHARSMAP /* SentencePiece's table of replacements, content */
};

struct normal_step {
    enum normal_kind kind;
    struct str pattern, content;
    bool is_literal;  /* pattern */
    bool left, right; /* which ends */
};

enum pretok_kind {
    PRETOK_SPLIT,        /* at what matches pattern */
    PRETOK_MARK_SPACES,  /* spaces become SPACE_MARK, one of which may come first */
    PRETOK_PREFIX_SPACE, /* a space before what does not begin with one */
};

enum pretok_behavior {
    PRETOK_ISOLATED,
    PRETOK_REMOVED,
    PRETOK_MERGED_WITH_PREVIOUS,
    PRETOK_MERGED_WITH_NEXT,
    PRETOK_CONTIGUOUS,
};

enum pretok_prepend { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS };

struct pretok_step {
    enum pretok_kind kind;
    struct str pattern; /* in PCRE2's syntax */
    bool is_literal;
    int digits; /* not 0: a match is so many digits in a row, in place of the pattern's. Of bytes in
                   GPT-2's alphabet, where one alone may also be a byte of another character: see
                   pretok.c */
    enum pretok_behavior behavior;
    bool invert;                 /* what does not match is the match */
    enum pretok_prepend prepend; /* a mark before every text, or the input's beginning */
};

struct spec {
    struct arena *arena;  /* borrowed: what the tokenizer keeps, the names among it */
    struct arena scratch; /* what only its opening needs */
    json_t *json[2];      /* owned: texts may be borrowed from them; or NULL */

    enum spec_model model;
    bool byte_level;    /* words are bytes, written in GPT-2's alphabet ("Ġthe" is " the") */
    bool byte_fallback; /* characters that are no token become tokens of bytes */
    bool whole_words;   /* a word of the vocabulary is taken even if no rule builds it */
    bool fuse_unknown;  /* several unknown characters in a row are one unknown token */
    bool single;        /* sums of scores are of single precision */
    int32_t unknown;    /* -1: unknown characters are left out */

    int32_t least_n;  /* ids below are taken even if the vocabulary is smaller */
    int32_t n;        /* ids are 0 .. n - 1 */
    struct str *name; /* (n) written forms, in the arena; empty: no such token */
    uint8_t *type;    /* (n) enum token_type, in the arena */
    double *score;    /* (n) or NULL */
    struct spec_rule *rule;
    size_t n_rules;
    struct spec_added *added;
    size_t n_added, added_cap;
    bool normalize_added; /* those that are found in normalised text are not so yet */

    struct normal_step normal[SPEC_STEPS];
    int n_normal;
    struct pretok_step pretok[SPEC_STEPS];
    int n_pretok;

    bool marks_spaces;   /* SPACE_MARK in a name is a space of text */
    int32_t strip_start; /* spaces dropped at the beginning of a text that was decoded */

    int32_t prefix[SPEC_AFFIXES], suffix[SPEC_AFFIXES]; /* around a text, if wanted */
    int n_prefix, n_suffix;
    int32_t bos, eos;       /* -1: none */
    int32_t end[SPEC_ENDS]; /* ids that end generation, besides eos */
    int n_ends;
};

void spec_init(struct spec *s, struct arena *arena);
void spec_release(struct spec *s); /* what the tokenizer does not keep */

/* Takes name and type for n tokens, or least_n: empty and TOKEN_UNUSED. */
int32_t spec_take_tokens(struct spec *s, int64_t n, struct err *err);

/* Copies text into the arena that lives as long as the tokenizer. False: no memory. */
bool spec_keep(const struct spec *s, struct str text, struct str *kept);

/* A further added token; its type becomes that of one. The text is borrowed. */
int32_t spec_add(struct spec *s, const struct spec_added *added, struct err *err);

/* The same of a token that may be new, with this name; one that is there already stays. */
int32_t spec_set_added(struct spec *s, const struct spec_added *added, struct err *err);

/* Room for one step more, zeroed; NULL: there are too many. */
struct normal_step *spec_normal(struct spec *s, enum normal_kind kind, struct err *err);
struct pretok_step *spec_pretok(struct spec *s, enum pretok_kind kind, struct err *err);

void spec_add_end(struct spec *s, int64_t id); /* what is no token's is passed over */

/* Linear search; for a few names of a file. -1: none. */
int32_t spec_find(const struct spec *s, struct str name);

/* Splits "left right" at its space; the first character may itself be one. */
bool spec_split_rule(struct str text, struct spec_rule *rule);

/* GPT-2's way to cut. */
extern const char spec_gpt2_words[];

static inline struct str str_of(const char *text)
{
    return (struct str){text, __builtin_strlen(text)};
}

static inline bool str_is(struct str s, const char *text)
{
    return s.len == __builtin_strlen(text) && __builtin_memcmp(s.ptr, text, s.len) == 0;
}
