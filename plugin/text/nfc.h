/* Unicode's normal form C: e + combining acute -> é. Some families of models want
 * their text so. */
#pragma once

#include "../base/buf.h"

/* May text (well-formed UTF-8) differ from its normal form? A quick test that errs on
 * the side of yes; no for ASCII and Latin text. */
bool nfc_needed(struct str text);

/* Appends the normal form of text (well-formed UTF-8) to out; failures stick in out
 * and scratch. Linear time. */
void nfc_put(struct str text, struct buf *scratch, struct buf *out);
