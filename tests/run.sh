#!/usr/bin/env bash
# Runs every given test and adds up: programs of t.h (a line at their end carries the counts),
# and scripts and other commands (one test each, by exit status; 77 is a skip). Shows the output of what failed,
# or all of it with V=1. The last line is "N passed, N failed". Tests behind --together may run JOBS
# at a time: those that time nothing and share no files. Those behind --part=NAME are added up: one
# more line says what they took, by the clock and of processors.
set -uo pipefail

[ -d "${BUILD:-build}/locale/de_DE.UTF-8" ] && export LOCPATH="$PWD/${BUILD:-build}/locale"
# Memory that is not there is an error with a sanitizer too, and not the end of the program.
export ASAN_OPTIONS="allocator_may_return_null=1:${ASAN_OPTIONS:-}"
export TSAN_OPTIONS="allocator_may_return_null=1:${TSAN_OPTIONS:-}"

passed=0 failed=0 skipped=0
results=$(mktemp -d) || exit 1
trap 'rm -rf "$results"' EXIT

TIMEFORMAT='%R %U %S'

# Runs test $2; its output is in the file $1 and, once it has ended, status and times in $1.end.
run() {
    local command status
    read -ra command <<<"$2"
    case "${command[0]}" in
    *.sh) command=(bash "${command[@]}") ;;
    *.py) command=("${PYTHON:-python3}" "${command[@]}") ;;
    esac
    { time "${command[@]}" >"$1" 2>&1; } 2>"$1.times"
    status=$?
    echo "$status $(tail -n 1 "$1.times")" >"$1.new"
    mv "$1.new" "$1.end"
}

# Seconds with a point, or what a locale has for it, as milliseconds; and those as tenths of seconds.
milliseconds() { echo $((10#${1//[.,]/})); }
tenths() { echo "$((($1 + 50) / 1000)).$((($1 + 50) / 100 % 10))"; }

report() {
    local name counts p f s status clock user system cpu
    read -r status clock user system <"$1.end"
    clock=$(milliseconds "$clock")
    cpu=$(($(milliseconds "$user") + $(milliseconds "$system")))
    [ -n "$part" ] && part_cpu=$((part_cpu + cpu))
    counts=$(sed -nE 's/.*: ([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$1" | tail -n 1)
    if [ -n "$counts" ]; then
        read -r p f s <<<"$counts"
        # A program that died after its last line, or failed without saying so, still failed.
        [ "$status" -ne 0 ] && [ "$f" -eq 0 ] && f=1
    elif [ "$status" -eq 77 ]; then
        p=0 f=0 s=1
    else
        p=$((status == 0)) f=$((status != 0)) s=0
    fi
    name=${2//"${BUILD:-build}"\//}
    name=${name//tests\//}
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '%-44.44s %5d passed %3d failed %3d skipped %6ss %6ss CPU\n' "$name" \
        "$p" "$f" "$s" "$(tenths "$clock")" "$(tenths "$cpu")"
    if [ "$f" -ne 0 ] || [ -n "${V:-}" ]; then
        grep -v '^ok  ' "$1" | tail -n 60 | sed 's/^/    /'
    fi
    [ "$s" -ne 0 ] && grep -E '^skip' "$1" | sed 's/^/    /'
}

# Of the tests in order those that have ended, up to one that has not.
report_ended() {
    while [ $reported -lt $started ] && [ -e "$results/$reported.end" ]; do
        report "$results/$reported" "${started_test[$reported]}"
        rm -f "$results/$reported" "$results/$reported".*
        reported=$((reported + 1))
    done
}

started=0 reported=0 running=0 most=1 part='' part_cpu=0
started_test=()
for test in "$@"; do
    if [ "$test" = --together ]; then
        most=${JOBS:-$(nproc)}
        continue
    fi
    if [[ "$test" = --part=* ]]; then
        part=${test#--part=} part_start=$(date +%s%3N)
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
[ -n "$part" ] && echo "$part: $(tenths $(($(date +%s%3N) - part_start))) s, $(tenths $part_cpu) s CPU"
[ $skipped -ne 0 ] && echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
