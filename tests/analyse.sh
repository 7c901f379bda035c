#!/bin/bash
# cppcheck and clang-tidy on what ships: the plugin, its kernels, host bindings, examples and
# the validator. Minutes, so `make lint` runs it and `make check` does not. Every finding is a
# line "file:line: what"; status 1 if there is one. usage: tests/analyse.sh [FILE...]
set -u
cd "$(dirname "$0")/.." || exit 2

for tool in cppcheck clang-tidy-14; do
    command -v $tool >/dev/null || { echo "analyse: no $tool, see tests/deps.sh lint"; exit 2; }
done
JOBS=$(nproc)
# One instruction set stands for all: the files of kernels/cpu/isa are the same C for each.
CUDA_HOME=${CUDA_HOME:-/usr/local/cuda}
FLAGS="-D_GNU_SOURCE -DINFLIGHT_BUILD -DISA=plain -DISA_PLAIN=1 -I. -Iinclude -Ihostapi -Itests"
if [ $# -gt 0 ]; then
    FILES=("$@")
else
    FILES=(plugin/*.c plugin/*/*.c plugin/*/*/*.c quant/*.c kernels/*.c kernels/cpu/*.c
           kernels/cpu/isa/*.c hostapi/*.c examples/*.c tests/abi/validator*.c)
    # These stand on NVIDIA's cuda.h.
    [ -e "$CUDA_HOME/include/cuda.h" ] && FILES+=(kernels/cuda/*.c)
fi
found=$(mktemp) || exit 2
trap 'rm -f "$found"' EXIT

# Not asked: nullPointerRedundantCheck and arrayIndexOutOfBoundsCond, which take every check
# before the end of a test for a doubt; uninitvar, which forgets that a loop up to a constant
# runs, and which clang knows better. In one file it reads 0x1p63 as 0.
cppcheck_all() {
    # shellcheck disable=SC2086
    cppcheck --quiet --std=c11 --enable=warning,performance -j "$JOBS" $FLAGS \
        -D__GNUC__=12 -D__x86_64__=1 \
        --suppress=nullPointerRedundantCheck --suppress=arrayIndexOutOfBoundsCond \
        --suppress=uninitvar \
        --suppress=incorrectLogicOperator:plugin/text/jinja/jinja_filters_number.c \
        --template='{file}:{line}: {message} [{id}]' --template-location='' "${FILES[@]}" 2>&1
}

# One process for each file: version 14 mistakes the va_list of a second one.
tidy() {
    local known="-include tests/analyser.h"
    case $1 in
    plugin/base/err.c | plugin/text/jinja/jinja_run.c) known="" ;;
    plugin/text/*) known="-include plugin/text/jinja/jinja_run.h $known" ;;
    esac
    # shellcheck disable=SC2086
    clang-tidy-14 --quiet "$1" -- -std=c11 $FLAGS -isystem "$CUDA_HOME/include" -DINFLIGHT_VERSION='""' -Wno-macro-redefined \
        $known 2>/dev/null | sed -nE "s|^$PWD/||; s/^([^ ]+:[0-9]+):[0-9]+: (warning|error): /\1: /p"
}
export -f tidy
export FLAGS CUDA_HOME

{
    cppcheck_all
    printf '%s\n' "${FILES[@]}" | xargs -P "$JOBS" -I{} bash -c 'tidy "$1"' tidy {}
} | sort -u -t: -k1,1 -k2,2n -k3 | tee "$found"
n=$(wc -l <"$found")
echo "analyse: ${#FILES[@]} files, $n findings"
[ "$n" = 0 ]
