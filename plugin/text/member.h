/* Members of JSON objects, with sentences that name them when they are of another kind. A member
 * that is null is not there. */
#pragma once

#include "spec.h"

/* NULL: it is not there, or of is no object. */
const json_t *member_find(const json_t *of, const char *key);

/* False: it is not there, or of another kind. */
bool member_text(const json_t *of, const char *key, struct str *out);
bool member_flag(const json_t *of, const char *key, bool *out);
bool member_int(const json_t *of, const char *key, int64_t *out);

/* A text by itself; a string's own, borrowed. */
struct str member_str(const json_t *text);

/* Its "type"; empty: there is none. */
struct str member_type(const json_t *of);

/* Refuses what is not served: "KEY: TYPE is not supported". */
int32_t member_refuse(const char *key, struct str type, struct err *err);

/* {"content": "<s>", "special": true, ...}, or the content alone. False: it is neither. */
bool member_added(const json_t *of, struct spec_added *added);
