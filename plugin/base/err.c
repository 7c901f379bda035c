#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int32_t err_set(struct err *err, int32_t code, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
        err->code = code;
    }
    return code;
}

int32_t err_prefix(struct err *err, const char *format, ...)
{
    if (!err)
        return INFLIGHT_E_INTERNAL;
    char prefix[sizeof err->text];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(prefix, sizeof prefix - 2, format, args);
    va_end(args);
    size_t len = MIN((size_t)MAX(n, 0), sizeof prefix - 3);
    memcpy(prefix + len, ": ", 2);
    len += 2;
    size_t kept = MIN(strlen(err->text), sizeof err->text - 1 - len);
    memmove(err->text + len, err->text, kept);
    memcpy(err->text, prefix, len);
    err->text[len + kept] = '\0';
    return err->code;
}

const char *bytes_text(uint64_t bytes, char out[BYTES_TEXT])
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t u = 0;
    uint64_t scale = 1;
    while (bytes / scale >= 1024 && u + 1 < COUNT_OF(unit)) {
        scale *= 1024;
        u++;
    }
    if (u == 0)
        (void)snprintf(out, BYTES_TEXT, "%u B", (unsigned)bytes);
    else
        (void)snprintf(out, BYTES_TEXT, "%u.%u %s", (unsigned)(bytes / scale),
                       (unsigned)(bytes % scale / (scale / 1024) * 10 / 1024), unit[u]);
    return out;
}

/* Levenshtein distance, words of at most 63 bytes. */
static size_t edit_distance(struct str a, const char *b, size_t b_len)
{
    size_t row[64];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t above = row[j];
            size_t change = diagonal + (a.ptr[i - 1] != b[j - 1]);
            row[j] = MIN(change, MIN(above, row[j - 1]) + 1);
            diagonal = above;
        }
    }
    return row[b_len];
}

const char *closest_word(struct str word, const char *const *candidates, size_t n)
{
    const char *best = NULL;
    size_t best_distance = word.len / 3 + 2;
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(candidates[i]);
        if (len > 63 || word.len > 63)
            continue;
        size_t distance = edit_distance(word, candidates[i], len);
        if (distance < best_distance) {
            best_distance = distance;
            best = candidates[i];
        }
    }
    return best;
}

const char *shown_text(struct str text, char out[SHOWN_TEXT])
{
    size_t n = MIN(text.len, (size_t)SHOWN_TEXT - sizeof "...");
    for (size_t i = 0; i < n; i++)
        out[i] = text.ptr[i] >= ' ' && text.ptr[i] <= '~' ? text.ptr[i] : '?';
    memcpy(out + n, n < text.len ? "..." : "", n < text.len ? sizeof "..." : 1);
    return out;
}
