/* Unicode's normal forms C (e + combining acute -> é) and KC (the same, and ﬁ -> fi, ² -> 2). Some
 * families of models want their text so. */
#pragma once

#include "../base/buf.h"

/* May text (well-formed UTF-8) differ from its normal form? A quick test that errs on
 * the side of yes; no for ASCII, and of form C for Latin text. */
bool nfc_needed(struct str text, bool compatible);

/* Appends the normal form C, or KC, of text (well-formed UTF-8) to out; failures stick in out
 * and scratch. Linear time. */
void nfc_put(struct str text, bool compatible, struct buf *scratch, struct buf *out);
