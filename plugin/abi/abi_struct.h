/* The rules for structs that cross the boundary (see "Growth" in inflight.h). */
#pragma once

#include "../base/err.h"

/* Checks a host's struct and copies it to `to`, which is `known` bytes here; what the
 * host's version lacks is zero. name: for messages. INFLIGHT_E_ARG, _ABI or _NEWER. */
int32_t struct_in(void *to, size_t known, const void *from, const char *name, struct err *err);

/* The header of a struct the host wants filled, and writing it: the smaller of both
 * sizes, zeros in what this library does not know, the host's header as it was. */
int32_t struct_out_check(const void *to, const char *name, struct err *err);
void struct_out(void *to, const void *from, size_t known);

/* A host's text: INFLIGHT_NTS resolved, NULL only if empty, at most `most` bytes. */
int32_t str_in(struct str *out, inflight_str in, size_t most, const char *name, struct err *err);
