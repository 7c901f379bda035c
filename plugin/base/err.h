/* One failure: a status code of inflight.h and a sentence with numbers, written
 * once, where the failure is found. Callers own the struct; functions that fill
 * it return its code, so that `return err_set(err, ...)` is the whole of a
 * failure path. Functions on the step path return bare codes. */
#pragma once

#include "base.h"

#include "../../include/inflight.h"

struct err {
    int32_t code;
    char text[508];
};

/* Sets code and text (cut to fit) and returns code. err may be NULL. Formats are
 * integers and strings only: floating point would follow the host's locale. */
int32_t err_set(struct err *err, int32_t code, const char *format, ...) PRINTF_LIKE(3, 4);

/* "prefix: " before the text that is there, to name the file or key. Returns the code. */
int32_t err_prefix(struct err *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* "5.9 GiB" for messages; returns out. */
#define BYTES_TEXT 24
const char *bytes_text(uint64_t bytes, char out[BYTES_TEXT]);

/* The candidate closest to word for "did you mean", or NULL if none is close. */
const char *closest_word(struct str word, const char *const *candidates, size_t n);

/* Hostile text for sentences: cut, and what is not printable ASCII becomes '?'. */
#define SHOWN_TEXT 88
const char *shown_text(struct str text, char out[SHOWN_TEXT]);
