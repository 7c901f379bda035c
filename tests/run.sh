#!/usr/bin/env bash
# Runs every given test and adds up: programs of t.h (their last line carries the counts),
# and scripts and other commands (one test each, by exit status; 77 is a skip). Shows the output of what failed,
# or all of it with V=1. The last line is "N passed, N failed".
set -uo pipefail

[ -d "${BUILD:-build}/locale/de_DE.UTF-8" ] && export LOCPATH="$PWD/${BUILD:-build}/locale"

passed=0 failed=0 skipped=0
for test in "$@"; do
    start=$(date +%s)
    read -ra command <<<"$test"
    case "${command[0]}" in
    *.sh) command=(bash "${command[@]}") ;;
    *.py) command=("${PYTHON:-python3}" "${command[@]}") ;;
    esac
    output=$("${command[@]}" 2>&1)
    status=$?
    seconds=$(($(date +%s) - start))
    counts=$(printf '%s\n' "$output" | tail -n 1 | sed -nE 's/.*: ([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p')
    if [ -n "$counts" ]; then
        read -r p f s <<<"$counts"
        # A program that died after its last line, or failed without saying so, still failed.
        [ $status -ne 0 ] && [ "$f" -eq 0 ] && f=1
    elif [ $status -eq 77 ]; then
        p=0 f=0 s=1
    else
        p=$((status == 0)) f=$((status != 0)) s=0
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '%-44.44s %5d passed %3d failed %3d skipped %4ds\n' "${test//"${BUILD:-build}"\//}" "$p" "$f" "$s" "$seconds"
    if [ "$f" -ne 0 ] || [ -n "${V:-}" ]; then
        printf '%s\n' "$output" | grep -v '^ok  ' | tail -n 60 | sed 's/^/    /'
    fi
    [ "$s" -ne 0 ] && printf '%s\n' "$output" | grep -E '^skip' | sed 's/^/    /'
done
[ $skipped -ne 0 ] && echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
