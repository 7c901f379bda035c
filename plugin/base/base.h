/* Lengths, bounds and the attributes used everywhere. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COUNT_OF(array)       (sizeof(array) / sizeof((array)[0]))
#define MIN(a, b)             ((a) < (b) ? (a) : (b))
#define MAX(a, b)             ((a) > (b) ? (a) : (b))
#define ROUND_UP(n, multiple) (((n) + (multiple)-1) / (multiple) * (multiple))

#define CACHE_LINE 64

#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))

/* Bytes with a length, borrowed, not NUL-terminated. */
struct str {
    const char *ptr;
    size_t len;
};
