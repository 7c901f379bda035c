#!/bin/sh
# Usage: headers.sh [BUILD]. include/inflight.h compiles by itself in every standard that a
# host may use, and its layout is the release's: what layout-1.0.txt says never changes, structs only grow.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${1:-build}/tests/abi
mkdir -p "$build"
warn="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
n=0
for cc in gcc clang; do
    command -v "$cc" >/dev/null || continue
    for std in c11 c17 c2x; do
        $cc -std=$std $warn -Wstrict-prototypes -c "$here/header_c.c" -o "$build/header.o"
        n=$((n + 1))
    done
done
for cxx in g++ clang++; do
    command -v "$cxx" >/dev/null || continue
    echo 'int x;' | $cxx -x c++ -c - -o /dev/null 2>/dev/null || continue
    for std in c++11 c++14 c++17 c++20; do
        $cxx -std=$std $warn -Wold-style-cast -c "$here/header_cc.cc" -o "$build/header.o"
        n=$((n + 1))
    done
done
${CC:-cc} -std=c11 $warn -I"$here/../.." "$here/layout.c" -o "$build/layout"
"$build/layout" >"$build/layout.txt"
# Every line of the release is still there, though a struct may have grown at its end.
awk 'NR == FNR { now[$1] = $0; size[$1] = $2; next }
     /^inflight_[a-z_]+ [0-9]+$/ ? size[$1] + 0 < $2 + 0 : now[$1] != $0 {
         print "headers: the release has \"" $0 "\", this header \"" now[$1] "\""; bad = 1
     }
     END { exit bad }' "$build/layout.txt" "$here/layout-1.0.txt"
echo "headers: compiled $n ways, $(wc -l <"$here/layout-1.0.txt") lines of layout as released"
