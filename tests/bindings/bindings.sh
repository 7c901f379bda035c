#!/usr/bin/env bash
# bindings.sh BUILD: the bindings of hostapi/ answer, refuse and stop. A language that is not
# installed is skipped, and said so.
set -uo pipefail

here=$(dirname "$0") root=$(dirname "$0")/../..
lib=$(realpath "$1/libinflight.so.1") model=$(realpath "$1/models/SmolLM2-135M-Instruct.Q4_1.gguf")
passed=0 failed=0 skipped=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# The binding of language $1 by the command that follows; it stops at the first failure.
try() {
    local language=$1 status
    shift
    "$@" >"$work/said" 2>&1 </dev/null
    status=$?
    cat "$work/said"
    passed=$((passed + $(grep -c '^ok ' "$work/said")))
    [ "$status" -eq 0 ] && return
    failed=$((failed + 1))
    echo "FAIL bindings: $language, status $status"
}

skip() {
    skipped=$((skipped + 1))
    echo "skip bindings: $1 (not installed)"
}

try python python3 "$here/binding.py" "$lib" "$model"
if command -v luajit >/dev/null; then
    try lua luajit "$here/binding.lua" "$lib" "$model"
else
    skip lua
fi
if command -v mcs >/dev/null && command -v mono >/dev/null; then
    ln -s "$lib" "$work/libinflight.so"
    try "c#, compiling" mcs -unsafe -warnaserror -out:"$work/Binding.exe" "$here/Binding.cs" \
        "$root/hostapi/Inflight.cs"
    try "c#" env LD_LIBRARY_PATH="$work" mono "$work/Binding.exe" "$model"
else
    skip "c#"
fi
echo "bindings: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
