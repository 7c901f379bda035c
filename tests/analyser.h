/* What an analyser that sees one file at a time cannot: the functions that every failure
 * passes give back what they were given. tests/analyse.sh includes this first. */
#pragma once

#include "../plugin/base/err.h"

#define err_set(err, code, ...) ((void)err_set(err, code, __VA_ARGS__), (code))
#define run_fail(...)           ((void)run_fail(__VA_ARGS__), false)
