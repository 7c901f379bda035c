/* Numbers from and to text without the C library, which would follow the host's locale. */
#pragma once

#include "buf.h"

/* [-+]digits, the whole text. A leading zero is refused: it means octal in one version
 * of YAML and nothing in the next. */
bool number_read_integer(struct str text, int64_t *out);

/* [-+]digits[.digits][e[-+]digits], the whole text, at most 19 digits and 99 for e. */
bool number_read(struct str text, double *out);

/* digits[.digits][spaces][unit], the whole text; units are B, kB KB MB GB TB of 1000 and
 * KiB MiB GiB TiB of 1024. A fraction of a byte is cut off. */
bool number_read_size(struct str text, uint64_t *out);

#define NUMBER_TEXT 32 /* bytes of a number as text, with the NUL */

/* A finite number as text: a whole one below 2^53 exactly, any other as the shortest text
 * that number_read and the conversion to float give back. Returns out. */
const char *number_text(double value, char out[NUMBER_TEXT]);

/* The same at the end of a text. */
void number_put(double value, struct buf *out);
