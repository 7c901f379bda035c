#!/usr/bin/env bash
# Runs every given test and adds up: programs of t.h (their last line carries the counts),
# and scripts and other commands (one test each, by exit status; 77 is a skip). Shows the output of what failed,
# or all of it with V=1. The last line is "N passed, N failed". Tests behind --together may run JOBS
# at a time: those that time nothing and share no files.
set -uo pipefail

[ -d "${BUILD:-build}/locale/de_DE.UTF-8" ] && export LOCPATH="$PWD/${BUILD:-build}/locale"

passed=0 failed=0 skipped=0
results=$(mktemp -d) || exit 1
trap 'rm -rf "$results"' EXIT

# Runs test $2; its output is in the file $1 and, once it has ended, status and seconds in $1.end.
run() {
    local command start status
    start=$(date +%s)
    read -ra command <<<"$2"
    case "${command[0]}" in
    *.sh) command=(bash "${command[@]}") ;;
    *.py) command=("${PYTHON:-python3}" "${command[@]}") ;;
    esac
    "${command[@]}" >"$1" 2>&1
    status=$?
    echo "$status $(($(date +%s) - start))" >"$1.new"
    mv "$1.new" "$1.end"
}

report() {
    local counts p f s status seconds
    read -r status seconds <"$1.end"
    counts=$(tail -n 1 "$1" | sed -nE 's/.*: ([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p')
    if [ -n "$counts" ]; then
        read -r p f s <<<"$counts"
        # A program that died after its last line, or failed without saying so, still failed.
        [ "$status" -ne 0 ] && [ "$f" -eq 0 ] && f=1
    elif [ "$status" -eq 77 ]; then
        p=0 f=0 s=1
    else
        p=$((status == 0)) f=$((status != 0)) s=0
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '%-44.44s %5d passed %3d failed %3d skipped %4ds\n' "${2//"${BUILD:-build}"\//}" "$p" "$f" "$s" "$seconds"
    if [ "$f" -ne 0 ] || [ -n "${V:-}" ]; then
        grep -v '^ok  ' "$1" | tail -n 60 | sed 's/^/    /'
    fi
    [ "$s" -ne 0 ] && grep -E '^skip' "$1" | sed 's/^/    /'
}

# Of the tests in order those that have ended, up to one that has not.
report_ended() {
    while [ $reported -lt $started ] && [ -e "$results/$reported.end" ]; do
        report "$results/$reported" "${started_test[$reported]}"
        rm -f "$results/$reported" "$results/$reported.end"
        reported=$((reported + 1))
    done
}

started=0 reported=0 running=0 most=1
started_test=()
for test in "$@"; do
    if [ "$test" = --together ]; then
        most=${JOBS:-$(nproc)}
        continue
    fi
    run "$results/$started" "$test" &
    started_test+=("$test")
    started=$((started + 1)) running=$((running + 1))
    while [ $running -ge "$most" ]; do
        wait -n
        running=$((running - 1))
        report_ended
    done
done
wait
report_ended
[ $skipped -ne 0 ] && echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
