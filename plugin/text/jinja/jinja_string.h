/* Strings of the template interpreter: UTF-8 with the origin of every byte. A part of
 * a string shares its bytes; what joins strings copies bytes and marks. */
#pragma once

#include "jinja_value.h"

/* A string that is being put together, in the arena of the run. */
struct text {
    struct run *run;
    char *ptr;
    uint8_t *mark; /* NULL while all bytes are of one origin */
    size_t len, cap;
    bool trusted, failed;
};

void text_init(struct text *text, struct run *run);
void text_put(struct text *text, const char *ptr, size_t len, bool trusted);
void text_put_string(struct text *text, const struct value *string);
/* Escapes of a character are as trusted as the character. */
void text_put_code_point(struct text *text, int32_t code_point, bool trusted);
bool text_done(struct text *text, struct value *string);

/* The bytes from .. to, which are at character boundaries. */
struct value string_part(const struct value *string, size_t from, size_t to);
bool string_mark(const struct value *string, size_t at);
bool string_is(const struct value *string, const char *text);

/* Whitespace as str.isspace has it. */
bool string_is_space(int32_t code_point);
/* The character at p < end and its length in *len; bytes are UTF-8 by construction. */
int32_t string_decode(const char *p, const char *end, size_t *len);
size_t string_count(const struct value *string); /* characters */
/* Byte offset of a character, or len if there are fewer. */
size_t string_offset(const struct value *string, size_t character);

enum { STRIP_LEFT = 1, STRIP_RIGHT = 2 };
/* chars NULL: whitespace. */
struct value string_strip(const struct value *string, const struct value *chars, int sides);

/* Byte offset of the first occurrence at or after from, or SIZE_MAX. */
size_t string_find(const struct value *string, const struct value *part, size_t from);

enum string_case { CASE_LOWER, CASE_UPPER, CASE_CAPITAL, CASE_TITLE, CASE_FILTER_TITLE };
bool string_case(struct run *run, const struct value *string, enum string_case kind,
                 struct value *out);
/* most < 0: all. */
bool string_replace(struct run *run, const struct value *string, const struct value *parts,
                    int64_t most, struct value *out); /* parts: [old, new] */
/* separator NULL: runs of whitespace. */
bool string_split(struct run *run, const struct value *string, const struct value *separator,
                  int64_t most, struct value *out);
bool string_lines(struct run *run, const struct value *string, struct value *out);
/* A string as it is, anything else as str() would show it. */
bool string_of(struct run *run, const struct value *v, struct value *out);
