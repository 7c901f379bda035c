#!/bin/sh
# The public header without preprocessor lines, for foreign function interfaces that
# parse C declarations: LuaJIT's ffi.cdef, Python's cffi, PHP's FFI::cdef.
# usage: ffi.sh include/inflight.h > inflight.ffi.h
set -eu
echo "/* Made from inflight.h by ffi.sh. SPDX-License-Identifier: MIT */"
# The standard headers are left out: an FFI knows their types by itself.
grep -v '^#include' "$1" |
    "${CC:-gcc}" -E -P -x c -std=c11 -DUINT64_MAX=18446744073709551615ull - |
    grep -v '^_Static_assert'
