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

/* The shortest text that number_read and the conversion to float give back. Finite. */
void number_put(float value, struct buf *out);
