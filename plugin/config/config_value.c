#include "config_value.h"

#include "../base/number.h"

#include <string.h>

#define PATH_BYTES 4096 /* as PATH_MAX of Linux, with the NUL */

static bool is_word(struct str text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.ptr, word, text.len) == 0;
}

static bool read_bool(struct str text, bool *out)
{
    *out = is_word(text, "true");
    return *out || is_word(text, "false");
}

/* Index among the row's names, -1 if it is none of them. */
static int32_t read_name(const struct config_row *row, struct str text)
{
    for (int32_t i = 0; row->names[i]; i++)
        if (is_word(text, row->names[i]))
            return i;
    return -1;
}

/* No control characters and no line breaks of Unicode: a path is shown in messages, and
 * printed between quotes on one line. The text is well-formed UTF-8. */
static bool is_printable(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t *p = (const uint8_t *)text.ptr + i;
        if (p[0] < 0x20 || p[0] == 0x7f)
            return false;
        if (p[0] == 0xc2 && p[1] < 0xa0)
            return false; /* U+0080 .. U+009F */
        if (p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9))
            return false; /* line and paragraph separators */
        if (p[0] == 0xef && ((p[1] == 0xbf && p[2] >= 0xbe) || (p[1] == 0xbb && p[2] == 0xbf)))
            return false; /* U+FFFE, U+FFFF and the byte order mark */
    }
    return true;
}

/* Unquoted, these are values of other types. */
static bool is_not_text(struct str text)
{
    double number;
    bool flag;
    return is_word(text, "~") || is_word(text, "null") || read_bool(text, &flag) ||
           number_read(text, &number);
}

static bool set_path(const char **field, struct config_value value, struct str folder,
                     struct arena *arena, bool *no_memory)
{
    struct str text = value.text;
    if (!text.len || (!value.quoted && is_not_text(text)) || !is_printable(text))
        return false;
    if (text.ptr[0] == '/')
        folder.len = 0;
    if (folder.len + text.len >= PATH_BYTES)
        return false;
    char *path = arena_take(arena, folder.len + text.len + 1);
    *no_memory = !path;
    if (!path)
        return false;
    if (folder.len)
        memcpy(path, folder.ptr, folder.len);
    memcpy(path + folder.len, text.ptr, text.len);
    *field = path;
    return true;
}

static bool set_integer(void *field, const struct config_row *row, struct config_value value,
                        struct config *config)
{
    int64_t integer;
    if (value.quoted || !number_read_integer(value.text, &integer) || (double)integer < row->min ||
        (double)integer > row->max)
        return false;
    if (row->kind == CONFIG_INT)
        *(int32_t *)field = (int32_t)integer;
    if (row->kind == CONFIG_LONG)
        *(int64_t *)field = integer;
    if (row->kind == CONFIG_SEED) {
        *(uint64_t *)field = (uint64_t)integer;
        config->sampling.has_seed = true;
    }
    return true;
}

static bool set_size(void *field, const struct config_row *row, struct config_value value)
{
    uint64_t bytes;
    if (!number_read_size(value.text, &bytes) || (double)bytes < row->min ||
        (double)bytes > row->max)
        return false;
    if (row->kind == CONFIG_SIZE)
        *(uint64_t *)field = bytes;
    else
        *(int32_t *)field = (int32_t)bytes;
    return true;
}

static bool set_float(float *field, const struct config_row *row, struct config_value value)
{
    double number;
    if (value.quoted || !number_read(value.text, &number) || number < row->min || number > row->max)
        return false;
    *field = (float)number + 0.0f; /* no negative zero */
    return true;
}

bool config_value_set(struct config *config, const struct config_row *row,
                      struct config_value value, struct str folder, struct arena *arena,
                      bool *no_memory)
{
    void *field = (char *)config + row->offset;
    int32_t name;
    *no_memory = false;
    switch (row->kind) {
    case CONFIG_VERSION:
    case CONFIG_INT:
    case CONFIG_LONG:
    case CONFIG_SEED:
        return set_integer(field, row, value, config);
    case CONFIG_FLOAT:
        return set_float(field, row, value);
    case CONFIG_BOOL:
        return !value.quoted && read_bool(value.text, field);
    case CONFIG_SIZE:
    case CONFIG_SIZE_32:
        return set_size(field, row, value);
    case CONFIG_NAME:
        name = read_name(row, value.text);
        if (name >= 0)
            *(int32_t *)field = name;
        return name >= 0;
    case CONFIG_WORD:
        name = read_name(row, value.text);
        if (name >= 0)
            *(const char **)field = row->names[name];
        return name >= 0;
    case CONFIG_PATH:
        return set_path(field, value, folder, arena, no_memory);
    }
    return false;
}

void config_value_put(const struct config *config, const struct config_row *row, struct buf *out)
{
    const void *field = (const char *)config + row->offset;
    const char *text;
    switch (row->kind) {
    case CONFIG_VERSION:
        buf_put_text(out, "1");
        break;
    case CONFIG_INT:
    case CONFIG_SIZE_32:
        buf_format(out, "%d", *(const int32_t *)field);
        break;
    case CONFIG_LONG:
        buf_format(out, "%lld", (long long)*(const int64_t *)field);
        break;
    case CONFIG_SEED:
        if (!config->sampling.has_seed)
            break;
        /* fall through */
    case CONFIG_SIZE:
        buf_format(out, "%llu", (unsigned long long)*(const uint64_t *)field);
        break;
    case CONFIG_FLOAT:
        number_put((double)*(const float *)field, out);
        break;
    case CONFIG_BOOL:
        buf_put_text(out, *(const bool *)field ? "true" : "false");
        break;
    case CONFIG_NAME:
        buf_put_text(out, row->names[*(const int32_t *)field]);
        break;
    case CONFIG_WORD:
        buf_put_text(out, *(const char *const *)field);
        break;
    case CONFIG_PATH:
        text = *(const char *const *)field;
        if (text)
            buf_put_json(out, text, strlen(text));
        break;
    }
}

/* "auto, cuda or cpu", "error, warning, info or debug" */
static void put_names(const struct config_row *row, struct buf *out)
{
    for (size_t i = 0; row->names[i]; i++) {
        if (i)
            buf_put_text(out, row->names[i + 1] ? ", " : " or ");
        buf_put_text(out, row->names[i]);
    }
}

void config_value_expected(const struct config_row *row, struct buf *out)
{
    char least[BYTES_TEXT], most[BYTES_TEXT];
    switch (row->kind) {
    case CONFIG_VERSION:
        buf_put_text(out, "1");
        break;
    case CONFIG_INT:
    case CONFIG_LONG:
    case CONFIG_SEED:
        buf_format(out, "an integer from %lld to %lld", (long long)row->min, (long long)row->max);
        break;
    case CONFIG_FLOAT:
        buf_put_text(out, "a number from ");
        number_put(row->min, out);
        buf_put_text(out, " to ");
        number_put(row->max, out);
        break;
    case CONFIG_BOOL:
        buf_put_text(out, "true or false");
        break;
    case CONFIG_SIZE:
    case CONFIG_SIZE_32:
        buf_format(out, "bytes, with a unit or without, from %s to %s",
                   bytes_text((uint64_t)row->min, least), bytes_text((uint64_t)row->max, most));
        break;
    case CONFIG_NAME:
    case CONFIG_WORD:
        put_names(row, out);
        break;
    case CONFIG_PATH:
        buf_put_text(out, "a path as text");
        break;
    }
}
