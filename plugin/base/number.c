#include "number.h"

#include <stdio.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits from text[*at] on; *digits counts them, *value stays where it would overflow. */
static bool read_digits(struct str text, size_t *at, uint64_t *value, size_t *digits)
{
    bool fits = true;
    for (; *at < text.len && is_digit(text.ptr[*at]); ++*at, ++*digits) {
        uint64_t next;
        fits = fits && !__builtin_mul_overflow(*value, 10u, &next) &&
               !__builtin_add_overflow(next, (uint64_t)(text.ptr[*at] - '0'), &next);
        if (fits)
            *value = next;
    }
    return fits;
}

bool number_read_integer(struct str text, int64_t *out)
{
    size_t at = text.len && (text.ptr[0] == '-' || text.ptr[0] == '+');
    bool negative = at && text.ptr[0] == '-';
    bool leading_zero = text.len > at + 1 && text.ptr[at] == '0';
    uint64_t value = 0;
    size_t digits = 0;
    if (!read_digits(text, &at, &value, &digits) || !digits || at != text.len || leading_zero ||
        value > INT64_MAX)
        return false;
    *out = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

static long double power_of_ten(int exponent)
{
    long double power = 1;
    for (int i = 0; i < (exponent < 0 ? -exponent : exponent); i++)
        power *= 10;
    return power;
}

static long double scale_ten(uint64_t mantissa, int exponent)
{
    long double power = power_of_ten(exponent);
    return exponent < 0 ? (long double)mantissa / power : (long double)mantissa * power;
}

/* e[-+]digits at the end of text, or nothing. */
static bool read_exponent(struct str text, size_t at, int *exponent)
{
    *exponent = 0;
    if (at == text.len)
        return true;
    if (text.ptr[at] != 'e' && text.ptr[at] != 'E')
        return false;
    at++;
    bool negative = at < text.len && text.ptr[at] == '-';
    at += negative || (at < text.len && text.ptr[at] == '+');
    uint64_t value = 0;
    size_t digits = 0;
    if (!read_digits(text, &at, &value, &digits) || !digits || at != text.len || value > 99)
        return false;
    *exponent = negative ? -(int)value : (int)value;
    return true;
}

bool number_read(struct str text, double *out)
{
    size_t at = text.len && (text.ptr[0] == '-' || text.ptr[0] == '+');
    bool negative = at && text.ptr[0] == '-';
    uint64_t mantissa = 0;
    size_t whole = 0, fraction = 0;
    int exponent;
    if (!read_digits(text, &at, &mantissa, &whole) || !whole)
        return false;
    if (at < text.len && text.ptr[at] == '.') {
        at++;
        if (!read_digits(text, &at, &mantissa, &fraction) || !fraction)
            return false;
    }
    if (whole + fraction > 19 || !read_exponent(text, at, &exponent))
        return false;
    double value = (double)scale_ten(mantissa, exponent - (int)fraction);
    *out = negative ? -value : value;
    return true;
}

/* Bytes of a unit's name, 0 if there is no such unit. */
static uint64_t unit_bytes(struct str name)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } unit[] = {
        {"", 1},
        {"B", 1},
        {"kB", 1000},
        {"KB", 1000},
        {"MB", 1000 * 1000},
        {"GB", 1000ull * 1000 * 1000},
        {"TB", 1000ull * 1000 * 1000 * 1000},
        {"KiB", 1ull << 10},
        {"MiB", 1ull << 20},
        {"GiB", 1ull << 30},
        {"TiB", 1ull << 40},
    };
    for (size_t i = 0; i < COUNT_OF(unit); i++)
        if (strlen(unit[i].name) == name.len && memcmp(unit[i].name, name.ptr, name.len) == 0)
            return unit[i].bytes;
    return 0;
}

bool number_read_size(struct str text, uint64_t *out)
{
    uint64_t whole = 0, fraction = 0, bytes;
    size_t at = 0, n_whole = 0, n_fraction = 0;
    if (!read_digits(text, &at, &whole, &n_whole) || !n_whole)
        return false;
    if (at < text.len && text.ptr[at] == '.') {
        at++;
        if (!read_digits(text, &at, &fraction, &n_fraction) || !n_fraction || n_fraction > 6)
            return false;
    }
    while (at < text.len && text.ptr[at] == ' ')
        at++;
    uint64_t unit = unit_bytes((struct str){text.ptr + at, text.len - at});
    if (!unit || (n_fraction && unit == 1) || __builtin_mul_overflow(whole, unit, &bytes))
        return false;
    uint64_t scale = 1;
    for (size_t i = 0; i < n_fraction; i++)
        scale *= 10;
    return !__builtin_add_overflow(bytes, fraction * unit / scale, out);
}

/* The fewest digits that number_read and the conversion to float give back: mantissa
 * times ten to *exponent. value > 0. */
static uint64_t shortest_digits(float value, int *exponent)
{
    int top = 0; /* 10^top <= value < 10^(top + 1) */
    while (top < 38 && scale_ten(1, top + 1) <= (long double)value)
        top++;
    while (scale_ten(1, top) > (long double)value)
        top--;
    for (int n = 1;; n++) {
        *exponent = top + 1 - n;
        long double scaled = *exponent < 0 ? (long double)value * power_of_ten(*exponent)
                                           : (long double)value / power_of_ten(*exponent);
        uint64_t mantissa = (uint64_t)(scaled + 0.5L);
        if (n == 9 || (float)(double)scale_ten(mantissa, *exponent) == value)
            return mantissa;
    }
}

/* value > 0 with a fraction: in full for up to nine decimals, else with an exponent. */
static void put_fraction(float value, char *out)
{
    int exponent;
    unsigned long long scale = 1, mantissa = shortest_digits(value, &exponent);
    for (; mantissa % 10 == 0 && exponent < 0; exponent++)
        mantissa /= 10;
    for (; exponent > 0 && exponent <= 9; exponent--)
        mantissa *= 10;
    if (exponent < -9 || exponent > 0) {
        (void)snprintf(out, NUMBER_TEXT - 1, "%llue%d", mantissa, exponent);
        return;
    }
    for (int i = 0; i < -exponent; i++)
        scale *= 10;
    out += snprintf(out, NUMBER_TEXT - 1, "%llu", mantissa / scale);
    if (exponent == 0)
        return;
    *out++ = '.';
    while (scale /= 10)
        *out++ = (char)('0' + mantissa / scale % 10);
    *out = '\0';
}

const char *number_text(double value, char out[NUMBER_TEXT])
{
    double size = value < 0 ? -value : value;
    char *digits = out;
    if (value < 0)
        *digits++ = '-';
    if (size < 9007199254740992.0 && (double)(int64_t)size == size)
        (void)snprintf(digits, NUMBER_TEXT - 1, "%lld", (long long)size);
    else
        put_fraction((float)size, digits);
    return out;
}

void number_put(double value, struct buf *out)
{
    char text[NUMBER_TEXT];
    buf_put_text(out, number_text(value, text));
}
