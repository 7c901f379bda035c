/* Regular expressions of tokenizers: PCRE2 with Unicode properties, its JIT where the host allows
 * it, its interpreter elsewhere. */
#pragma once

#include "../base/buf.h"
#include "../base/err.h"

/* Parts of expressions, inside of brackets. White_Space: \s of PCRE2 also has U+180E, which Unicode
 * no longer counts as such. Of words: Alphabetic (with the letters in circles), marks, digits and
 * connectors, as Unicode recommends for \w. */
#define REGEX_WHITE "\\p{Z}\\t-\\r\\x{85}"
#define REGEX_WORD                                                              \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}" \
    "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

struct regex {
    void *code; /* pcre2_code, owned; NULL: none */
};

/* expression: in PCRE2's syntax; is_literal: characters that stand for themselves. */
int32_t regex_open(struct regex *r, struct str expression, bool is_literal, struct err *err);
void regex_close(struct regex *r); /* zeroed or closed is allowed */

/* After the last regex_close of a tokenizer: the JIT keeps one empty chunk of executable memory,
 * which unloading would leak. */
void regex_trim(void);

/* Oniguruma's syntax, in which tokenizer.json is written, as PCRE2's: \s, \d and \w mean what
 * Unicode says there. What the two understand differently is refused. */
int32_t regex_translate(struct str expression, struct buf *out, struct err *err);

/* The searches of one thread. */
struct regex_search {
    void *match, *limits; /* pcre2_match_data, pcre2_match_context, owned */
    uint64_t deadline_ns;
    uint32_t n;
};

bool regex_search_init(struct regex_search *s); /* false: no memory */
void regex_search_release(struct regex_search *s);

/* Before the searches in one text: steps and time are limited in proportion to its bytes. */
void regex_search_begin(struct regex_search *s, size_t bytes);

/* The first match at or after at: [*from, *to); none: both the end of text, which is well-formed
 * UTF-8. A negative code: no memory, or INFLIGHT_E_INTERNAL if a limit is passed. */
int32_t regex_find(const struct regex *r, struct regex_search *s, struct str text, size_t at,
                   size_t *from, size_t *to);
