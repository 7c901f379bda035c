/* See regex.h. */
#include "regex.h"

#include "../base/thread.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#define EXPRESSION_MOST 65536 /* bytes */

/* Of all searches in a text, with much room for slow machines: usual expressions take 0.05 us per
 * byte. Only what takes quadratic time on a long text gets there. */
#define TIME_NS          10000000000u
#define TIME_PER_BYTE_NS 10000u

int32_t regex_open(struct regex *r, struct str expression, bool is_literal, struct err *err)
{
    char shown[SHOWN_TEXT];
    uint8_t reason[128] = "";
    int problem = 0;
    size_t at = 0;
    uint32_t options =
        PCRE2_UTF |
        (is_literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
    *r = (struct regex){0};
    if (expression.len == 0 || expression.len > EXPRESSION_MOST)
        return err_set(err, INFLIGHT_E_MODEL, "an expression of %zu bytes; 1 to %d are supported",
                       expression.len, EXPRESSION_MOST);
    pcre2_code *code = pcre2_compile((const uint8_t *)expression.ptr, expression.len, options,
                                     &problem, &at, NULL);
    if (!code) {
        (void)pcre2_get_error_message(problem, reason, sizeof reason);
        return err_set(err, INFLIGHT_E_MODEL, "expression '%s': %s at %zu",
                       shown_text(expression, shown), (const char *)reason, at);
    }
    /* Where memory may not be made executable this fails, and matching interprets. */
    (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    r->code = code;
    return INFLIGHT_OK;
}

void regex_close(struct regex *r)
{
    pcre2_code_free(r->code);
    *r = (struct regex){0};
}

void regex_trim(void)
{
    pcre2_jit_free_unused_memory(NULL);
}

bool regex_search_init(struct regex_search *s)
{
    *s = (struct regex_search){.match = pcre2_match_data_create(1, NULL),
                               .limits = pcre2_match_context_create(NULL)};
    return s->match && s->limits;
}

void regex_search_release(struct regex_search *s)
{
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->limits);
    *s = (struct regex_search){0};
}

void regex_search_begin(struct regex_search *s, size_t bytes)
{
    /* No usual expression takes more than a few steps per byte; the limit only makes sure. */
    pcre2_set_match_limit(s->limits, (uint32_t)MIN(10000 + 16 * bytes, (size_t)UINT32_MAX));
    s->deadline_ns = clock_ns() + TIME_NS + bytes * TIME_PER_BYTE_NS;
    s->n = 0;
}

int32_t regex_find(const struct regex *r, struct regex_search *s, struct str text, size_t at,
                   size_t *from, size_t *to)
{
    const uint8_t *subject = (const uint8_t *)text.ptr;
    uint32_t options = PCRE2_NO_UTF_CHECK;
    if (++s->n % 256 == 0 && clock_ns() > s->deadline_ns)
        return INFLIGHT_E_INTERNAL;
    int n = pcre2_match(r->code, subject, text.len, at, options, s->match, s->limits);
    if (n == PCRE2_ERROR_JIT_STACKLIMIT)
        n = pcre2_match(r->code, subject, text.len, at, options | PCRE2_NO_JIT, s->match,
                        s->limits);
    if (n == PCRE2_ERROR_NOMATCH) {
        *from = *to = text.len;
        return INFLIGHT_OK;
    }
    if (n < 0)
        return n == PCRE2_ERROR_NOMEMORY ? INFLIGHT_E_NOMEM : INFLIGHT_E_INTERNAL;
    const size_t *ends = pcre2_get_ovector_pointer(s->match);
    /* \K in a look-ahead can put the start behind the end. */
    *from = MIN(ends[0], ends[1]);
    *to = ends[1];
    return *from < at ? INFLIGHT_E_INTERNAL : INFLIGHT_OK;
}
